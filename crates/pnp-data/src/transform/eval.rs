//! What images are measured on: the shorter side resized, the centre cropped.

use image::RgbImage;

use super::resample::Region;
use super::{Resampler, RgbView, resized};
use crate::decode::{Extent, JpegOptions, ReadOptions, Wanted};
use crate::error::DataError;

/// torchvision's `Resize` (of the shorter side; bilinear, antialiased) and `CenterCrop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalTransform {
    /// The shorter side after resizing, in pixels. The paper uses 256.
    pub resize: u32,
    /// The side of the square that is cut from the centre. The paper uses 224.
    pub crop: u32,
    /// Whether the image is turned as its EXIF orientation says before anything else.
    pub exif_rotation: bool,
    /// How JPEG files are decoded.
    pub jpeg: JpegOptions,
}

impl Default for EvalTransform {
    /// The paper's: 256 and 224 pixels, EXIF orientations ignored.
    fn default() -> Self {
        Self { resize: 256, crop: 224, exif_rotation: false, jpeg: JpegOptions::default() }
    }
}

/// One axis of the transform: which output pixels show which part of the image.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    /// Output pixels before the image begins: padding.
    before: u32,
    /// Output pixels that show the image.
    shown: u32,
    /// Where in the image, in its own pixels, they begin, and how far they reach.
    from: f64,
    length: f64,
}

impl EvalTransform {
    /// Refuses sizes that mean nothing, and what this build cannot do.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        for (setting, value) in [("resize", self.resize), ("crop", self.crop)] {
            if value == 0 {
                let (value, rule) = (value.to_string(), "it must be at least 1 pixel".to_owned());
                return Err(DataError::Setting { setting, value, rule });
            }
        }
        self.jpeg.check()
    }

    /// How files are read for it.
    pub fn reading(&self) -> ReadOptions {
        ReadOptions { exif_rotation: self.exif_rotation, jpeg: self.jpeg }
    }

    /// Writes `crop` x `crop` RGB bytes, row by row, to `out`. Only what the crop shows is
    /// resampled; where the crop is larger than the resized image, the rest is black.
    ///
    /// # Errors
    /// [`DataError::Resample`] for an image without pixels.
    pub fn apply(
        &self,
        image: &RgbImage,
        resampler: &mut Resampler,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let extent = Extent { size: image.dimensions(), shrink: 1 };
        self.render(image.into(), extent, resampler, out)
    }

    /// What of an image of this size has an influence.
    pub fn wanted(&self, size: (u32, u32)) -> Wanted {
        if size.0.min(size.1) == 0 {
            return Wanted::whole(size);
        }
        let (x, y) = self.axes(size);
        let (region, shown) = (region(x, y), (x.shown, y.shown));
        let shrink = if self.jpeg.scaling { resized::shrink(region, shown) } else { 1 };
        Wanted { part: resized::part(size, region, shown, shrink), shrink }
    }

    /// [`apply`](Self::apply) to an image that was decoded as [`wanted`](Self::wanted) says.
    ///
    /// # Errors
    /// [`DataError::Resample`] for an image without pixels.
    pub fn render(
        &self,
        image: RgbView<'_>,
        extent: Extent,
        resampler: &mut Resampler,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let (width, height) = extent.size;
        if width.min(height) == 0 {
            return Err(DataError::Resample { width, height, reason: "it is empty".to_owned() });
        }
        let (x, y) = self.axes(extent.size);
        let region = region(x, y).shrunk(extent.shrink);
        let side = self.crop as usize;
        out.resize(3 * side * side, 0);
        if x.shown == self.crop && y.shown == self.crop {
            return resampler.region(image, region, (self.crop, self.crop), out);
        }
        let mut shown = vec![0; 3 * x.shown as usize * y.shown as usize];
        resampler.region(image, region, (x.shown, y.shown), &mut shown)?;
        out.fill(0);
        let row = 3 * x.shown as usize;
        let targets = out.chunks_exact_mut(3 * side).skip(y.before as usize);
        for (target, source) in targets.zip(shown.chunks_exact(row)) {
            target[3 * x.before as usize..][..row].copy_from_slice(source);
        }
        Ok(())
    }

    /// Columns and rows of an image of this size.
    fn axes(self, (width, height): (u32, u32)) -> (Axis, Axis) {
        let short = width.min(height);
        (self.axis(width, short), self.axis(height, short))
    }

    /// The axis of a side of `side` pixels; `short` is the image's shorter side.
    fn axis(self, side: u32, short: u32) -> Axis {
        let crop = u64::from(self.crop);
        let resized = resized::side(self.resize, side, short);
        if crop > resized {
            let before = ((crop - resized) / 2) as u32;
            let length = f64::from(side);
            return Axis { before, shown: resized as u32, from: 0.0, length };
        }
        // Python rounds a half to the even neighbour.
        let offset = ((resized - crop) as f64 / 2.0).round_ties_even();
        let (from, length) = resized::span(side, resized, offset, self.crop);
        Axis { before: 0, shown: self.crop, from, length }
    }
}

/// The part of the image that two axes show.
fn region(x: Axis, y: Axis) -> Region {
    Region { left: x.from, top: y.from, width: x.length, height: y.length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crop_lies_where_torchvision_puts_it() {
        let transform = EvalTransform { resize: 256, crop: 224, ..EvalTransform::default() };
        // 600 x 411: the longer side becomes int(256 * 600 / 411) = 373, cut at round(74.5) = 74.
        let axis = transform.axis(600, 411);
        assert!((axis.from - 74.0 * 600.0 / 373.0).abs() < 1e-9);
        assert_eq!((axis.before, axis.shown), (0, 224));
        let axis = transform.axis(411, 411);
        assert!((axis.from - 16.0 * 411.0 / 256.0).abs() < 1e-9);
    }

    #[test]
    fn a_crop_larger_than_the_image_is_padded_with_black() {
        let image = RgbImage::from_pixel(4, 4, image::Rgb([9, 9, 9]));
        let (mut resampler, mut out) = (Resampler::default(), vec![7; 5]);
        EvalTransform { resize: 4, crop: 7, ..EvalTransform::default() }
            .apply(&image, &mut resampler, &mut out)
            .unwrap();
        let row =
            |y: usize| out[21 * y..21 * (y + 1)].iter().step_by(3).copied().collect::<Vec<_>>();
        assert_eq!(out.len(), 3 * 7 * 7);
        for y in [0, 5, 6] {
            assert_eq!(row(y), [0; 7]);
        }
        for y in 1..5 {
            assert_eq!(row(y), [0, 9, 9, 9, 9, 0, 0]);
        }
    }

    #[test]
    fn an_image_one_pixel_wide_takes_no_more_memory_than_the_crop() {
        let image = RgbImage::from_pixel(1, 60_000, image::Rgb([1, 2, 3]));
        let (mut resampler, mut out) = (Resampler::default(), Vec::new());
        EvalTransform::default().apply(&image, &mut resampler, &mut out).unwrap();
        assert!(out.chunks(3).all(|pixel| pixel == [1, 2, 3]));
    }

    #[test]
    fn an_image_of_the_right_size_is_copied() {
        let image = RgbImage::from_fn(6, 6, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let (mut resampler, mut out) = (Resampler::default(), Vec::new());
        EvalTransform { resize: 6, crop: 4, ..EvalTransform::default() }
            .apply(&image, &mut resampler, &mut out)
            .unwrap();
        assert_eq!(out[..6], [1, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn sizes_of_zero_are_refused() {
        let error = EvalTransform { resize: 0, crop: 1, ..EvalTransform::default() }
            .check()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("resize = 0"), "{error}");
    }
}
