//! A CSV manifest: one line per image with the columns `path`, `label` and `split`, in any order
//! and among others. Paths are relative to the manifest's folder.

use std::path::{Component, Path, PathBuf};

use super::files::{Listed, io};
use super::{DatasetEntry, DatasetOptions, Draft, Splits};
use crate::error::{DataError, Split};

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "manifest",
    summary: "a CSV file that lists each image with its label and split",
    layout: "a .csv file, or manifest.csv in the folder, with the columns path, label, split \
             (train, val or test)",
    detect: |source| locate(source).is_some(),
    read,
};

fn locate(source: &Path) -> Option<PathBuf> {
    let is_csv = source.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if is_csv && source.is_file() {
        return Some(source.to_owned());
    }
    Some(source.join("manifest.csv")).filter(|file| file.is_file())
}

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    // A file of another name is a manifest where it is asked for by name.
    let given = Some(&options.source).filter(|source| source.is_file()).cloned();
    let path = locate(&options.source).or(given).ok_or_else(|| DataError::Layout {
        path: options.source.clone(),
        reason: format!("it should be {}", ENTRY.layout),
    })?;
    let file = std::fs::File::open(&path).map_err(|e| io(&path, e))?;
    let mut csv = csv::ReaderBuilder::new().from_reader(file);
    let columns = Columns::find(csv.headers().map_err(|e| parse_error(&path, &e))?, &path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut splits = Splits::default();
    let mut listed = Listed::default();
    let mut record = csv::StringRecord::new();
    while csv.read_record(&mut record).map_err(|e| parse_error(&path, &e))? {
        let line = record.position().map_or(0, csv::Position::line);
        let (split, draft) = columns.row(&record, folder).map_err(|(found, expected)| {
            let found = format!("'{}'", found.chars().take(100).collect::<String>());
            DataError::Line { path: path.clone(), line, found, expected: expected.to_owned() }
        })?;
        listed.add(&plain(&draft.name), &path, line)?;
        match split {
            Split::Train => splits.train.push(draft),
            Split::Validation => splits.validation.get_or_insert_default().push(draft),
            Split::Test => splits.test.push(draft),
        }
    }
    Ok(splits)
}

/// Where the three columns stand.
struct Columns {
    path: usize,
    label: usize,
    split: usize,
}

impl Columns {
    fn find(header: &csv::StringRecord, path: &Path) -> Result<Self, DataError> {
        let column = |name: &str| {
            header.iter().position(|cell| cell.trim() == name).ok_or_else(|| DataError::Line {
                path: path.to_owned(),
                line: 1,
                found: format!("the columns '{}'", header.iter().collect::<Vec<_>>().join(",")),
                expected: format!("a column '{name}' (the columns are path, label, split)"),
            })
        };
        Ok(Self { path: column("path")?, label: column("label")?, split: column("split")? })
    }

    /// One image; the error is what was found and what was expected.
    fn row<'r>(
        &self,
        record: &'r csv::StringRecord,
        folder: &Path,
    ) -> Result<(Split, Draft), (&'r str, &'static str)> {
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let split = match cell(self.split) {
            "train" => Split::Train,
            "val" | "validation" => Split::Validation,
            "test" => Split::Test,
            other => return Err((other, "a split: train, val or test")),
        };
        let (name, class) = (cell(self.path), cell(self.label));
        if name.is_empty() {
            return Err((name, "the path of an image"));
        }
        if class.is_empty() {
            return Err((class, "a label"));
        }
        let draft = Draft {
            path: folder.join(name),
            name: name.to_owned(),
            class: class.to_owned(),
            super_label: None,
        };
        Ok((split, draft))
    }
}

/// A path without its `.` parts, so that `a.png` and `./a.png` count as the same.
fn plain(name: &str) -> String {
    let parts = Path::new(name).components().filter(|part| *part != Component::CurDir);
    parts.collect::<PathBuf>().to_string_lossy().into_owned()
}

fn parse_error(path: &Path, error: &csv::Error) -> DataError {
    let line = error.position().map_or(1, csv::Position::line);
    let (found, expected) = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            (format!("{len} fields"), format!("{expected_len} fields, as in the header"))
        }
        csv::ErrorKind::Utf8 { .. } => ("bytes that are no text".into(), "UTF-8".into()),
        _ => return DataError::Layout { path: path.to_owned(), reason: error.to_string() },
    };
    DataError::Line { path: path.to_owned(), line, found, expected }
}
