//! When two images show the same picture: a perceptual hash says which may, their colours decide.
//!
//! The hash is the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash
//! Functions" (2010): the picture in 32 x 32 grey levels, of its cosine transform the 8 x 8
//! coefficients of the lowest frequencies without the constant ones, a bit for each that is above
//! their median. It does not see colour, and products are often told apart by colour alone, so two
//! images are the same picture only if their 8 x 8 mean colours agree too. Re-encoding and
//! resizing pass; a crop, a mirrored image or another brightness does not.

use std::f64::consts::PI;
use std::sync::LazyLock;

use image::RgbImage;

use crate::transform::Resampler;

/// Bits in which the hashes of the same picture may differ. 7 of 64: four tables of 16 bits find
/// them (see [`near`](super::near)).
pub(super) const MAX_BITS: u32 = 7;

/// The side of the small picture, and of its mean colours.
const SIDE: usize = 32;
const CELLS: usize = 8;

/// How far the mean colours may differ, of 255: in the mean, and anywhere. A product in a colour
/// that is 20 levels off is another one; encoding anew and resizing change a mean by a few.
const MEAN_LEVELS: u32 = 3;
const MAX_LEVELS: u8 = 12;

/// A picture whose grey levels have a smaller standard deviation has nothing to be told by.
const FLAT_LEVELS: f64 = 2.0;

/// What is kept of a picture.
#[derive(Debug, Clone)]
pub(super) struct Fingerprint {
    pub(super) hash: u64,
    colours: [u8; 3 * CELLS * CELLS],
}

impl Fingerprint {
    /// `None` for a picture of one colour, which is like any other such picture.
    pub(super) fn new(image: &RgbImage, resampler: &mut Resampler) -> Option<Self> {
        let mut small = vec![0; 3 * SIDE * SIDE];
        resampler.whole(image.into(), (SIDE as u32, SIDE as u32), &mut small).ok()?;
        let pixels = small.as_chunks::<3>().0;
        let grey: Vec<f64> = pixels
            .iter()
            .map(|&[r, g, b]| 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b))
            .collect();
        let mean = grey.iter().sum::<f64>() / grey.len() as f64;
        let variance = grey.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / grey.len() as f64;
        if variance < FLAT_LEVELS * FLAT_LEVELS {
            return None;
        }
        Some(Self { hash: hash(&grey), colours: colours(pixels) })
    }

    /// Whether two pictures whose hashes are near have the same colours.
    pub(super) fn same_colours(&self, other: &Self) -> bool {
        let differences = || self.colours.iter().zip(&other.colours).map(|(a, b)| a.abs_diff(*b));
        let sum: u32 = differences().map(u32::from).sum();
        sum <= MEAN_LEVELS * self.colours.len() as u32 && differences().all(|d| d <= MAX_LEVELS)
    }
}

/// Row `u` of the cosine transform, for frequencies 1 to 8.
static COSINES: LazyLock<[[f64; SIDE]; CELLS]> = LazyLock::new(|| {
    std::array::from_fn(|u| {
        std::array::from_fn(|x| {
            (PI * (2 * x + 1) as f64 * (u + 1) as f64 / (2 * SIDE) as f64).cos()
        })
    })
});

/// A bit for each low frequency of a picture of `SIDE` x `SIDE` grey levels.
fn hash(grey: &[f64]) -> u64 {
    let dot = |a: &[f64; SIDE], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // [frequency across][row], then [frequency across][frequency down].
    let across: Vec<Vec<f64>> = COSINES
        .iter()
        .map(|cosine| grey.chunks_exact(SIDE).map(|row| dot(cosine, row)).collect())
        .collect();
    let coefficients: Vec<f64> =
        across.iter().flat_map(|rows| COSINES.iter().map(|cosine| dot(cosine, rows))).collect();
    let mut sorted = coefficients.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let median = f64::midpoint(sorted[sorted.len() / 2 - 1], sorted[sorted.len() / 2]);
    let bits = coefficients.iter().enumerate();
    bits.fold(0, |hash, (bit, &value)| hash | u64::from(value > median) << bit)
}

/// The mean colour of each of `CELLS` x `CELLS` cells.
fn colours(pixels: &[[u8; 3]]) -> [u8; 3 * CELLS * CELLS] {
    const STEP: usize = SIDE / CELLS;
    std::array::from_fn(|at| {
        let (cell, channel) = (at / 3, at % 3);
        let (x, y) = (cell % CELLS * STEP, cell / CELLS * STEP);
        let rows = (y..y + STEP).map(|row| &pixels[row * SIDE + x..][..STEP]);
        let sum: u32 = rows.flatten().map(|pixel| u32::from(pixel[channel])).sum();
        (sum / (STEP * STEP) as u32) as u8
    })
}
