//! torchvision's `RandomResizedCrop`: a part of random size and shape.

use rand::{Rng, RngExt};

use crate::error::DataError;

/// How often a crop that fits is tried before the centred fallback.
const TRIES: usize = 10;

/// Which parts of an image are cut out, to be resized to a square.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomResizedCrop {
    /// The crop's share of the image's area is uniform in this range.
    pub scale: (f64, f64),
    /// The crop's width over its height is log-uniform in this range.
    pub ratio: (f64, f64),
}

impl Default for RandomResizedCrop {
    /// torchvision's defaults, which the paper uses: 8% to all of the area, 3:4 to 4:3.
    fn default() -> Self {
        Self { scale: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0) }
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

impl RandomResizedCrop {
    /// Refuses ranges that mean nothing.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |setting, value: (f64, f64), rule: &str| {
            let value = format!("{value:?}");
            Err(DataError::Setting { setting, value, rule: rule.to_owned() })
        };
        let range = |(low, high): (f64, f64)| low > 0.0 && low <= high && high.is_finite();
        if !range(self.scale) || self.scale.1 > 1.0 {
            let rule = "shares of the area lie above 0 and up to 1, the smaller first";
            return refuse("scale", self.scale, rule);
        }
        if !range(self.ratio) {
            return refuse("ratio", self.ratio, "aspect ratios lie above 0, the smaller first");
        }
        Ok(())
    }

    /// Draws a crop of an image of this size.
    pub fn draw(&self, width: u32, height: u32, rng: &mut impl Rng) -> CropBox {
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
}

/// Uniform in `low..high`; `low` where both are the same.
pub(super) fn between((low, high): (f64, f64), rng: &mut impl Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}
