//! Image files to RGB bytes: PNG and JPEG, told apart by content.
//!
//! The result is what Pillow's `convert("RGB")` makes of a file: alpha is dropped (not blended), a
//! palette is looked up, grey is repeated, CMYK and YCCK are taken as Adobe writes them (inverted),
//! of 16 bits the upper 8 are kept. An EXIF orientation is ignored, as the training code of the
//! field does, unless [`Decoder::decode_part_into`] is asked to turn the image by it. One difference
//! is meant: Pillow clips 16-bit *grey* to white, here it is scaled like 16-bit RGB.
//!
//! Files may be hostile: the size that a header declares is checked against a limit and against
//! the file's own length before any memory is taken, and a decoder's panic becomes an error.

mod jpeg;
mod options;
mod png;
#[cfg(feature = "turbojpeg")]
mod turbo;

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

pub use self::options::{Extent, JpegDecoder, JpegOptions, ReadOptions, Wanted};
use crate::error::DataError;

/// The largest image that is decoded, in pixels.
pub const MAX_PIXELS: u64 = 100_000_000;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 512 << 20;

/// Decodes one PNG or JPEG file.
///
/// # Errors
/// [`DataError::Io`] where the file cannot be read, [`DataError::BadImage`] where it is no whole
/// PNG or JPEG image of at most [`MAX_PIXELS`] pixels.
pub fn decode(path: &Path) -> Result<RgbImage, DataError> {
    let mut image = RgbImage::default();
    Decoder::default().decode_into(path, &mut image)?;
    Ok(image)
}

/// Decodes one file after another, keeping its buffers.
#[derive(Debug, Default)]
pub struct Decoder {
    file: Vec<u8>,
    raw: Vec<u8>,
}

impl Decoder {
    /// The bytes of the file that was read last.
    pub(crate) fn file(&self) -> &[u8] {
        &self.file
    }

    /// [`decode()`] into an image whose memory is used again; after an error the image is empty.
    pub fn decode_into(&mut self, path: &Path, image: &mut RgbImage) -> Result<(), DataError> {
        self.decode_part_into(path, ReadOptions::default(), image, Wanted::whole).map(|_| ())
    }

    /// [`decode_into`](Self::decode_into) of what is wanted alone: `wanted` is told the width and
    /// height of the whole image and says which part of it is looked at. Afterwards the pixels of
    /// that part stand where they do in the whole image and have the bits that they have there.
    /// Others are those of the file or anything else, and rows below the part may be missing.
    /// Faults of a file in what is not wanted may go unnoticed.
    ///
    /// Where `wanted` allows to shrink the image and its decoder can do it, `image` has the whole's
    /// size divided by [`Extent::shrink`], rounded up.
    pub fn decode_part_into(
        &mut self,
        path: &Path,
        options: ReadOptions,
        image: &mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Extent, DataError> {
        if let Err(error) = self.read(path) {
            *image = RgbImage::default();
            return Err(error);
        }
        self.decode_held(options, image, wanted)
            .map_err(|reason| DataError::BadImage { path: path.to_owned(), reason })
    }

    /// [`decode_part_into`](Self::decode_part_into) of a file that is in memory; the error says
    /// what is wrong with it. After an error the image is empty.
    pub(crate) fn decode_bytes(
        &mut self,
        file: &[u8],
        options: ReadOptions,
        image: &mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Extent, String> {
        self.file.clear();
        self.file.extend_from_slice(file);
        self.decode_held(options, image, wanted)
    }

    /// Decodes the file that was read last.
    fn decode_held(
        &mut self,
        options: ReadOptions,
        image: &mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Extent, String> {
        let mut pixels = std::mem::take(image).into_raw();
        // The decoders are other people's code on other people's bytes. What they leave behind
        // after a panic is plain bytes, overwritten by the next image.
        let decoded =
            catch_unwind(AssertUnwindSafe(|| self.decode_pixels(&mut pixels, options, wanted)));
        let Decoded { whole, held, shrink, orientation } = decoded.unwrap_or_else(|panic| {
            Err(format!("the decoder failed: {}", panic_message(&*panic)))
        })?;
        *image = RgbImage::from_raw(held.0, held.1, pixels)
            .ok_or_else(|| "the decoder returned too few pixels".to_owned())?;
        if orientation != Orientation::NoTransforms {
            let mut upright = DynamicImage::ImageRgb8(std::mem::take(image));
            upright.apply_orientation(orientation);
            *image = upright.into_rgb8();
        }
        Ok(Extent { size: turned(whole, orientation), shrink })
    }

    /// Fills `pixels` with RGB bytes of the file that was read last, row by row.
    fn decode_pixels(
        &mut self,
        pixels: &mut Vec<u8>,
        options: ReadOptions,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Decoded, String> {
        let file = &mut self.file;
        if file.starts_with(&png::SIGNATURE) {
            let decoded = png::decode(file, &mut self.raw, pixels, options.exif_rotation)?;
            wanted(turned(decoded.whole, decoded.orientation));
            Ok(decoded)
        } else if file.starts_with(&jpeg::SIGNATURE) {
            jpeg::decode(file, pixels, options, |size, orientation| {
                let upright = wanted(turned(size, orientation));
                match orientation {
                    Orientation::NoTransforms => upright,
                    // The left and the top of the turned image are other sides of the file's.
                    _ => Wanted::whole(size),
                }
            })
        } else if file.is_empty() {
            Err("the file is empty".to_owned())
        } else {
            Err("it is neither a PNG nor a JPEG file; convert it to one of these".to_owned())
        }
    }

    fn read(&mut self, path: &Path) -> Result<(), DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        self.file.clear();
        // Before it is opened: a pipe would wait for somebody to write.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("it is no file")));
        }
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length > MAX_FILE_BYTES {
            let reason = format!("it has {length} bytes, and at most {MAX_FILE_BYTES} are read");
            return Err(DataError::BadImage { path: path.to_owned(), reason });
        }
        self.file.reserve(length as usize);
        file.take(MAX_FILE_BYTES).read_to_end(&mut self.file).map_err(io)?;
        Ok(())
    }
}

/// What was decoded.
#[derive(Debug)]
struct Decoded {
    /// Width and height of the whole image as it lies in the file.
    whole: (u32, u32),
    /// Width and height of the pixels there are.
    held: (u32, u32),
    /// How many of the whole's pixels, in each direction, became one.
    shrink: u32,
    /// How they have to be turned.
    orientation: Orientation,
}

/// The size of an image after it was turned.
fn turned((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    match orientation {
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (width, height),
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
    }
}

/// Refuses sizes above the limit, and sizes that a file of this length cannot fill.
fn check_size(width: u32, height: u32, file: &[u8], pixels_per_byte: u64) -> Result<usize, String> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err("it has no pixels".to_owned());
    }
    if pixels > MAX_PIXELS {
        return Err(format!(
            "it declares {width} x {height} pixels, and at most {MAX_PIXELS} are decoded"
        ));
    }
    if pixels > (file.len() as u64).saturating_mul(pixels_per_byte) {
        return Err(format!(
            "it declares {width} x {height} pixels, more than its {} bytes can hold",
            file.len()
        ));
    }
    Ok(pixels as usize)
}

/// The text that a panic was raised with.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
