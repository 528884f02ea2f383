//! Everything that a training needs, opened and checked before anything is written.

use std::sync::Arc;

use burn::tensor::Device;
use pnp_data::audit::{Depth, Kind};
use pnp_data::{Dataset, ImageSet, LoaderOptions, Sampler, Split, sampler};
use pnp_model::Network;
use pnp_ranking::metric::{Distance, Metric};

use crate::config::{BadImage, TrainConfig};
use crate::error::TrainError;
use crate::objective::Objective;
use crate::observer::{Observer, Phase};
use crate::optimizer::OptimizerState;
use crate::packed::{data_digest, open_dataset};
use crate::run::StopFlag;
use crate::schedule::Schedule;
use crate::workers::on_workers;

/// Broken images that an error names.
const SHOWN_BROKEN: usize = 5;
/// Batches that the loader works ahead.
const PREFETCH: usize = 4;

/// Everything that a training needs, opened and checked.
pub(crate) struct Ready {
    pub(crate) config: TrainConfig,
    pub(crate) dataset_name: String,
    pub(crate) digest: String,
    pub(crate) train: Arc<ImageSet>,
    pub(crate) validation: Option<Arc<ImageSet>>,
    pub(crate) test: Arc<ImageSet>,
    /// Further test splits with their names in the records.
    pub(crate) more_tests: Vec<(String, Arc<ImageSet>)>,
    pub(crate) sampler: Box<dyn Sampler>,
    pub(crate) network: Network,
    pub(crate) objective: Objective,
    pub(crate) optimizer: OptimizerState,
    pub(crate) schedule: Schedule,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) distance: Distance,
}

impl Ready {
    pub(crate) fn new(
        config: TrainConfig,
        device: &Device,
        stop: &StopFlag,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        config.check()?;
        let dataset = open_dataset(&config, stop, observer)?;
        check_dataset(&config, &dataset)?;
        for note in &dataset.notes {
            observer.say(&format!("note: {note}"));
        }
        let sampler = sampler::build(&config.data_sampler, &dataset.train, &config.sampler())?;
        let mut network = config.network()?.init(config.seed, device)?;
        network.set_precision(config.precision()?)?;
        let objective = Objective::new(&config, dataset.train.classes(), device)?;
        Ok(Self {
            digest: data_digest(&config, &dataset)?,
            dataset_name: dataset.name,
            train: Arc::new(dataset.train),
            validation: dataset.validation.map(Arc::new),
            test: Arc::new(dataset.test),
            more_tests: dataset
                .more_tests
                .into_iter()
                .map(|more| (more.name, Arc::new(more.set)))
                .collect(),
            sampler,
            network,
            objective,
            optimizer: OptimizerState::new(&config),
            schedule: Schedule::new(&config),
            metrics: config.metrics()?,
            distance: config.distance()?,
            config,
        })
    }

    pub(crate) fn loader_options(&self) -> LoaderOptions {
        LoaderOptions {
            workers: self.config.worker_count(),
            prefetch: PREFETCH,
            on_bad_image: self.config.on_bad_image(),
            seed: self.config.seed,
        }
    }

    /// Decodes every image once: broken ones end the training before it begins, unless they are
    /// to be skipped, and bytes that are in two splits are told.
    pub(crate) fn check_images(
        &self,
        stop: &StopFlag,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let validation = self.validation.as_deref().map(|set| (Split::Validation, set));
        let splits: Vec<(Split, &ImageSet)> = std::iter::once((Split::Train, &*self.train))
            .chain(validation)
            .chain([(Split::Test, &*self.test)])
            .chain(self.more_tests.iter().map(|(_, set)| (Split::Test, &**set)))
            .collect();
        let total: usize = splits.iter().map(|(_, set)| set.len()).sum();
        observer.begin(&Phase::Check, total as u64, 0);
        let audit = on_workers(self.config.workers, || {
            pnp_data::audit(splits, Depth::Decode, |more| {
                observer.advance(more as u64, "");
                !stop.is_set()
            })
        });
        observer.end();
        let audit = audit?.ok_or(TrainError::StoppedEarly)?;
        if let Some(first) = audit.of(Kind::SharedBytes).next() {
            observer.say(&format!(
                "note: {} images have the bytes of an image of an earlier split ({first}): scores \
                 are too good by them; see `pnp data audit`",
                audit.of(Kind::SharedBytes).count()
            ));
        }
        let broken = || audit.findings.iter().filter(|finding| finding.kind.is_unusable());
        let (count, first) = (broken().count(), broken().take(SHOWN_BROKEN));
        let first = first.map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match self.config.on_bad_image {
            BadImage::Stop if count > 0 => Err(TrainError::BrokenImages { count, first }),
            BadImage::Skip if count > 0 => {
                observer.say(&format!("note: {count} images will be skipped: {first}"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn selected_on(&self) -> &'static str {
        if self.validation.is_some() { "validation" } else { "test" }
    }

    /// A split by its name in the records.
    pub(crate) fn split(&self, name: &str) -> &Arc<ImageSet> {
        match (&self.validation, name) {
            (Some(validation), "val") => return validation,
            (_, "train") => return &self.train,
            _ => {}
        }
        let mut more = self.more_tests.iter();
        more.find(|(more, _)| more == name).map_or(&self.test, |(_, set)| set)
    }

    /// The split on which the best checkpoint is picked.
    pub(crate) fn selection_split(&self) -> &'static str {
        if self.validation.is_some() { "val" } else { "test" }
    }
}

/// Refuses what could not be done with this data set: before a training, not after it.
fn check_dataset(config: &TrainConfig, dataset: &Dataset) -> Result<(), TrainError> {
    let boxed = |(_, set): (_, &ImageSet)| set.items().iter().any(|item| item.region.is_some());
    if config.exif_rotation && dataset.splits().any(boxed) {
        return Err(TrainError::Setting {
            setting: "exif_rotation",
            value: "true".into(),
            rule: "boxes are places in the files as they lie: leave it out, or boxes = ignore"
                .into(),
        });
    }
    // The other splits are measured before the first step.
    for more in &dataset.more_tests {
        let queries = more.set.items().iter().filter(|item| item.role.is_query()).count();
        if more.set.lone_queries() == queries {
            return Err(TrainError::Setting {
                setting: "source_path",
                value: config.source_path.display().to_string(),
                rule: format!(
                    "no query of its split '{}' has another image of its class in the gallery: \
                     leave that split out",
                    more.name
                ),
            });
        }
    }
    Ok(())
}
