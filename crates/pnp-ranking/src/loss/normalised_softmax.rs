//! Normalised softmax: classification with one unit vector per class (Zhai and Wu, Classification
//! is a Strong Baseline for Deep Metric Learning, BMVC 2019).
//!
//! For an item x of class y and proxies w of length 1, the loss is the mean over the items of
//! `-log(exp(x·w_y / T) / Σ_c exp(x·w_c / T)) = log(1 + Σ_{c≠y} exp((x·w_c - x·w_y) / T))`.

use std::ops::Range;

use super::list::{ListCost, ListLoss, RankedList, Scratch, Slopes};
use super::log_sum_exp::SoftMaximum;
use super::proxies::UnitRows;
use super::spec::check_positive;
use super::{Items, Loss, LossEntry, LossInput, LossOutput, engine};
use crate::error::RankingError;
use crate::real::Real;

/// The registry's line.
pub(super) const ENTRY: LossEntry = LossEntry {
    name: "normalised-softmax",
    summary: "cross entropy over cosines to a trained proxy per class (BMVC 2019)",
    proxies: true,
    build: |parameters| {
        let default = NormalisedSoftmaxSettings::default();
        let temperature = parameters.number("temperature", default.temperature)?;
        Ok(Box::new(NormalisedSoftmaxLoss::new(&NormalisedSoftmaxSettings { temperature })?))
    },
};

/// Settings of the normalised softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalisedSoftmaxSettings {
    /// T, a millionth to 1,000,000. Default: 0.05, as in the paper.
    pub temperature: f64,
}

impl Default for NormalisedSoftmaxSettings {
    fn default() -> Self {
        Self { temperature: 0.05 }
    }
}

/// The normalised softmax with checked settings.
#[derive(Debug, Clone, PartialEq)]
pub struct NormalisedSoftmaxLoss {
    settings: NormalisedSoftmaxSettings,
}

impl NormalisedSoftmaxLoss {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn new(settings: &NormalisedSoftmaxSettings) -> Result<Self, RankingError> {
        check_positive("temperature", settings.temperature)?;
        Ok(Self { settings: settings.clone() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &NormalisedSoftmaxSettings {
        &self.settings
    }

    fn compute<T: Real>(&self, input: &LossInput<'_, T>) -> Result<LossOutput<T>, RankingError> {
        let Some(proxies) = &input.proxies else {
            return Err(RankingError::NoProxies { loss: self.name() });
        };
        let unit = UnitRows::of(proxies);
        let labels: Vec<u32> = (0..proxies.rows() as u32).collect();
        let rows = Rows { temperature: self.settings.temperature };
        let against = LossInput::against(input.batch, Items::new(unit.embeddings(), &labels)?)?;
        let mut output = engine::compute(&rows, &against.with_reference_gradient())?;
        output.proxy_gradient = output.reference_gradient.take();
        if let Some(gradient) = &mut output.proxy_gradient {
            unit.through_normalisation(gradient);
        }
        Ok(output)
    }
}

impl Loss for NormalisedSoftmaxLoss {
    fn name(&self) -> String {
        format!("normalised-softmax(temperature={})", self.settings.temperature)
    }

    fn trains_proxies(&self) -> bool {
        true
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

/// An item's list of proxies: its class's is the only positive.
#[derive(Debug)]
struct Rows {
    temperature: f64,
}

impl ListLoss for Rows {
    fn describe(&self) -> String {
        "normalised-softmax".into()
    }

    #[inline(always)]
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> ListCost {
        let [positive] = list.positives else { return ListCost::default() };
        let soft = SoftMaximum { scale: 1.0 / self.temperature, shift: positive.wide() };
        let sum = soft.add(list.negatives, 1.0, slopes.negatives, &mut scratch.slopes);
        slopes.positives[0] = -T::narrow(sum.slope);
        ListCost::one(sum.value)
    }
}
