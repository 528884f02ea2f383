//! How files are read: what is honoured, which JPEG decoder works, what may be left out.

use crate::error::DataError;
use crate::transform::CropBox;

/// A decoder of JPEG files. Both keep to the standard, which leaves the rounding open: their pixels
/// differ by a level or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JpegDecoder {
    /// `zune-jpeg`, in pure Rust: in every build. Rows below what is wanted are left out.
    #[default]
    Zune,
    /// libjpeg-turbo, with the pixels of Pillow: in builds with the feature `turbojpeg`. Blocks
    /// beside and above what is wanted are left out as well, and images can be scaled while they
    /// are decoded. CMYK, and what is neither baseline nor progressive of 8 bits, goes to
    /// `zune-jpeg`.
    Turbo,
}

impl JpegDecoder {
    /// Its name, as settings have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zune => "zune",
            Self::Turbo => "turbojpeg",
        }
    }

    /// Whether this build has it.
    pub const fn is_built(self) -> bool {
        matches!(self, Self::Zune) || cfg!(feature = "turbojpeg")
    }
}

/// How JPEG files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JpegOptions {
    /// By what.
    pub decoder: JpegDecoder,
    /// Whether a crop of at least twice the output's size in both directions is decoded at a half,
    /// a quarter or an eighth of its size, by a smaller inverse transform of each block, and
    /// resized from there. Off, every pixel is decoded. Needs [`JpegDecoder::Turbo`].
    pub scaling: bool,
}

impl JpegOptions {
    /// Refuses what this build cannot do.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |setting, value: &str, rule: &str| {
            Err(DataError::Setting { setting, value: value.to_owned(), rule: rule.to_owned() })
        };
        if !self.decoder.is_built() {
            let rule = "this build has no libjpeg-turbo: build with --features turbojpeg, or \
                        choose zune, whose pixels differ by a level or two";
            return refuse("jpeg_decoder", self.decoder.name(), rule);
        }
        if self.scaling && self.decoder != JpegDecoder::Turbo {
            let rule =
                "the decoder zune decodes every pixel: it goes with jpeg_decoder = turbojpeg";
            return refuse("jpeg_scaling", "true", rule);
        }
        Ok(())
    }
}

/// How files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Whether an image is turned as its EXIF orientation says, and its size with it.
    pub exif_rotation: bool,
    /// How JPEG files are decoded.
    pub jpeg: JpegOptions,
}

/// What of an image is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The pixels that are looked at afterwards; what reaches over the edge is cut off.
    pub part: CropBox,
    /// The image may be decoded at this fraction of its size: 1, 2, 4 or 8 pixels become one.
    pub shrink: u32,
}

impl Wanted {
    /// All of an image of this size.
    pub fn whole((width, height): (u32, u32)) -> Self {
        Self { part: CropBox { left: 0, top: 0, width, height }, shrink: 1 }
    }

    /// One more than the last row that is wanted.
    pub(super) fn end(&self) -> u32 {
        self.part.top.saturating_add(self.part.height)
    }
}

/// What was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Width and height of the whole image at its own size.
    pub size: (u32, u32),
    /// How many of its pixels, in each direction, became one.
    pub shrink: u32,
}
