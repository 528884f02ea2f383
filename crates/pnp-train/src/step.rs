//! One training step in two phases.
//!
//! First the network embeds the batch and the loss gives its value and its gradient with respect
//! to the embeddings, on the host. Then that gradient goes backward through the network. With
//! chunks, the first phase keeps no tape and the second embeds each chunk again, so that the
//! memory is a chunk's and the loss still that of the whole batch.

use pnp_data::Batch;
use pnp_model::{Network, ParameterGradients};
use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Loss, LossCounts, LossOutput};

use crate::error::TrainError;
use crate::optimizer::OptimizerState;
use crate::schedule::Rates;

/// What a step was like.
pub(crate) struct StepOutcome {
    pub(crate) loss: f64,
    pub(crate) gradient_norm: f64,
    pub(crate) counts: LossCounts,
}

/// What became no number; nothing was changed then.
pub(crate) enum StepError {
    NotFinite(&'static str),
    Other(TrainError),
}

/// Moves the network by the loss of one batch, embedding `chunk` images at once (0: all).
pub(crate) fn train_step(
    network: &mut Network,
    loss: &dyn Loss,
    optimizer: &mut OptimizerState,
    rates: Rates,
    batch: Batch,
    chunk: usize,
) -> Result<StepOutcome, StepError> {
    let images = batch.shape[0];
    let (output, gradients) = if chunk == 0 || chunk >= images {
        whole(network, loss, batch)?
    } else {
        in_chunks(network, loss, &batch, chunk)?
    };
    if output.counts.queries == 0 {
        // Nothing to learn from: without this, weight decay alone would move the network.
        return Ok(StepOutcome { loss: 0.0, gradient_norm: 0.0, counts: output.counts });
    }
    let gradient_norm = gradients.norm();
    if !gradient_norm.is_finite() {
        return Err(StepError::NotFinite("gradient"));
    }
    gradients.apply_statistics(network.parameters_mut());
    optimizer.step(network.parameters_mut(), &gradients, rates);
    Ok(StepOutcome { loss: output.value, gradient_norm, counts: output.counts })
}

fn whole(
    network: &Network,
    loss: &dyn Loss,
    batch: Batch,
) -> Result<(LossOutput<f32>, ParameterGradients), StepError> {
    let pass = network.embed_for_training(network.images(batch.pixels, batch.shape));
    let mut output = forward(network, loss, &pass.embeddings(), &batch.labels)?;
    let gradients = pass.backward(std::mem::take(&mut output.gradient));
    Ok((output, gradients))
}

fn in_chunks(
    network: &Network,
    loss: &dyn Loss,
    batch: &Batch,
    chunk: usize,
) -> Result<(LossOutput<f32>, ParameterGradients), StepError> {
    let [_, channels, height, width] = batch.shape;
    let image = channels * height * width;
    let images = |pixels: &[f32]| {
        network.images(pixels.to_vec(), [pixels.len() / image, channels, height, width])
    };
    let mut embeddings = Vec::new();
    for pixels in batch.pixels.chunks(chunk * image) {
        embeddings.extend(pnp_model::to_host(network.embed(images(pixels))));
    }
    let output = forward(network, loss, &embeddings, &batch.labels)?;
    let dim = network.config().embed_dim;
    let mut sum: Option<ParameterGradients> = None;
    let chunks = batch.pixels.chunks(chunk * image).zip(output.gradient.chunks(chunk * dim));
    for (pixels, gradient) in chunks {
        let part = network.embed_for_training(images(pixels)).backward(gradient.to_vec());
        match &mut sum {
            Some(sum) => sum.accumulate(part),
            None => sum = Some(part),
        }
    }
    let gradients = sum.ok_or(StepError::NotFinite("batch"))?;
    Ok((output, gradients))
}

fn forward(
    network: &Network,
    loss: &dyn Loss,
    embeddings: &[f32],
    labels: &[u32],
) -> Result<LossOutput<f32>, StepError> {
    if embeddings.iter().any(|value| !value.is_finite()) {
        return Err(StepError::NotFinite("embedding"));
    }
    let dim = network.config().embed_dim;
    let embeddings = Embeddings::new(embeddings, dim).map_err(other)?;
    let output = loss.forward_f32(&embeddings, labels).map_err(other)?;
    if !output.value.is_finite() {
        return Err(StepError::NotFinite("loss"));
    }
    Ok(output)
}

fn other(error: pnp_ranking::RankingError) -> StepError {
    StepError::Other(error.into())
}
