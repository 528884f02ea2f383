//! One file with all images of a data set, resized and ready to be mapped into memory.
//!
//! A pack holds each image, cut to its region where the data set has regions, with its shorter side resized to [`PackSettings::side`] pixels, as
//! torchvision's `Resize` does it and [`EvalTransform`](crate::transform::EvalTransform) too:
//! either as RGB bytes, which need no decoding, or as JPEG, which is a tenth of the size.
//! [`write()`] makes one, [`Pack::open`] maps one, [`Dataset::use_pack`](crate::Dataset::use_pack)
//! makes a data set's loaders read from it.
//!
//! **Pixels from a pack are not those of the files**: an image is resized before a training crop
//! is cut from it, not after. A crop of a pack shows what a crop of the file does, a little
//! blurred where the file had more pixels. Evaluation whose `resize` is the pack's side sees the
//! same picture up to rounding.
//!
//! # What makes a pack stale
//! The index has each file's length, time of change and SHA-256. An image whose file has another
//! length, or another time *and* other bytes, or that is not in the pack, makes it stale. Labels
//! and splits are in no pack: one serves every split of the same images.
//!
//! # Format, version 1
//! Numbers are little-endian. The file is a header, the images one after another, and an index,
//! which ends where the file does.
//!
//! | header, at | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `pnp-pack` |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | how images are stored: 0 RGB bytes row by row, 1 JPEG |
//! | 16 | 4 | the shorter side, in pixels |
//! | 20 | 4 | JPEG quality, 1 to 100; 0 for RGB bytes |
//! | 24 | 8 | number of images |
//! | 32 | 8 | where the index begins |
//! | 40 | 8 | bytes of the index |
//! | 48 | 32 | SHA-256 of the index |
//! | 80 | 44 | zero |
//! | 124 | 4 | CRC-32 of bytes 0 to 123 |
//!
//! | index, for each image | bytes | what |
//! | --- | --- | --- |
//! | name's length | 4 | |
//! | name | as said | UTF-8, as [`Item::name`](crate::Item::name), with ` [x1,y1,x2,y2]` for a part of the file |
//! | file's length | 8 | of the file that was packed |
//! | file's time | 8 | nanoseconds since 1970, 0 where unknown |
//! | file's SHA-256 | 32 | |
//! | width, height | 4 + 4 | of the packed image; 0 and 0: it could not be decoded and has no pixels |
//! | offset, length | 8 + 8 | of its bytes; offsets rise and images do not overlap |
//! | CRC-32 | 4 | of its bytes |
//!
//! Packs may be hostile: every number is checked against the file before it is used. CRC-32 finds
//! damage, not malice, and is checked when an image is first read.

mod format;
mod read;
mod write;

use std::fmt;

pub use read::Pack;
pub use write::{Packed, count, write};

use crate::error::DataError;

/// How images are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackFormat {
    /// RGB bytes, row by row: about 230 KB of a photo at side 256, and no decoding.
    Raw,
    /// JPEG of this quality, 1 to 100: about 25 KB, and decoding of few pixels.
    Jpeg {
        /// 1 to 100.
        quality: u8,
    },
}

/// What a pack holds of each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSettings {
    /// The shorter side in pixels, 1 to [`PackSettings::MAX_SIDE`]. Smaller images are enlarged,
    /// as `Resize` does. An image so long that it would take more than 64 squares of this side is
    /// kept at its own size.
    pub side: u32,
    /// How it is stored.
    pub format: PackFormat,
}

impl Default for PackSettings {
    /// RGB bytes at the shorter side of the paper's evaluation, 256 pixels.
    fn default() -> Self {
        Self { side: 256, format: PackFormat::Raw }
    }
}

impl PackSettings {
    /// The largest side.
    pub const MAX_SIDE: u32 = 4096;

    /// Refuses a side or a quality that is out of range.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |setting, value: u32, rule: &str| {
            Err(DataError::Setting { setting, value: value.to_string(), rule: rule.to_owned() })
        };
        if !(1..=Self::MAX_SIDE).contains(&self.side) {
            return refuse("side", self.side, "a packed image's side has 1 to 4096 pixels");
        }
        match self.format {
            PackFormat::Jpeg { quality } if !(1..=100).contains(&quality) => {
                refuse("quality", quality.into(), "a JPEG quality lies in 1 to 100")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for PackSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            PackFormat::Raw => write!(f, "RGB bytes, shorter side {}", self.side),
            PackFormat::Jpeg { quality } => {
                write!(f, "JPEG of quality {quality}, shorter side {}", self.side)
            }
        }
    }
}
