//! Bilinear resampling with antialiasing, Pillow's, by `fast_image_resize`.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{CropBox, RgbView};
use crate::error::DataError;

/// Resamples one image after another, keeping its buffers.
#[derive(Debug, Default)]
pub struct Resampler(Resizer);

/// A part of an image, in pixels and fractions of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Columns before it.
    pub left: f64,
    /// Rows above it.
    pub top: f64,
    /// Its columns.
    pub width: f64,
    /// Its rows.
    pub height: f64,
}

impl Region {
    /// The same part of an image of which `shrink` pixels, in each direction, became one.
    pub(super) fn shrunk(self, shrink: u32) -> Self {
        let [left, top, width, height] =
            [self.left, self.top, self.width, self.height].map(|side| side / f64::from(shrink));
        Self { left, top, width, height }
    }
}

impl From<CropBox> for Region {
    fn from(CropBox { left, top, width, height }: CropBox) -> Self {
        let [left, top, width, height] = [left, top, width, height].map(f64::from);
        Self { left, top, width, height }
    }
}

impl Resampler {
    /// The crop alone, resized to `width` x `height`: pixels beside the crop have no influence.
    pub(super) fn crop(
        &mut self,
        image: RgbView<'_>,
        crop: CropBox,
        (width, height): (u32, u32),
        out: &mut [u8],
    ) -> Result<(), DataError> {
        let failed = |e: &dyn std::fmt::Display| error(image, e);
        let source = view(image)?;
        let CropBox { left, top, width: w, height: h } = crop;
        let source = CroppedImage::new(&source, left, top, w, h).map_err(|e| failed(&e))?;
        self.run(&source, (width, height), out, options()).map_err(|e| failed(&e))
    }

    /// The part of the whole resized image that shows `region`: pixels beside the region count
    /// where the filter reaches them, as if the image had been resized first and cropped then.
    pub(super) fn region(
        &mut self,
        image: RgbView<'_>,
        region: Region,
        size: (u32, u32),
        out: &mut [u8],
    ) -> Result<(), DataError> {
        let Region { left, top, width, height } = region;
        let options = options().crop(left, top, width, height);
        self.run(&view(image)?, size, out, options).map_err(|e| error(image, &e))
    }

    /// The whole image resized.
    pub(crate) fn whole(
        &mut self,
        image: RgbView<'_>,
        size: (u32, u32),
        out: &mut [u8],
    ) -> Result<(), DataError> {
        self.run(&view(image)?, size, out, options()).map_err(|e| error(image, &e))
    }

    fn run(
        &mut self,
        source: &impl IntoImageView,
        (width, height): (u32, u32),
        out: &mut [u8],
        options: ResizeOptions,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut target = Image::from_slice_u8(width, height, out, PixelType::U8x3)?;
        self.0.resize(source, &mut target, &options)?;
        Ok(())
    }
}

fn options() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false)
}

fn view(image: RgbView<'_>) -> Result<ImageRef<'_>, DataError> {
    ImageRef::new(image.width, image.height, image.bytes, PixelType::U8x3)
        .map_err(|e| error(image, &e))
}

fn error(image: RgbView<'_>, reason: &dyn std::fmt::Display) -> DataError {
    let RgbView { width, height, .. } = image;
    DataError::Resample { width, height, reason: reason.to_string() }
}
