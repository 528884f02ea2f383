//! The rows to be clustered, with what the bounds need to know about them.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::distance::Distance;
use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::vectorised::vectorised;

/// Sums that run side by side.
const LANES: usize = 16;

/// Rows as k-means sees them: as they are for the Euclidean distance, at length 1 for the cosine.
#[derive(Debug)]
pub(super) struct Points<'a> {
    values: Cow<'a, [f32]>,
    dim: usize,
    distance: Distance,
    /// The mean of all rows.
    mean: Vec<f64>,
    /// The length of each row.
    lengths: Vec<f64>,
    /// How far each row is from the mean of all.
    radii: Vec<f64>,
}

impl<'a> Points<'a> {
    /// Copies the rows only to normalise them. A row of zeros stays one.
    pub(super) fn new(
        embeddings: &Embeddings<'a, f32>,
        distance: Distance,
    ) -> Result<Self, RankingError> {
        let dim = embeddings.dim();
        let squared_norms = embeddings.squared_norms()?;
        let values = match distance {
            Distance::Euclidean => Cow::Borrowed(embeddings.values()),
            Distance::Cosine => {
                let mut values = embeddings.values().to_vec();
                let rows = values.par_chunks_exact_mut(dim).zip(&squared_norms);
                rows.for_each(|(row, squared_norm)| normalise(row, squared_norm.sqrt()));
                Cow::Owned(values)
            }
        };
        let mut mean = vec![0.0; dim];
        for row in values.chunks_exact(dim) {
            add_to(&mut mean, row);
        }
        for sum in &mut mean {
            *sum /= embeddings.rows() as f64;
        }
        let rows = values.par_chunks_exact(dim);
        let lengths = rows.clone().map(|row| squared_length(row).sqrt()).collect();
        let radii = rows
            .map(|row| {
                let differences =
                    row.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean);
                differences.map(|difference| difference * difference).sum::<f64>().sqrt()
            })
            .collect();
        Ok(Self { values, dim, distance, mean, lengths, radii })
    }

    pub(super) fn rows(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    pub(super) fn distance(&self) -> Distance {
        self.distance
    }

    pub(super) fn mean(&self) -> &[f64] {
        &self.mean
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }

    /// Row by row, what `rows` names.
    pub(super) fn gather(&self, rows: impl IntoIterator<Item = u32>, into: &mut Vec<f32>) {
        into.clear();
        for row in rows {
            into.extend_from_slice(self.row(row as usize));
        }
    }

    pub(super) fn length(&self, row: usize) -> f64 {
        self.lengths[row]
    }

    pub(super) fn radius(&self, row: usize) -> f64 {
        self.radii[row]
    }

    /// Whether the row has a place of its own: under the cosine, a row of zeros has none.
    pub(super) fn has_place(&self, row: usize) -> bool {
        self.distance == Distance::Euclidean || self.lengths[row] > 0.0
    }

    /// The squared distance of two rows.
    pub(super) fn between(&self, a: usize, b: usize) -> f64 {
        squared_difference(self.row(a), self.row(b))
    }

    /// What the row adds to the cost with this centre: the squared distance, or 1 - cos. Exactly 0
    /// where both are the same.
    pub(super) fn cost(&self, row: usize, centre: &[f32]) -> f64 {
        let square = squared_difference(self.row(row), centre);
        match self.distance {
            Distance::Euclidean => square,
            // |x - c|² = 2 - 2 cos at length 1.
            Distance::Cosine if self.has_place(row) && centre.iter().any(|&value| value != 0.0) => {
                square / 2.0
            }
            Distance::Cosine => 1.0,
        }
    }
}

/// |a - b|² in f64, summed in lanes of a fixed number.
fn squared_difference(a: &[f32], b: &[f32]) -> f64 {
    vectorised(|| {
        let mut lanes = [0.0_f64; LANES];
        for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
            for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
                let difference = f64::from(a) - f64::from(b);
                *lane += difference * difference;
            }
        }
        lanes.iter().sum()
    })
}

/// `sums += row`, wide.
pub(super) fn add_to(sums: &mut [f64], row: &[f32]) {
    for (sum, &value) in sums.iter_mut().zip(row) {
        *sum += f64::from(value);
    }
}

pub(super) fn squared_length(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

fn normalise(row: &mut [f32], length: f64) {
    if length > 0.0 {
        for value in row {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}
