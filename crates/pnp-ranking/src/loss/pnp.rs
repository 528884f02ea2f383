//! The PNP loss: penalising negative instances before positive ones (Li et al., AAAI 2022).
//!
//! For a query q and a positive p, `R(q, p) = Σ σ((s_qn - s_qp) / anneal)` over the negatives n is
//! the smooth number of negatives that rank before p. The loss is the mean over the queries of the
//! mean over each query's positives of `f(R)`; the variants differ in f.

use std::fmt;
use std::str::FromStr;

use pulp::Arch;

use super::sigmoid::smooth_count;
use super::{Loss, LossEntry, LossOutput, LossSettings, RankedList, RowKernel, Scratch, engine};
use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "PNP",
    summary: "penalises the negatives that rank before each positive; variants PNP-O, PNP-I_u, \
              PNP-I_b, PNP-D_s, PNP-D_q (AAAI 2022)",
    build: |settings| Ok(Box::new(PnpLoss::new(settings)?)),
};

/// What a number of negatives before a positive costs: f(R), with the paper's equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PnpVariant {
    /// `R` (5).
    O,
    /// `(1 + R) log(1 + R)` (7): the derivative grows without bound.
    Iu,
    /// `(bR - log(1 + bR)) / b²` (9): the derivative grows up to 1/b.
    Ib,
    /// `log(1 + R)` (12): the derivative falls, slowly.
    Ds,
    /// `1 - (1 + R)^-alpha` (13): the derivative falls, quickly.
    Dq,
}

impl PnpVariant {
    /// All variants, in the paper's order.
    pub const ALL: [Self; 5] = [Self::O, Self::Iu, Self::Ib, Self::Ds, Self::Dq];

    /// The paper's name, `PNP-D_q`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::O => "PNP-O",
            Self::Iu => "PNP-I_u",
            Self::Ib => "PNP-I_b",
            Self::Ds => "PNP-D_s",
            Self::Dq => "PNP-D_q",
        }
    }
}

impl fmt::Display for PnpVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PnpVariant {
    type Err = RankingError;

    fn from_str(name: &str) -> Result<Self, RankingError> {
        Self::ALL.into_iter().find(|variant| variant.name() == name).ok_or_else(|| {
            RankingError::UnknownVariant {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            }
        })
    }
}

/// The PNP loss with checked settings.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{Loss, LossSettings, PnpLoss};
///
/// let loss = PnpLoss::new(&LossSettings { anneal: 0.05, ..LossSettings::default() })?;
/// // Two classes; the third item stands nearer to the first than the second does.
/// let values = [1.0, 0.0, 0.6, 0.8, 0.8, 0.6, -1.0, 0.0];
/// let output = loss.forward_f64(&Embeddings::new(&values, 2)?, &[0, 0, 1, 1])?;
/// assert!(output.value > 0.5);
/// assert_eq!(output.counts.queries, 4);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PnpLoss {
    variant: PnpVariant,
    alpha: f64,
    b: f64,
    anneal: f64,
    count_query: bool,
}

impl PnpLoss {
    /// Checks the settings. All of them, also those that the variant does not use.
    ///
    /// # Errors
    /// [`RankingError::Setting`] with the first rule that is broken.
    pub fn new(settings: &LossSettings) -> Result<Self, RankingError> {
        let &LossSettings { variant, alpha, b, anneal, count_query } = settings;
        // The bounds keep every power and quotient finite in f32.
        check("alpha", alpha, 1.0, "it must be a number from 1 to 1000000")?;
        check("b", b, 1e-6, "it must be a number from 0.000001 to 1000000")?;
        check("anneal", anneal, 1e-6, "it must be a number from 0.000001 to 1000000")?;
        Ok(Self { variant, alpha, b, anneal, count_query })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> LossSettings {
        let Self { variant, alpha, b, anneal, count_query } = *self;
        LossSettings { variant, alpha, b, anneal, count_query }
    }

    /// f(R).
    fn cost(&self, r: f64) -> f64 {
        match self.variant {
            PnpVariant::O => r,
            PnpVariant::Iu => (1.0 + r) * r.ln_1p(),
            PnpVariant::Ib => minus_log(self.b * r) / (self.b * self.b),
            PnpVariant::Ds => r.ln_1p(),
            PnpVariant::Dq => -(-self.alpha * r.ln_1p()).exp_m1(),
        }
    }

    /// f'(R).
    fn cost_slope(&self, r: f64) -> f64 {
        match self.variant {
            PnpVariant::O => 1.0,
            PnpVariant::Iu => 1.0 + r.ln_1p(),
            PnpVariant::Ib => r / (1.0 + self.b * r),
            PnpVariant::Ds => 1.0 / (1.0 + r),
            PnpVariant::Dq => self.alpha * (-(self.alpha + 1.0) * r.ln_1p()).exp(),
        }
    }
}

/// `x - log(1 + x)` for `x >= 0`, by its series where the difference would cancel.
fn minus_log(x: f64) -> f64 {
    if x < 1e-3 {
        x * x * (1.0 / 2.0 - x * (1.0 / 3.0 - x * (1.0 / 4.0 - x * (1.0 / 5.0 - x / 6.0))))
    } else {
        x - x.ln_1p()
    }
}

fn check(
    setting: &'static str,
    value: f64,
    least: f64,
    rule: &'static str,
) -> Result<(), RankingError> {
    if (least..=1e6).contains(&value) {
        Ok(())
    } else {
        Err(RankingError::Setting { setting, value: value.to_string(), rule })
    }
}

impl Loss for PnpLoss {
    fn name(&self) -> String {
        let parameter = match self.variant {
            PnpVariant::Dq => format!("alpha={}, ", self.alpha),
            PnpVariant::Ib => format!("b={}, ", self.b),
            _ => String::new(),
        };
        let query = if self.count_query { "" } else { ", count_query=false" };
        format!("{}({parameter}anneal={}{query})", self.variant, self.anneal)
    }

    fn forward_f32(
        &self,
        embeddings: &Embeddings<'_, f32>,
        labels: &[u32],
    ) -> Result<LossOutput<f32>, RankingError> {
        engine::forward(self, embeddings, labels)
    }

    fn forward_f64(
        &self,
        embeddings: &Embeddings<'_, f64>,
        labels: &[u32],
    ) -> Result<LossOutput<f64>, RankingError> {
        engine::forward(self, embeddings, labels)
    }
}

impl<T: Real> RowKernel<T> for PnpLoss {
    fn row(&self, list: RankedList<'_, T>, weight: f64, scratch: &mut Scratch<T>) -> f64 {
        Arch::new().dispatch(
            #[inline(always)]
            || self.row_vectorised(list, weight, scratch),
        )
    }
}

impl PnpLoss {
    #[inline(always)]
    fn row_vectorised<T: Real>(
        &self,
        list: RankedList<'_, T>,
        weight: f64,
        scratch: &mut Scratch<T>,
    ) -> f64 {
        let RankedList { similarities: row, query, class } = list;
        let Scratch { negatives, slopes } = scratch;
        negatives.copy_from_slice(row);
        for &member in class {
            negatives[member as usize] = T::NEG_INFINITY;
        }
        let positives =
            class.iter().map(|&p| p as usize).filter(|&p| self.count_query || p != query);
        let positive_count = if self.count_query { class.len() } else { class.len() - 1 } as f64;
        let inverse_anneal = T::narrow(1.0 / self.anneal);

        // The class's similarities are read before the gradient takes their places.
        let class_similarities: Vec<T> = positives.clone().map(|p| row[p]).collect();
        row.fill(T::ZERO);
        let mut cost = 0.0;
        for (p, similarity) in positives.zip(class_similarities) {
            let sums = smooth_count(negatives, similarity, inverse_anneal, slopes);
            cost += self.cost(sums.count);
            if sums.slope == 0.0 {
                continue; // Every sigmoid is saturated: no negative pulls.
            }
            let pull = weight * self.cost_slope(sums.count) / (positive_count * self.anneal);
            row[p] -= T::narrow(pull * sums.slope);
            let pull = T::narrow(pull);
            for (gradient, &slope) in row.iter_mut().zip(slopes.iter()) {
                *gradient += pull * slope;
            }
        }
        cost / positive_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variant: PnpVariant) -> LossSettings {
        LossSettings { variant, alpha: 3.5, ..LossSettings::default() }
    }

    #[test]
    fn variants_are_read_back_from_their_names() {
        for variant in PnpVariant::ALL {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
        let error = "PNP-X".parse::<PnpVariant>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown variant 'PNP-X': the variants are PNP-O, PNP-I_u, PNP-I_b, PNP-D_s, PNP-D_q"
        );
    }

    #[test]
    fn names_tell_what_the_variant_uses() {
        let name = |settings: &LossSettings| PnpLoss::new(settings).unwrap().name();
        assert_eq!(name(&settings(PnpVariant::Dq)), "PNP-D_q(alpha=3.5, anneal=0.01)");
        assert_eq!(name(&settings(PnpVariant::Ib)), "PNP-I_b(b=2, anneal=0.01)");
        let without = LossSettings { count_query: false, ..settings(PnpVariant::O) };
        assert_eq!(name(&without), "PNP-O(anneal=0.01, count_query=false)");
        assert_eq!(PnpLoss::new(&without).unwrap().settings(), without);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let default = LossSettings::default;
        for (setting, bad) in [
            ("alpha", LossSettings { alpha: 0.5, ..default() }),
            ("alpha", LossSettings { alpha: f64::INFINITY, ..default() }),
            ("b", LossSettings { b: 0.0, ..default() }),
            ("b", LossSettings { b: f64::NAN, ..default() }),
            ("anneal", LossSettings { anneal: 0.0, ..default() }),
            ("anneal", LossSettings { anneal: -0.01, ..default() }),
        ] {
            let error = PnpLoss::new(&bad).unwrap_err();
            assert!(
                matches!(error, RankingError::Setting { setting: s, .. } if s == setting),
                "{error}"
            );
        }
    }

    #[test]
    fn slopes_are_the_derivatives_of_the_costs() {
        for variant in PnpVariant::ALL {
            let loss = PnpLoss::new(&settings(variant)).unwrap();
            for r in [1e-6, 4e-4, 0.02, 0.7, 3.0, 40.0, 900.0] {
                let h = r * 1e-4;
                let numeric = (loss.cost(r + h) - loss.cost(r - h)) / (2.0 * h);
                let slope = loss.cost_slope(r);
                assert!((numeric - slope).abs() < 1e-6 * slope + 1e-9, "{variant} at {r}");
            }
        }
    }

    #[test]
    fn no_negative_before_a_positive_costs_nothing() {
        for variant in PnpVariant::ALL {
            assert_eq!(PnpLoss::new(&settings(variant)).unwrap().cost(0.0), 0.0, "{variant}");
        }
    }

    #[test]
    fn the_series_of_minus_log_meets_the_difference() {
        for x in [9.9e-4, 9e-4] {
            assert!((minus_log(x) / (x - x.ln_1p()) - 1.0).abs() < 1e-9);
        }
    }
}
