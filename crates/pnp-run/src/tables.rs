//! The records as CSV tables, for spreadsheets and other programs.
//!
//! Reals are written with the fewest digits that read back as the same bits.

use std::path::Path;

use crate::error::RunError;
use crate::records::{EpochRecord, Records, StepRecord};

const TRAIN_COLUMNS: [&str; 9] = [
    "epoch",
    "step",
    "loss",
    "gradient_norm",
    "learning_rate",
    "seconds",
    "queries",
    "lone_queries",
    "skipped_images",
];
const EPOCH_COLUMNS: [&str; 5] = ["epoch", "steps", "mean_loss", "seconds", "images_per_second"];

/// Every table: its file name and its bytes. `folder` names the file in an error.
pub(crate) fn all(records: &Records, folder: &Path) -> Result<Vec<(String, Vec<u8>)>, RunError> {
    let mut tables = vec![
        ("train.csv".to_owned(), columns(&TRAIN_COLUMNS), records.steps.iter().map(step).collect()),
        ("epochs.csv".into(), columns(&EPOCH_COLUMNS), records.epochs.iter().map(epoch).collect()),
    ];
    for split in records.splits() {
        for family in records.families(split) {
            let metrics = records.metrics(split, family);
            let heading = std::iter::once("epoch").chain(metrics.iter().copied());
            let heading = heading.map(str::to_owned).collect();
            let rows = scores(records, split, family, &metrics);
            tables.push((format!("{split}_{family}.csv"), heading, rows));
        }
    }
    let encode = |(name, heading, rows): (String, Row, Vec<Row>)| match csv(&heading, &rows) {
        Ok(bytes) => Ok((name, bytes)),
        Err(reason) => Err(RunError::Table { path: folder.join(name), reason }),
    };
    tables.into_iter().map(encode).collect()
}

type Row = Vec<String>;

fn columns(names: &[&str]) -> Row {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn step(record: &StepRecord) -> Row {
    vec![
        record.epoch.to_string(),
        record.step.to_string(),
        real(record.loss),
        real(record.gradient_norm),
        real(record.learning_rate),
        real(record.seconds),
        record.queries.to_string(),
        record.lone_queries.to_string(),
        record.skipped_images.to_string(),
    ]
}

fn epoch(record: &EpochRecord) -> Row {
    vec![
        record.epoch.to_string(),
        record.steps.to_string(),
        real(record.mean_loss),
        real(record.seconds),
        real(record.images_per_second),
    ]
}

/// A row per evaluated epoch; an empty cell where a metric was not measured.
fn scores(records: &Records, split: &str, family: &str, metrics: &[&str]) -> Vec<Row> {
    let row = |epoch: u64, values: Vec<Option<f64>>| {
        let cells = values.into_iter().map(|value| value.map_or_else(String::new, real));
        std::iter::once(epoch.to_string()).chain(cells).collect()
    };
    let evaluations = records.of_split(split).into_iter();
    let measured = evaluations.map(|evaluation| {
        let values = metrics.iter().map(|metric| evaluation.score(family, metric)).collect();
        (evaluation.epoch, values)
    });
    // An epoch at which none of the family was measured has no row.
    let measured =
        measured.filter(|(_, values): &(u64, Vec<_>)| values.iter().any(Option::is_some));
    measured.map(|(epoch, values)| row(epoch, values)).collect()
}

/// The shortest form that reads back as the same number, with an exponent where that is shorter.
fn real(value: f64) -> String {
    format!("{value:?}")
}

fn csv(heading: &Row, rows: &[Row]) -> Result<Vec<u8>, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(heading).chain(rows) {
        writer.write_record(row).map_err(|e| e.to_string())?;
    }
    writer.into_inner().map_err(|e| e.to_string())
}
