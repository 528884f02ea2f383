//! `pnp data convert`: any data set as a CSV manifest.

use std::path::{Path, PathBuf};

use clap::Args;
use pnp_run::atomic;
use pnp_train::TrainError;
use serde::Serialize;

use super::super::{print, print_json};
use super::SourceArgs;
use crate::failure::Failure;
use crate::outputs;

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The manifest to write (.csv): paths in it are relative to its folder
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    dataset: String,
    manifest: String,
    images: usize,
}

pub(super) fn run(args: &ConvertArgs) -> Result<(), Failure> {
    let folder = match args.out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("there is no folder '{}'", folder.display())));
    }
    if args.out.extension().is_none_or(|extension| extension != "csv") {
        let out = args.out.display();
        return Err(Failure::Usage(format!("--out '{out}' is to be a .csv file: name it so")));
    }
    let source = args.source.path().to_owned();
    let inputs = [source.join("manifest.csv"), source];
    outputs::check(inputs.iter(), [&args.out].into_iter())?;
    let dataset = args.source.open()?;
    let manifest = pnp_data::to_manifest(&dataset, folder)?;
    atomic::write(&args.out, &manifest).map_err(TrainError::from)?;
    let images = dataset.named_splits().map(|(_, set)| set.len()).sum();
    let manifest = args.out.display().to_string();
    if args.json {
        return print_json(&Answer { dataset: dataset.name, manifest, images });
    }
    for note in &dataset.notes {
        crate::say!("note: {note}");
    }
    print(&format!("{images} lines, {}: {manifest}\n", dataset.name))
}
