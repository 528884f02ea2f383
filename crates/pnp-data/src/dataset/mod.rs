//! Data sets: the registry of layouts, and what is the same for all of them.
//!
//! A reader is one file here with one line in [`DATASETS`]. It only says which images there are,
//! with their classes and splits (`Splits`); making a validation split, numbering the classes
//! and the checks that every data set goes through are done here.

mod files;
mod folder;
mod manifest;
mod online_products;
mod validation;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Split};
use crate::set::{Dataset, ImageSet, Item};

/// How training images are divided into training and validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationSplit {
    /// The share that stays in training, above 0 and below 1. The old code's default is 0.8.
    pub fraction_train: f64,
    /// `false`: the first classes of each super-class stay, the others validate. `true`: of each
    /// class the first images stay, the others validate.
    pub by_samples: bool,
}

/// Which data set to open, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetOptions {
    /// A name of [`DATASETS`]; `None` tries each in turn on the source.
    pub name: Option<String>,
    /// The data set's folder or list.
    pub source: PathBuf,
    /// Takes a validation split out of the training images; `None` leaves them whole.
    pub validation: Option<ValidationSplit>,
    /// For layouts without splits: the share of the classes that is held out for testing, above 0
    /// and below 1.
    pub test_fraction: f64,
    /// Decides which classes are held out.
    pub seed: u64,
}

impl DatasetOptions {
    /// What is at `source`, whatever it is, with half of the classes held out where the layout has
    /// no splits of its own, and no validation split.
    pub fn new(source: impl Into<PathBuf>) -> Self {
        Self { name: None, source: source.into(), validation: None, test_fraction: 0.5, seed: 1 }
    }
}

/// A kind of data set that can be opened.
#[derive(Debug)]
pub struct DatasetEntry {
    /// Its name, as [`DatasetOptions::name`] has it.
    pub name: &'static str,
    /// One line for a list of data sets.
    pub summary: &'static str,
    /// The files it consists of.
    pub layout: &'static str,
    detect: fn(&Path) -> bool,
    read: fn(&DatasetOptions) -> Result<Splits, DataError>,
}

impl DatasetEntry {
    /// Whether `source` looks like this kind.
    pub fn detects(&self, source: &Path) -> bool {
        (self.detect)(source)
    }
}

/// The data sets there are, in the order in which they are tried on a source.
pub const DATASETS: &[DatasetEntry] = &[online_products::ENTRY, manifest::ENTRY, folder::ENTRY];

/// An image as a reader found it: its class still has a name only.
#[derive(Debug, Clone)]
struct Draft {
    path: PathBuf,
    name: String,
    class: String,
    super_label: Option<u32>,
}

/// What a reader found.
#[derive(Debug, Default)]
struct Splits {
    train: Vec<Draft>,
    validation: Option<Vec<Draft>>,
    test: Vec<Draft>,
    notes: Vec<String>,
}

/// Opens a data set and checks it: every file is there, no split is empty, there are at least two
/// images to train on. Contents are not read.
///
/// # Errors
/// Every kind of [`DataError`] that a list, a folder or a setting can cause.
pub fn open(options: &DatasetOptions) -> Result<Dataset, DataError> {
    open_with(options, ImageSet::new)
}

/// [`open`] for an [audit](crate::audit()): images that are not there are no error.
///
/// # Errors
/// Every other kind of [`DataError`] that a list, a folder or a setting can cause.
pub fn open_incomplete(options: &DatasetOptions) -> Result<Dataset, DataError> {
    open_with(options, ImageSet::incomplete)
}

/// How a split's images and the names of its classes become a set.
type MakeSet = fn(Vec<Item>, Vec<String>) -> Result<ImageSet, DataError>;

fn open_with(options: &DatasetOptions, make_set: MakeSet) -> Result<Dataset, DataError> {
    check_fraction("test_fraction", options.test_fraction)?;
    if let Some(split) = &options.validation {
        check_fraction("fraction_train", split.fraction_train)?;
    }
    let entry = choose(options)?;
    let mut splits = (entry.read)(options)?;
    if let Some(split) = options.validation {
        validation::take(&mut splits, split)?;
    }
    assemble(entry.name, &options.source, splits, make_set)
}

fn choose(options: &DatasetOptions) -> Result<&'static DatasetEntry, DataError> {
    std::fs::metadata(&options.source).map_err(|e| files::io(&options.source, e))?;
    let Some(name) = &options.name else {
        return DATASETS.iter().find(|entry| entry.detects(&options.source)).ok_or_else(|| {
            let lines = DATASETS.iter().map(|entry| format!("  {}: {}", entry.name, entry.layout));
            DataError::Unrecognised {
                source_path: options.source.clone(),
                layouts: lines.collect::<Vec<_>>().join("\n"),
            }
        });
    };
    find(name)
}

/// The registry's line of this name.
///
/// # Errors
/// [`DataError::UnknownDataset`] with the names there are.
pub fn find(name: &str) -> Result<&'static DatasetEntry, DataError> {
    DATASETS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<_> = DATASETS.iter().map(|entry| entry.name).collect();
        DataError::UnknownDataset { name: name.to_owned(), known: known.join(", ") }
    })
}

fn check_fraction(setting: &'static str, value: f64) -> Result<(), DataError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    let rule = "it must be above 0 and below 1".to_owned();
    Err(DataError::Setting { setting, value: value.to_string(), rule })
}

fn assemble(
    name: &str,
    source: &Path,
    splits: Splits,
    make_set: MakeSet,
) -> Result<Dataset, DataError> {
    let empty = |split, hint| DataError::EmptySplit { path: source.to_owned(), split, hint };
    if splits.train.is_empty() {
        return Err(empty(Split::Train, "a data set needs images to train on"));
    }
    if splits.test.is_empty() {
        return Err(empty(Split::Test, "a data set needs images to measure on"));
    }
    if splits.validation.as_ref().is_some_and(Vec::is_empty) {
        return Err(empty(Split::Validation, "leave the split out, or give it more of the images"));
    }
    if splits.train.len() < 2 {
        let reason = "it has one image to train on, and a loss compares at least two".to_owned();
        return Err(DataError::Layout { path: source.to_owned(), reason });
    }
    let mut dataset = Dataset {
        name: name.to_owned(),
        source: source.to_owned(),
        train: number(splits.train, make_set)?,
        validation: splits.validation.map(|drafts| number(drafts, make_set)).transpose()?,
        test: number(splits.test, make_set)?,
        notes: splits.notes,
    };
    let notes = notes(&dataset);
    dataset.notes.extend(notes);
    Ok(dataset)
}

/// Gives the classes of one split their numbers.
fn number(drafts: Vec<Draft>, make_set: MakeSet) -> Result<ImageSet, DataError> {
    let names = class_order(&drafts);
    let numbers: HashMap<&str, u32> =
        names.iter().zip(0..).map(|(name, number)| (name.as_str(), number)).collect();
    let items = drafts
        .into_iter()
        .map(|draft| Item {
            label: numbers[draft.class.as_str()],
            path: draft.path,
            name: draft.name,
            super_label: draft.super_label,
        })
        .collect();
    make_set(items, names)
}

/// The class names in order: by value where all of them are numbers, else by their bytes.
fn class_order<'a>(drafts: impl IntoIterator<Item = &'a Draft>) -> Vec<String> {
    let mut names: Vec<&str> = drafts.into_iter().map(|draft| draft.class.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let values: Result<Vec<u64>, _> = names.iter().map(|name| name.parse()).collect();
    if let Ok(values) = values {
        let mut order: Vec<_> = values.into_iter().zip(names).collect();
        order.sort_unstable();
        return order.into_iter().map(|(_, name)| name.to_owned()).collect();
    }
    names.into_iter().map(str::to_owned).collect()
}

/// What is allowed, and worth knowing.
fn notes(dataset: &Dataset) -> Vec<String> {
    let mut notes = Vec::new();
    for (split, set) in dataset.splits() {
        let lone = set.lone_classes();
        if lone > 0 {
            let what = match split {
                Split::Train => "they are never anything but negatives to other images",
                Split::Validation | Split::Test => "their images are left out as queries",
            };
            let verb = if lone == 1 { "class has" } else { "classes have" };
            notes.push(format!("{lone} {split} {verb} one image: {what}"));
        }
    }
    let trained: std::collections::HashSet<_> = dataset.train.class_names().iter().collect();
    let shared = dataset.test.class_names().iter().filter(|name| trained.contains(name)).count();
    if shared > 0 {
        notes.push(format!(
            "{shared} of {} test classes are also trained on: scores will not tell how well \
             unseen classes are retrieved",
            dataset.test.classes()
        ));
    }
    notes
}
