//! The two front doors of a training: into a new run folder, and on with one that was stopped.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use pnp_run::{Event, RunFolder, RunInfo, Status, atomic};

use crate::checkpoint::{Checkpoint, Progress};
use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::model::Model;
use crate::observer::Observer;
use crate::ready::Ready;
use crate::trainer::Trainer;
use crate::{pretrained, records};

/// Settings that a resumed run may be given anew: none of them changes a step (a pack of other
/// settings, or none, is another data set by its digest). (With `eval_every`
/// above 1, an evaluation after what was the last epoch stays, and may hold the best score.)
const FREE_ON_RESUME: [&str; 5] = ["n_epochs", "workers", "source_path", "pack", "rebuild_pack"];

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
    let mut ready = Ready::new(config.resolved()?, &host.device, stop, observer)?;
    let weights = pretrained::load(&mut ready.network, &ready.config)?;
    if ready.config.check_images {
        ready.check_images(stop, observer)?;
    }
    let path = run_path(&ready.config, &ready.dataset_name, &ready.objective.name())?;
    let info = RunInfo {
        version: host.version.clone(),
        device: host.device_name.clone(),
        seed: ready.config.seed,
        dataset: ready.dataset_name.clone(),
        data_digest: ready.digest.clone(),
        started_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        status: Status::Running,
        selected_on: ready.selected_on().into(),
        settings: records::headline(&ready.config, &ready.objective, &weights)?,
    };
    let run = RunFolder::create(&path, &ready.config.to_toml(), &info)?;
    observer.say(&format!("run folder: {}", path.display()));
    let progress = Progress::default();
    Trainer { ready, run, progress, stop, observer, unrecorded: None }.finish()
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
    // A resumed run reads the pack it began with, and writes none.
    let config = TrainConfig { rebuild_pack: false, ..resumed_config(&run, overrides)? };
    if !config.source_path.exists() {
        let source_path = config.source_path;
        return Err(TrainError::DataMoved { run: path.to_owned(), source_path });
    }
    let mut ready = Ready::new(config, &host.device, stop, observer)?;
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
    let weights = run.info().settings.iter().find(|(name, _)| name == records::WEIGHTS);
    let weights = weights.map_or_else(String::new, |(_, origin)| origin.clone());
    let settings = records::headline(&ready.config, &ready.objective, &weights)?;
    run.update(|info| {
        info.status = Status::Running;
        info.version.clone_from(&host.version);
        info.device.clone_from(&host.device_name);
        info.settings = settings;
    })?;
    let epoch = progress.epochs_done + 1;
    run.append(&Event::Resumed { epoch, step: progress.steps_done })?;
    observer.say(&format!("resuming {} at epoch {epoch}", path.display()));
    Trainer { ready, run, progress, stop, observer, unrecorded: None }.finish()
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
    let progress = {
        let Ready { network, optimizer, objective, sampler, .. } = ready;
        Checkpoint::read(&last, network, optimizer, objective, sampler.as_mut())?
    };
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

/// The configuration of a run with what may be set anew. Runs of before the network had settings
/// of its own have `arch` alone, which stands for them.
fn resumed_config(run: &RunFolder, overrides: &toml::Table) -> Result<TrainConfig, TrainError> {
    let reject = |e: toml::de::Error| {
        let reason = e.message().to_owned();
        TrainError::Checkpoint { path: run.config_path(), reason }
    };
    let recorded = TrainConfig::from_table(run.config_toml()?.parse().map_err(reject)?)?;
    let mut table: toml::Table = recorded.resolved()?.to_toml().parse().map_err(reject)?;
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
fn run_path(config: &TrainConfig, dataset: &str, loss: &str) -> Result<PathBuf, TrainError> {
    let folder = config.save_path.join(dataset);
    if !config.savename.is_empty() {
        return Ok(folder.join(&config.savename));
    }
    let network = config.network_settings()?.name(&config.arch);
    let memory = if config.memory > 0 { format!("_m{}", config.memory) } else { String::new() };
    let name = format!("{network}_{}{memory}_s{}", loss_in_a_name(loss), config.seed);
    let numbered = (2..).map(|number| folder.join(format!("{name}_{number}")));
    let mut paths = std::iter::once(folder.join(&name)).chain(numbered);
    Ok(paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(name)))
}

/// A loss as a part of a folder's name: without its parameters and weights, `+` between those of a
/// sum, and no longer than a name may be.
fn loss_in_a_name(loss: &str) -> String {
    const LONGEST: usize = 60;
    let mut depth = 0_usize;
    let outside = loss.chars().filter(|&c| {
        depth += usize::from(c == '(');
        let keep = depth == 0;
        depth = depth.saturating_sub(usize::from(c == ')'));
        keep
    });
    let outside: String = outside.collect();
    let names = outside.split(',').map(|term| term.split(':').next().unwrap_or(term));
    names.collect::<Vec<_>>().join("+").chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_names_a_folder_plainly() {
        assert_eq!(loss_in_a_name("PNP-D_q(alpha=4, anneal=0.01)"), "PNP-D_q");
        let sum = "PNP-D_q(alpha=4, anneal=0.01):1,contrastive(distance=cosine, margin=0.4):0.1";
        assert_eq!(loss_in_a_name(sum), "PNP-D_q+contrastive");
        assert_eq!(loss_in_a_name(&"PNP-O,".repeat(100)).len(), 60);
    }
}
