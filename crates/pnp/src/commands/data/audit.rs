//! `pnp data audit`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use pnp_data::audit::{Depth, Finding, Kind, Severity, Subject};
use pnp_data::{Audit, Dataset};
use pnp_train::{Observer, Phase};
use serde::Serialize;

use super::{SourceArgs, WorkerArgs};
use crate::commands::train::stop_on_interrupt;
use crate::commands::{print, print_json};
use crate::failure::Failure;
use crate::progress::Terminal;

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    workers: WorkerArgs,
    /// Findings of each kind that are listed; 0: all
    #[arg(long, value_name = "N", default_value_t = 5)]
    show: usize,
    /// Print one JSON object with all findings
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &AuditArgs) -> Result<(), Failure> {
    let dataset = pnp_data::open_incomplete(&args.source.options()?)?;
    let total: usize = dataset.splits().map(|(_, set)| set.len()).sum();
    let stop = stop_on_interrupt("after these images")?;
    let audit = args.workers.run(|| {
        let mut terminal = Terminal::new();
        terminal.begin(&Phase::Check, total as u64, 0);
        let audit = pnp_data::audit(dataset.splits(), Depth::Full, |more| {
            terminal.advance(more as u64, "");
            !stop.is_set()
        });
        terminal.end();
        audit.ok_or(Failure::Stopped)
    })?;
    if args.json {
        print_json(&Answer::new(&dataset, &audit))?;
    } else {
        print(&table(&dataset, &audit, args.show))?;
    }
    match audit.corrupting() {
        0 => Ok(()),
        1 => Err(Failure::Work("1 finding would corrupt a result".into())),
        count => Err(Failure::Work(format!("{count} findings would corrupt a result"))),
    }
}

/// What was found, for a person: the bad kinds first.
fn table(dataset: &Dataset, audit: &Audit, show: usize) -> String {
    let mut text = format!("{}: {} images\n", dataset.source.display(), audit.images);
    for (split, set) in dataset.named_splits() {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "  {split:<10} {:>8} images, {} classes", set.len(), set.classes());
    }
    for note in &dataset.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for severity in [Severity::CorruptsResult, Severity::WorthKnowing] {
        let kinds = Kind::ALL.into_iter().filter(|kind| kind.severity() == severity);
        let rows: String = kinds.map(|kind| rows(audit, kind, show)).collect();
        let rows = if rows.is_empty() { "  nothing\n" } else { &rows };
        let _ = write!(text, "\n{severity}\n{rows}");
    }
    text
}

/// The findings of one kind.
fn rows(audit: &Audit, kind: Kind, show: usize) -> String {
    let count = audit.of(kind).count();
    if count == 0 {
        return String::new();
    }
    let mut text = format!("  {:<20} {count:>6}  {}\n", kind.name(), kind.meaning());
    let shown = if show == 0 { count } else { show.min(count) };
    for finding in audit.of(kind).take(shown) {
        let _ = writeln!(text, "      {finding}");
    }
    if shown < count {
        let _ = writeln!(text, "      and {} more (--show 0 lists all)", count - shown);
    }
    text
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    dataset: &'a str,
    source: String,
    images: usize,
    /// How many findings would corrupt a result.
    corrupting: usize,
    counts: BTreeMap<&'static str, usize>,
    notes: &'a [String],
    findings: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    kind: &'static str,
    severity: &'static str,
    split: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    twin: Option<Twin<'a>>,
}

#[derive(Serialize)]
struct Twin<'a> {
    split: String,
    image: &'a str,
}

impl<'a> Answer<'a> {
    fn new(dataset: &'a Dataset, audit: &'a Audit) -> Self {
        let counts = Kind::ALL.into_iter().map(|kind| (kind.name(), audit.of(kind).count()));
        Self {
            dataset: &dataset.name,
            source: dataset.source.display().to_string(),
            images: audit.images,
            corrupting: audit.corrupting(),
            counts: counts.filter(|&(_, count)| count > 0).collect(),
            notes: &dataset.notes,
            findings: audit.findings.iter().map(Entry::new).collect(),
        }
    }
}

impl<'a> Entry<'a> {
    fn new(finding: &'a Finding) -> Self {
        let (image, class) = match &finding.subject {
            Subject::Image(name) => (Some(name.as_str()), None),
            Subject::Class(name) => (None, Some(name.as_str())),
        };
        let twin = finding.twin.as_ref();
        Self {
            kind: finding.kind.name(),
            severity: match finding.kind.severity() {
                Severity::CorruptsResult => "corrupts_result",
                Severity::WorthKnowing => "worth_knowing",
            },
            split: finding.split.to_string(),
            image,
            class,
            detail: &finding.detail,
            twin: twin.map(|(split, name)| Twin { split: split.to_string(), image: name }),
        }
    }
}
