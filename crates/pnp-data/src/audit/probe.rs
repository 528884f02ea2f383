//! What a file's headers say about it, beside its pixels.

use std::ffi::OsStr;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::ImageFormat;
use image::metadata::Orientation;
use png::{BitDepth, ColorType};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::Kind;
use crate::decode::MAX_PIXELS;

/// Images of more pixels are worth a word.
const LARGE_PIXELS: u64 = 24_000_000;

/// Deflate packs at most 1,032 bytes into one, and a byte holds at most 8 pixels: no file of ours
/// holds more pixels per byte.
const MAX_PIXELS_PER_BYTE: u64 = 1032 * 8;

/// What the `png` crate may take for palettes, profiles and texts.
const WORKING_MEMORY: usize = 64 << 20;

/// What the headers say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    format: Option<ImageFormat>,
    size: (u32, u32),
    /// What is worth knowing.
    found: Vec<(Kind, String)>,
}

/// Reads the headers of a file, as far as they can be read.
pub(super) fn probe(file: &[u8]) -> Facts {
    let format = image::guess_format(file).ok();
    // The parsers are other people's code on other people's bytes.
    let facts = catch_unwind(AssertUnwindSafe(|| match format {
        Some(ImageFormat::Png) => png(file).unwrap_or_default(),
        Some(ImageFormat::Jpeg) => jpeg(file).unwrap_or_default(),
        Some(ImageFormat::Gif) => {
            Facts { found: vec![(Kind::Animated, "GIF".to_owned())], ..Facts::default() }
        }
        _ => Facts::default(),
    }));
    Facts { format, ..facts.unwrap_or_default() }
}

/// Whether a file declares more pixels than are decoded, or than its bytes can hold.
pub(super) fn is_bomb(file: &[u8]) -> bool {
    let pixels = probe(file).pixels();
    pixels > MAX_PIXELS || pixels > (file.len() as u64).saturating_mul(MAX_PIXELS_PER_BYTE)
}

fn png(file: &[u8]) -> Option<Facts> {
    let limits = png::Limits { bytes: WORKING_MEMORY };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), limits);
    decoder.set_ignore_text_chunk(true);
    let header = decoder.read_header_info().ok()?;
    let mut facts = Facts { size: header.size(), ..Facts::default() };
    let sixteen_bit = header.bit_depth == BitDepth::Sixteen;
    let mut alpha = matches!(header.color_type, ColorType::Rgba | ColorType::GrayscaleAlpha);
    let reader = decoder.read_info().ok();
    let info = reader.as_ref().map(png::Reader::info);
    alpha |= info.is_some_and(|info| info.trns.is_some());
    facts.note(Kind::SixteenBit, sixteen_bit, "");
    facts.note(Kind::Alpha, alpha, "");
    facts.note_turn(info.and_then(|info| info.exif_metadata.as_deref()));
    facts.note(Kind::Animated, info.is_some_and(|info| info.animation_control.is_some()), "APNG");
    Some(facts)
}

fn jpeg(file: &[u8]) -> Option<Facts> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().ok()?;
    let info = decoder.info()?;
    let size = (info.width.into(), info.height.into());
    let mut facts = Facts { size, ..Facts::default() };
    facts.note(Kind::Cmyk, info.components == 4, "");
    let exif = decoder.exif().map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
    facts.note_turn(exif);
    Some(facts)
}

impl Facts {
    fn note(&mut self, kind: Kind, holds: bool, detail: &str) {
        if holds {
            self.found.push((kind, detail.to_owned()));
        }
    }

    /// Notes that EXIF turns or mirrors the picture.
    fn note_turn(&mut self, exif: Option<&[u8]>) {
        let turn = exif.and_then(Orientation::from_exif_chunk);
        if let Some(turn) = turn.filter(|&turn| turn != Orientation::NoTransforms) {
            self.note(Kind::ExifRotation, true, &format!("orientation {}", turn.to_exif()));
        }
    }

    fn pixels(&self) -> u64 {
        u64::from(self.size.0) * u64::from(self.size.1)
    }

    /// What is worth knowing about a file of this name, which decodes or does not.
    pub(super) fn remarks(mut self, path: &Path, decodes: bool) -> Vec<(Kind, String)> {
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        if let Some(format) = self.format.filter(|&format| is_of_another(extension, format)) {
            let detail = format!("it is a {} file", name(format));
            self.found.insert(0, (Kind::ExtensionLies, detail));
        }
        let (width, height) = self.size;
        let large = decodes && self.pixels() > LARGE_PIXELS;
        self.note(Kind::Large, large, &format!("{width} x {height} pixels"));
        self.found
    }
}

/// Whether an extension belongs to another kind of image.
fn is_of_another(extension: &str, format: ImageFormat) -> bool {
    let claimed = ImageFormat::from_extension(extension);
    claimed.is_some_and(|claimed| claimed != format)
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Bmp => "BMP",
        other => other.extensions_str().first().unwrap_or(&"different"),
    }
}
