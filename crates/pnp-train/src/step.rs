//! One training step in two phases.
//!
//! First the network embeds the batch and the loss gives its value and its gradient with respect
//! to the embeddings, on the host. Then that gradient goes backward through the network. With
//! chunks, the first phase keeps no tape and the second embeds each chunk again, so that the
//! memory is a chunk's and the loss still that of the whole batch.
//!
//! The embeddings are all that a step waits for on the device: the norm of its gradient and the
//! proxies that it moved stay there until the next one waits.

use pnp_data::{Batch, Pixels};
use pnp_model::{GradientNorm, Network, ParameterGradients};
use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Items, LossCounts, LossOutput};

use crate::error::TrainError;
use crate::model;
use crate::objective::Objective;
use crate::optimizer::OptimizerState;
use crate::schedule::Rates;

/// What a step was like.
pub(crate) struct StepOutcome {
    pub(crate) loss: f64,
    /// Not read back yet.
    pub(crate) gradient_norm: GradientNorm,
    pub(crate) counts: LossCounts,
}

/// Why there was no step.
pub(crate) enum StepError {
    /// What became no number; nothing was changed then.
    NotFinite(&'static str),
    Other(Box<TrainError>),
}

/// All that a step moves, and how.
pub(crate) struct Stepper<'a> {
    pub(crate) network: &'a mut Network,
    pub(crate) objective: &'a mut Objective,
    pub(crate) optimizer: &'a mut OptimizerState,
    pub(crate) rates: Rates,
    /// The number of the step, from 0.
    pub(crate) step: u64,
    /// Images embedded at once; 0: all.
    pub(crate) chunk: usize,
    /// Called once the device has been waited for: what it was given before is done then.
    pub(crate) waited: &'a mut dyn FnMut(&mut Objective) -> Result<(), TrainError>,
}

/// What the first phase leaves, and the second.
struct Pass {
    /// Of the whole batch.
    embeddings: Vec<f32>,
    output: LossOutput<f32>,
    gradients: ParameterGradients,
}

/// What the loss is told of the items of a batch.
struct Labels {
    classes: Vec<u32>,
    ids: Vec<u64>,
}

impl Stepper<'_> {
    /// Moves the network by the loss of one batch.
    pub(crate) fn step(mut self, batch: Batch) -> Result<StepOutcome, StepError> {
        let images = batch.shape[0];
        let ids = batch.indices.iter().map(|&index| index.into()).collect();
        let labels = Labels { classes: batch.labels, ids };
        let (pixels, shape) = (batch.pixels, batch.shape);
        let Pass { embeddings, output, gradients } = if self.chunk == 0 || self.chunk >= images {
            self.whole(pixels, shape, &labels)?
        } else {
            self.in_chunks(&pixels, shape, &labels)?
        };
        let counts = output.counts;
        if counts.terms == 0 {
            // Nothing to learn from: without this, weight decay and old moments alone would move
            // the network.
            self.objective.step(
                items(self.network, &embeddings, &labels)?,
                None,
                self.rates.proxies,
            )?;
            let gradient_norm = GradientNorm::default();
            return Ok(StepOutcome { loss: 0.0, gradient_norm, counts });
        }
        if !output.proxy_gradient.iter().flatten().all(|g| g.is_finite()) {
            return Err(StepError::NotFinite("gradient"));
        }
        let gradient_norm = gradients.norm();
        gradients.apply_statistics(self.network.parameters_mut());
        self.optimizer.step(self.network.parameters_mut(), gradients, self.rates);
        self.objective.step(
            items(self.network, &embeddings, &labels)?,
            output.proxy_gradient,
            self.rates.proxies,
        )?;
        Ok(StepOutcome { loss: output.value, gradient_norm, counts })
    }

    fn whole(
        &mut self,
        pixels: Pixels,
        shape: [usize; 4],
        labels: &Labels,
    ) -> Result<Pass, StepError> {
        let pass = self.network.embed_for_training(model::images(self.network, pixels, shape));
        let embeddings = pass.embeddings();
        self.waited()?;
        let mut output = self.forward(&embeddings, labels)?;
        let gradients = pass.backward(std::mem::take(&mut output.gradient));
        Ok(Pass { embeddings, output, gradients })
    }

    fn in_chunks(
        &mut self,
        pixels: &Pixels,
        [count, channels, height, width]: [usize; 4],
        labels: &Labels,
    ) -> Result<Pass, StepError> {
        let image = channels * height * width;
        let chunk = self.chunk;
        let images = |network: &Network, first: usize| {
            let end = count.min(first + chunk);
            let shape = [end - first, channels, height, width];
            model::images(network, pixels.part(first * image..end * image), shape)
        };
        let starts = || (0..count).step_by(chunk);
        let mut embeddings = Vec::new();
        for first in starts() {
            let images = images(self.network, first);
            embeddings.extend(pnp_model::to_host(self.network.embed(images)));
        }
        self.waited()?;
        let output = self.forward(&embeddings, labels)?;
        let dim = self.network.config().embed_dim;
        let mut sum: Option<ParameterGradients> = None;
        let gradients = output.gradient.chunks(chunk * dim);
        for (first, gradient) in starts().zip(gradients) {
            let pass = self.network.embed_for_training(images(self.network, first));
            let part = pass.backward(gradient.to_vec());
            match &mut sum {
                Some(sum) => sum.accumulate(part),
                None => sum = Some(part),
            }
        }
        let gradients = sum.ok_or(StepError::NotFinite("batch"))?;
        Ok(Pass { embeddings, output, gradients })
    }

    fn waited(&mut self) -> Result<(), StepError> {
        (self.waited)(self.objective).map_err(|error| StepError::Other(Box::new(error)))
    }

    fn forward(&self, embeddings: &[f32], labels: &Labels) -> Result<LossOutput<f32>, StepError> {
        if embeddings.iter().any(|value| !value.is_finite()) {
            return Err(StepError::NotFinite("embedding"));
        }
        let batch = items(self.network, embeddings, labels)?;
        let output = self.objective.compute(batch, self.step).map_err(other)?;
        if !output.value.is_finite() {
            return Err(StepError::NotFinite("loss"));
        }
        Ok(output)
    }
}

fn items<'a>(
    network: &Network,
    embeddings: &'a [f32],
    labels: &'a Labels,
) -> Result<Items<'a, f32>, StepError> {
    let embeddings = Embeddings::new(embeddings, network.config().embed_dim).map_err(other)?;
    Items::new(embeddings, &labels.classes)
        .and_then(|items| items.with_ids(&labels.ids))
        .map_err(other)
}

pub(crate) fn other(error: pnp_ranking::RankingError) -> StepError {
    StepError::Other(Box::new(error.into()))
}
