//! Proxy-anchor: each class's proxy pulls its items and pushes all others (Kim et al., Proxy
//! Anchor Loss for Deep Metric Learning, CVPR 2020).
//!
//! With P all proxies, P⁺ those of the classes in the batch, and X⁺, X⁻ a proxy's items and the
//! others, equation (4) of the paper:
//!
//! ```text
//! 1/|P⁺| Σ_{p in P⁺} log(1 + Σ_{x in X⁺} exp(-α (s(x, p) - δ)))
//!  + 1/|P| Σ_{p in P} log(1 + Σ_{x in X⁻} exp( α (s(x, p) + δ)))
//! ```

use std::ops::Range;

use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::log_sum_exp::SoftMaximum;
use super::proxies::UnitRows;
use super::spec::{check, check_positive};
use super::{Items, Loss, LossCounts, LossEntry, LossInput, LossOutput, engine};
use crate::classes::Classes;
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "proxy-anchor",
    summary: "a trained proxy per class as the query of a soft margin loss (CVPR 2020)",
    proxies: true,
    build: |parameters| {
        let default = ProxyAnchorSettings::default();
        let alpha = parameters.number("alpha", default.alpha)?;
        let delta = parameters.number("delta", default.delta)?;
        Ok(Box::new(ProxyAnchorLoss::new(&ProxyAnchorSettings { alpha, delta })?))
    },
};

/// Settings of proxy-anchor.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyAnchorSettings {
    /// The scale α, a millionth to 1,000,000. Default: 32, as in the paper.
    pub alpha: f64,
    /// The margin δ, -2 to 2. Default: 0.1, as in the paper.
    pub delta: f64,
}

impl Default for ProxyAnchorSettings {
    fn default() -> Self {
        Self { alpha: 32.0, delta: 0.1 }
    }
}

/// Proxy-anchor with checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyAnchorLoss {
    settings: ProxyAnchorSettings,
}

impl ProxyAnchorLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &ProxyAnchorSettings) -> Result<Self, RankingError> {
        check_positive("alpha", settings.alpha)?;
        let holds = (-2.0..=2.0).contains(&settings.delta);
        check("delta", settings.delta, holds, "it must be a number from -2 to 2")?;
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &ProxyAnchorSettings {
        &self.settings
    }

    fn compute<T: Real>(&self, input: &LossInput<'_, T>) -> Result<LossOutput<T>, RankingError> {
        let Some(proxies) = &input.proxies else {
            return Err(RankingError::NoProxies { loss: self.name() });
        };
        let (items, classes) = (input.batch.len(), proxies.rows());
        let present = Classes::new(input.batch.labels()).len();
        if present == 0 {
            return Ok(LossOutput {
                value: 0.0,
                gradient: Vec::new(),
                reference_gradient: None,
                proxy_gradient: Some(vec![T::ZERO; proxies.values().len()]),
                counts: LossCounts { references: classes, ..LossCounts::default() },
            });
        }
        let unit = UnitRows::of(proxies);
        let labels: Vec<u32> = (0..classes as u32).collect();
        let rows = Rows {
            settings: &self.settings,
            // The engine divides by all proxies; the positive part is to be divided by these.
            positive_weight: classes as f64 / present as f64,
        };
        // The proxies are the queries: so the engine's two gradients change places.
        let turned = LossInput::against(Items::new(unit.embeddings(), &labels)?, input.batch)?;
        let output = engine::compute(&rows, &turned.with_reference_gradient())?;
        let mut proxy_gradient = output.gradient;
        unit.through_normalisation(&mut proxy_gradient);
        Ok(LossOutput {
            value: output.value,
            gradient: output.reference_gradient.unwrap_or_default(),
            reference_gradient: None,
            proxy_gradient: Some(proxy_gradient),
            counts: LossCounts {
                items,
                references: classes,
                queries: items,
                positives: items,
                negatives: items * (classes - 1),
                terms: items,
                ..LossCounts::default()
            },
        })
    }
}

impl Loss for ProxyAnchorLoss {
    fn name(&self) -> String {
        let ProxyAnchorSettings { alpha, delta } = self.settings;
        format!("proxy-anchor(alpha={alpha}, delta={delta})")
    }

    fn trains_proxies(&self) -> bool {
        true
    }

    fn proxy_rate(&self) -> f64 {
        100.0
    }

    fn ranks_references(&self) -> bool {
        false
    }

    fn compute_f32(&self, input: &LossInput<'_, f32>) -> Result<LossOutput<f32>, RankingError> {
        self.compute(input)
    }

    fn compute_f64(&self, input: &LossInput<'_, f64>) -> Result<LossOutput<f64>, RankingError> {
        self.compute(input)
    }

    fn slopes_f64(
        &self,
        input: &LossInput<'_, f64>,
        queries: Range<usize>,
    ) -> Result<Vec<f64>, RankingError> {
        Ok(vec![0.0; queries.len() * input.reference_count()])
    }
}

/// A proxy's list of items.
#[derive(Debug)]
struct Rows<'a> {
    settings: &'a ProxyAnchorSettings,
    positive_weight: f64,
}

impl ListLoss for Rows<'_> {
    fn describe(&self) -> String {
        "proxy-anchor".into()
    }

    fn takes_lone_queries(&self) -> bool {
        true
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> ListCost {
        let &ProxyAnchorSettings { alpha, delta } = self.settings;
        let near = SoftMaximum { scale: -alpha, shift: delta };
        let weight = self.positive_weight;
        let near = near.add(list.positives, weight, slopes.positives, &mut scratch.positives);
        let far = SoftMaximum { scale: alpha, shift: -delta };
        let far = far.add(list.negatives, 1.0, slopes.negatives, &mut scratch.slopes);
        ListCost::one(weight * near.value + far.value)
    }
}
