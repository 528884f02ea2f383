//! JPEG, baseline and progressive, by `zune-jpeg`.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::check_size;

pub(super) const SIGNATURE: [u8; 3] = [0xff, 0xd8, 0xff];

/// A block of 64 pixels costs at least one bit, in the first scan of a progressive file.
const MAX_PIXELS_PER_BYTE: u64 = 64 * 8;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];

pub(super) fn decode(file: &[u8], pixels: &mut Vec<u8>) -> Result<(u32, u32), String> {
    // Not strict: cameras write stray bytes between segments, and Pillow takes such files too.
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("its header has no size")?;
    let (width, height) = (width as u32, height as u32);
    let count = check_size(width, height, file, MAX_PIXELS_PER_BYTE)?;
    if !has_end(file) {
        return Err("the file ends before the image does".to_owned());
    }
    pixels.resize(3 * count, 0);
    decoder.decode_into(pixels).map_err(|e| e.to_string())?;
    Ok((width, height))
}

/// Whether an end-of-image marker follows the first scan. The decoder fills what is missing of a
/// cut file with grey and says nothing; like Pillow, we take such a file for broken. Within a
/// scan's data the marker's bytes cannot occur; before it they do, in an embedded thumbnail.
fn has_end(file: &[u8]) -> bool {
    let scan = first_scan(file).and_then(|start| file.get(start..)).unwrap_or_default();
    scan.windows(2).rev().any(|pair| pair == END_OF_IMAGE)
}

/// Where the first scan's segment begins: segments are walked by their lengths.
fn first_scan(file: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        // Stray bytes and fill bytes come before a marker.
        at += file.get(at..)?.windows(2).position(|w| w[0] == 0xff && !matches!(w[1], 0 | 0xff))?;
        let marker = *file.get(at + 1)?;
        at += 2;
        match marker {
            START_OF_SCAN => return Some(at),
            // Markers without a segment: temporary, restart, start and end of image.
            0x01 | 0xd0..=0xd9 => {}
            _ => {
                let length = u16::from_be_bytes([*file.get(at)?, *file.get(at + 1)?]);
                at += usize::from(length.max(2));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        let mut file = vec![0xff, 0xd8];
        file.extend([0xff, 0xe1, 0, 6, 0xff, 0xd9, 0xff, 0xd9]);
        file.extend([0xff, 0xda, 0, 3, 1, 9, 9, 0xff, 0, 9]);
        assert!(!has_end(&file));
        file.extend(END_OF_IMAGE);
        assert!(has_end(&file));
    }

    #[test]
    fn a_file_without_a_scan_has_no_end() {
        assert!(!has_end(&[0xff, 0xd8, 0xff, 0xd9]));
        assert!(!has_end(&[0xff, 0xd8, 0xff, 0xe0, 0xff]));
    }
}
