//! Smooth-AP: average precision with smooth ranks (Brown et al., Smooth-AP: Smoothing the Path
//! Towards Large-Scale Image Retrieval, ECCV 2020).
//!
//! For a query with the positives P and the negatives N, and `σ(x) = 1 / (1 + exp(-x))`,
//!
//! ```text
//! R⁺(i) = 1 + Σ_{j in P, j ≠ i} σ((s_j - s_i) / anneal)    R⁻(i) = Σ_{n in N} σ((s_n - s_i) / anneal)
//! AP = 1/|P| Σ_{i in P} R⁺(i) / (R⁺(i) + R⁻(i))
//! ```
//!
//! and the loss is the mean over the queries of `1 - AP`. Equal similarities stand half before each
//! other. The gradient goes through both counts.

use super::LossEntry;
use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::sigmoid::SmoothRank;
use super::spec::check_positive;
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "Smooth-AP",
    summary: "average precision with sigmoids in the place of steps (ECCV 2020)",
    proxies: false,
    build: |parameters| {
        let (anneal, count_query) = (parameters.shared().anneal, parameters.shared().count_query);
        Ok(Box::new(SmoothApLoss::new(&SmoothApSettings {
            anneal: parameters.number("anneal", anneal)?,
            count_query: parameters.flag("count_query", count_query)?,
        })?))
    },
};

/// Settings of Smooth-AP.
#[derive(Debug, Clone, PartialEq)]
pub struct SmoothApSettings {
    /// The temperature of the sigmoid, a millionth to 1,000,000. Default: 0.01; the paper uses
    /// 0.01.
    pub anneal: f64,
    /// Whether a query counts among its own positives. Default: true, as in the authors' code; the
    /// paper leaves it open.
    pub count_query: bool,
}

impl Default for SmoothApSettings {
    fn default() -> Self {
        Self { anneal: 0.01, count_query: true }
    }
}

/// Smooth-AP with checked settings.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{Loss, SmoothApLoss, SmoothApSettings};
///
/// let loss = SmoothApLoss::new(&SmoothApSettings::default())?;
/// let values = [1.0, 0.0, 0.96, 0.28, 0.28, 0.96, 0.0, 1.0];
/// let embeddings = Embeddings::new(&values, 2)?;
/// assert!(loss.forward_f64(&embeddings, &[0, 0, 1, 1])?.value < 1e-6);
/// assert!(loss.forward_f64(&embeddings, &[0, 1, 0, 1])?.value > 0.2);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SmoothApLoss {
    settings: SmoothApSettings,
}

impl SmoothApLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &SmoothApSettings) -> Result<Self, RankingError> {
        check_positive("anneal", settings.anneal)?;
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &SmoothApSettings {
        &self.settings
    }
}

impl ListLoss for SmoothApLoss {
    fn describe(&self) -> String {
        let query = if self.settings.count_query { "" } else { ", count_query=false" };
        format!("Smooth-AP(anneal={}{query})", self.settings.anneal)
    }

    fn counts_query(&self) -> bool {
        self.settings.count_query
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> ListCost {
        let anneal = self.settings.anneal;
        let positive_count = list.positives.len() as f64;
        let mut cost = 0.0;
        for place in 0..list.positives.len() {
            let rank = SmoothRank::of(list, place, T::narrow(1.0 / anneal), scratch);
            let (before, negatives) = (1.0 + rank.positives.count, rank.negatives.count);
            let all = before + negatives;
            // 1 - before / all, without a difference.
            cost += negatives / all;
            let pull = 1.0 / (all * all * positive_count * anneal);
            rank.add_slopes(-negatives * pull, before * pull, slopes, scratch);
        }
        ListCost::one(cost / positive_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anneal_out_of_range_is_refused() {
        for anneal in [0.0, -0.01, 1e-7, 1e7, f64::NAN, f64::INFINITY] {
            let settings = SmoothApSettings { anneal, ..SmoothApSettings::default() };
            let error = SmoothApLoss::new(&settings).unwrap_err();
            assert!(matches!(error, RankingError::Setting { setting: "anneal", .. }), "{error}");
        }
    }
}
