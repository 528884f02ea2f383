//! SupAP: a smooth upper bound of 1 - average precision, with a calibration of similarities
//! (Ramzi et al., Robust and Decomposable Average Precision for Image Retrieval, NeurIPS 2021; the
//! two together are its ROADMAP).
//!
//! For a query with the positives P and the negatives N, and `σ(x) = 1 / (1 + exp(-x / anneal))`,
//!
//! ```text
//! R⁺(i) = 1 + |{j in P, j ≠ i: s_j ≥ s_i}|      R⁻(i) = Σ_{n in N} H(s_n - s_i)
//! H(x) = σ(x)                                   for x ≤ 0
//!      = σ(x) + 1/2                             for 0 < x ≤ delta
//!      = σ(delta) + 1/2 + rho (x - delta)       beyond
//! SupAP = 1 - 1/|P| Σ_{i in P} R⁺(i) / (R⁺(i) + R⁻(i))
//! calibration = mean_{p in P} max(0, positive_margin - s_p)
//!                + mean_{n in N} max(0, s_n - negative_margin)
//! ```
//!
//! and the loss is the mean over the queries of `(1 - λ) SupAP + λ calibration`, λ being the
//! setting `calibration`. The gradient goes through the negatives before a positive alone: R⁺ is
//! exact. So H keeps pushing a negative that is far before a positive, where a sigmoid gives up.
//!
//! Equal positives stand before each other, a negative equal to a positive half before it. The
//! calibration takes all pairs of a list, zeros as well, then the mean over the lists, but never the query's with itself. The authors' code
//! differs there and at `delta`: it takes the mean of what is not zero, and an offset of 1.44 for
//! `σ(delta) + 1/2`, which is 1.4933 with the default settings.

use super::LossEntry;
use super::lanes::{add_scaled, add_terms};
use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::sigmoid::{SmoothCount, count_terms, sigmoid};
use super::spec::{check, check_positive};
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "SupAP",
    summary: "an upper bound of 1 - average precision, and calibrated similarities: ROADMAP \
              (NeurIPS 2021)",
    proxies: false,
    build: |parameters| {
        let default = SupApSettings::default();
        let (anneal, count_query) = (parameters.shared().anneal, parameters.shared().count_query);
        Ok(Box::new(SupApLoss::new(&SupApSettings {
            anneal: parameters.number("anneal", anneal)?,
            rho: parameters.number("rho", default.rho)?,
            delta: parameters.number("delta", default.delta)?,
            calibration: parameters.number("calibration", default.calibration)?,
            positive_margin: parameters.number("positive_margin", default.positive_margin)?,
            negative_margin: parameters.number("negative_margin", default.negative_margin)?,
            count_query: parameters.flag("count_query", count_query)?,
        })?))
    },
};

/// Settings of SupAP.
#[derive(Debug, Clone, PartialEq)]
pub struct SupApSettings {
    /// The temperature of the sigmoid, a millionth to 1,000,000. Default: 0.01; the paper uses
    /// 0.01.
    pub anneal: f64,
    /// The slope beyond `delta`, a millionth to 1,000,000. Default: 100; the paper uses 100.
    pub rho: f64,
    /// How far a negative stands before a positive where the slope turns constant, 0 to 2.
    /// Default: 0.05; the paper uses 0.05.
    pub delta: f64,
    /// The weight λ of the calibration, 0 to 1; 0 leaves SupAP alone. Default: 0.5; the paper uses
    /// 0.5.
    pub calibration: f64,
    /// The similarity that positives are to reach, -1 to 1. Default: 0.9; the paper uses 0.9.
    pub positive_margin: f64,
    /// The similarity that negatives are not to exceed, -1 to 1. Default: 0.6; the paper uses 0.6.
    pub negative_margin: f64,
    /// Whether a query counts among its own positives. Default: true, as in the authors' code.
    pub count_query: bool,
}

impl Default for SupApSettings {
    fn default() -> Self {
        Self {
            anneal: 0.01,
            rho: 100.0,
            delta: 0.05,
            calibration: 0.5,
            positive_margin: 0.9,
            negative_margin: 0.6,
            count_query: true,
        }
    }
}

/// SupAP with checked settings.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{Loss, SmoothApLoss, SupApLoss, SupApSettings};
///
/// let sup_ap = SupApLoss::new(&SupApSettings { calibration: 0.0, ..SupApSettings::default() })?;
/// let smooth_ap = SmoothApLoss::new(&Default::default())?;
/// let values = [1.0, 0.0, 0.8, 0.6, 0.6, 0.8, 0.0, 1.0];
/// let embeddings = Embeddings::new(&values, 2)?;
/// let [upper, smooth] = [
///     sup_ap.forward_f64(&embeddings, &[0, 1, 0, 1])?.value,
///     smooth_ap.forward_f64(&embeddings, &[0, 1, 0, 1])?.value,
/// ];
/// assert!(upper > smooth);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SupApLoss {
    settings: SupApSettings,
}

impl SupApLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &SupApSettings) -> Result<Self, RankingError> {
        let SupApSettings { delta, calibration, .. } = *settings;
        check_positive("anneal", settings.anneal)?;
        check_positive("rho", settings.rho)?;
        let holds = (0.0..=2.0).contains(&delta);
        check("delta", delta, holds, "it must be a number from 0 to 2")?;
        let holds = (0.0..=1.0).contains(&calibration);
        check("calibration", calibration, holds, "it must be a number from 0 to 1")?;
        for (setting, margin) in [
            ("positive_margin", settings.positive_margin),
            ("negative_margin", settings.negative_margin),
        ] {
            let holds = (-1.0..=1.0).contains(&margin);
            check(setting, margin, holds, "it must be a number from -1 to 1")?;
        }
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &SupApSettings {
        &self.settings
    }

    /// R⁻ of a positive; its slope, and each negative's in `slopes`, per unit of the similarity
    /// times `anneal`.
    #[inline(always)]
    fn negatives_before<T: Real>(
        &self,
        positive: T,
        negatives: &[T],
        slopes: &mut [T],
    ) -> SmoothCount {
        let SupApSettings { anneal, rho, delta, .. } = self.settings;
        let [inverse_anneal, delta, rho, far_slope, half] =
            [1.0 / anneal, delta, rho, rho * anneal, 0.5].map(T::narrow);
        count_terms(negatives, slopes, |s| {
            let x = s - positive;
            let far = x > delta;
            let (value, slope) = sigmoid(if far { delta } else { x } * inverse_anneal);
            let value = if x > T::ZERO { value + half } else { value };
            if far { (value + rho * (x - delta), far_slope) } else { (value, slope) }
        })
    }

    /// SupAP times `weight`.
    #[inline(always)]
    fn add_ranks<T: Real>(
        &self,
        weight: f64,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        terms: &mut [T],
    ) -> f64 {
        let positive_count = list.positives.len() as f64;
        let mut cost = 0.0;
        for (place, &similarity) in list.positives.iter().enumerate() {
            // The positive is one of these: it is the 1 of R⁺.
            let positives = list.positives.iter().filter(|&&s| s >= similarity).count() as f64;
            let negatives = self.negatives_before(similarity, list.negatives, terms);
            // Negatives / all, also where there are none or infinitely many.
            cost += 1.0 / (1.0 + positives / negatives.count);
            if negatives.slope == 0.0 {
                continue; // No negative is near or before it.
            }
            let all = positives + negatives.count;
            let pull = weight * positives / (all * all * positive_count * self.settings.anneal);
            slopes.positives[place] -= T::narrow(pull * negatives.slope);
            add_scaled(slopes.negatives, T::narrow(pull), terms);
        }
        weight * cost / positive_count
    }

    /// The calibration times its weight.
    #[inline(always)]
    fn add_calibration<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
    ) -> f64 {
        let SupApSettings { calibration, positive_margin, negative_margin, .. } = self.settings;
        let others = list.positives.len() - usize::from(list.query.is_some());
        // A mean over nothing is 0.
        let positive_weight = calibration / others.max(1) as f64;
        let negative_weight = calibration / list.negative_count.max(1) as f64;

        let mut missing = 0.0;
        for (place, (&s, slope)) in list.positives.iter().zip(&mut *slopes.positives).enumerate() {
            let below = positive_margin - s.wide();
            if below > 0.0 && list.query != Some(place) {
                missing += below;
                *slope -= T::narrow(positive_weight);
            }
        }
        let [margin, weight] = [negative_margin, negative_weight].map(T::narrow);
        let excess = add_terms(list.negatives, slopes.negatives, |s| {
            if s > margin { (s - margin, weight) } else { (T::ZERO, T::ZERO) }
        });
        positive_weight * missing + negative_weight * excess.value
    }
}

impl ListLoss for SupApLoss {
    fn describe(&self) -> String {
        let SupApSettings { anneal, rho, delta, calibration, .. } = self.settings;
        let SupApSettings { positive_margin, negative_margin, count_query, .. } = self.settings;
        let margins = if calibration == 0.0 {
            String::new()
        } else {
            format!(", positive_margin={positive_margin}, negative_margin={negative_margin}")
        };
        let query = if count_query { "" } else { ", count_query=false" };
        format!(
            "SupAP(anneal={anneal}, rho={rho}, delta={delta}, calibration={calibration}{margins}\
             {query})"
        )
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
        let calibration = self.settings.calibration;
        let mut cost = 0.0;
        if calibration < 1.0 {
            cost += self.add_ranks(1.0 - calibration, list, slopes, &mut scratch.slopes);
        }
        if calibration > 0.0 {
            cost += self.add_calibration(list, slopes);
        }
        ListCost::one(cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let default = SupApSettings::default;
        for (setting, bad) in [
            ("anneal", SupApSettings { anneal: 0.0, ..default() }),
            ("rho", SupApSettings { rho: -1.0, ..default() }),
            ("rho", SupApSettings { rho: f64::NAN, ..default() }),
            ("delta", SupApSettings { delta: -0.01, ..default() }),
            ("delta", SupApSettings { delta: 2.5, ..default() }),
            ("calibration", SupApSettings { calibration: 1.5, ..default() }),
            ("calibration", SupApSettings { calibration: f64::NAN, ..default() }),
            ("positive_margin", SupApSettings { positive_margin: 1.1, ..default() }),
            ("negative_margin", SupApSettings { negative_margin: -2.0, ..default() }),
        ] {
            let error = SupApLoss::new(&bad).unwrap_err();
            assert!(
                matches!(error, RankingError::Setting { setting: s, .. } if s == setting),
                "{error}"
            );
        }
    }

    #[test]
    fn the_bound_is_a_step_and_grows_on_a_line() {
        let loss = SupApLoss::new(&SupApSettings::default()).unwrap();
        let at = |x: f64| {
            let count = loss.negatives_before(0.0, &[x], &mut [0.0]);
            (count.count, count.slope / 0.01)
        };
        assert_eq!(at(0.0), (0.5, 25.0));
        assert_eq!(at(f64::NEG_INFINITY), (0.0, 0.0));
        assert!((at(1e-12).0 - 1.0).abs() < 1e-9);
        let at_delta = 1.5 - 1.0 / (1.0 + 5.0_f64.exp());
        assert!((at(0.05).0 - at_delta).abs() < 1e-12 && at(0.05).1 < 1.0);
        assert!((at(0.35).0 - at_delta - 30.0).abs() < 1e-12);
        assert!((at(0.35).1 - 100.0).abs() < 1e-12);
        // It is above the step everywhere but at 0, where a step may stand half.
        for x in [-1.0, -0.01, 0.001, 0.02, 0.06, 2.0] {
            assert!(at(x).0 >= f64::from(u8::from(x > 0.0)), "{x}");
        }
    }
}
