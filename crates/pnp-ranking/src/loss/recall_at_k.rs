//! Recall@k with smooth steps (Patel, Tolias and Matas, Recall@k Surrogate Loss with Large Batches
//! and Similarity Mixup, CVPR 2022).
//!
//! For a query with the positives P and the negatives N, and `σ(x) = 1 / (1 + exp(-x))`,
//!
//! ```text
//! r(p) = 1 + Σ_{z in P or N, z ≠ p} σ((s_z - s_p) / anneal)
//! R_k = min(k, Σ_{p in P} σ((k - r(p)) / rank_temperature)) / min(k, |P|)
//! ```
//!
//! and the loss is the mean over the queries of `1 - R_k`, averaged over all depths k. Equal
//! similarities stand half before each other. Where the sum has reached k, no gradient flows.
//!
//! The query has no part in its own list. In the authors' code it is no positive either, but adds
//! about 1 to every rank; here a rank counts what stands in the list, as in the metric.

use super::LossEntry;
use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::sigmoid::{SmoothRank, sigmoid};
use super::spec::{check, check_positive};
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "Recall@k",
    summary: "recall at several depths with sigmoids in the place of steps (CVPR 2022)",
    proxies: false,
    build: |parameters| {
        let default = RecallAtKSettings::default();
        let anneal = parameters.shared().anneal;
        Ok(Box::new(RecallAtKLoss::new(&RecallAtKSettings {
            k: parameters.numbers("k", default.k)?,
            anneal: parameters.number("anneal", anneal)?,
            rank_temperature: parameters.numbers("rank_temperature", default.rank_temperature)?,
        })?))
    },
};

/// Settings of the recall@k loss.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallAtKSettings {
    /// The depths, ascending, each 1 to 1,000,000. Default: 1, 2, 4, 8 and 16; the paper uses
    /// these.
    pub k: Vec<usize>,
    /// The temperature of the sigmoid over similarities, a millionth to 1,000,000. Default: 0.01;
    /// the paper uses 0.01.
    pub anneal: f64,
    /// The temperature of the sigmoid over ranks, a millionth to 1,000,000: one for all depths, or
    /// one for each. Default: 1; the paper uses 1, the command line of the authors' code k itself.
    pub rank_temperature: Vec<f64>,
}

impl Default for RecallAtKSettings {
    fn default() -> Self {
        Self { k: vec![1, 2, 4, 8, 16], anneal: 0.01, rank_temperature: vec![1.0] }
    }
}

/// The recall@k loss with checked settings.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{Loss, RecallAtKLoss, RecallAtKSettings};
///
/// let settings = RecallAtKSettings { k: vec![1, 2], ..RecallAtKSettings::default() };
/// let loss = RecallAtKLoss::new(&settings)?;
/// let values = [1.0, 0.0, 0.8, 0.6, 0.6, 0.8, 0.0, 1.0];
/// let embeddings = Embeddings::new(&values, 2)?;
/// let near = loss.forward_f64(&embeddings, &[0, 0, 1, 1])?.value;
/// let far = loss.forward_f64(&embeddings, &[0, 1, 0, 1])?.value;
/// assert!(near < far);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RecallAtKLoss {
    anneal: f64,
    depths: Vec<Depth>,
}

/// One k of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Depth {
    k: usize,
    rank_temperature: f64,
}

impl Depth {
    /// How far a positive of this rank is within the first k, and how fast that falls as the rank
    /// grows.
    #[inline(always)]
    fn reached(self, rank: f64) -> (f64, f64) {
        let (value, slope) = sigmoid((self.k as f64 - rank) / self.rank_temperature);
        (value, slope / self.rank_temperature)
    }

    /// How many positives can be within the first k.
    #[inline(always)]
    fn most(self, positives: usize) -> f64 {
        self.k.min(positives) as f64
    }
}

impl RecallAtKLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &RecallAtKSettings) -> Result<Self, RankingError> {
        let RecallAtKSettings { k, anneal, rank_temperature } = settings;
        let in_range = !k.is_empty() && k.iter().all(|k| (1..=1_000_000).contains(k));
        let rule = "they must be whole numbers from 1 to 1000000, ascending";
        check("k", with_plus(k), in_range && k.is_sorted_by(|a, b| a < b), rule)?;
        check_positive("anneal", *anneal)?;
        let fits = [1, k.len()].contains(&rank_temperature.len());
        let rule = "it must be one number, or one for each k";
        check("rank_temperature", with_plus(rank_temperature), fits, rule)?;
        for &temperature in rank_temperature {
            check_positive("rank_temperature", temperature)?;
        }
        let depths = k.iter().zip(rank_temperature.iter().cycle());
        let depths = depths.map(|(&k, &rank_temperature)| Depth { k, rank_temperature }).collect();
        Ok(Self { anneal: *anneal, depths })
    }

    /// Finds each positive's rank and adds the derivatives of a cost that grows by `pull` of it
    /// per rank.
    #[inline(always)]
    fn pull_ranks<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
        mut pull: impl FnMut(f64) -> f64,
    ) {
        for place in 0..list.positives.len() {
            let rank = SmoothRank::of(list, place, T::narrow(1.0 / self.anneal), scratch);
            let pull = pull(1.0 + rank.positives.count + rank.negatives.count) / self.anneal;
            rank.add_slopes(pull, pull, slopes, scratch);
        }
    }
}

fn with_plus<N: ToString>(numbers: &[N]) -> String {
    numbers.iter().map(N::to_string).collect::<Vec<_>>().join("+")
}

impl ListLoss for RecallAtKLoss {
    fn describe(&self) -> String {
        let k: Vec<usize> = self.depths.iter().map(|depth| depth.k).collect();
        let mut temperatures: Vec<f64> = self.depths.iter().map(|d| d.rank_temperature).collect();
        if temperatures.iter().all(|&temperature| temperature == temperatures[0]) {
            temperatures.truncate(1);
        }
        let (k, temperatures) = (with_plus(&k), with_plus(&temperatures));
        format!("Recall@k(k={k}, anneal={}, rank_temperature={temperatures})", self.anneal)
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> ListCost {
        let (positives, depths) = (list.positives.len(), self.depths.len() as f64);
        let share = |depth: &Depth| 1.0 / (depth.most(positives) * depths);
        // The sums for each depth: with them, the derivatives as if no sum had reached its k.
        let mut sums = std::mem::take(&mut scratch.sums);
        sums.clear();
        sums.resize(self.depths.len(), 0.0);
        self.pull_ranks(list, slopes, scratch, |rank| {
            let mut pull = 0.0;
            for (depth, sum) in self.depths.iter().zip(&mut sums) {
                let (reached, slope) = depth.reached(rank);
                *sum += reached;
                pull += share(depth) * slope;
            }
            pull
        });
        let full = |depth: &Depth, sum: f64| sum >= depth.k as f64;
        if self.depths.iter().zip(&sums).any(|(depth, &sum)| full(depth, sum)) {
            // Rare, since low ranks are few: once more, without those depths.
            slopes.positives.fill(T::ZERO);
            slopes.negatives.fill(T::ZERO);
            self.pull_ranks(list, slopes, scratch, |rank| {
                let open = self.depths.iter().zip(&sums).filter(|(depth, sum)| !full(depth, **sum));
                open.map(|(depth, _)| share(depth) * depth.reached(rank).1).sum()
            });
        }
        let missed = self.depths.iter().zip(&sums).map(|(depth, &sum)| {
            let most = depth.most(positives);
            (most - sum.min(most)) / most
        });
        let cost = missed.sum::<f64>() / depths;
        scratch.sums = sums;
        ListCost::one(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let default = RecallAtKSettings::default;
        for (setting, bad) in [
            ("k", RecallAtKSettings { k: vec![], ..default() }),
            ("k", RecallAtKSettings { k: vec![0, 1], ..default() }),
            ("k", RecallAtKSettings { k: vec![2, 1], ..default() }),
            ("k", RecallAtKSettings { k: vec![2, 2], ..default() }),
            ("k", RecallAtKSettings { k: vec![1_000_001], ..default() }),
            ("anneal", RecallAtKSettings { anneal: 0.0, ..default() }),
            ("anneal", RecallAtKSettings { anneal: f64::NAN, ..default() }),
            ("rank_temperature", RecallAtKSettings { rank_temperature: vec![], ..default() }),
            ("rank_temperature", RecallAtKSettings { rank_temperature: vec![1.0; 2], ..default() }),
            ("rank_temperature", RecallAtKSettings { rank_temperature: vec![0.0], ..default() }),
        ] {
            let error = RecallAtKLoss::new(&bad).unwrap_err();
            assert!(
                matches!(error, RankingError::Setting { setting: s, .. } if s == setting),
                "{error}"
            );
        }
    }

    #[test]
    fn equal_temperatures_are_named_once() {
        let name = |rank_temperature: &[f64]| {
            let rank_temperature = rank_temperature.to_vec();
            let settings =
                RecallAtKSettings { k: vec![1, 3], rank_temperature, ..Default::default() };
            RecallAtKLoss::new(&settings).unwrap().describe()
        };
        assert_eq!(name(&[2.0]), "Recall@k(k=1+3, anneal=0.01, rank_temperature=2)");
        assert_eq!(name(&[2.0, 2.0]), name(&[2.0]));
        assert_eq!(name(&[1.0, 3.0]), "Recall@k(k=1+3, anneal=0.01, rank_temperature=1+3)");
    }
}
