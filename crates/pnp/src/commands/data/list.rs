//! `pnp data list`.

use std::fmt::Write as _;

use clap::Args;
use pnp_data::DATASETS;
use serde::Serialize;

use super::super::{print, print_json};
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    datasets: Vec<Known>,
}

#[derive(Serialize)]
struct Known {
    name: &'static str,
    summary: &'static str,
    layout: &'static str,
}

pub(super) fn run(args: &ListArgs) -> Result<(), Failure> {
    if args.json {
        let known = DATASETS.iter().map(|entry| Known {
            name: entry.name,
            summary: entry.summary,
            layout: entry.layout,
        });
        return print_json(&Answer { datasets: known.collect() });
    }
    let width = DATASETS.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in DATASETS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<width$}  {}", entry.name, entry.summary);
        let _ = writeln!(text, "{:<width$}  files: {}", "", entry.layout);
    }
    text.push_str(
        "\nA source is recognised by its files, tried in this order; --dataset names one.\n",
    );
    print(&text)
}
