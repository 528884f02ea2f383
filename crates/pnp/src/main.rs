//! `pnp`: trains, evaluates and uses image-retrieval models with ranking losses.
//!
//! What the user typed becomes checked arguments ([`cli`], [`legacy`]), those become settings of
//! the libraries ([`settings`]), and a file under `commands` does the work. Exit status: 0 done,
//! 1 the work failed or was stopped, 2 the request was wrong.

#![deny(clippy::print_stdout, clippy::print_stderr)]

/// Prints a line to standard error. That nobody reads it, or that its disk is full, is no reason
/// to end a training.
macro_rules! say {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($part)*);
    }};
}
pub(crate) use say;

mod array;
mod cli;
mod commands;
mod device;
mod failure;
mod legacy;
mod outputs;
mod progress;
mod settings;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let args = match legacy::normalise(std::env::args_os()) {
        Ok(args) => args,
        Err(failure) => return failure.report(),
    };
    match commands::run(Cli::parse_from(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
