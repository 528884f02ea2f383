//! Multi-similarity loss: soft margins over the pairs of a list that are hard by comparison with
//! the list's other side (Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep
//! Metric Learning, CVPR 2019).
//!
//! Of a query's list only these pairs take part, p being positives and n negatives:
//!
//! ```text
//! N' = { n : s_qn > min_p s_qp - ε },   P' = { p : s_qp < max_n s_qn + ε }
//! ```
//!
//! and the loss is the mean over the queries of
//!
//! ```text
//! 1/α log(1 + Σ_{p in P'} exp(-α (s_qp - λ))) + 1/β log(1 + Σ_{n in N'} exp(β (s_qn - λ)))
//! ```
//!
//! N' and P' are empty for the same lists; such a list costs nothing and enters the mean. The
//! paper's mean is over all items: here those without a positive, for whom nothing can be mined,
//! are left out and counted. What is mined is not differentiated: the loss jumps where a pair
//! enters.

use super::LossEntry;
use super::lanes::largest;
use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::log_sum_exp::SoftMaximum;
use super::spec::{check, check_positive};
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "multi-similarity",
    summary: "soft margins over the mined pairs of each list (CVPR 2019)",
    proxies: false,
    build: |parameters| {
        let default = MultiSimilaritySettings::default();
        let settings = MultiSimilaritySettings {
            alpha: parameters.number("alpha", default.alpha)?,
            beta: parameters.number("beta", default.beta)?,
            base: parameters.number("base", default.base)?,
            epsilon: parameters.number("epsilon", default.epsilon)?,
        };
        Ok(Box::new(MultiSimilarityLoss::new(&settings)?))
    },
};

/// Settings of the multi-similarity loss.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiSimilaritySettings {
    /// The scale α of the positives, a millionth to 1,000,000. Default: 2, as in the paper.
    pub alpha: f64,
    /// The scale β of the negatives, a millionth to 1,000,000. Default: 50, as in the paper; the
    /// authors' code uses 40.
    pub beta: f64,
    /// The similarity λ from which both are measured, -1 to 1. Default: 0.5, as in the authors'
    /// code; the documents of PyTorch Metric Learning say the paper uses 1.
    pub base: f64,
    /// The margin ε of the mining, 0 to 4; above 2 all pairs of unit vectors take part. Default:
    /// 0.1, as in the paper.
    pub epsilon: f64,
}

impl Default for MultiSimilaritySettings {
    fn default() -> Self {
        Self { alpha: 2.0, beta: 50.0, base: 0.5, epsilon: 0.1 }
    }
}

/// The multi-similarity loss with checked settings.
///
/// Equal similarities are mined together or not at all, and have equal slopes. A pair that meets
/// the mining's limit exactly does not take part.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{Loss, MultiSimilarityLoss, MultiSimilaritySettings};
///
/// let loss = MultiSimilarityLoss::new(&MultiSimilaritySettings::default())?;
/// let values = [1.0, 0.0, 0.6, 0.8, 0.8, -0.6];
/// let output = loss.forward_f64(&Embeddings::new(&values, 2)?, &[0, 0, 1])?;
/// // The first query's negative is at 0.8, nearer than its positive at 0.6; the second's, at 0,
/// // is far from it, so that nothing is mined there.
/// let cost = (-0.2_f64).exp().ln_1p() / 2.0 + (15.0_f64).exp().ln_1p() / 50.0;
/// assert!((output.value - cost / 2.0).abs() < 1e-12);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MultiSimilarityLoss {
    settings: MultiSimilaritySettings,
}

impl MultiSimilarityLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`] with the first rule that is broken.
    pub fn new(settings: &MultiSimilaritySettings) -> Result<Self, RankingError> {
        let &MultiSimilaritySettings { alpha, beta, base, epsilon } = settings;
        check_positive("alpha", alpha)?;
        check_positive("beta", beta)?;
        let holds = (-1.0..=1.0).contains(&base);
        check("base", base, holds, "it must be a number from -1 to 1")?;
        let holds = (0.0..=4.0).contains(&epsilon);
        check("epsilon", epsilon, holds, "it must be a number from 0 to 4")?;
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &MultiSimilaritySettings {
        &self.settings
    }
}

impl ListLoss for MultiSimilarityLoss {
    fn describe(&self) -> String {
        let MultiSimilaritySettings { alpha, beta, base, epsilon } = self.settings;
        format!("multi-similarity(alpha={alpha}, beta={beta}, base={base}, epsilon={epsilon})")
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> ListCost {
        let MultiSimilaritySettings { alpha, beta, base, epsilon } = self.settings;
        let farthest = list.positives.iter().copied().reduce(|a, b| if b < a { b } else { a });
        let nearest = largest(list.negatives);
        let Some(farthest) = farthest else { return ListCost::one(0.0) };
        let (lower, upper) = (farthest - T::narrow(epsilon), nearest + T::narrow(epsilon));
        // Both say that something is mined; rounding might let one of them say so alone.
        if nearest <= lower || farthest >= upper {
            return ListCost::one(0.0);
        }
        let near = SoftMaximum { scale: -alpha, shift: base }.add_beyond(
            upper,
            list.positives,
            1.0 / alpha,
            slopes.positives,
            &mut scratch.positives,
        );
        let far = SoftMaximum { scale: beta, shift: base }.add_beyond(
            lower,
            list.negatives,
            1.0 / beta,
            slopes.negatives,
            &mut scratch.slopes,
        );
        ListCost::one(near.value / alpha + far.value / beta)
    }
}
