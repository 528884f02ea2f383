//! Pixels that somebody else owns.

use image::RgbImage;

/// An RGB image, row by row, wherever its bytes are.
#[derive(Debug, Clone, Copy)]
pub struct RgbView<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: &'a [u8],
}

impl<'a> From<&'a RgbImage> for RgbView<'a> {
    fn from(image: &'a RgbImage) -> Self {
        Self { width: image.width(), height: image.height(), bytes: image.as_raw() }
    }
}
