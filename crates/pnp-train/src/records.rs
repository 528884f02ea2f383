//! What a training writes into its run folder, in the run folder's own terms.

use pnp_model::GradientNorm;
use pnp_ranking::metric::{Evaluation, Metric, Resampling, bootstrap};
use pnp_run::{Event, RunFolder, Score};

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::objective::Objective;

/// The headline setting that says where the first weights came from.
pub(crate) const WEIGHTS: &str = "weights";

/// What share of resampled means the recorded intervals hold.
const LEVEL: f64 = 0.95;

/// A step that was taken, of which something is still on the device.
pub(crate) struct TakenStep {
    pub(crate) epoch: u64,
    pub(crate) step: u64,
    pub(crate) gradient_norm: GradientNorm,
    /// What is recorded of it, from the norm.
    pub(crate) event: Box<dyn FnOnce(f64) -> Event>,
}

impl TakenStep {
    /// Reads what is left and records the step.
    ///
    /// # Errors
    ///
    /// [`TrainError::Diverged`] where the norm or a proxy is no finite number: what the step left
    /// is worth nothing then.
    pub(crate) fn record(
        self,
        objective: &mut Objective,
        run: &mut RunFolder,
    ) -> Result<(), TrainError> {
        let Self { epoch, step, gradient_norm, event } = self;
        let diverged = |what| TrainError::Diverged { what, epoch, step };
        objective.settle().map_err(diverged)?;
        let gradient_norm = gradient_norm.read();
        if !gradient_norm.is_finite() {
            return Err(diverged("gradient"));
        }
        run.append(&event(gradient_norm))?;
        Ok(())
    }
}

/// An evaluation as it is recorded: each ranking metric with its bootstrap interval.
pub(crate) fn evaluation(
    epoch: u64,
    split: &str,
    evaluation: &Evaluation,
    skipped: usize,
    seconds: f64,
) -> Result<Event, TrainError> {
    let intervals = bootstrap(&evaluation.queries, LEVEL, &Resampling::default())?;
    let ranked = evaluation.queries.metrics();
    let mut scores = Vec::new();
    for (name, value) in &evaluation.scores {
        let score = Score::new(name, Metric::parse(name)?.family(), *value);
        let place = ranked.iter().position(|ranked| ranked == name);
        let interval = place.map(|place| [intervals[place].low, intervals[place].high]);
        scores.push(Score { interval, ..score });
    }
    let lists = evaluation.lists.iter().cloned().collect();
    let counts = evaluation.counts.named().into_iter().chain([("skipped_images", skipped)]);
    let counts = counts.map(|(name, count)| (name.to_owned(), count)).collect();
    Ok(Event::Evaluation { epoch, split: split.to_owned(), scores, lists, counts, seconds })
}

/// The settings that a summary shows.
pub(crate) fn headline(
    config: &TrainConfig,
    objective: &Objective,
    weights: &str,
) -> Result<Vec<(String, String)>, TrainError> {
    let network_settings = config.network_settings()?;
    let network = network_settings.name(&config.arch);
    let loss = objective.name();
    let proxy_rate = objective.trains_proxies().then(|| objective.proxy_rate());
    let rates = if config.fc_lr > 0.0 {
        format!("{} (head {})", config.lr, config.fc_lr)
    } else {
        config.lr.to_string()
    };
    let memory = match (config.memory, config.memory_start) {
        (0, _) => String::new(),
        (memory, 0) => format!("{memory} embeddings"),
        (memory, start) => format!("{memory} embeddings, used from step {start} on"),
    };
    let proxies = match proxy_rate {
        Some(rate) if config.proxy_lr < 0.0 => format!("learning rate {}", rate * config.lr),
        Some(_) => format!("learning rate {}", config.proxy_lr),
        None => String::new(),
    };
    let settings = [
        ("data", config.source_path.display().to_string()),
        ("network", format!("{network}, embedding of {}", config.embed_dim)),
        ("input", network_settings.input.name().to_owned()),
        (
            "frozen stages",
            config.freeze_until.as_ref().map_or(String::new(), |s| format!("up to {s}")),
        ),
        (WEIGHTS, weights.to_owned()),
        ("precision", config.precision.clone()),
        ("loss", loss),
        ("memory", memory),
        ("proxies", proxies),
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
    ];
    let given = settings.into_iter().filter(|(_, value)| !value.is_empty());
    Ok(given.map(|(name, value)| (name.to_owned(), value)).collect())
}
