//! Contrastive loss: pulls each positive to the query and pushes away each negative that is
//! inside a margin.
//!
//! With s the cosine of two items, a query's cost is, for its positives p and negatives n, one of
//!
//! ```text
//! cosine:     Σ_p (1 - s_qp) + Σ_n [s_qn - margin]+
//! euclidean:  Σ_p D²_qp / 2  + Σ_n [margin - D_qn]+² / 2,   D² = 2 - 2s
//! ```
//!
//! and the loss is the mean over all queries. The positive terms of the two are the same. A query
//! without a positive enters as well: it still pushes its negatives.
//!
//! - The cosine form is the one used with a cross-batch memory: Wang et al., Cross-Batch Memory
//!   for Embedding Learning, CVPR 2020. The authors' code adds `s_qn` where this adds
//!   `s_qn - margin`: the same gradient, but a value that jumps at the margin.
//! - The Euclidean form is that of Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning
//!   an Invariant Mapping, CVPR 2006, on unit vectors. The paper adds up all pairs; here the sum
//!   is divided by the number of queries, as in the cosine form.
//!
//! Both are sums over pairs: they grow with the number of references.

use super::LossEntry;
use super::lanes::add_terms;
use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::spec::check;
use crate::distance::Distance;
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "contrastive",
    summary: "pulls positives, pushes negatives inside a margin; by cosine as in XBM (CVPR 2020) \
              or Euclidean distance (CVPR 2006)",
    proxies: false,
    build: |parameters| {
        let distance = parameters.parsed("distance", ContrastiveSettings::default().distance)?;
        let default = ContrastiveSettings::of(distance);
        let margin = parameters.number("margin", default.margin)?;
        Ok(Box::new(ContrastiveLoss::new(&ContrastiveSettings { distance, margin })?))
    },
};

/// Settings of the contrastive loss.
///
/// The default is the cosine form with the margin 0.5, both as in the paper on cross-batch memory:
/// the field uses this form with a memory, and its slopes stay at most 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ContrastiveSettings {
    /// The form.
    pub distance: Distance,
    /// Where a negative stops costing. By cosine, the similarity from which on it costs, -1 to 1;
    /// the paper uses 0.5. By Euclidean distance, the distance below which it costs, above 0 and
    /// up to 2; the paper leaves it open, and 1 is usual.
    pub margin: f64,
}

impl ContrastiveSettings {
    /// A form with its usual margin: 0.5 by cosine, 1 by Euclidean distance.
    pub const fn of(distance: Distance) -> Self {
        let margin = match distance {
            Distance::Cosine => 0.5,
            Distance::Euclidean => 1.0,
        };
        Self { distance, margin }
    }
}

impl Default for ContrastiveSettings {
    fn default() -> Self {
        Self::of(Distance::Cosine)
    }
}

/// The contrastive loss with checked settings.
///
/// Pairs have costs of their own, so that equal similarities need no rule. A negative whose cosine
/// or distance is the margin costs nothing and has the slope 0. In the Euclidean form a distance
/// of 0, or a similarity above 1, has the slope 0 too, since it has no direction; close to it the
/// slope with respect to the similarity is `(margin - D) / D`, large but finite: up to some
/// thousands in f32.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{ContrastiveLoss, ContrastiveSettings, Loss};
///
/// let loss = ContrastiveLoss::new(&ContrastiveSettings::default())?;
/// // A pair at the cosine 0.6, and an item of another class at 0.8 and 0.
/// let values = [1.0, 0.0, 0.6, 0.8, 0.8, -0.6];
/// let output = loss.forward_f64(&Embeddings::new(&values, 2)?, &[0, 0, 1])?;
/// assert!((output.value - (2.0 * 0.4 + 2.0 * 0.3) / 3.0).abs() < 1e-12);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ContrastiveLoss {
    settings: ContrastiveSettings,
}

impl ContrastiveLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &ContrastiveSettings) -> Result<Self, RankingError> {
        let margin = settings.margin;
        let (holds, rule) = match settings.distance {
            Distance::Cosine => (
                (-1.0..=1.0).contains(&margin),
                "with distance=cosine it must be a number from -1 to 1",
            ),
            Distance::Euclidean => (
                (1e-6..=2.0).contains(&margin),
                "with distance=euclidean it must be a number from 0.000001 to 2",
            ),
        };
        check("margin", margin, holds, rule)?;
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &ContrastiveSettings {
        &self.settings
    }
}

impl ListLoss for ContrastiveLoss {
    fn describe(&self) -> String {
        let ContrastiveSettings { distance, margin } = self.settings;
        format!("contrastive(distance={distance}, margin={margin})")
    }

    fn takes_lone_queries(&self) -> bool {
        true
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        _: &mut Scratch<T>,
    ) -> ListCost {
        let margin = T::narrow(self.settings.margin);
        let (near, far) = match self.settings.distance {
            Distance::Cosine => (
                add_terms(list.positives, slopes.positives, |s| (T::ONE - s, -T::ONE)),
                add_terms(list.negatives, slopes.negatives, |s| above(s, margin)),
            ),
            Distance::Euclidean => (
                add_terms(list.positives, slopes.positives, half_squared_distance),
                add_terms(list.negatives, slopes.negatives, |s| within(s, margin)),
            ),
        };
        ListCost::one(near.value + far.value)
    }
}

/// `[s - margin]+` and its derivative.
#[inline(always)]
fn above<T: Real>(s: T, margin: T) -> (T, T) {
    if s > margin { (s - margin, T::ONE) } else { (T::ZERO, T::ZERO) }
}

/// `D²/2 = 1 - s` and its derivative; 0 where rounding puts s above 1.
#[inline(always)]
fn half_squared_distance<T: Real>(s: T) -> (T, T) {
    let half = T::ONE - s;
    if half > T::ZERO { (half, -T::ONE) } else { (T::ZERO, T::ZERO) }
}

/// `[margin - D]+² / 2` and its derivative, `(margin - D) / D`, which is 0 at the distance 0.
#[inline(always)]
fn within<T: Real>(s: T, margin: T) -> (T, T) {
    let (half, _) = half_squared_distance(s);
    let distance = (half + half).root();
    let inside = margin - distance;
    let inside = if inside > T::ZERO { inside } else { T::ZERO };
    let slope = if distance > T::ZERO { inside / distance } else { T::ZERO };
    (T::narrow(0.5) * inside * inside, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_of_zero_has_no_direction() {
        assert_eq!(within(1.0_f64, 1.0), (0.5, 0.0));
        assert_eq!(within(1.0_f32 + f32::EPSILON, 1.0), (0.5, 0.0));
        let (_, slope) = within(1.0 - f32::EPSILON / 2.0, 1.0);
        assert!(slope > 1000.0 && slope < 5000.0, "{slope}");
        let (_, slope) = within(1.0 - f64::EPSILON / 2.0, 1.0);
        assert!(slope.is_finite());
    }

    #[test]
    fn negatives_at_or_beyond_the_margin_cost_nothing() {
        assert_eq!(above(0.5, 0.5), (0.0, 0.0));
        assert_eq!(above(f32::NEG_INFINITY, -1.0), (0.0, 0.0));
        assert_eq!(within(0.5, 1.0), (0.0, 0.0));
        assert_eq!(within(-1.0, 2.0), (0.0, 0.0));
        assert_eq!(within(f32::NEG_INFINITY, 2.0), (0.0, 0.0));
    }

    #[test]
    fn the_slopes_are_the_derivatives() {
        for s in [-0.9_f64, 0.2, 0.7, 0.99] {
            let h = 1e-6;
            let numeric = (within(s + h, 1.5).0 - within(s - h, 1.5).0) / (2.0 * h);
            assert!((within(s, 1.5).1 - numeric).abs() < 1e-6, "{s}");
        }
    }
}
