//! JPEG, baseline and progressive: the headers by our own eyes, the image by `zune-jpeg` or by
//! libjpeg-turbo.
//!
//! For `zune-jpeg`, a file whose only scan runs from top to bottom is decoded to the last row that is wanted and no
//! further: its header is given a smaller height, and the decoder stops there. The rows have the
//! bits of those of the whole image.

use std::ops::Range;

use image::metadata::Orientation;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::options::{JpegDecoder, ReadOptions, Wanted};
#[cfg(feature = "turbojpeg")]
use super::turbo::Turbo;
use super::{Decoded, check_size};

pub(super) const SIGNATURE: [u8; 3] = [0xff, 0xd8, 0xff];

/// A block of 64 pixels costs at least one bit, in the first scan of a progressive file.
const MAX_PIXELS_PER_BYTE: u64 = 64 * 8;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
const APPLICATION_1: u8 = 0xe1;
const EXIF: &[u8] = b"Exif\0\0";

const CUT: &str = "the file ends before the image does";

/// Decodes a file; `wanted` says of an image of a size and an orientation what is wanted. The file
/// is the same afterwards, unless the decoder panics.
pub(super) fn decode(
    file: &mut [u8],
    pixels: &mut Vec<u8>,
    options: ReadOptions,
    wanted: impl FnOnce((u32, u32), Orientation) -> Wanted,
) -> Result<Decoded, String> {
    let header = Header::read(file);
    let exif = if options.exif_rotation { header.exif.clone() } else { None };
    let orientation = exif.and_then(|range| Orientation::from_exif_chunk(file.get(range)?));
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let Some(frame) = &header.frame else {
        if !header.has_end(file) {
            return Err(CUT.to_owned());
        }
        let size = decode_whole(file, pixels)?;
        wanted(size, orientation);
        return Ok(Decoded { whole: size, held: size, shrink: 1, orientation });
    };
    check_size(frame.width.into(), frame.height.into(), file, MAX_PIXELS_PER_BYTE)?;
    let wanted = wanted(frame.size(), orientation);
    if !header.has_end(file) {
        return Err(CUT.to_owned());
    }
    let (held, shrink) = match options.jpeg.decoder {
        JpegDecoder::Turbo if frame.is_common => {
            (decode_by_turbo(file, pixels, frame, wanted)?, wanted.shrink)
        }
        _ => (decode_rows(file, pixels, frame, wanted.end())?, 1),
    };
    Ok(Decoded { whole: frame.size(), held, shrink, orientation })
}

#[cfg(feature = "turbojpeg")]
fn decode_by_turbo(
    file: &[u8],
    pixels: &mut Vec<u8>,
    frame: &Frame,
    wanted: Wanted,
) -> Result<(u32, u32), String> {
    Turbo::new()?.decode(file, frame.size(), frame.block_columns, wanted, pixels)
}

#[cfg(not(feature = "turbojpeg"))]
fn decode_by_turbo(_: &[u8], _: &mut Vec<u8>, _: &Frame, _: Wanted) -> Result<(u32, u32), String> {
    Err("this build has no libjpeg-turbo to decode it by".to_owned())
}

/// Decodes the first rows, or all where it cannot stop early, by `zune-jpeg`; returns width and
/// height of what there is.
fn decode_rows(
    file: &mut [u8],
    pixels: &mut Vec<u8>,
    frame: &Frame,
    rows: u32,
) -> Result<(u32, u32), String> {
    let stop = frame.stop(rows);
    if let Some(stop) = stop {
        frame.set_height(file, stop);
    }
    let decoded = decode_whole(file, pixels);
    if stop.is_some() {
        frame.set_height(file, frame.height);
    }
    let expected = (frame.width.into(), u32::from(stop.unwrap_or(frame.height)));
    if decoded? != expected {
        return Err("it has two headers that differ".to_owned());
    }
    Ok(expected)
}

/// Decodes what the header declares; returns width and height.
fn decode_whole(file: &[u8], pixels: &mut Vec<u8>) -> Result<(u32, u32), String> {
    // Not strict: cameras write stray bytes between segments, and Pillow takes such files too.
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("its header has no size")?;
    let (width, height) = (width as u32, height as u32);
    let count = check_size(width, height, file, MAX_PIXELS_PER_BYTE)?;
    pixels.resize(3 * count, 0);
    decoder.decode_into(pixels).map_err(|e| e.to_string())?;
    Ok((width, height))
}

/// What stands before the first scan's data.
#[derive(Debug, Default)]
struct Header {
    frame: Option<Frame>,
    /// The first EXIF segment's content.
    exif: Option<Range<usize>>,
    /// Where the first scan's segment begins.
    scan: Option<usize>,
}

/// The frame header.
#[derive(Debug)]
struct Frame {
    /// Where the height stands.
    height_at: usize,
    height: u16,
    width: u16,
    components: u8,
    /// Rows that are decoded together.
    block_rows: u32,
    /// Columns that are decoded together, of all components.
    #[cfg_attr(not(feature = "turbojpeg"), expect(dead_code, reason = "for libjpeg-turbo alone"))]
    block_columns: u32,
    /// Whether one scan has all components, row by row.
    in_order: bool,
    /// Whether it is baseline or progressive, of 8 bits, grey or in three colours.
    is_common: bool,
}

impl Header {
    /// Walks the segments by their lengths.
    fn read(file: &[u8]) -> Self {
        let mut header = Self::default();
        let _ = header.walk(file);
        header
    }

    /// `None` at the end of the file.
    fn walk(&mut self, file: &[u8]) -> Option<()> {
        let mut at = 2;
        loop {
            // Stray bytes and fill bytes come before a marker.
            let mut pairs = file.get(at..)?.windows(2);
            at += pairs.position(|w| w[0] == 0xff && !matches!(w[1], 0 | 0xff))?;
            let marker = *file.get(at + 1)?;
            at += 2;
            match marker {
                START_OF_SCAN => {
                    self.scan = Some(at);
                    let components = *file.get(at + 2)?;
                    if let Some(frame) = &mut self.frame {
                        frame.in_order &= frame.components == components;
                    }
                    return Some(());
                }
                // Markers without a segment: temporary, restart, start and end of image.
                0x01 | 0xd0..=0xd9 => continue,
                // All frames but the tables' markers between them.
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    self.frame = Frame::read(file, at, marker);
                }
                _ => {}
            }
            let length = u16::from_be_bytes([*file.get(at)?, *file.get(at + 1)?]);
            let end = at + usize::from(length.max(2));
            let content = at + 2..end;
            if marker == APPLICATION_1
                && self.exif.is_none()
                && file.get(content.clone()).is_some_and(|content| content.starts_with(EXIF))
            {
                self.exif = Some(content.start + EXIF.len()..end);
            }
            at = end;
        }
    }

    /// Whether an end-of-image marker follows the first scan. The decoder fills what is missing of
    /// a cut file with grey and says nothing; like Pillow, we take such a file for broken. Within a
    /// scan's data the marker's bytes cannot occur; before it they do, in an embedded thumbnail.
    fn has_end(&self, file: &[u8]) -> bool {
        let scan = self.scan.and_then(|start| file.get(start..)).unwrap_or_default();
        scan.windows(2).rev().any(|pair| pair == END_OF_IMAGE)
    }
}

impl Frame {
    /// The frame whose segment begins at `at`, after its marker.
    fn read(file: &[u8], at: usize, marker: u8) -> Option<Self> {
        let two = |at: usize| Some(u16::from_be_bytes([*file.get(at)?, *file.get(at + 1)?]));
        let height_at = at + 3;
        let components = *file.get(at + 7)?;
        let table = file.get(at + 8..)?.get(..3 * usize::from(components))?;
        let sampling = table.as_chunks::<3>().0.iter().map(|&[_, sampling, _]| sampling);
        let rows = sampling.clone().map(|sampling| sampling & 15).max()?;
        // A component alone has no others to be in step with.
        let columns = if components == 1 { 1 } else { sampling.map(|s| s >> 4).max()? };
        Some(Self {
            height_at,
            height: two(height_at)?,
            width: two(height_at + 2)?,
            components,
            block_rows: 8 * u32::from(rows.max(1)),
            block_columns: 8 * u32::from(columns.max(1)),
            in_order: matches!(marker, 0xc0 | 0xc1),
            is_common: matches!(marker, 0xc0..=0xc2)
                && *file.get(at + 2)? == 8
                && matches!(components, 1 | 3),
        })
    }

    fn size(&self) -> (u32, u32) {
        (self.width.into(), self.height.into())
    }

    /// The height with which the decoder stops after this many rows, where it can stop early.
    fn stop(&self, rows: u32) -> Option<u16> {
        // One row of blocks more: colours of less resolution are mixed with those below.
        let blocks = rows.div_ceil(self.block_rows).saturating_add(1);
        let stop = u16::try_from(blocks.saturating_mul(self.block_rows)).ok()?;
        (self.in_order && stop < self.height).then_some(stop)
    }

    fn set_height(&self, file: &mut [u8], height: u16) {
        file[self.height_at..self.height_at + 2].copy_from_slice(&height.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_end(file: &[u8]) -> bool {
        Header::read(file).has_end(file)
    }

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
