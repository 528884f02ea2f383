//! The PNP loss: penalising negative instances before positive ones (Li et al., AAAI 2022).
//!
//! For a query q and a positive p, `R(q, p) = Σ σ((s_qn - s_qp) / anneal)` over the negatives n is
//! the smooth number of negatives that rank before p. The loss is the mean over the queries of the
//! mean over each query's positives of `f(R)`; the variants differ in f.

use std::fmt;
use std::str::FromStr;

use super::lanes::add_scaled;
use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::sigmoid::smooth_count;
use super::spec::{Parameters, check_positive};
use super::{LossEntry, PnpSettings};
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "PNP",
    summary: "penalises the negatives that rank before each positive; variants PNP-O, PNP-I_u, \
              PNP-I_b, PNP-D_s, PNP-D_q (AAAI 2022)",
    proxies: false,
    build: |parameters| {
        let settings = PnpSettings::read(parameters)?;
        Ok(Box::new(PnpLoss::new(&settings)?))
    },
};

impl PnpSettings {
    pub(super) fn read(parameters: &mut Parameters<'_>) -> Result<Self, RankingError> {
        let shared = parameters.shared().clone();
        let named = PnpVariant::ALL.into_iter().find(|v| v.name() == parameters.asked());
        let variant = match named {
            Some(variant) => variant,
            None => parameters.parsed("variant", shared.variant)?,
        };
        Ok(Self {
            variant,
            alpha: match variant {
                PnpVariant::Dq => parameters.optional_number("alpha", shared.alpha)?,
                _ => shared.alpha,
            },
            b: match variant {
                PnpVariant::Ib => parameters.number("b", shared.b)?,
                _ => shared.b,
            },
            anneal: parameters.number("anneal", shared.anneal)?,
            count_query: parameters.flag("count_query", shared.count_query)?,
        })
    }
}

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
/// use pnp_ranking::loss::{Loss, PnpLoss, PnpSettings};
///
/// let loss = PnpLoss::new(&PnpSettings { anneal: 0.05, ..PnpSettings::default() })?;
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
    alpha: Option<f64>,
    b: f64,
    anneal: f64,
    count_query: bool,
}

impl PnpLoss {
    /// Checks the settings. All of them, also those that the variant does not use.
    ///
    /// # Errors
    /// [`RankingError::Setting`] with the first rule that is broken.
    pub fn new(settings: &PnpSettings) -> Result<Self, RankingError> {
        let &PnpSettings { variant, alpha, b, anneal, count_query } = settings;
        // The bounds keep every power and quotient finite in f32.
        let rule = "it must be a number from 1 to 1000000";
        if let Some(alpha) = alpha.filter(|alpha| !(1.0..=1e6).contains(alpha)) {
            let value = alpha.to_string();
            return Err(RankingError::Setting { setting: "alpha", value, rule });
        }
        if variant == PnpVariant::Dq && alpha.is_none() {
            let rule = "PNP-D_q needs its exponent: the authors' command uses 4, the documents of \
                        PyTorch Metric Learning say the paper uses 8";
            return Err(RankingError::Setting { setting: "alpha", value: "(none)".into(), rule });
        }
        check_positive("b", b)?;
        check_positive("anneal", anneal)?;
        Ok(Self { variant, alpha, b, anneal, count_query })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> PnpSettings {
        let Self { variant, alpha, b, anneal, count_query } = *self;
        PnpSettings { variant, alpha, b, anneal, count_query }
    }

    /// The exponent of PNP-D_q; that variant is never made without one.
    fn exponent(&self) -> f64 {
        self.alpha.unwrap_or(1.0)
    }

    /// f(R), the cost of R negatives before a positive.
    pub fn cost(&self, r: f64) -> f64 {
        match self.variant {
            PnpVariant::O => r,
            PnpVariant::Iu => (1.0 + r) * r.ln_1p(),
            PnpVariant::Ib => minus_log(self.b * r) / (self.b * self.b),
            PnpVariant::Ds => r.ln_1p(),
            PnpVariant::Dq => -(-self.exponent() * r.ln_1p()).exp_m1(),
        }
    }

    /// f'(R), how the cost grows with R.
    pub fn cost_slope(&self, r: f64) -> f64 {
        match self.variant {
            PnpVariant::O => 1.0,
            PnpVariant::Iu => 1.0 + r.ln_1p(),
            PnpVariant::Ib => r / (1.0 + self.b * r),
            PnpVariant::Ds => 1.0 / (1.0 + r),
            PnpVariant::Dq => {
                let alpha = self.exponent();
                alpha * (-(alpha + 1.0) * r.ln_1p()).exp()
            }
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

impl ListLoss for PnpLoss {
    fn describe(&self) -> String {
        let parameter = match self.variant {
            PnpVariant::Dq => format!("alpha={}, ", self.exponent()),
            PnpVariant::Ib => format!("b={}, ", self.b),
            _ => String::new(),
        };
        let query = if self.count_query { "" } else { ", count_query=false" };
        format!("{}({parameter}anneal={}{query})", self.variant, self.anneal)
    }

    fn counts_query(&self) -> bool {
        self.count_query
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> ListCost {
        let positive_count = list.positives.len() as f64;
        let inverse_anneal = T::narrow(1.0 / self.anneal);
        let mut cost = 0.0;
        for (p, &similarity) in list.positives.iter().enumerate() {
            let before =
                smooth_count(list.negatives, similarity, inverse_anneal, &mut scratch.slopes);
            cost += self.cost(before.count);
            if before.slope == 0.0 {
                continue; // Every sigmoid is saturated: no negative pulls.
            }
            let pull = self.cost_slope(before.count) / (positive_count * self.anneal);
            slopes.positives[p] -= T::narrow(pull * before.slope);
            add_scaled(slopes.negatives, T::narrow(pull), &scratch.slopes);
        }
        ListCost::one(cost / positive_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variant: PnpVariant) -> PnpSettings {
        PnpSettings { variant, alpha: Some(3.5), ..PnpSettings::default() }
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
        let name = |settings: &PnpSettings| PnpLoss::new(settings).unwrap().describe();
        assert_eq!(name(&settings(PnpVariant::Dq)), "PNP-D_q(alpha=3.5, anneal=0.01)");
        assert_eq!(name(&settings(PnpVariant::Ib)), "PNP-I_b(b=2, anneal=0.01)");
        let without = PnpSettings { count_query: false, ..settings(PnpVariant::O) };
        assert_eq!(name(&without), "PNP-O(anneal=0.01, count_query=false)");
        assert_eq!(PnpLoss::new(&without).unwrap().settings(), without);
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let default = PnpSettings::default;
        for (setting, bad) in [
            ("alpha", PnpSettings { alpha: Some(0.5), ..default() }),
            ("alpha", PnpSettings { alpha: Some(f64::INFINITY), ..default() }),
            ("b", PnpSettings { b: 0.0, ..default() }),
            ("b", PnpSettings { b: f64::NAN, ..default() }),
            ("anneal", PnpSettings { anneal: 0.0, ..default() }),
            ("anneal", PnpSettings { anneal: -0.01, ..default() }),
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
