//! `pnp networks`: the backbones there are.

use std::fmt::Write as _;

use pnp_model::backbone::{BACKBONES, BackboneEntry};
use pnp_model::weights::BUILTIN_BACKBONE;
use serde::Serialize;

use super::{print, print_json};
use crate::cli::NetworksArgs;
use crate::failure::Failure;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    networks: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    aliases: &'static [&'static str],
    /// Values that go into the head.
    features: usize,
    /// Trained values, without the head's.
    parameters: usize,
    /// What the pretrained weights expect of an image's values.
    input: &'static str,
    /// The rule of an image's side, where there is one.
    sides: Option<&'static str>,
    /// What `--freeze-until` takes, from the input on.
    stages: Vec<&'static str>,
    /// Whether the program comes with its pretrained weights.
    builtin_weights: bool,
}

impl Line {
    fn new(entry: &BackboneEntry) -> Self {
        Self {
            name: entry.name,
            aliases: entry.aliases,
            features: entry.features,
            parameters: entry.parameters,
            input: entry.input.name(),
            sides: entry.sides.map(|sides| sides.rule),
            stages: entry.stages.iter().map(|stage| stage.name).collect(),
            builtin_weights: entry.name == BUILTIN_BACKBONE,
        }
    }
}

pub(crate) fn run(args: &NetworksArgs) -> Result<(), Failure> {
    let networks: Vec<Line> = BACKBONES.iter().map(Line::new).collect();
    if args.json {
        return print_json(&Answer { networks });
    }
    let mut text = String::new();
    for line in networks {
        let names: Vec<&str> = [line.name].iter().chain(line.aliases).copied().collect();
        let millions = line.parameters as f64 / 1e6;
        let weights = if line.builtin_weights { ", weights built in" } else { "" };
        let _ = writeln!(
            text,
            "{}\n    {millions:.1} million parameters, {} features, input {}{weights}\n    \
             stages: {}",
            names.join(", "),
            line.features,
            line.input,
            line.stages.join(", ")
        );
        if let Some(rule) = line.sides {
            let _ = writeln!(text, "    {rule}");
        }
    }
    text.push_str(
        "\nGive one with --arch NAME, stages that stay as they are with --freeze-until.\n",
    );
    print(&text)
}
