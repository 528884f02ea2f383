//! What a training writes into its run folder, in the run folder's own terms.

use pnp_ranking::metric::{Evaluation, Metric};
use pnp_run::{Event, Score};

use crate::config::TrainConfig;
use crate::error::TrainError;

/// The headline setting that says where the first weights came from.
pub(crate) const WEIGHTS: &str = "weights";

/// An evaluation as it is recorded.
pub(crate) fn evaluation(
    epoch: u64,
    split: &str,
    evaluation: &Evaluation,
    skipped: usize,
    seconds: f64,
) -> Result<Event, TrainError> {
    let mut scores = Vec::new();
    for (name, value) in &evaluation.scores {
        scores.push(Score::new(name, Metric::parse(name)?.family(), *value));
    }
    let counts = evaluation.counts.named().into_iter().chain([("skipped_images", skipped)]);
    let counts = counts.map(|(name, count)| (name.to_owned(), count)).collect();
    Ok(Event::Evaluation { epoch, split: split.to_owned(), scores, counts, seconds })
}

/// The settings that a summary shows.
pub(crate) fn headline(config: &TrainConfig, loss: &str, weights: &str) -> Vec<(String, String)> {
    let rates = if config.fc_lr > 0.0 {
        format!("{} (head {})", config.lr, config.fc_lr)
    } else {
        config.lr.to_string()
    };
    [
        ("data", config.source_path.display().to_string()),
        ("network", format!("{}, embedding of {}", config.arch, config.embed_dim)),
        (WEIGHTS, weights.to_owned()),
        ("loss", loss.to_owned()),
        (
            "batch",
            format!(
                "{} images, {} per class, {}",
                config.batch_size, config.samples_per_class, config.data_sampler
            ),
        ),
        ("images", format!("{} pixels, crop scale {:?}", config.image_size, config.crop_scale)),
        ("optimiser", format!("{:?}, decay {}", config.optim, config.decay).to_lowercase()),
        ("learning rate", rates),
        ("epochs", config.n_epochs.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
