//! PNG, by the `png` crate.

use std::io::Cursor;

use ::png::{ColorType, Decoder, Limits, Transformations};
use image::metadata::Orientation;

use super::{Decoded, check_size};

pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Deflate packs at most 1,032 bytes into one.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// What the `png` crate may take for rows, palettes and profiles; the pixels are ours.
const WORKING_MEMORY: usize = 256 << 20;

/// Decodes a file; `exif_rotation` says whether its orientation is read.
pub(super) fn decode(
    file: &[u8],
    raw: &mut Vec<u8>,
    pixels: &mut Vec<u8>,
    exif_rotation: bool,
) -> Result<Decoded, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(file), Limits { bytes: WORKING_MEMORY });
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().map_err(|e| e.to_string())?;
    let (width, height) = header.size();
    let bits_per_pixel = header.color_type.samples() as u64 * header.bit_depth as u64;
    let count = check_size(width, height, file, MAX_DEFLATE_RATIO * 8 / bits_per_pixel.max(1))?;
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let exif = if exif_rotation { reader.info().exif_metadata.as_deref() } else { None };
    let orientation = exif.and_then(Orientation::from_exif_chunk);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let size = (width, height);
    let decoded = Decoded { whole: size, held: size, shrink: 1, orientation };
    let bytes = reader.output_buffer_size().ok_or("it is too large for this machine")?;
    let (color, _) = reader.output_color_type();
    pixels.resize(3 * count, 0);
    if color == ColorType::Rgb {
        reader.next_frame(pixels).map_err(|e| e.to_string())?;
        return Ok(decoded);
    }
    raw.resize(bytes, 0);
    reader.next_frame(raw).map_err(|e| e.to_string())?;
    let rgb = pixels.as_chunks_mut::<3>().0.iter_mut();
    match color {
        ColorType::Grayscale => rgb.zip(&*raw).for_each(|(out, &grey)| *out = [grey; 3]),
        ColorType::GrayscaleAlpha => {
            let pairs = raw.as_chunks::<2>().0;
            rgb.zip(pairs).for_each(|(out, &[grey, _])| *out = [grey; 3]);
        }
        ColorType::Rgba => {
            let quads = raw.as_chunks::<4>().0;
            rgb.zip(quads).for_each(|(out, &[r, g, b, _])| *out = [r, g, b]);
        }
        ColorType::Rgb | ColorType::Indexed => {
            return Err(format!("its colour type {color:?} was not expanded"));
        }
    }
    Ok(decoded)
}
