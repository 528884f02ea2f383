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
use crate::settings::{self, SplitFlags};

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
    /// Seed of a plain folder's split, of folds and of drawn galleries [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[command(flatten)]
    #[serde(flatten)]
    splits: SplitFlags,
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
        pnp_train::on_workers(self.workers.map_or(0, usize::from), work)?
    }
}
