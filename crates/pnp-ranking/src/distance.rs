//! What "near" means.

use std::fmt;
use std::str::FromStr;

use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::product::{Matrix, Update, multiply};

/// How items are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Distance {
    /// By the inner product of the L2-normalised embeddings, the largest first. An embedding of
    /// zeros has the similarity 0 to every other.
    #[default]
    Cosine,
    /// By the Euclidean distance of the embeddings as they are, the smallest first.
    Euclidean,
}

impl Distance {
    /// `cosine` or `euclidean`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Distance {
    type Err = RankingError;

    fn from_str(name: &str) -> Result<Self, RankingError> {
        [Self::Cosine, Self::Euclidean]
            .into_iter()
            .find(|distance| distance.name() == name)
            .ok_or_else(|| RankingError::UnknownDistance { name: name.to_owned() })
    }
}

/// Embeddings made ready to be ranked: a copy whose inner products give the order.
///
/// The *nearness* of a reference to a query is the inner product for the cosine, and for the
/// Euclidean distance `<q, r> - |r|²/2`, which falls as the distance grows. It is computed in f32.
/// Nearness is only compared for one query at a time.
#[derive(Debug)]
pub(crate) struct Prepared {
    values: Vec<f32>,
    /// `|r|²/2` of each row, for the Euclidean distance.
    half_norms: Option<Vec<f32>>,
    dim: usize,
}

impl Prepared {
    /// Copies the rows in the order of `items`.
    pub(crate) fn new(
        embeddings: &Embeddings<'_, f32>,
        items: &[u32],
        distance: Distance,
    ) -> Result<Self, RankingError> {
        let squared_norms = embeddings.squared_norms()?;
        let mut values = Vec::with_capacity(embeddings.values().len());
        for &item in items {
            let row = embeddings.row(item as usize);
            let norm = squared_norms[item as usize].sqrt();
            match distance {
                Distance::Cosine if norm > 0.0 => {
                    values.extend(row.iter().map(|&v| (f64::from(v) / norm) as f32));
                }
                _ => values.extend_from_slice(row),
            }
        }
        let halves = || items.iter().map(|&i| (squared_norms[i as usize] / 2.0) as f32).collect();
        let half_norms = (distance == Distance::Euclidean).then(halves);
        Ok(Self { values, half_norms, dim: embeddings.dim() })
    }

    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The nearness of `references` of `gallery` to `queries` of `self`, `[queries, references]`,
    /// into `out`.
    pub(crate) fn nearness(
        &self,
        queries: std::ops::Range<usize>,
        gallery: &Self,
        references: std::ops::Range<usize>,
        out: &mut Vec<f32>,
    ) {
        let columns = references.len();
        out.resize(queries.len() * columns, 0.0);
        let rows =
            Matrix::from_rows(&self.values, self.dim).rows_from(queries.start, queries.len());
        let against =
            Matrix::from_rows(&gallery.values, self.dim).rows_from(references.start, columns);
        multiply(rows, against.transposed(), out, Update::Set);
        if let Some(halves) = &gallery.half_norms {
            for row in out.chunks_exact_mut(columns) {
                for (nearness, half) in row.iter_mut().zip(&halves[references.clone()]) {
                    *nearness -= half;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_read_back_from_their_names() {
        for distance in [Distance::Cosine, Distance::Euclidean] {
            assert_eq!(distance.to_string().parse(), Ok(distance));
        }
        let error = "manhattan".parse::<Distance>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown distance 'manhattan': the distances are cosine, euclidean"
        );
    }

    #[test]
    fn nearness_orders_by_the_distance() {
        let values = [1.0_f32, 0.0, 3.0, 4.0, 0.0, 0.0, 2.0, -0.5];
        let embeddings = Embeddings::new(&values, 2).unwrap();
        let order = |distance| {
            let prepared = Prepared::new(&embeddings, &[0, 1, 2, 3], distance).unwrap();
            let mut nearness = Vec::new();
            prepared.nearness(0..1, &prepared, 0..4, &mut nearness);
            let mut order = vec![0, 1, 2, 3];
            order.sort_by(|&a, &b| f32::total_cmp(&nearness[b], &nearness[a]));
            order
        };
        assert_eq!(order(Distance::Cosine), [0, 3, 1, 2]);
        assert_eq!(order(Distance::Euclidean), [0, 2, 3, 1]);
    }
}
