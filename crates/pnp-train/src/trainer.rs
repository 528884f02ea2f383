//! The loop: epochs of steps, evaluation, checkpoints, records.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use pnp_data::transform::Normalization;
use pnp_data::{Batch, Check, ImageSet, Loader, LoaderOptions, Sampler, Split, sampler};
use pnp_model::Network;
use pnp_ranking::loss::Loss;
use pnp_ranking::metric::{Distance, Metric};
use pnp_run::{Event, RunFolder, RunInfo, Status, atomic};

use crate::checkpoint::{Checkpoint, Progress};
use crate::config::{BadImage, TrainConfig};
use crate::error::TrainError;
use crate::model::{self, EmbeddedSet, Model};
use crate::observer::{Observer, Phase};
use crate::optimizer::OptimizerState;
use crate::schedule::Schedule;
use crate::step::{self, StepError};
use crate::{pictures, pretrained, records};

/// Broken images that an error names.
const SHOWN_BROKEN: usize = 5;
/// Batches that the loader works ahead.
const PREFETCH: usize = 4;
/// Scores that the line after each epoch shows, beside the one that picks the best.
const ANNOUNCED: [&str; 2] = ["recall@1", "map@r"];
/// Settings that a resumed run may be given anew: none of them changes a step. (With `eval_every`
/// above 1, an evaluation after what was the last epoch stays, and may hold the best score.)
const FREE_ON_RESUME: [&str; 3] = ["n_epochs", "workers", "source_path"];

/// Asks a training to stop after the step it is in. Clones share the request.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The run folder.
    pub run: PathBuf,
    /// Whether it came to its end, or was asked to stop and can be resumed.
    pub finished: bool,
    /// The epoch of the best checkpoint.
    pub best_epoch: Option<u64>,
    /// What the best checkpoint was picked on: `validation` or `test`.
    pub selected_on: String,
    /// Scores on the test split before training.
    pub untrained: Vec<(String, f64)>,
    /// Scores of the best checkpoint on the test split.
    pub trained: Vec<(String, f64)>,
}

/// Where a training runs.
#[derive(Debug, Clone)]
pub struct Host {
    /// The device of the network.
    pub device: Device,
    /// The device in words.
    pub device_name: String,
    /// The version of the program.
    pub version: String,
}

/// Trains from the start into a new run folder.
///
/// # Errors
///
/// A wrong setting, before anything is written; afterwards whatever stops the work, which the run
/// folder's status names too.
pub fn train(
    config: TrainConfig,
    host: &Host,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let mut ready = Ready::new(config, &host.device, observer)?;
    let weights = pretrained::load(&mut ready.network, &ready.config)?;
    if ready.config.check_images {
        ready.check_images(stop, observer)?;
    }
    let path = run_path(&ready.config, &ready.dataset_name);
    let info = RunInfo {
        version: host.version.clone(),
        device: host.device_name.clone(),
        seed: ready.config.seed,
        dataset: ready.dataset_name.clone(),
        data_digest: ready.digest.clone(),
        started_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        status: Status::Running,
        selected_on: ready.selected_on().into(),
        settings: records::headline(&ready.config, &ready.loss.name(), &weights),
    };
    let run = RunFolder::create(&path, &ready.config.to_toml(), &info)?;
    observer.say(&format!("run folder: {}", path.display()));
    Trainer { ready, run, progress: Progress::default(), stop, observer }.finish()
}

/// Goes on with a run folder. `overrides` holds what was set anew; only settings that change no
/// result may be.
///
/// # Errors
///
/// No run folder, another data set, a setting that cannot change, a checkpoint that cannot be
/// read; nothing is changed then.
pub fn resume(
    path: &Path,
    overrides: &toml::Table,
    host: &Host,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let mut run = RunFolder::open(path)?;
    let config = resumed_config(&run, overrides)?;
    if !config.source_path.exists() {
        let source_path = config.source_path;
        return Err(TrainError::DataMoved { run: path.to_owned(), source_path });
    }
    let mut ready = Ready::new(config, &host.device, observer)?;
    if ready.digest != run.info().data_digest {
        return Err(TrainError::OtherData {
            run: path.to_owned(),
            source_path: ready.config.source_path.clone(),
            expected: run.info().data_digest.clone(),
            found: ready.digest,
        });
    }
    let progress = checkpoint_to_resume(&run, &mut ready)?;
    if progress.epochs_done >= ready.config.n_epochs && run.info().status == Status::Finished {
        return Err(TrainError::Finished(path.to_owned()));
    }
    let begun = progress.epochs_done + u64::from(progress.steps_done_in_epoch > 0);
    if ready.config.n_epochs < begun {
        return Err(TrainError::Setting {
            setting: "n_epochs",
            value: ready.config.n_epochs.to_string(),
            rule: format!("the run is in epoch {begun} already"),
        });
    }
    run.rewind_to(progress.steps_done, progress.epochs_done)?;
    atomic::write(&run.config_path(), ready.config.to_toml().as_bytes())?;
    run.update(|info| {
        info.status = Status::Running;
        info.version.clone_from(&host.version);
        info.device.clone_from(&host.device_name);
        let weights = info.settings.iter().find(|(name, _)| name == records::WEIGHTS);
        let weights = weights.map_or_else(String::new, |(_, origin)| origin.clone());
        info.settings = records::headline(&ready.config, &ready.loss.name(), &weights);
    })?;
    let epoch = progress.epochs_done + 1;
    run.append(&Event::Resumed { epoch, step: progress.steps_done })?;
    observer.say(&format!("resuming {} at epoch {epoch}", path.display()));
    Trainer { ready, run, progress, stop, observer }.finish()
}

/// Puts the last checkpoint in place and checks that the record reaches it. A run that was stopped
/// before its first checkpoint starts from its first weights.
fn checkpoint_to_resume(run: &RunFolder, ready: &mut Ready) -> Result<Progress, TrainError> {
    let records = run.records()?;
    let last = run.checkpoint_dir("last");
    if atomic::current_dir(&last).is_none() && records.steps.is_empty() {
        pretrained::load(&mut ready.network, &ready.config)?;
        return Ok(Progress::default());
    }
    let progress = Checkpoint::read(&last, &mut ready.network, &mut ready.optimizer)?;
    let steps = records.steps.iter().filter(|step| step.step < progress.steps_done).count() as u64;
    let epochs = records.epochs.iter().filter(|epoch| epoch.epoch <= progress.epochs_done).count();
    if steps != progress.steps_done || epochs as u64 != progress.epochs_done {
        return Err(TrainError::Checkpoint {
            path: last,
            reason: format!(
                "it is {} steps far, but events.jsonl records {steps} of them: the run folder is \
                 not whole",
                progress.steps_done
            ),
        });
    }
    if progress.best.is_some() {
        // A run without its best checkpoint could not be finished.
        Model::load(&run.checkpoint_dir("best"), &ready.network.device())?;
    }
    Ok(progress)
}

/// The configuration of a run with what may be set anew.
fn resumed_config(run: &RunFolder, overrides: &toml::Table) -> Result<TrainConfig, TrainError> {
    let text = run.config_toml()?;
    let mut table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let reason = e.message().to_owned();
        TrainError::Checkpoint { path: run.config_path(), reason }
    })?;
    for (key, value) in overrides {
        if !FREE_ON_RESUME.contains(&key.as_str()) && table.get(key) != Some(value) {
            return Err(TrainError::FixedByRun(key.replace('_', "-")));
        }
        table.insert(key.clone(), value.clone());
    }
    TrainConfig::from_table(table)
}

/// `<save_path>/<dataset>/<name>`; a name that was not given is made of the settings, with a
/// number where it is taken.
fn run_path(config: &TrainConfig, dataset: &str) -> PathBuf {
    let folder = config.save_path.join(dataset);
    if !config.savename.is_empty() {
        return folder.join(&config.savename);
    }
    let loss = if config.loss == "PNP" { &config.variant } else { &config.loss };
    let name = format!("{}_{loss}_s{}", config.arch, config.seed);
    let numbered = (2..).map(|number| folder.join(format!("{name}_{number}")));
    let mut paths = std::iter::once(folder.join(&name)).chain(numbered);
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name))
}

/// Everything that a training needs, opened and checked.
struct Ready {
    config: TrainConfig,
    dataset_name: String,
    digest: String,
    train: Arc<ImageSet>,
    validation: Option<Arc<ImageSet>>,
    test: Arc<ImageSet>,
    sampler: Box<dyn Sampler>,
    network: Network,
    loss: Box<dyn Loss>,
    optimizer: OptimizerState,
    schedule: Schedule,
    metrics: Vec<Metric>,
    distance: Distance,
}

impl Ready {
    fn new(
        config: TrainConfig,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Self, TrainError> {
        config.check()?;
        let dataset = pnp_data::open(&config.dataset())?;
        for note in &dataset.notes {
            observer.say(&format!("note: {note}"));
        }
        let sampler = sampler::build(&config.data_sampler, &dataset.train, &config.sampler())?;
        let network = config.network()?.init(config.seed, device)?;
        Ok(Self {
            digest: dataset.digest(),
            dataset_name: dataset.name,
            train: Arc::new(dataset.train),
            validation: dataset.validation.map(Arc::new),
            test: Arc::new(dataset.test),
            sampler,
            network,
            loss: config.build_loss()?,
            optimizer: OptimizerState::new(&config),
            schedule: Schedule::new(&config),
            metrics: config.metrics()?,
            distance: config.distance()?,
            config,
        })
    }

    fn loader_options(&self) -> LoaderOptions {
        LoaderOptions {
            workers: self.config.worker_count(),
            prefetch: PREFETCH,
            on_bad_image: self.config.on_bad_image(),
            seed: self.config.seed,
        }
    }

    /// Decodes every image once: broken ones end the training before it begins, unless they are
    /// to be skipped, and bytes that are in two splits are told.
    fn check_images(&self, stop: &StopFlag, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let validation = self.validation.as_deref().map(|set| (Split::Validation, set));
        let splits: Vec<(Split, &ImageSet)> = std::iter::once((Split::Train, &*self.train))
            .chain(validation)
            .chain([(Split::Test, &*self.test)])
            .collect();
        let total: usize = splits.iter().map(|(_, set)| set.len()).sum();
        observer.begin(&Phase::Check, total as u64, 0);
        let check = pnp_data::check_images(splits, |more| {
            observer.advance(more as u64, "");
            !stop.is_set()
        });
        observer.end();
        let Check { broken, shared } = check.ok_or(TrainError::StoppedEarly)?;
        if let Some((train, other)) = shared.first() {
            observer.say(&format!(
                "note: {} images outside the training split have the bytes of a training image \
                 ('{other}' those of '{train}'): scores are too good by them",
                shared.len()
            ));
        }
        let (count, first) = (broken.len(), broken.iter().take(SHOWN_BROKEN));
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

    fn selected_on(&self) -> &'static str {
        if self.validation.is_some() { "validation" } else { "test" }
    }

    /// A split by its name in the records.
    fn split(&self, name: &str) -> &Arc<ImageSet> {
        match (&self.validation, name) {
            (Some(validation), "val") => validation,
            _ => &self.test,
        }
    }

    /// The split on which the best checkpoint is picked.
    fn selection_split(&self) -> &'static str {
        if self.validation.is_some() { "val" } else { "test" }
    }
}

/// Metrics by name.
type Scores = Vec<(String, f64)>;

/// A training under way.
struct Trainer<'a> {
    ready: Ready,
    run: RunFolder,
    progress: Progress,
    stop: &'a StopFlag,
    observer: &'a mut dyn Observer,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl Trainer<'_> {
    /// Trains to the end, and leaves the run folder saying how it ended.
    fn finish(mut self) -> Result<Outcome, TrainError> {
        match self.all() {
            Ok(Flow::Continue) => {
                self.run.set_status(Status::Finished)?;
                self.write_records()?;
                self.outcome(true)
            }
            Ok(Flow::Stop) => {
                self.save("last")?;
                self.run.set_status(Status::Interrupted)?;
                self.write_records()?;
                self.outcome(false)
            }
            Err(error) => {
                // The first error is the one to report.
                let _ = self.run.set_status(Status::Failed { message: error.to_string() });
                Err(error)
            }
        }
    }

    fn all(&mut self) -> Result<Flow, TrainError> {
        if atomic::current_dir(&self.run.checkpoint_dir("last")).is_none() {
            self.save("last")?;
        }
        if self.progress.steps_done == 0 && self.measure_untrained()? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        while self.progress.epochs_done < self.ready.config.n_epochs {
            if self.train_epoch()? == Flow::Stop || self.close_epoch()? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        self.measure_best()
    }

    /// Epoch 0: the network as it starts, on the split that selects and on the test split.
    fn measure_untrained(&mut self) -> Result<Flow, TrainError> {
        let selection = self.ready.selection_split();
        let splits = if selection == "test" { vec!["test"] } else { vec!["test", selection] };
        for split in splits {
            let records = self.run.records()?;
            if records.of_split(split).iter().any(|record| record.epoch == 0) {
                continue;
            }
            if self.evaluate(split, 0)?.is_none() {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// The steps of an epoch that are not done yet.
    fn train_epoch(&mut self) -> Result<Flow, TrainError> {
        let epoch = self.progress.epochs_done;
        let ready = &self.ready;
        let batches = ready.sampler.batches(epoch);
        let (total, done) = (batches.len() as u64, self.progress.steps_done_in_epoch);
        let stream = Loader::new(Arc::clone(&ready.train), ready.loader_options()).train(
            ready.config.train_transform(),
            Normalization::IMAGENET,
            epoch,
            batches,
            done as usize,
        );
        let phase = Phase::Train { epoch: epoch + 1, epochs: ready.config.n_epochs };
        self.observer.begin(&phase, total, done);
        let mut start = Instant::now();
        for batch in stream {
            if let Err(error) =
                batch.map_err(TrainError::from).and_then(|b| self.step(b, &mut start))
            {
                self.observer.end();
                return Err(error);
            }
            if self.stop.is_set() {
                self.observer.end();
                return Ok(Flow::Stop);
            }
        }
        self.observer.end();
        let steps = self.progress.steps_done_in_epoch;
        if steps > 0 && self.progress.queries == 0 {
            let skipped = self.progress.skipped;
            return Err(TrainError::NothingLearned { epoch: epoch + 1, skipped });
        }
        let (loss, seconds) = (self.progress.loss_sum / steps.max(1) as f64, self.progress.seconds);
        let images = self.progress.images as f64;
        self.run.append(&Event::Epoch {
            epoch: epoch + 1,
            steps,
            mean_loss: loss,
            seconds,
            images_per_second: images / seconds.max(f64::MIN_POSITIVE),
        })?;
        Ok(Flow::Continue)
    }

    fn step(&mut self, batch: Batch, start: &mut Instant) -> Result<(), TrainError> {
        let ready = &mut self.ready;
        let epoch = self.progress.epochs_done;
        let rates = ready.schedule.rates(&ready.config, epoch);
        let skipped = batch.skipped.len();
        for skip in &batch.skipped {
            self.observer.say(&format!("skipped: {}", skip.error));
        }
        let images = batch.shape[0] as u64;
        let outcome = step::train_step(
            &mut ready.network,
            ready.loss.as_ref(),
            &mut ready.optimizer,
            rates,
            batch,
            ready.config.chunk,
        );
        let step = self.progress.steps_done;
        let outcome = outcome.map_err(|error| match error {
            StepError::NotFinite(what) => TrainError::Diverged { what, epoch: epoch + 1, step },
            StepError::Other(error) => error,
        })?;
        let seconds = start.elapsed().as_secs_f64();
        *start = Instant::now();
        self.progress.steps_done += 1;
        self.progress.steps_done_in_epoch += 1;
        self.progress.loss_sum += outcome.loss;
        self.progress.images += images;
        self.progress.queries += outcome.counts.queries as u64;
        self.progress.skipped += skipped as u64;
        self.progress.seconds += seconds;
        self.observer.advance(1, &format!("loss {:.4}", outcome.loss));
        self.run.append(&Event::Step {
            epoch: epoch + 1,
            step,
            loss: outcome.loss,
            gradient_norm: outcome.gradient_norm,
            learning_rate: rates.backbone,
            seconds,
            queries: outcome.counts.queries,
            lone_queries: outcome.counts.lone_queries,
            skipped_images: skipped,
        })?;
        Ok(())
    }

    /// Evaluation after an epoch, and the checkpoints.
    fn close_epoch(&mut self) -> Result<Flow, TrainError> {
        let epoch = self.progress.epochs_done + 1;
        let config = &self.ready.config;
        let due = epoch.is_multiple_of(config.eval_every) || epoch == config.n_epochs;
        let mut better = false;
        if due {
            let split = self.ready.selection_split();
            let Some((scores, _)) = self.evaluate(split, epoch)? else { return Ok(Flow::Stop) };
            let score = self.storage_score(&scores);
            self.announce(epoch, split, &scores);
            better = self.progress.best.is_none_or(|(best, _)| score > best);
            if better {
                self.progress.best = Some((score, epoch));
            }
        }
        self.progress.epochs_done = epoch;
        self.progress.steps_done_in_epoch = 0;
        self.progress.loss_sum = 0.0;
        self.progress.images = 0;
        self.progress.queries = 0;
        self.progress.skipped = 0;
        self.progress.seconds = 0.0;
        if better {
            self.save("best")?;
        }
        self.save("last")?;
        self.write_records()?;
        Ok(Flow::Continue)
    }

    /// After the last epoch: the best checkpoint's test scores, where selection did not measure
    /// them already, and its picture.
    fn measure_best(&mut self) -> Result<Flow, TrainError> {
        let Some((_, epoch)) = self.progress.best else { return Ok(Flow::Continue) };
        let device = self.ready.network.device();
        let mut best = Model::load(&self.run.checkpoint_dir("best"), &device)?.network;
        // The last network comes back afterwards: it is what a resumed run goes on with.
        std::mem::swap(&mut self.ready.network, &mut best);
        let flow = self.show(epoch);
        std::mem::swap(&mut self.ready.network, &mut best);
        flow
    }

    /// Measures the network on the test split as that of an epoch and draws its picture.
    fn show(&mut self, epoch: u64) -> Result<Flow, TrainError> {
        let measured = self.ready.selection_split() == "test";
        let embedded = if measured {
            self.embed("test")?
        } else {
            self.evaluate("test", epoch)?.map(|(_, embedded)| embedded)
        };
        let Some(embedded) = embedded else { return Ok(Flow::Stop) };
        let png = pictures::neighbours_png(&self.ready.test, &embedded, self.ready.distance)?;
        let folder = self.run.path().join("plots");
        std::fs::create_dir_all(&folder).map_err(|e| {
            let reason = format!("cannot create the folder: {e}");
            TrainError::Checkpoint { path: folder.clone(), reason }
        })?;
        atomic::write(&folder.join("neighbours.png"), &png)?;
        Ok(Flow::Continue)
    }

    /// Embeds and scores a split and records it. `None` when it was stopped.
    fn evaluate(
        &mut self,
        split: &str,
        epoch: u64,
    ) -> Result<Option<(Scores, EmbeddedSet)>, TrainError> {
        let start = Instant::now();
        let Some(embedded) = self.embed(split)? else { return Ok(None) };
        let evaluation = model::score(&embedded, &self.ready.metrics, self.ready.distance)?;
        let skipped = embedded.skipped.len();
        let seconds = start.elapsed().as_secs_f64();
        self.run.append(&records::evaluation(epoch, split, &evaluation, skipped, seconds)?)?;
        Ok(Some((evaluation.scores, embedded)))
    }

    fn embed(&mut self, split: &str) -> Result<Option<EmbeddedSet>, TrainError> {
        let ready = &self.ready;
        let embedded = model::embed_set(
            &ready.network,
            ready.config.eval_transform(),
            ready.split(split),
            &ready.loader_options(),
            ready.config.eval_batch_size,
            split,
            self.stop,
            self.observer,
        )?;
        if let Some(embedded) = &embedded {
            for skip in &embedded.skipped {
                self.observer.say(&format!("skipped: {}", skip.error));
            }
        }
        Ok(embedded)
    }

    fn storage_score(&self, scores: &[(String, f64)]) -> f64 {
        let name = &self.ready.config.storage_metric;
        let canonical = Metric::parse(name).map_or(name.clone(), |m| m.name().to_owned());
        let found = scores.iter().find(|(name, _)| *name == canonical);
        found.map_or(f64::NEG_INFINITY, |(_, score)| *score)
    }

    fn announce(&mut self, epoch: u64, split: &str, scores: &[(String, f64)]) {
        let storage = &self.ready.config.storage_metric;
        let shown: Vec<String> = scores
            .iter()
            .filter(|(name, _)| name == storage || ANNOUNCED.contains(&name.as_str()))
            .map(|(name, value)| format!("{name} {:.2}", value * 100.0))
            .collect();
        let loss = self.progress.loss_sum / self.progress.steps_done_in_epoch.max(1) as f64;
        self.observer.say(&format!(
            "epoch {epoch}/{}: mean loss {loss:.4}; {split}, in %: {}",
            self.ready.config.n_epochs,
            shown.join(", ")
        ));
    }

    /// Records a checkpoint and writes it, in this order: the record of a checkpoint is then never
    /// behind it.
    fn save(&mut self, kind: &str) -> Result<(), TrainError> {
        let (score, _) = self.progress.best.unwrap_or((f64::NAN, 0));
        self.run.append(&Event::Checkpoint {
            epoch: self.progress.epochs_done,
            step: self.progress.steps_done,
            kind: kind.to_owned(),
            metric: self.ready.config.storage_metric.clone(),
            score,
        })?;
        self.run.sync()?;
        Checkpoint::write(
            &self.run.checkpoint_dir(kind),
            &self.ready.network,
            self.ready.config.eval_transform(),
            &self.ready.optimizer,
            &self.progress,
        )
    }

    fn write_records(&self) -> Result<(), TrainError> {
        self.run.write_tables()?;
        self.run.write_plots()?;
        self.run.write_summary()?;
        Ok(())
    }

    fn outcome(&self, finished: bool) -> Result<Outcome, TrainError> {
        let records = self.run.records()?;
        let best_epoch = self.progress.best.map(|(_, epoch)| epoch);
        let scores = |epoch: Option<u64>| {
            let found = records.of_split("test").into_iter().find(|r| Some(r.epoch) == epoch);
            let scores = found.map(|r| r.scores.iter().map(|s| (s.name.clone(), s.value)));
            scores.map(Iterator::collect).unwrap_or_default()
        };
        Ok(Outcome {
            run: self.run.path().to_owned(),
            finished,
            best_epoch,
            selected_on: self.ready.selected_on().into(),
            untrained: scores(Some(0)),
            trained: scores(best_epoch),
        })
    }
}
