//! `pnp data`: looks at data sets and packs them; one file for each of its commands.

mod audit;
mod pack;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pnp_data::DatasetOptions;

use crate::failure::Failure;

/// What is done with a data set.
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Decode every image and list what is wrong, or worth knowing; status 1 where a result would
    /// be wrong
    Audit(audit::AuditArgs),
    /// Put all images, resized, into one file that a training maps into memory
    Pack(pack::PackArgs),
}

/// Runs the command that was asked for.
pub(super) fn run(command: &DataCommand) -> Result<(), Failure> {
    match command {
        DataCommand::Audit(args) => audit::run(args),
        DataCommand::Pack(args) => pack::run(args),
    }
}

/// The data set that is looked at.
#[derive(Debug, Args)]
struct SourceArgs {
    /// A CSV manifest, a folder of class folders, or the folder that holds the data set
    source: PathBuf,
    /// Reader of the data set [default: told from the path]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Share of a plain folder's classes that is held out for the test
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    test_fraction: f64,
    /// Seed of that draw
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads that decode; they change no result [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
}

impl SourceArgs {
    fn options(&self) -> DatasetOptions {
        DatasetOptions {
            name: self.dataset.clone(),
            test_fraction: self.test_fraction,
            seed: self.seed,
            ..DatasetOptions::new(&self.source)
        }
    }

    /// Runs `work` on as many threads as were asked for.
    fn on_workers<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let threads = self.workers.map_or(0, usize::from);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|e| Failure::Work(format!("cannot start threads: {e}")))?;
        pool.install(work)
    }
}
