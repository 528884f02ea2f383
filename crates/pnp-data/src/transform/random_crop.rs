//! torchvision's `Resize` of the shorter side and `RandomCrop`: a square at random of an image that
//! keeps its scale.

use rand::{Rng, RngExt};

use super::resample::Region;
use super::resized;

/// Cuts a square out of an image whose shorter side has `resize` pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RandomCrop {
    /// The shorter side after resizing, in pixels; at least that of the square.
    pub resize: u32,
}

impl RandomCrop {
    /// Draws the part of an image of `width` x `height` pixels that a square of `size` pixels at
    /// random in the resized image shows: the columns before it and the rows above it are uniform.
    pub fn draw(&self, (width, height): (u32, u32), size: u32, rng: &mut impl Rng) -> Region {
        let short = width.min(height);
        let mut span = |side| {
            let resized = resized::side(self.resize, side, short);
            let offset = rng.random_range(0..=resized.saturating_sub(size.into()));
            resized::span(side, resized, offset as f64, size)
        };
        let ((top, height), (left, width)) = (span(height), span(width));
        Region { left, top, width, height }
    }
}
