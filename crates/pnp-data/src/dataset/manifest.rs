//! A CSV manifest: one line per image with the columns `path`, `label` and `split`, in any order
//! and among others. Paths are relative to the manifest's folder.
//!
//! | column | what stands in it |
//! | --- | --- |
//! | `split` | `train`, `val` (or `validation`), `test`, or `test-NAME` for further test splits |
//! | `category` | the kind of thing; where there is no `super_label` it is the super-class too |
//! | `super_label` | the number of the super-class, from 1 on |
//! | `is_query`, `is_gallery` | `True`, `False`, `1` or `0`; both or none; empty when training |
//! | `x1`, `y1`, `x2`, `y2` | a box in whole pixels, `x1 < x2` and `y1 < y2`, the second corner excluded; all four or none |
//!
//! All but the first three are optional, and so is each cell of theirs. The format of
//! open-metric-learning is read too: it spells the box `x_1`, `y_1`, `x_2`, `y_2`, gives every
//! measured image its roles, and has no test split: its `validation` is what is measured.
//!
//! An image may be listed once in each test split, and again with another box. What of a box
//! reaches over an edge of its image, a negative corner too, is cut off; an image whose box lies
//! outside altogether is a bad image, as one that does not decode.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::files::{Listed, id, io, malformed, wrong_layout};
use super::{Boxes, Categories, DatasetEntry, DatasetOptions, Draft, Splits};
use crate::error::DataError;
use crate::item::{Region, Role};

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "manifest",
    summary: "a CSV file that lists each image with its label and split",
    layout: "a .csv file, or manifest.csv in the folder, with the columns path, label, split \
             (train, val or test) and, where wanted, category, super_label, is_query, is_gallery, \
             x1, y1, x2, y2",
    detect: |source| locate(source).is_some(),
    read,
};

/// The names of a box's columns, ours and open-metric-learning's.
const BOX_COLUMNS: [[&str; 2]; 4] = [["x1", "x_1"], ["y1", "y_1"], ["x2", "x_2"], ["y2", "y_2"]];

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
    let path = locate(&options.source).or(given);
    let path = path.ok_or_else(|| wrong_layout(&options.source, ENTRY.layout))?;
    let file = std::fs::File::open(&path).map_err(|e| io(&path, e))?;
    parse(file, &path, options.boxes)
}

/// The images of a manifest's text; `path` is where it is.
pub(super) fn parse(text: impl Read, path: &Path, boxes: Boxes) -> Result<Splits, DataError> {
    let mut csv = csv::ReaderBuilder::new().from_reader(text);
    let columns = Columns::find(csv.headers().map_err(|e| parse_error(path, &e))?, path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut splits, mut listed) = (Splits::default(), ListedOnce::default());
    let mut categories = Categories::default();
    let mut record = csv::StringRecord::new();
    while csv.read_record(&mut record).map_err(|e| parse_error(path, &e))? {
        let line = record.position().map_or(0, csv::Position::line);
        let (split, mut draft) = columns
            .row(&record, folder, &mut categories)
            .map_err(|(found, expected)| malformed(path, line, found, expected))?;
        listed.add(&draft, split, path, line)?;
        if boxes == Boxes::Ignore {
            draft.region = None;
        }
        match split {
            "train" => splits.train.push(draft),
            "val" => splits.validation.get_or_insert_default().push(draft),
            "test" => splits.test.push(draft),
            name => {
                let more = &mut splits.more_tests;
                match more.iter_mut().find(|(known, _)| known == name) {
                    Some((_, drafts)) => drafts.push(draft),
                    None => more.push((name.to_owned(), vec![draft])),
                }
            }
        }
    }
    let without_test = splits.test.is_empty() && splits.more_tests.is_empty();
    if columns.roles.is_some()
        && without_test
        && let Some(validation) = splits.validation.take()
    {
        splits.test = validation;
        splits.notes.push(
            "the manifest has roles and no test split, as open-metric-learning's: its validation \
             split is the test split"
                .to_owned(),
        );
    }
    Ok(splits)
}

/// Which images were listed in which splits.
#[derive(Default)]
struct ListedOnce {
    /// What is in no test split, and the first place of what is in one.
    apart: Listed,
    tested: Vec<(String, Listed)>,
}

impl ListedOnce {
    fn add(&mut self, draft: &Draft, split: &str, path: &Path, line: u64) -> Result<(), DataError> {
        let mut name = plain(&draft.name);
        if let Some(region) = draft.region {
            name = format!("{name} ({region})");
        }
        if !split.starts_with("test") {
            for (_, tested) in &self.tested {
                tested.check(&name, path, line)?;
            }
            return self.apart.add(&name, path, line);
        }
        self.apart.check(&name, path, line)?;
        let place = self.tested.iter().position(|(known, _)| known == split);
        let place = place.unwrap_or_else(|| {
            self.tested.push((split.to_owned(), Listed::default()));
            self.tested.len() - 1
        });
        self.tested[place].1.add(&name, path, line)
    }
}

/// Where the columns stand.
struct Columns {
    path: usize,
    label: usize,
    split: usize,
    category: Option<usize>,
    super_label: Option<usize>,
    /// `is_query` and `is_gallery`.
    roles: Option<[usize; 2]>,
    region: Option<[usize; 4]>,
}

/// What was found, and what was expected.
type Wrong<'r> = (&'r str, &'static str);

impl Columns {
    fn find(header: &csv::StringRecord, path: &Path) -> Result<Self, DataError> {
        let column = |name: &str| header.iter().position(|cell| cell.trim() == name);
        let refuse = |expected: String| DataError::Line {
            path: path.to_owned(),
            line: 1,
            found: format!("the columns '{}'", header.iter().collect::<Vec<_>>().join(",")),
            expected,
        };
        let needed = |name: &str| {
            let expected = format!("a column '{name}' (the columns are path, label, split)");
            column(name).ok_or_else(|| refuse(expected))
        };
        let roles = match [column("is_query"), column("is_gallery")] {
            [Some(query), Some(gallery)] => Some([query, gallery]),
            [None, None] => None,
            _ => return Err(refuse("both of the columns is_query and is_gallery, or none".into())),
        };
        let corners = BOX_COLUMNS.map(|names| names.into_iter().find_map(column));
        let region = match corners {
            [Some(x1), Some(y1), Some(x2), Some(y2)] => Some([x1, y1, x2, y2]),
            [None, None, None, None] => None,
            _ => return Err(refuse("all of the columns x1, y1, x2, y2, or none".into())),
        };
        Ok(Self {
            path: needed("path")?,
            label: needed("label")?,
            split: needed("split")?,
            category: column("category"),
            super_label: column("super_label"),
            roles,
            region,
        })
    }

    /// One image and its split's name.
    fn row<'r>(
        &self,
        record: &'r csv::StringRecord,
        folder: &Path,
        categories: &mut Categories,
    ) -> Result<(&'r str, Draft), Wrong<'r>> {
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let optional = |column: Option<usize>| column.map(cell).filter(|text| !is_empty(text));
        let split = match cell(self.split) {
            "val" | "validation" => "val",
            name if name == "train" || name == "test" || is_further_test(name) => name,
            other => return Err((other, "a split: train, val, test, or test- with a name")),
        };
        let (name, class) = (cell(self.path), cell(self.label));
        if name.is_empty() {
            return Err((name, "the path of an image"));
        }
        if class.is_empty() {
            return Err((class, "a label"));
        }
        let super_label = optional(self.super_label)
            .map(|text| id(text).ok_or((text, "the number of a super-class, from 1 on")));
        let draft = Draft {
            category: optional(self.category).map(|name| categories.get(name)),
            super_label: super_label.transpose()?,
            region: self.region.map_or(Ok(None), |columns| region(columns.map(cell)))?,
            role: self
                .roles
                .map_or(Ok(Role::Both), |columns| role(columns.map(cell), split == "train"))?,
            ..Draft::new(folder.join(name), name, class)
        };
        Ok((split, draft))
    }
}

/// What pandas writes for nothing counts as nothing.
fn is_empty(text: &str) -> bool {
    matches!(text, "" | "None" | "nan" | "NaN")
}

/// `test-` and a name that is fit to be a part of a file's.
fn is_further_test(name: &str) -> bool {
    let rest = name.strip_prefix("test-").unwrap_or_default();
    (1..=32).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn region(cells: [&str; 4]) -> Result<Option<Region>, Wrong<'_>> {
    if cells.iter().all(|text| is_empty(text)) {
        return Ok(None);
    }
    let mut corners = [0; 4];
    for (corner, text) in corners.iter_mut().zip(cells) {
        // A column with empty cells is one of reals to pandas, which writes 3 as 3.0.
        let whole = text.strip_suffix(".0").unwrap_or(text);
        *corner = whole.parse().map_err(|_| (text, "a box of four whole numbers of pixels"))?;
    }
    let [x1, y1, x2, y2] = corners;
    let expected = "a box with x1 < x2 and y1 < y2";
    Region::new(x1, y1, x2, y2).map(Some).ok_or((cells[0], expected))
}

fn role(cells: [&str; 2], trains: bool) -> Result<Role, Wrong<'_>> {
    let expected = "True or False (1 or 0) in both of is_query and is_gallery, or neither";
    let flag = |text| match text {
        "True" | "true" | "1" | "1.0" => Ok(Some(true)),
        "False" | "false" | "0" | "0.0" => Ok(Some(false)),
        text if is_empty(text) => Ok(None),
        text => Err((text, expected)),
    };
    match (flag(cells[0])?, flag(cells[1])?) {
        (Some(true), _) | (_, Some(true)) if trains => {
            Err(("True", "no role: an image to train on is neither query nor gallery"))
        }
        _ if trains => Ok(Role::Both),
        (None, None) | (Some(true), Some(true)) => Ok(Role::Both),
        (Some(true), Some(false)) => Ok(Role::Query),
        (Some(false), Some(true)) => Ok(Role::Gallery),
        (Some(false), Some(false)) => {
            Err(("False", "True in is_query, in is_gallery, or in both: it would take no part"))
        }
        _ => Err(("", expected)),
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
