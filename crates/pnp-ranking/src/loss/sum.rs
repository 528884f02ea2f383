//! A weighted sum of losses.

use std::ops::Range;

use super::{Loss, LossCounts, LossInput, LossOutput};
use crate::error::RankingError;
use crate::real::Real;

/// Losses with a weight each, as one loss. Each computes its own similarities.
#[derive(Debug)]
pub struct WeightedSum {
    parts: Vec<(f64, Box<dyn Loss>)>,
}

impl WeightedSum {
    /// A sum of at least one loss.
    ///
    /// # Errors
    /// [`RankingError::LossSyntax`] without a loss; [`RankingError::Setting`] if a weight is
    /// negative or no number; [`RankingError::TwoProxyLosses`], since there is one table of
    /// proxies.
    pub fn new(parts: Vec<(f64, Box<dyn Loss>)>) -> Result<Self, RankingError> {
        if parts.is_empty() {
            let (text, reason) = (String::new(), "a sum has at least one loss".into());
            return Err(RankingError::LossSyntax { text, reason });
        }
        if let Some((weight, _)) = parts.iter().find(|(w, _)| !(0.0..=1e6).contains(w)) {
            return Err(RankingError::Setting {
                setting: "weight of a loss",
                value: weight.to_string(),
                rule: "it must be a number from 0 to 1000000",
            });
        }
        let mut with_proxies = parts.iter().filter(|(_, loss)| loss.trains_proxies());
        if let (Some((_, first)), Some((_, second))) = (with_proxies.next(), with_proxies.next()) {
            return Err(RankingError::TwoProxyLosses {
                first: first.name(),
                second: second.name(),
            });
        }
        Ok(Self { parts })
    }

    fn compute<T: Real>(
        &self,
        compute: impl Fn(&dyn Loss) -> Result<LossOutput<T>, RankingError>,
    ) -> Result<LossOutput<T>, RankingError> {
        let mut sum: Option<LossOutput<T>> = None;
        // What is counted is counted of the first loss that ranks references, if there is one:
        // losses with proxies know no lone queries.
        let mut counts = None;
        for (weight, loss) in &self.parts {
            let mut part = compute(loss.as_ref())?;
            if loss.ranks_references() && counts.is_none() {
                counts = Some(part.counts);
            }
            let narrow = T::narrow(*weight);
            part.value *= weight;
            for gradient in part.gradients_mut() {
                for g in gradient.iter_mut() {
                    *g = *g * narrow;
                }
            }
            match &mut sum {
                None => sum = Some(part),
                Some(sum) => add(sum, part),
            }
        }
        let mut sum = sum.expect("a sum has at least one loss");
        if let Some(counts) = counts {
            sum.counts = LossCounts { terms: sum.counts.terms, ..counts };
        }
        Ok(sum)
    }
}

fn add<T: Real>(sum: &mut LossOutput<T>, part: LossOutput<T>) {
    sum.value += part.value;
    sum.counts.terms += part.counts.terms;
    let add = |to: &mut Vec<T>, more: &[T]| to.iter_mut().zip(more).for_each(|(a, &b)| *a += b);
    add(&mut sum.gradient, &part.gradient);
    for (to, more) in [
        (&mut sum.reference_gradient, part.reference_gradient),
        (&mut sum.proxy_gradient, part.proxy_gradient),
    ] {
        match (to, more) {
            (Some(to), Some(more)) => add(to, &more),
            (to @ None, more) => *to = more,
            (Some(_), None) => {}
        }
    }
}

impl Loss for WeightedSum {
    fn name(&self) -> String {
        let parts = self.parts.iter().map(|(weight, loss)| format!("{}:{weight}", loss.name()));
        parts.collect::<Vec<_>>().join(",")
    }

    fn trains_proxies(&self) -> bool {
        self.parts.iter().any(|(_, loss)| loss.trains_proxies())
    }

    fn proxy_rate(&self) -> f64 {
        let trained = self.parts.iter().find(|(_, loss)| loss.trains_proxies());
        trained.map_or(1.0, |(_, loss)| loss.proxy_rate())
    }

    fn ranks_references(&self) -> bool {
        self.parts.iter().any(|(_, loss)| loss.ranks_references())
    }

    fn compute_f32(&self, input: &LossInput<'_, f32>) -> Result<LossOutput<f32>, RankingError> {
        self.compute(|loss| loss.compute_f32(input))
    }

    fn compute_f64(&self, input: &LossInput<'_, f64>) -> Result<LossOutput<f64>, RankingError> {
        self.compute(|loss| loss.compute_f64(input))
    }

    fn slopes_f64(
        &self,
        input: &LossInput<'_, f64>,
        queries: Range<usize>,
    ) -> Result<Vec<f64>, RankingError> {
        let mut sum = vec![0.0; queries.len() * input.reference_count()];
        for (weight, loss) in &self.parts {
            let part = loss.slopes_f64(input, queries.clone())?;
            sum.iter_mut().zip(part).for_each(|(sum, slope)| *sum += weight * slope);
        }
        Ok(sum)
    }
}
