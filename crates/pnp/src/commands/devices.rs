//! `pnp devices`.

use serde::Serialize;

use super::{print, print_json};
use crate::cli::DevicesArgs;
use crate::device;
use crate::failure::Failure;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    devices: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    summary: &'static str,
}

pub(crate) fn run(args: &DevicesArgs) -> Result<(), Failure> {
    let devices: Vec<Entry> =
        device::kinds().map(|(name, summary)| Entry { name, summary }).collect();
    if args.json {
        return print_json(&Answer { devices });
    }
    let lines = devices.iter().map(|entry| format!("{:8} {}\n", entry.name, entry.summary));
    let mut text: String = lines.collect();
    text.push_str("\nGive one with --device NAME, a further GPU of a kind as NAME:1.\n");
    print(&text)
}
