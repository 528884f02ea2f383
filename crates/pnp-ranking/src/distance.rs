//! What "near" means.

use std::fmt;
use std::ops::Range;
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

/// Embeddings made ready to be ranked: one copy whose inner products give the order of either
/// distance.
///
/// The *nearness* of a reference r to a query q falls as the distance grows: for the cosine
/// `<q, r> / |r|`, for the Euclidean distance `<q, r> - |r|²/2`. It is computed in f32, and only
/// compared for one query at a time, so that a factor of the query's does not matter. Rows are
/// scaled by powers of two to lengths from 1 to 2, which loses nothing and keeps products in range.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The scaled rows.
    values: Vec<f32>,
    /// What each row was divided by.
    scales: Vec<f32>,
    /// One over the length of each scaled row; 0 for a row of zeros.
    inverse_norms: Vec<f32>,
    /// `|r|²/2` of each row as it was.
    half_norms: Vec<f32>,
    dim: usize,
}

/// The largest power of two that a row is scaled by, and one over it the smallest.
const SCALES: i32 = 60;

impl Prepared {
    /// Copies the rows in the order of `items`.
    pub(crate) fn new(
        embeddings: &Embeddings<'_, f32>,
        items: &[u32],
    ) -> Result<Self, RankingError> {
        let squared_norms = embeddings.squared_norms()?;
        let rows = items.len();
        let mut prepared = Self {
            values: Vec::with_capacity(embeddings.values().len()),
            scales: Vec::with_capacity(rows),
            inverse_norms: Vec::with_capacity(rows),
            half_norms: Vec::with_capacity(rows),
            dim: embeddings.dim(),
        };
        for &item in items {
            let squared_norm = squared_norms[item as usize];
            let norm = squared_norm.sqrt();
            let exponent = if norm > 0.0 { norm.log2().floor() as i32 } else { 0 };
            let scale = 2.0_f32.powi(exponent.clamp(-SCALES, SCALES));
            prepared.values.extend(embeddings.row(item as usize).iter().map(|v| v / scale));
            prepared.scales.push(scale);
            let inverse = if norm > 0.0 { f64::from(scale) / norm } else { 0.0 };
            prepared.inverse_norms.push(inverse as f32);
            prepared.half_norms.push((squared_norm / 2.0) as f32);
        }
        Ok(prepared)
    }

    /// The inner products of scaled rows, `[queries, references]`, into `out`: what
    /// [`nearness`](Self::nearness) is made of.
    pub(crate) fn products(
        &self,
        queries: Range<usize>,
        gallery: &Self,
        references: Range<usize>,
        out: &mut Vec<f32>,
    ) {
        out.resize(queries.len() * references.len(), 0.0);
        let rows =
            Matrix::from_rows(&self.values, self.dim).rows_from(queries.start, queries.len());
        let against = Matrix::from_rows(&gallery.values, self.dim)
            .rows_from(references.start, references.len());
        multiply(rows, against.transposed(), out, Update::Set);
    }

    /// Turns a query's products with references of `gallery` into their nearness.
    #[inline(always)]
    pub(crate) fn nearness(
        &self,
        query: usize,
        gallery: &Self,
        references: Range<usize>,
        distance: Distance,
        products: &[f32],
        out: &mut [f32],
    ) {
        let products = products.iter().zip(out);
        match distance {
            Distance::Cosine => {
                for ((&p, out), inverse) in products.zip(&gallery.inverse_norms[references]) {
                    // Adding 0 makes 0 of -0, which sorts before it.
                    *out = p * inverse + 0.0;
                }
            }
            Distance::Euclidean => {
                // All divided by the query's scale.
                let inverse = 1.0 / self.scales[query];
                let scales = gallery.scales[references.clone()].iter();
                let references = scales.zip(&gallery.half_norms[references]);
                for ((&p, out), (scale, half)) in products.zip(references) {
                    // Minus infinity would say that there is no reference.
                    let nearness = p * scale - half * inverse + 0.0;
                    *out = if nearness > f32::MIN { nearness } else { f32::MIN };
                }
            }
        }
    }

    /// The cosine whose nearness to a query this is.
    pub(crate) fn similarity(&self, query: usize, nearness: f32) -> f32 {
        nearness * self.inverse_norms[query]
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

    /// The order of all rows as seen from the first, nearest first.
    fn order(values: &[f32], distance: Distance) -> Vec<usize> {
        let embeddings = Embeddings::new(values, 2).unwrap();
        let rows = embeddings.rows();
        let ids: Vec<u32> = (0..rows as u32).collect();
        let prepared = Prepared::new(&embeddings, &ids).unwrap();
        let (mut products, mut nearness) = (Vec::new(), vec![0.0; rows]);
        prepared.products(0..1, &prepared, 0..rows, &mut products);
        prepared.nearness(0, &prepared, 0..rows, distance, &products, &mut nearness);
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by(|&a, &b| f32::total_cmp(&nearness[b], &nearness[a]).then(a.cmp(&b)));
        order
    }

    #[test]
    fn nearness_orders_by_the_distance() {
        let values = [1.0_f32, 0.0, 3.0, 4.0, 0.0, 0.0, 2.0, -0.5];
        assert_eq!(order(&values, Distance::Cosine), [0, 3, 1, 2]);
        assert_eq!(order(&values, Distance::Euclidean), [0, 2, 3, 1]);
    }

    #[test]
    fn lengths_far_from_one_keep_the_order() {
        for scale in [1e-30_f32, 1e-12, 1e12, 1e18] {
            let values = [1.0_f32, 0.0, 3.0, 4.0, 0.0, 0.0, 2.0, -0.5].map(|v| v * scale);
            assert_eq!(order(&values, Distance::Cosine), [0, 3, 1, 2], "{scale}");
        }
        // A long row has the direction it has, and is far away.
        let values = [1e-3_f32, 1e-3, 1e15, 1e15, 1e-3, -1e-3, 2e-3, 1e-3];
        assert_eq!(order(&values, Distance::Cosine), [0, 1, 3, 2]);
        assert_eq!(order(&values, Distance::Euclidean), [0, 3, 2, 1]);
    }

    #[test]
    fn a_reference_far_away_is_one_all_the_same() {
        // By the Euclidean distance from the first, the others leave the range of f32.
        let values = [1e-3_f32, 0.0, 1e18, 0.0, -1e18, 0.0];
        let embeddings = Embeddings::new(&values, 2).unwrap();
        let prepared = Prepared::new(&embeddings, &[0, 1, 2]).unwrap();
        let (mut products, mut nearness) = (Vec::new(), [0.0; 3]);
        prepared.products(0..1, &prepared, 0..3, &mut products);
        prepared.nearness(0, &prepared, 0..3, Distance::Euclidean, &products, &mut nearness);
        assert!(nearness.iter().all(|nearness| nearness.is_finite()), "{nearness:?}");
    }

    #[test]
    fn equal_rows_are_equally_near() {
        let values = [0.3_f32, 0.7, 0.9, 0.1, 0.9, 0.1, 0.3, 0.7];
        for distance in [Distance::Cosine, Distance::Euclidean] {
            assert_eq!(order(&values, distance), [0, 3, 1, 2]);
        }
    }
}
