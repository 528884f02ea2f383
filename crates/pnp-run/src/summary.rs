//! A run on one page of text.

use std::fmt::Write;
use std::path::Path;

use crate::clock::{span, utc};
use crate::info::RunInfo;
use crate::records::{EvaluationRecord, Records};
use crate::score_table::{score_table, show};

/// The page.
pub(crate) fn text(path: &Path, info: &RunInfo, records: &Records) -> String {
    let name = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let title = format!("{name} on {}: {}", info.dataset, info.status);
    let mut page = format!("{title}\n{}\n\n", "=".repeat(title.chars().count()));
    page += &facts(info, records);
    if info.selected_on == "test" {
        page += SELECTED_ON_TEST;
    }
    page += &section("Settings (all of them: config.toml)", &pairs(&info.settings));
    let intervals = records.evaluations.iter().flat_map(|evaluation| &evaluation.scores);
    if intervals.into_iter().any(|score| score.interval.is_some()) {
        page += INTERVALS;
    }
    for split in records.splits() {
        for family in records.families(split) {
            let heading = format!("Scores on {split}, {family}");
            page += &section(&heading, &scores(records, split, family));
        }
    }
    page += &section("Counted", &counts(records));
    page += &section("Notes", &notes(records));
    page += &section("Files", FILES);
    page
}

const FILES: &str = "\
config.toml            every setting as resolved
run.json               version, device, seed, data digest, status
events.jsonl           everything recorded, one event per line
csv/, plots/           the same as tables and as pictures
checkpoints/last/      from which the run can be resumed
checkpoints/best/      the network of the best epoch
";

/// What every run has.
fn facts(info: &RunInfo, records: &Records) -> String {
    let rows = [
        ("started", utc(info.started_unix_s)),
        ("version", info.version.clone()),
        ("device", info.device.clone()),
        ("seed", info.seed.to_string()),
        ("data set", format!("{}, digest {}", info.dataset, info.data_digest)),
        ("trained", trained(records)),
        ("time", time(records)),
        ("best", best(records)),
        ("selected on", info.selected_on.clone()),
    ];
    pairs(&rows.map(|(name, value)| (name.to_owned(), value)))
}

fn trained(records: &Records) -> String {
    let times = |n: usize| if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let resumed = match records.resumed {
        0 => String::new(),
        n => format!(", resumed {}", times(n)),
    };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let epochs = count(records.epochs.len(), "whole epoch");
    format!("{epochs}, {}{resumed}", count(records.steps.len(), "step"))
}

fn time(records: &Records) -> String {
    // The steps' times and not the epochs': an epoch that was broken off has no record.
    let training: f64 = records.steps.iter().map(|step| step.seconds).sum();
    let evaluating: f64 = records.evaluations.iter().map(|evaluation| evaluation.seconds).sum();
    format!("{} training, {} evaluating", span(training), span(evaluating))
}

fn best(records: &Records) -> String {
    match &records.best {
        Some(best) => {
            let score = show(&best.metric, best.score);
            format!("epoch {} by {} = {score}", best.epoch, best.metric)
        }
        None => "no best checkpoint yet".into(),
    }
}

/// What must not be overlooked where there was no validation split.
const SELECTED_ON_TEST: &str = "
Selected on test: the best epoch was picked by the very scores that are reported for it, which are
therefore too good. A validation split gives a fair number.
";

/// What the columns `from` and `to` are.
const INTERVALS: &str = "
From, to: where 95 % of the best epoch's scores lie when its queries are drawn anew with replacement
(bootstrap, 1,000 rounds). It tells of other queries, not of other seeds of the training.
";

/// Untrained, best and last side by side, each where it was measured.
fn scores(records: &Records, split: &str, family: &str) -> String {
    let evaluations = records.of_split(split);
    let at = |epoch: u64| evaluations.iter().find(|evaluation| evaluation.epoch == epoch).copied();
    let best = records.best.as_ref().and_then(|best| at(best.epoch));
    let last = evaluations.last().copied().filter(|last| last.epoch > 0);
    let column = |name: &str, evaluation: Option<&EvaluationRecord>| {
        evaluation.map(|e| (format!("{name} (epoch {})", e.epoch), e.family(family)))
    };
    let untrained = at(0).map(|evaluation| ("untrained".to_owned(), evaluation.family(family)));
    // The best epoch's is the score that is reported; what it may be by chance stands beside it.
    let ends = |name: &str, upper: bool| {
        let ends = best.map(|best| best.ends(family, upper)).unwrap_or_default();
        (!ends.is_empty()).then(|| (name.to_owned(), ends))
    };
    let (from, to) = (ends("from", false), ends("to", true));
    let columns = [untrained, column("best", best), from, to, column("last", last)];
    let columns = columns.iter().flatten();
    let columns: Vec<(&str, &[(String, f64)])> =
        columns.map(|(name, scores)| (name.as_str(), scores.as_slice())).collect();
    score_table(&columns)
}

/// The counts of each split's last evaluation, and those of training.
fn counts(records: &Records) -> String {
    let mut rows = Vec::new();
    if !records.steps.is_empty() {
        let sum = |count: fn(&crate::records::StepRecord) -> usize| {
            records.steps.iter().map(count).fold(0, usize::saturating_add)
        };
        rows.push(("queries trained on".to_owned(), sum(|s| s.queries).to_string()));
        rows.push(("left out, no positive".into(), sum(|s| s.lone_queries).to_string()));
        rows.push(("broken images skipped".into(), sum(|s| s.skipped_images).to_string()));
    }
    for split in records.splits() {
        if let Some(last) = records.of_split(split).last() {
            let counts = last.counts.iter();
            rows.extend(
                counts.map(|(name, count)| (format!("{split}: {name}"), count.to_string())),
            );
        }
    }
    pairs(&rows)
}

fn notes(records: &Records) -> String {
    records.notes.iter().flat_map(|note| ["- ", note, "\n"]).collect()
}

/// A section with its heading, or nothing where there is nothing to say.
fn section(heading: &str, body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!("\n{heading}\n{}\n{body}", "-".repeat(heading.chars().count()))
}

/// Names and values in two columns.
fn pairs(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<width$}  {value}");
    }
    text
}
