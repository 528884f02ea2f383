//! Chores of this repository, as `cargo xtask <chore>`.

mod check_dependencies;
mod select_emoji;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>

chores:
  check-dependencies
      Checks which crate depends on which, and that library crates neither print nor read the
      environment nor name a concrete backend.
  select-emoji --from <folder>
      Makes data/emoji/ anew from the larger set in <folder> (its manifest.csv and images).";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["check-dependencies"] => check_dependencies::run(&root()),
        ["select-emoji", "--from", from] => {
            select_emoji::run(Path::new(from), &root().join("data/emoji")).map(|()| true)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root: the folder around this crate's.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
