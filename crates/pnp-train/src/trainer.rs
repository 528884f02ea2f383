//! The loop: epochs of steps, evaluation, checkpoints, records.

use std::sync::Arc;
use std::time::Instant;

use pnp_data::{Batch, ClassMeans, ImageSet, Loader};
use pnp_ranking::metric::{EvalOptions, Metric};
use pnp_run::{Event, RunFolder, Status, atomic};

use crate::checkpoint::{Checkpoint, Progress};
use crate::error::TrainError;
use crate::model::{self, EmbeddedSet, Model};
use crate::objective::Objective;
use crate::observer::{Observer, Phase};
use crate::ready::Ready;
use crate::records::TakenStep;
use crate::run::{Outcome, StopFlag};
use crate::step::{StepError, StepOutcome, Stepper};
use crate::{pictures, records};

/// Scores that the line after each epoch shows, beside the one that picks the best.
const ANNOUNCED: [&str; 2] = ["recall@1", "map@r"];

/// Metrics by name.
type Scores = Vec<(String, f64)>;

/// A training under way.
pub(crate) struct Trainer<'a> {
    pub(crate) ready: Ready,
    pub(crate) run: RunFolder,
    pub(crate) progress: Progress,
    pub(crate) stop: &'a StopFlag,
    pub(crate) observer: &'a mut dyn Observer,
    /// The last step, until the device is waited for again.
    pub(crate) unrecorded: Option<TakenStep>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl Trainer<'_> {
    /// Trains to the end, and leaves the run folder saying how it ended.
    pub(crate) fn finish(mut self) -> Result<Outcome, TrainError> {
        match self.train_and_save() {
            Ok(flow) => {
                let finished = flow == Flow::Continue;
                // The summary names the status; all else is there before it.
                let status = if finished { Status::Finished } else { Status::Interrupted };
                self.run.set_status(status)?;
                self.run.write_summary()?;
                self.outcome(finished)
            }
            Err(error) => {
                // The first error is the one to report.
                let _ = self.record_last_step();
                let _ = self.run.set_status(Status::Failed { message: error.to_string() });
                let _ = self.run.write_summary();
                Err(error)
            }
        }
    }

    fn train_and_save(&mut self) -> Result<Flow, TrainError> {
        let flow = self.all()?;
        if flow == Flow::Stop {
            self.save("last")?;
        }
        self.run.write_tables()?;
        self.run.write_plots()?;
        Ok(flow)
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
            if !self.is_recorded(split, 0)? && self.evaluate(split, 0)?.is_none() {
                return Ok(Flow::Stop);
            }
        }
        Ok(Flow::Continue)
    }

    /// Whether the scores of a split after an epoch are in the record, as those of a run that goes
    /// on are: each is there once.
    fn is_recorded(&self, split: &str, epoch: u64) -> Result<bool, TrainError> {
        let records = self.run.records()?;
        Ok(records.of_split(split).iter().any(|record| record.epoch == epoch))
    }

    /// The steps of an epoch that are not done yet.
    fn train_epoch(&mut self) -> Result<Flow, TrainError> {
        let epoch = self.progress.epochs_done;
        let ready = &self.ready;
        let batches = ready.sampler.batches(epoch);
        let (total, done) = (batches.len() as u64, self.progress.steps_done_in_epoch);
        let stream = Loader::new(Arc::clone(&ready.train), ready.loader_options()).train(
            ready.config.train_transform()?,
            model::loader_normalization(&ready.network),
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
                self.record_last_step()?;
                return Ok(Flow::Stop);
            }
        }
        self.observer.end();
        self.record_last_step()?;
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
        let proxy_rate = ready.objective.proxy_rate();
        let rates = ready.schedule.rates(&ready.config, epoch, proxy_rate);
        let skipped = batch.skipped.len();
        for skip in &batch.skipped {
            self.observer.say(&format!("skipped: {}", skip.error));
        }
        let images = batch.shape[0] as u64;
        let step = self.progress.steps_done;
        let (run, unrecorded) = (&mut self.run, &mut self.unrecorded);
        let mut waited = |objective: &mut Objective| {
            unrecorded.take().map_or(Ok(()), |taken| taken.record(objective, run))
        };
        let stepper = Stepper {
            network: &mut ready.network,
            objective: &mut ready.objective,
            optimizer: &mut ready.optimizer,
            rates,
            step,
            chunk: ready.config.chunk,
            waited: &mut waited,
        };
        let outcome = stepper.step(batch);
        let outcome = outcome.map_err(|error| match error {
            StepError::NotFinite(what) => TrainError::Diverged { what, epoch: epoch + 1, step },
            StepError::Other(error) => *error,
        })?;
        let seconds = start.elapsed().as_secs_f64();
        *start = Instant::now();
        self.progress.images += images;
        self.progress.skipped += skipped as u64;
        self.count(&outcome, seconds);
        let StepOutcome { loss, gradient_norm, counts } = outcome;
        let event = move |gradient_norm| Event::Step {
            epoch: epoch + 1,
            step,
            loss,
            gradient_norm,
            learning_rate: rates.backbone,
            seconds,
            queries: counts.queries,
            lone_queries: counts.lone_queries,
            skipped_images: skipped,
        };
        let event = Box::new(event);
        self.unrecorded = Some(TakenStep { epoch: epoch + 1, step, gradient_norm, event });
        Ok(())
    }

    /// Counts a step as taken.
    fn count(&mut self, outcome: &StepOutcome, seconds: f64) {
        self.progress.steps_done += 1;
        self.progress.steps_done_in_epoch += 1;
        self.progress.loss_sum += outcome.loss;
        // A loss may learn from more than queries, as one with proxies does.
        self.progress.queries += outcome.counts.queries.max(outcome.counts.terms) as u64;
        self.progress.seconds += seconds;
        self.observer.advance(1, &format!("loss {:.4}", outcome.loss));
    }

    /// Waits for the last step and records it.
    fn record_last_step(&mut self) -> Result<(), TrainError> {
        let (run, objective) = (&mut self.run, &mut self.ready.objective);
        self.unrecorded.take().map_or(Ok(()), |taken| taken.record(objective, run))
    }

    /// Evaluation after an epoch, and the checkpoints.
    fn close_epoch(&mut self) -> Result<Flow, TrainError> {
        let epoch = self.progress.epochs_done + 1;
        let config = &self.ready.config;
        let due = epoch.is_multiple_of(config.eval_every) || epoch == config.n_epochs;
        let mut better = false;
        if due {
            let split = self.ready.selection_split();
            // Not at the last epoch as such: a run that is extended has to go on as a longer one.
            let in_turn = epoch.is_multiple_of(self.ready.config.eval_every);
            let images = self.ready.sampler.class_mean_images(epoch).filter(|_| in_turn);
            let means = images.as_deref().map(|images| self.class_means(images)).transpose()?;
            if matches!(means, Some(None)) {
                return Ok(Flow::Stop);
            }
            let Some((scores, _)) = self.evaluate(split, epoch)? else { return Ok(Flow::Stop) };
            // Only now: a run that is stopped on the way here does all of this again.
            if let Some(means) = means.flatten() {
                self.ready.sampler.set_class_means(means)?;
            }
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

    /// The class means of the network as it is, of these training images, for the sampler. `None`
    /// when it was stopped.
    fn class_means(&mut self, images: &[u32]) -> Result<Option<ClassMeans>, TrainError> {
        let set = Arc::new(self.ready.train.subset(images)?);
        let Some(EmbeddedSet { embeddings, dim, labels, .. }) = self.embed_set(&set, "train")?
        else {
            return Ok(None);
        };
        Ok(Some(ClassMeans::of(&embeddings, dim, &labels, set.classes())?))
    }

    /// After the last epoch: the best checkpoint's test scores, where selection did not measure
    /// them already, and its picture.
    fn measure_best(&mut self) -> Result<Flow, TrainError> {
        let Some((_, epoch)) = self.progress.best else { return Ok(Flow::Continue) };
        let device = self.ready.network.device();
        let mut best = Model::load(&self.run.checkpoint_dir("best"), &device)?.network;
        best.set_precision(self.ready.network.precision())?;
        // The last network comes back afterwards: it is what a resumed run goes on with.
        std::mem::swap(&mut self.ready.network, &mut best);
        let flow = self.show(epoch);
        std::mem::swap(&mut self.ready.network, &mut best);
        flow
    }

    /// Measures the network on the test splits as that of an epoch and draws its picture.
    fn show(&mut self, epoch: u64) -> Result<Flow, TrainError> {
        let embedded = if self.is_recorded("test", epoch)? {
            self.embed("test")?
        } else {
            self.evaluate("test", epoch)?.map(|(_, embedded)| embedded)
        };
        let Some(embedded) = embedded else { return Ok(Flow::Stop) };
        let Ready { test, distance, config, .. } = &self.ready;
        let png = pictures::neighbours_png(test, &embedded, *distance, config.exif_rotation)?;
        let folder = self.run.path().join("plots");
        std::fs::create_dir_all(&folder).map_err(|e| {
            let reason = format!("cannot create the folder: {e}");
            TrainError::Checkpoint { path: folder.clone(), reason }
        })?;
        atomic::write(&folder.join("neighbours.png"), &png)?;
        let more: Vec<String> =
            self.ready.more_tests.iter().map(|(name, _)| name.clone()).collect();
        for split in more {
            if !self.is_recorded(&split, epoch)? && self.evaluate(&split, epoch)?.is_none() {
                return Ok(Flow::Stop);
            }
        }
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
        let options = EvalOptions { distance: self.ready.distance, ..EvalOptions::default() };
        let evaluation = model::score(&embedded, &self.ready.metrics, &options)?;
        let skipped = embedded.skipped.len();
        let seconds = start.elapsed().as_secs_f64();
        self.run.append(&records::evaluation(epoch, split, &evaluation, skipped, seconds)?)?;
        Ok(Some((evaluation.scores, embedded)))
    }

    fn embed(&mut self, split: &str) -> Result<Option<EmbeddedSet>, TrainError> {
        let set = Arc::clone(self.ready.split(split));
        self.embed_set(&set, split)
    }

    fn embed_set(
        &mut self,
        set: &Arc<ImageSet>,
        split: &str,
    ) -> Result<Option<EmbeddedSet>, TrainError> {
        let ready = &self.ready;
        let embedded = model::embed_set(
            &ready.network,
            ready.config.eval_transform(),
            set,
            &ready.loader_options(),
            ready.config.eval_batch_size,
            split,
            self.stop,
            self.observer,
        )?;
        if let Some(embedded) = &embedded {
            let finite = embedded.embeddings.iter().all(|value| value.is_finite());
            // Weights that were given so are told of by the metrics.
            if !finite && self.progress.steps_done > 0 {
                return Err(self.diverged("embedding"));
            }
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
    /// What the steps so far made no finite number of.
    fn diverged(&self, what: &'static str) -> TrainError {
        let Progress { epochs_done, steps_done_in_epoch, .. } = self.progress;
        let epoch = epochs_done + u64::from(steps_done_in_epoch > 0);
        TrainError::Diverged { what, epoch, step: self.progress.steps_done.saturating_sub(1) }
    }

    /// Writes a checkpoint. Fails, and leaves the one that is there, where a weight is no finite
    /// number.
    fn save(&mut self, kind: &str) -> Result<(), TrainError> {
        if !self.ready.network.parameters().are_finite() {
            return Err(self.diverged("weight"));
        }
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
            (kind == "last").then_some((&self.ready.objective, &*self.ready.sampler)),
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
