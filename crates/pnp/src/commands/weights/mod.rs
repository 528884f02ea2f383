//! `pnp weights`: what is in a weight file, and pretrained weights from the Hugging Face hub. One
//! file a subcommand, one line in [`WeightsCommand`].

mod get;
#[cfg(feature = "hub")]
mod hub;
mod inspect;
mod list;
mod sources;

use clap::Subcommand;

use crate::failure::Failure;

/// The subcommands of `pnp weights`.
#[derive(Debug, Subcommand)]
pub(crate) enum WeightsCommand {
    /// Show what a weight file holds, and which backbones it fits
    Inspect(inspect::InspectArgs),
    /// List the pretrained weights that `get` knows, with origin and licence
    List(list::ListArgs),
    /// Download pretrained weights from the Hugging Face hub, checked by their SHA-256
    Get(get::GetArgs),
}

/// Runs the subcommand that was asked for.
pub(crate) fn run(command: &WeightsCommand) -> Result<(), Failure> {
    match command {
        WeightsCommand::Inspect(args) => inspect::run(args),
        WeightsCommand::List(args) => list::run(args),
        WeightsCommand::Get(args) => get::run(args),
    }
}
