//! FastAP: average precision over a histogram of distances (Cakir et al., Deep Metric Learning to
//! Rank, CVPR 2019).
//!
//! Squared distances of unit vectors, `D² = 2 - 2s`, lie in 0 to 4. With L bins there are L + 1
//! centres, `z_l = 4 l / L` for l from 0 to L, and an item shares itself out between the two
//! centres beside it, linearly: a triangular kernel of the half-width `4 / L`. With `h⁺_l` and `h_l`
//! what the positives and what all items but the query put at a centre, and `H⁺_l` and `H_l` their
//! sums from 0 up to l,
//!
//! ```text
//! FastAP_q = 1/|P| Σ_l h⁺_l H⁺_l / H_l
//! ```
//!
//! where a centre with `H_l = 0` adds nothing. The loss is `1 - mean_q FastAP_q`, over the queries
//! that have a positive.
//!
//! The gradient is that of this value, through positives and negatives. The backward pass in the
//! authors' PyTorch code is hand-written and has not the factors of the mean and of `D² = 2 - 2s`:
//! it is n/2 times as large for a batch of n.

use super::LossEntry;
use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::spec::check;
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "FastAP",
    summary: "average precision over a soft histogram of distances (CVPR 2019)",
    proxies: false,
    build: |parameters| {
        let bins = parameters.count("bins", FastApSettings::default().bins)?;
        Ok(Box::new(FastApLoss::new(&FastApSettings { bins })?))
    },
};

/// Settings of FastAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastApSettings {
    /// The number L of bins, 1 to 1000; there is one centre more. Default: 10, as in the paper.
    pub bins: usize,
}

impl Default for FastApSettings {
    fn default() -> Self {
        Self { bins: 10 }
    }
}

/// FastAP with checked settings.
///
/// Equal similarities stand at the same place of the histogram: their order does not exist. Neither
/// does that of items between the same two centres, but for their shares.
///
/// A squared distance at or beyond the ends, 0 and 4, counts as the end and has the slope 0; of
/// unit vectors that is an item in the query's place, or opposite to it. At a centre between them
/// the slope is that of the larger distances.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{FastApLoss, FastApSettings, Loss};
///
/// let loss = FastApLoss::new(&FastApSettings::default())?;
/// let values = [1.0, 0.0, 0.6, 0.8, 0.0, 1.0, -1.0, 0.0];
/// let output = loss.forward_f64(&Embeddings::new(&values, 2)?, &[0, 0, 1, 1])?;
/// // The second item's positive comes after one negative. The third's comes after one, together
/// // with another. The other two rank right.
/// let precisions = [1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0];
/// let expected = 1.0 - precisions.iter().sum::<f64>() / 4.0;
/// assert!((output.value - expected).abs() < 1e-12);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FastApLoss {
    settings: FastApSettings,
}

impl FastApLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &FastApSettings) -> Result<Self, RankingError> {
        let holds = (1..=1000).contains(&settings.bins);
        check("bins", settings.bins, holds, "it must be a whole number from 1 to 1000")?;
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &FastApSettings {
        &self.settings
    }
}

impl ListLoss for FastApLoss {
    fn describe(&self) -> String {
        format!("FastAP(bins={})", self.settings.bins)
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        _: &mut Scratch<T>,
    ) -> ListCost {
        let bins = self.settings.bins;
        let scale = bins as f64 / 2.0;
        let mut centres = vec![Centre::default(); bins + 1];
        for (lower, bin) in fill(list.positives, bins).into_iter().enumerate() {
            centres[lower].positive += bin.count - bin.shares;
            centres[lower + 1].positive += bin.shares;
        }
        for (lower, bin) in fill(list.negatives, bins).into_iter().enumerate() {
            centres[lower].negative += bin.count - bin.shares;
            centres[lower + 1].negative += bin.shares;
        }
        let precision = differentiate(&mut centres);
        let positives = list.positives.len() as f64;
        // Towards larger similarities, that is from a bin's upper centre to its lower one.
        let weight = scale / positives;
        let steps = |of: fn(&Centre) -> f64| -> Vec<T> {
            let pairs = centres.windows(2);
            pairs.map(|pair| T::narrow(weight * (of(&pair[1]) - of(&pair[0])))).collect()
        };
        look_up(list.positives, &steps(|centre| centre.positive), slopes.positives);
        look_up(list.negatives, &steps(|centre| centre.negative), slopes.negatives);
        ListCost::one((1.0 - precision / positives).max(0.0))
    }
}

/// Where an item stands: how it is shared out between two centres.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    /// The centre at or below it.
    lower: usize,
    /// What the next one gets of it, 0 to 1.
    share: f64,
    /// Whether it is between the ends, so that it moves with its similarity.
    inside: bool,
}

impl Place {
    /// The place of a similarity; none for a reference that is masked.
    #[inline(always)]
    fn of<T: Real>(similarity: T, scale: f64) -> Option<Self> {
        if similarity == T::NEG_INFINITY {
            return None;
        }
        let last = 2.0 * scale;
        let place = (1.0 - similarity.wide()) * scale;
        let clamped = place.clamp(0.0, last);
        let lower = clamped.min(last - 1.0) as usize;
        let share = clamped - lower as f64;
        Some(Self { lower, share, inside: place > 0.0 && place < last })
    }
}

/// What stands between two centres.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    /// How many items.
    count: f64,
    /// The sum of what the upper centre gets of them.
    shares: f64,
}

/// Counts the items of each bin.
#[inline(always)]
fn fill<T: Real>(similarities: &[T], bins: usize) -> Vec<Bin> {
    let scale = bins as f64 / 2.0;
    let mut filled = vec![Bin::default(); bins];
    for place in similarities.iter().filter_map(|&s| Place::of(s, scale)) {
        let bin = &mut filled[place.lower];
        bin.count += 1.0;
        bin.shares += place.share;
    }
    filled
}

/// Writes to each item that can move what `steps` has for its bin.
#[inline(always)]
fn look_up<T: Real>(similarities: &[T], steps: &[T], slopes: &mut [T]) {
    let scale = steps.len() as f64 / 2.0;
    for (&similarity, slope) in similarities.iter().zip(slopes) {
        if let Some(place) = Place::of(similarity, scale).filter(|place| place.inside) {
            *slope = steps[place.lower];
        }
    }
}

/// What stands at a centre: first how many, then how the sum of precisions grows with that.
#[derive(Debug, Clone, Copy, Default)]
struct Centre {
    positive: f64,
    negative: f64,
    /// `H⁺_l / H_l`.
    precision: f64,
}

/// `Σ_l h⁺_l H⁺_l / H_l`; replaces each count by its derivative.
///
/// With `r_l = h⁺_l / H_l`, the derivative for `h⁺_k` is `H⁺_k / H_k + Σ_{l >= k} r_l H⁻_l / H_l`,
/// and for `h⁻_k` it is `-Σ_{l >= k} r_l H⁺_l / H_l`. No quotient exceeds 1.
fn differentiate(centres: &mut [Centre]) -> f64 {
    let (mut sum, mut so_far) = (0.0, Centre::default());
    for centre in centres.iter_mut() {
        so_far.positive += centre.positive;
        so_far.negative += centre.negative;
        let all = so_far.positive + so_far.negative;
        let share = |count: f64| if all > 0.0 { count / all } else { 0.0 };
        let (here, precision) = (share(centre.positive), share(so_far.positive));
        sum += centre.positive * precision;
        // The two terms of the sums; the sums themselves run from the other end.
        *centre = Centre {
            positive: here * share(so_far.negative),
            negative: -here * precision,
            precision,
        };
    }
    let mut tail = Centre::default();
    for centre in centres.iter_mut().rev() {
        tail.positive += centre.positive;
        tail.negative += centre.negative;
        centre.positive = centre.precision + tail.positive;
        centre.negative = tail.negative;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_shared_out_between_the_centres_beside_them() {
        let place = |similarity: f64| Place::of(similarity, 5.0).unwrap();
        // 10 bins: the centres are 0.4 apart, D² = 1.3 is a quarter beyond the fourth.
        let found = place(0.35);
        assert_eq!((found.lower, found.inside), (3, true));
        assert!((found.share - 0.25).abs() < 1e-12);
        assert_eq!(place(0.0), Place { lower: 5, share: 0.0, inside: true });
        for similarity in [1.0, 1.0 + 1e-9, 1e12] {
            assert_eq!(place(similarity), Place { lower: 0, share: 0.0, inside: false });
        }
        for similarity in [-1.0, -1.0 - 1e-9, -1e12] {
            assert_eq!(place(similarity), Place { lower: 9, share: 1.0, inside: false });
        }
        assert_eq!(Place::of(f64::NEG_INFINITY, 5.0), None);
    }

    #[test]
    fn derivatives_are_those_of_the_sum() {
        let counts = [(0.0, 0.0), (0.7, 0.0), (1.3, 2.2), (0.0, 4.1), (0.6, 0.9), (0.0, 0.3)];
        let centres = |moved: usize, positive: f64, negative: f64| -> Vec<Centre> {
            let centres = counts.iter().enumerate().map(|(i, &(p, n))| {
                let by = if i == moved { 1.0 } else { 0.0 };
                let (positive, negative) = (p + by * positive, n + by * negative);
                Centre { positive, negative, precision: 0.0 }
            });
            centres.collect()
        };
        let mut derivatives = centres(0, 0.0, 0.0);
        let sum = differentiate(&mut derivatives);
        assert!((sum - (0.7 + 1.3 * 2.0 / 4.2 + 0.6 * 2.6 / 9.8)).abs() < 1e-12);
        let h = 1e-5;
        // Not the first centre, where there is nothing.
        for (i, found) in derivatives.iter().enumerate().skip(1) {
            let at = |p: f64, n: f64| differentiate(&mut centres(i, p, n));
            let positive = (at(h, 0.0) - at(-h, 0.0)) / (2.0 * h);
            let negative = (at(0.0, h) - at(0.0, -h)) / (2.0 * h);
            assert!((found.positive - positive).abs() < 1e-8, "{i}");
            assert!((found.negative - negative).abs() < 1e-8, "{i}");
        }
    }
}
