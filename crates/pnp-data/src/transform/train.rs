//! What training images go through: a random crop resized to a square, mirrored half of the time.

use image::RgbImage;
use rand::{Rng, RngExt};

use super::Resampler;
use crate::error::DataError;

/// How often a crop that fits is tried before the centred fallback.
const TRIES: usize = 10;

/// torchvision's `RandomResizedCrop` (bilinear, antialiased) and `RandomHorizontalFlip`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainTransform {
    /// The side of the square that comes out, in pixels. The paper uses 224.
    pub size: u32,
    /// The crop's share of the image's area is uniform in this range.
    pub scale: (f64, f64),
    /// The crop's width over its height is log-uniform in this range.
    pub ratio: (f64, f64),
    /// How likely the image is mirrored.
    pub flip: f64,
}

impl Default for TrainTransform {
    /// torchvision's defaults, which the paper uses: 224 pixels, 8% to all of the area, 3:4 to
    /// 4:3, mirrored half of the time.
    fn default() -> Self {
        Self { size: 224, scale: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0), flip: 0.5 }
    }
}

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// Columns before it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

/// What was drawn for one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmentation {
    /// The part of the image that is kept.
    pub crop: CropBox,
    /// Whether it is mirrored.
    pub flip: bool,
}

impl TrainTransform {
    /// Refuses sizes, ranges and probabilities that mean nothing.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |setting, value: String, rule: &str| {
            Err(DataError::Setting { setting, value, rule: rule.to_owned() })
        };
        let range = |(low, high): (f64, f64)| low > 0.0 && low <= high && high.is_finite();
        if self.size == 0 {
            return refuse("size", self.size.to_string(), "it must be at least 1 pixel");
        }
        if !range(self.scale) || self.scale.1 > 1.0 {
            let rule = "shares of the area lie above 0 and up to 1, the smaller first";
            return refuse("scale", format!("{:?}", self.scale), rule);
        }
        if !range(self.ratio) {
            let rule = "aspect ratios lie above 0, the smaller first";
            return refuse("ratio", format!("{:?}", self.ratio), rule);
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return refuse("flip", self.flip.to_string(), "a probability lies in 0 to 1");
        }
        Ok(())
    }

    /// Draws a crop of an image of this size, and whether it is mirrored.
    pub fn draw(&self, width: u32, height: u32, rng: &mut impl Rng) -> Augmentation {
        let crop = self.draw_crop(width, height, rng);
        Augmentation { crop, flip: rng.random::<f64>() < self.flip }
    }

    fn draw_crop(&self, width: u32, height: u32, rng: &mut impl Rng) -> CropBox {
        let area = f64::from(width) * f64::from(height);
        let (low, high) = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..TRIES {
            let share = between(self.scale, rng) * area;
            let aspect = between((low, high), rng).exp();
            let w = (share * aspect).sqrt().round_ties_even() as u32;
            let h = (share / aspect).sqrt().round_ties_even() as u32;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = rng.random_range(0..=height - h);
                let left = rng.random_range(0..=width - w);
                return CropBox { left, top, width: w, height: h };
            }
        }
        self.centred(width, height)
    }

    /// The largest centred crop whose aspect is in range.
    fn centred(&self, width: u32, height: u32) -> CropBox {
        let (low, high) = self.ratio;
        let aspect = f64::from(width) / f64::from(height);
        // At least one pixel: an image that is one pixel wide or high may round to none.
        let limit = |side: f64, most: u32| (side.round_ties_even() as u32).clamp(1, most.max(1));
        let (w, h) = if aspect < low {
            (width, limit(f64::from(width) / low, height))
        } else if aspect > high {
            (limit(f64::from(height) * high, width), height)
        } else {
            (width, height)
        };
        CropBox { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }

    /// Draws from `rng` and writes `size` x `size` RGB bytes, row by row, to `out`.
    ///
    /// # Errors
    /// [`DataError::Resample`] for an image without pixels.
    pub fn apply(
        &self,
        image: &RgbImage,
        rng: &mut impl Rng,
        resampler: &mut Resampler,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(DataError::Resample { width, height, reason: "it is empty".to_owned() });
        }
        let drawn = self.draw(width, height, rng);
        let side = self.size as usize;
        out.resize(3 * side * side, 0);
        resampler.crop(image, drawn.crop, (self.size, self.size), out)?;
        if drawn.flip {
            out.chunks_exact_mut(3 * side).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
        }
        Ok(())
    }
}

/// Uniform in `low..high`; `low` where both are the same.
fn between((low, high): (f64, f64), rng: &mut impl Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}
