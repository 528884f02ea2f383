//! Over how many directions the embeddings spread: their singular values.
//!
//! The squares of the singular values are the eigenvalues of the matrix of the inner products of
//! the columns, or of the rows where these are fewer. That matrix is summed up in f64, in which
//! the product of two f32 is exact.

use std::num::NonZeroI32;

use rayon::prelude::*;

use super::eigenvalues::eigenvalues;
use crate::error::RankingError;
use crate::product::{DEPTH_BLOCK, Matrix, Update, multiply};
use crate::rows::Rows;

/// Rows that are made wide at once.
const CHUNK: usize = 2 * DEPTH_BLOCK;

/// Rows and columns of a tile of the matrix of inner products.
const TILE: usize = 128;

/// Singular values up to this part of the largest count as zero: embeddings in f32 do not tell
/// them from rounding, and neither do the squares of the values in f64.
pub const VANISHING: f64 = 1e-6;

/// The singular values of a set of embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    values: Vec<f64>,
    rank: usize,
}

impl Spectrum {
    /// As many as there are rows or columns, whichever are fewer; falling. Those up to
    /// [`VANISHING`] times the largest are 0.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many are not 0. Less than [`values`](Self::values) has says that the embeddings leave
    /// directions unused.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// `rho_spectrum@0`: the values, scaled to the sum 1. All 0 if the embeddings are.
    pub fn shares(&self) -> Vec<f64> {
        shares(&self.values)
    }

    /// `rho_spectrum@m`: how far the singular values from the `|m|`-th on, the largest being the
    /// first, are from all being equal (Roth et al., ICML 2020). 0 if they are; the smaller, the
    /// more evenly the embeddings use their dimensions.
    ///
    /// With the values `s` scaled to the sum 1 and `u` equal values, it is the divergence
    /// `KL(u ‖ s) = sum of u · ln(u / s)` for `m > 0` and `KL(s ‖ u)` for `m < 0`, in nats. A value
    /// of 0 adds nothing to the second. It would make the first infinite, and counts there as
    /// [`VANISHING`] times the largest: unused directions make the divergence large, and
    /// [`rank`](Self::rank) tells of them.
    ///
    /// # Errors
    /// [`RankingError::SpectrumDepth`] if the `|m|`-th value is 0 or does not exist.
    pub fn rho(&self, m: NonZeroI32) -> Result<f64, RankingError> {
        let first = m.unsigned_abs().get() as usize - 1;
        if first >= self.rank {
            return Err(RankingError::SpectrumDepth { m: m.get(), rank: self.rank });
        }
        let tail = &self.values[first..];
        let equal = 1.0 / tail.len() as f64;
        // Rounding may leave equal values a little below 0.
        let divergence = |terms: f64| terms.max(0.0);
        if m.is_negative() {
            let terms = shares(tail).into_iter().filter(|&s| s > 0.0);
            return Ok(divergence(terms.map(|s| s * (s / equal).ln()).sum()));
        }
        let smallest = VANISHING * self.values[0];
        let raised: Vec<f64> = tail.iter().map(|value| value.max(smallest)).collect();
        Ok(divergence(shares(&raised).into_iter().map(|s| equal * (equal / s).ln()).sum()))
    }
}

/// The values scaled to the sum 1, if they have one.
fn shares(values: &[f64]) -> Vec<f64> {
    let sum: f64 = values.iter().sum();
    values.iter().map(|value| if sum > 0.0 { value / sum } else { 0.0 }).collect()
}

/// Computes the singular values of the embeddings as they are: normalise them first for the
/// spectrum of their directions, and take their mean off for that of their variation.
///
/// The work is half of `rows · dim²` multiply-adds in f64 and some `dim³`, with the smaller of the
/// two for `dim` (and `rows` for the larger); the memory some megabytes and that of two matrices
/// of `dim²` values.
///
/// ```
/// use std::num::NonZeroI32;
///
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::structure::spectrum;
///
/// let values = [3.0, 0.0, 0.0, 4.0, 0.0, 0.0];
/// let spectrum = spectrum(&Embeddings::new(&values, 2)?);
/// assert!((spectrum.values()[1] - 3.0).abs() < 1e-12);
/// let rho = spectrum.rho(NonZeroI32::new(-1).unwrap())?;
/// assert!((rho - 0.0102).abs() < 1e-4);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
pub fn spectrum<'a>(embeddings: impl Into<Rows<'a>>) -> Spectrum {
    let mut products = Gram::of(&embeddings.into());
    let mut values = eigenvalues(&mut products.values, products.side);
    values.reverse();
    let roots = values.into_iter().map(|value| value.max(0.0).sqrt());
    let mut values: Vec<f64> = roots.collect();
    let zero = VANISHING * values.first().unwrap_or(&0.0);
    let rank = values.partition_point(|&value| value > zero);
    values[rank..].fill(0.0);
    Spectrum { values, rank }
}

/// The inner products of the columns of the embeddings, or of the rows where these are fewer.
struct Gram {
    /// `[side, side]`, symmetric.
    values: Vec<f64>,
    side: usize,
}

impl Gram {
    /// Adds up the products of the tiles on and above the diagonal, chunk by chunk of what is
    /// summed over: each element in ascending order.
    fn of(embeddings: &Rows<'_>) -> Self {
        let (rows, dim) = (embeddings.rows(), embeddings.dim());
        let (side, depth) = (rows.min(dim), rows.max(dim));
        let mut tiles = tiles(side);
        let mut chunk = Vec::new();
        for start in (0..depth).step_by(CHUNK) {
            widen(embeddings, start..(start + CHUNK).min(depth), &mut chunk);
            let matrix = Matrix::from_rows(&chunk, side);
            tiles.par_iter_mut().for_each(|tile| {
                let left = matrix.columns_from(tile.row, tile.rows).transposed();
                let right = matrix.columns_from(tile.column, tile.columns);
                multiply(left, right, &mut tile.values, Update::Add);
            });
        }
        let mut values = vec![0.0; side * side];
        for tile in &tiles {
            for (i, row) in (tile.row..).zip(tile.values.chunks_exact(tile.columns)) {
                for (j, &value) in (tile.column..).zip(row) {
                    values[i * side + j] = value;
                    values[j * side + i] = value;
                }
            }
        }
        Self { values, side }
    }
}

/// A part of the matrix of inner products.
struct Tile {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
    values: Vec<f64>,
}

/// The tiles on and above the diagonal, filled with zeros.
fn tiles(side: usize) -> Vec<Tile> {
    let starts = (0..side).step_by(TILE);
    let pairs = starts.clone().flat_map(|row| {
        starts.clone().filter(move |&column| column >= row).map(move |column| (row, column))
    });
    let length = |start: usize| TILE.min(side - start);
    let tile = |(row, column)| {
        let (rows, columns) = (length(row), length(column));
        Tile { row, rows, column, columns, values: vec![0.0; rows * columns] }
    };
    pairs.map(tile).collect()
}

/// Writes rows of the embeddings, or columns where the embeddings have more of these, as rows of
/// f64.
fn widen(embeddings: &Rows<'_>, which: std::ops::Range<usize>, out: &mut Vec<f64>) {
    let (rows, dim) = (embeddings.rows(), embeddings.dim());
    out.resize(which.len() * rows.min(dim), 0.0);
    if rows >= dim {
        let narrow = || vec![0.0; dim];
        out.par_chunks_exact_mut(dim).zip(which).for_each_init(narrow, |narrow, (out, row)| {
            embeddings.read(row, narrow);
            out.iter_mut().zip(&*narrow).for_each(|(out, &value)| *out = value.into());
        });
        return;
    }
    let mut narrow = vec![0.0; which.len()];
    for row in 0..rows {
        embeddings.read_columns(row, which.clone(), &mut narrow);
        for (out, &value) in out[row..].iter_mut().step_by(rows).zip(&narrow) {
            *out = value.into();
        }
    }
}
