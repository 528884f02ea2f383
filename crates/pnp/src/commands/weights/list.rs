//! `pnp weights list`.

use clap::Args;
use serde::Serialize;

use super::super::{print, print_json};
use super::sources;
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
    weights: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    backbone: &'static str,
    repository: &'static str,
    file: &'static str,
    licence: &'static str,
    origin: &'static str,
}

pub(super) fn run(args: &ListArgs) -> Result<(), Failure> {
    let weights: Vec<Entry> = sources::all()
        .map(|source| Entry {
            name: source.name,
            backbone: source.backbone,
            repository: source.repository,
            file: source.file,
            licence: source.licence,
            origin: source.origin,
        })
        .collect();
    if args.json {
        return print_json(&Answer { weights });
    }
    let lines = weights.iter().map(|w| {
        let place = format!("{}/{}", w.repository, w.file);
        format!("{:24} {:50} {:14} {}\n", w.name, place, w.licence, w.origin)
    });
    let mut text: String = lines.collect();
    text.push_str(
        "\nFetch one with `pnp weights get NAME`. MobileNetV2's weights are also built in.\n",
    );
    print(&text)
}
