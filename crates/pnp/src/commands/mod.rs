//! The commands, one file each.

pub(crate) mod data;
mod devices;
mod embed;
mod eval;
mod export;
mod loss;
mod networks;
mod train;
mod using;
pub(crate) mod weights;

use std::collections::BTreeMap;
use std::io::Write as _;

use serde::Serialize;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Loss(args) => loss::run(&args),
        Command::Data(command) => data::run(&command),
        Command::Weights(command) => weights::run(&command),
        Command::Networks(args) => networks::run(&args),
        Command::Devices(args) => devices::run(&args),
    }
}

/// Prints to standard output. A reader that has gone away (`pnp … | head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Work(format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints one JSON object.
fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::Work(format!("cannot write the output as JSON: {e}")))?;
    print(&format!("{text}\n"))
}

/// Counts as a line for a person.
fn counts_line(counts: &BTreeMap<&str, usize>) -> String {
    let parts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect();
    parts.join(", ")
}
