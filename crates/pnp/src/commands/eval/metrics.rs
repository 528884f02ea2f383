//! `pnp eval --list`: the metrics there are.

use std::fmt::Write as _;

use pnp_ranking::metric::{DEFAULT_METRICS, METRICS};
use serde::Serialize;

use super::super::{print, print_json};
use crate::failure::Failure;

#[derive(Serialize)]
struct Line {
    name: &'static str,
    family: &'static str,
    /// What the name says; none where `--distance` decides.
    distance: Option<String>,
    summary: &'static str,
}

pub(super) fn list(json: bool) -> Result<(), Failure> {
    let lines = METRICS.iter().map(|entry| Line {
        name: entry.name,
        family: entry.family,
        distance: entry.distance().map(|distance| distance.to_string()),
        summary: entry.summary,
    });
    if json {
        return print_json(&lines.collect::<Vec<_>>());
    }
    let mut text = String::new();
    for Line { name, summary, .. } in lines {
        let _ = writeln!(text, "{name}\n    {summary}");
    }
    let _ = writeln!(text, "\nwithout --metrics: {}", DEFAULT_METRICS.join(", "));
    print(&text)
}
