//! The centres of the clusters: means of their members, and a new place for the empty ones.

use rayon::prelude::*;

use super::points::{Points, add_to, squared_length};
use crate::distance::Distance;

/// One centre per cluster.
#[derive(Debug, Clone)]
pub(super) struct Centres {
    /// `[clusters, dim]`, row-major.
    values: Vec<f32>,
    /// `|c|²/2` of each, which the nearness takes off, for the Euclidean distance.
    halves: Option<Vec<f32>>,
    lengths: Vec<f64>,
    dim: usize,
}

impl Centres {
    pub(super) fn new(values: Vec<f32>, dim: usize, distance: Distance) -> Self {
        let squares: Vec<f64> = values.par_chunks_exact(dim).map(squared_length).collect();
        let halves = || squares.iter().map(|square| (square / 2.0) as f32).collect();
        let halves = (distance == Distance::Euclidean).then(halves);
        let lengths = squares.into_iter().map(f64::sqrt).collect();
        Self { values, halves, lengths, dim }
    }

    /// The rows themselves.
    pub(super) fn at(points: &Points<'_>, rows: &[u32]) -> Self {
        let mut values = Vec::new();
        points.gather(rows, &mut values);
        Self::new(values, points.dim(), points.distance())
    }

    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    pub(super) fn into_values(self) -> Vec<f32> {
        self.values
    }

    pub(super) fn centre(&self, cluster: usize) -> &[f32] {
        &self.values[cluster * self.dim..(cluster + 1) * self.dim]
    }

    pub(super) fn length(&self, cluster: usize) -> f64 {
        self.lengths[cluster]
    }

    pub(super) fn halves(&self) -> Option<&[f32]> {
        self.halves.as_deref()
    }

    /// Moves the centre of every cluster marked in `changed` to the mean of its members, summed in
    /// f64 by ascending row; for the cosine, to the mean's direction. A cluster without members
    /// keeps its centre. Members that cancel each other out make a centre of zeros, which is at
    /// cosine 0 to everything.
    pub(super) fn moved(&self, points: &Points<'_>, members: &Members, changed: &[bool]) -> Self {
        let mut values = self.values.clone();
        let centres = values.par_chunks_exact_mut(self.dim).enumerate();
        centres.filter(|(cluster, _)| changed[*cluster]).for_each_init(
            || vec![0.0; self.dim],
            |sums, (cluster, centre)| {
                let members = members.of(cluster);
                if members.is_empty() {
                    return;
                }
                sums.fill(0.0);
                for &row in members {
                    points.with_row(row as usize, |row| add_to(sums, row));
                }
                let divisor = match points.distance() {
                    Distance::Euclidean => members.len() as f64,
                    Distance::Cosine => sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt(),
                };
                let by = if divisor > 0.0 { divisor } else { 1.0 };
                for (value, sum) in centre.iter_mut().zip(sums.iter()) {
                    *value = (sum / by) as f32;
                }
            },
        );
        Self::new(values, self.dim, points.distance())
    }
}

/// The rows of each cluster, ascending.
#[derive(Debug)]
pub(super) struct Members {
    /// Where each cluster's rows begin, and the number of rows.
    starts: Vec<usize>,
    rows: Vec<u32>,
}

impl Members {
    pub(super) fn new(assignment: &[u32], clusters: usize) -> Self {
        let mut starts = vec![0; clusters + 1];
        for &cluster in assignment {
            starts[cluster as usize + 1] += 1;
        }
        for cluster in 0..clusters {
            starts[cluster + 1] += starts[cluster];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; assignment.len()];
        for (row, &cluster) in (0..).zip(assignment) {
            let place = &mut next[cluster as usize];
            rows[*place] = row;
            *place += 1;
        }
        Self { starts, rows }
    }

    pub(super) fn of(&self, cluster: usize) -> &[u32] {
        &self.rows[self.starts[cluster]..self.starts[cluster + 1]]
    }

    /// All rows, cluster by cluster.
    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }
}

/// Gives each empty cluster, in order of id, the row that is farthest from its centre, the lower
/// row first where two are equally far. A row is taken only if it is not at its centre and does
/// not leave its cluster empty. Returns how many were given one.
pub(super) fn fill_empty(points: &Points<'_>, centres: &Centres, assignment: &mut [u32]) -> usize {
    let mut sizes = vec![0_u32; centres.len()];
    for &cluster in &*assignment {
        sizes[cluster as usize] += 1;
    }
    let empty: Vec<usize> = (0..centres.len()).filter(|&cluster| sizes[cluster] == 0).collect();
    if empty.is_empty() {
        return 0;
    }
    let mut far: Vec<(f64, usize)> = (0..points.rows())
        .into_par_iter()
        .filter(|&row| points.has_place(row))
        .map(|row| (points.cost(row, centres.centre(assignment[row] as usize)), row))
        .filter(|&(cost, _)| cost > 0.0)
        .collect();
    far.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut empty = empty.into_iter().peekable();
    let mut filled = 0;
    for (_, row) in far {
        let Some(&cluster) = empty.peek() else { break };
        let from = &mut sizes[assignment[row] as usize];
        if *from > 1 {
            *from -= 1;
            assignment[row] = cluster as u32;
            filled += 1;
            empty.next();
        }
    }
    filled
}
