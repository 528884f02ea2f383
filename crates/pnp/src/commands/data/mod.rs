//! `pnp data`: what data sets there are, what is in one and wrong with it, one as a manifest or as a
//! pack. One file a subcommand, one line in [`DataCommand`].

mod audit;
mod convert;
mod inspect;
mod list;
mod pack;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pnp_data::{Dataset, DatasetOptions};
use pnp_train::TrainConfig;
use serde::Serialize;

use crate::failure::Failure;
use crate::settings;

/// The subcommands of `pnp data`.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List the data sets that are read, with the files they consist of
    List(list::ListArgs),
    /// Count what a data set holds, split by split
    Inspect(inspect::InspectArgs),
    /// Write a data set as a CSV manifest
    Convert(convert::ConvertArgs),
    /// Decode every image and list what is wrong, or worth knowing; status 1 where a result would
    /// be wrong
    Audit(audit::AuditArgs),
    /// Put all images, resized, into one file that a training maps into memory
    Pack(pack::PackArgs),
}

/// Runs the subcommand that was asked for.
pub(crate) fn run(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::List(args) => list::run(args),
        DataCommand::Inspect(args) => inspect::run(args),
        DataCommand::Convert(args) => convert::run(args),
        DataCommand::Audit(args) => audit::run(args),
        DataCommand::Pack(args) => pack::run(args),
    }
}

/// Which data set, and how it is divided. The flags are those of `pnp train`.
#[derive(Debug, Args, Serialize)]
pub(crate) struct SourceArgs {
    /// A CSV manifest, a folder of class folders, or the folder that holds the data set
    #[serde(rename = "source_path")]
    source: PathBuf,
    /// Reader of the data set, as `pnp data list` names it [default: told from the path]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
    /// Cut images to the data set's boxes: auto (as the field does), use or ignore [default: auto]
    #[arg(long, value_name = "auto|use|ignore")]
    #[serde(skip_serializing_if = "Option::is_none")]
    boxes: Option<String>,
    /// Seed of a plain folder's split, of folds and of drawn galleries [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// Share of a plain folder's classes that is held out for the test [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    test_fraction: Option<f64>,
    /// Cut a validation split from the training split
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    use_tv_split: Option<bool>,
    /// Cut it from every class's images instead of cutting off classes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tv_split_by_samples: Option<bool>,
    /// Share of the training split that stays for training [default: 0.8]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tv_split_perc: Option<f64>,
    /// Deal the training classes into K parts by the seed and validate on one (see --fold)
    #[arg(long, value_name = "K")]
    #[serde(skip_serializing_if = "Option::is_none")]
    folds: Option<u32>,
    /// The part that validates, from 1 to K [default: 1]
    #[arg(long, value_name = "I")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fold: Option<u32>,
}

impl SourceArgs {
    /// The data set, opened by the rules of a training's settings.
    fn open(&self) -> Result<Dataset, Failure> {
        Ok(pnp_data::open(&self.options()?)?)
    }

    fn path(&self) -> &Path {
        &self.source
    }

    fn options(&self) -> Result<DatasetOptions, Failure> {
        let config = TrainConfig::from_table(settings::table(self)?)?;
        Ok(config.dataset()?)
    }
}

/// How many threads decode.
#[derive(Debug, Args)]
struct WorkerArgs {
    /// Threads that decode; they change no result [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

impl WorkerArgs {
    /// Runs `work` on as many threads as were asked for.
    fn run<T: Send>(&self, work: impl FnOnce() -> Result<T, Failure> + Send) -> Result<T, Failure> {
        let threads = self.workers.map_or(0, usize::from);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Failure::Work(format!("cannot start threads: {e}")))?;
        pool.install(work)
    }
}
