//! The rows to be clustered, with what the bounds need to know about them.

use rayon::prelude::*;

use crate::distance::Distance;
use crate::error::RankingError;
use crate::prepared::Frame;
use crate::rows::Rows;
use crate::vectorised::vectorised;

/// Sums that run side by side.
const LANES: usize = 16;

/// Rows as k-means sees them: at length 1 for the cosine; for the Euclidean distance as they are,
/// or, where f32 would not do, in coordinates around their mean. They are read and made so where
/// they are needed, and not kept.
#[derive(Debug)]
pub(super) struct Points<'a> {
    values: Rows<'a>,
    distance: Distance,
    /// Coordinates for the Euclidean distance, if they are not those of the rows.
    frame: Option<Frame>,
    /// The length of each row as it is stored.
    stored_lengths: Vec<f64>,
    /// The mean of all rows.
    mean: Vec<f64>,
    /// The length of each row.
    lengths: Vec<f64>,
    /// How far each row is from the mean of all.
    radii: Vec<f64>,
}

impl<'a> Points<'a> {
    /// Reads the rows three times. A row of zeros stays one.
    pub(super) fn new(values: Rows<'a>, distance: Distance) -> Result<Self, RankingError> {
        let squared_norms = values.squared_norms()?;
        let frame = match distance {
            Distance::Cosine => None,
            Distance::Euclidean => Frame::of(&values, &values, &[distance])?.pop(),
        };
        let mut points = Self {
            values,
            distance,
            frame: frame.map(|(frame, _)| frame).filter(|frame| !frame.is_plain()),
            stored_lengths: squared_norms.into_iter().map(f64::sqrt).collect(),
            mean: vec![0.0; values.dim()],
            lengths: Vec::new(),
            radii: Vec::new(),
        };
        let mut mean = vec![0.0; points.dim()];
        for row in 0..points.rows() {
            points.with_row(row, |row| add_to(&mut mean, row));
        }
        for sum in &mut mean {
            *sum /= points.rows() as f64;
        }
        let rows = (0..points.rows()).into_par_iter();
        let of_row = |row: usize| {
            points.with_row(row, |row| {
                let apart = row.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean);
                let radius = apart.map(|apart| apart * apart).sum::<f64>().sqrt();
                (squared_length(row).sqrt(), radius)
            })
        };
        let (lengths, radii) = rows.map(of_row).unzip();
        (points.mean, points.lengths, points.radii) = (mean, lengths, radii);
        Ok(points)
    }

    /// Hands a row over.
    pub(super) fn with_row<R>(&self, row: usize, use_it: impl FnOnce(&[f32]) -> R) -> R {
        match self.values.as_f32(row) {
            Some(values) if self.distance == Distance::Euclidean && self.frame.is_none() => {
                use_it(values)
            }
            _ => {
                let mut values = vec![0.0; self.dim()];
                self.read(row, &mut values);
                use_it(&values)
            }
        }
    }

    fn read(&self, row: usize, out: &mut [f32]) {
        self.values.read(row, out);
        if self.distance == Distance::Cosine {
            normalise(out, self.stored_lengths[row]);
        }
        if let Some(frame) = &self.frame {
            frame.bring(out);
        }
    }

    /// Centres in the coordinates of the rows as they were stored.
    pub(super) fn restore(&self, centres: &mut [f32]) {
        if let Some(frame) = &self.frame {
            centres.chunks_exact_mut(self.dim()).for_each(|centre| frame.restore(centre));
        }
    }

    /// A sum of costs in the units of the rows as they were stored.
    pub(super) fn restore_cost(&self, cost: f64) -> f64 {
        let unit = self.frame.as_ref().map_or(1.0, Frame::unit);
        cost * unit * unit
    }

    pub(super) fn rows(&self) -> usize {
        self.stored_lengths.len()
    }

    pub(super) fn dim(&self) -> usize {
        self.values.dim()
    }

    pub(super) fn distance(&self) -> Distance {
        self.distance
    }

    pub(super) fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Row by row, what `rows` names.
    pub(super) fn gather(&self, rows: &[u32], into: &mut Vec<f32>) {
        into.resize(rows.len() * self.dim(), 0.0);
        for (&row, out) in rows.iter().zip(into.chunks_exact_mut(self.dim())) {
            self.read(row as usize, out);
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
        self.with_row(a, |a| self.with_row(b, |b| squared_difference(a, b)))
    }

    /// What the row adds to the cost with this centre: the squared distance, or 1 - cos. Exactly 0
    /// where both are the same.
    pub(super) fn cost(&self, row: usize, centre: &[f32]) -> f64 {
        let square = self.with_row(row, |row| squared_difference(row, centre));
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
