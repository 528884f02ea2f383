//! Data sets: the registry of layouts, and what is the same for all of them.
//!
//! A reader is one file here with one line in [`DATASETS`]. It only says which images there are,
//! with their classes and splits (`Splits`); making a validation split, numbering the classes
//! and the checks that every data set goes through are done here.

mod cars196;
mod checks;
mod cub200;
mod files;
mod folder;
mod folds;
mod in_shop;
mod inaturalist;
mod manifest;
mod mat;
mod online_products;
#[doc(hidden)]
pub mod parsing;
mod validation;
mod vehicle_id;
mod write_manifest;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::write_manifest::to_manifest;
use crate::error::DataError;
use crate::item::{Item, Region, Role};
use crate::set::{Dataset, ImageSet, TestSplit};

/// How training images are divided into training and validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationSplit {
    /// The share that stays in training, above 0 and below 1. The old code's default is 0.8.
    pub fraction_train: f64,
    /// `false`: the first classes of each super-class stay, the others validate. `true`: of each
    /// class the first images stay, the others validate.
    pub by_samples: bool,
}

/// A validation split of classes: all of them are drawn into parts of nearly the same size, within
/// each super-class where there are such, and one part validates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fold {
    /// How many parts, at least 2.
    pub folds: usize,
    /// The part that validates, from 1 to `folds`.
    pub fold: usize,
}

/// Whether images are cut to the boxes that a data set has for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Boxes {
    /// As the field does: those of In-Shop Clothes and of manifests are used, those of CUB-200-2011
    /// and Cars196 are not.
    #[default]
    Auto,
    /// They are used; a data set without any is refused.
    Use,
    /// Images are used whole.
    Ignore,
}

impl Boxes {
    /// The names that [`parse`](Self::parse) takes.
    pub const NAMES: [&str; 3] = ["auto", "use", "ignore"];

    /// The choice of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "use" => Some(Self::Use),
            "ignore" => Some(Self::Ignore),
            _ => None,
        }
    }

    /// Whether a reader reads its boxes, if it does `by_default`.
    fn wanted(self, by_default: bool) -> bool {
        self == Self::Use || self == Self::Auto && by_default
    }
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
    /// Takes one of several folds of the training classes as the validation split.
    pub fold: Option<Fold>,
    /// Whether images are cut to their boxes.
    pub boxes: Boxes,
    /// For layouts without splits: the share of the classes that is held out for testing, above 0
    /// and below 1.
    pub test_fraction: f64,
    /// Decides which classes are held out, which form a fold, and which images form a gallery where
    /// a data set's protocol draws one.
    pub seed: u64,
}

impl DatasetOptions {
    /// What is at `source`, whatever it is, with half of the classes held out where the layout has
    /// no splits of its own, and no validation split.
    pub fn new(source: impl Into<PathBuf>) -> Self {
        Self {
            name: None,
            source: source.into(),
            validation: None,
            fold: None,
            boxes: Boxes::Auto,
            test_fraction: 0.5,
            seed: 1,
        }
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
pub const DATASETS: &[DatasetEntry] = &[
    online_products::ENTRY,
    cub200::ENTRY,
    cars196::ENTRY,
    in_shop::ENTRY,
    inaturalist::ENTRY,
    vehicle_id::ENTRY,
    manifest::ENTRY,
    folder::ENTRY,
];

/// An image as a reader found it: its class still has a name only.
#[derive(Debug, Clone)]
struct Draft {
    path: PathBuf,
    name: String,
    class: String,
    super_label: Option<u32>,
    category: Option<Arc<str>>,
    region: Option<Region>,
    role: Role,
}

impl Draft {
    /// An image of a class, and nothing more.
    fn new(path: PathBuf, name: impl Into<String>, class: impl Into<String>) -> Self {
        Self {
            path,
            name: name.into(),
            class: class.into(),
            super_label: None,
            category: None,
            region: None,
            role: Role::Both,
        }
    }
}

/// Category names, each kept once.
#[derive(Default)]
struct Categories(BTreeSet<Arc<str>>);

impl Categories {
    fn get(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// What a reader found.
#[derive(Debug, Default)]
struct Splits {
    train: Vec<Draft>,
    validation: Option<Vec<Draft>>,
    test: Vec<Draft>,
    /// Further test splits and their names.
    more_tests: Vec<(String, Vec<Draft>)>,
    notes: Vec<String>,
}

impl Splits {
    fn drafts(&self) -> impl Iterator<Item = &Draft> {
        let more = self.more_tests.iter().flat_map(|(_, drafts)| drafts);
        let validation = self.validation.iter().flatten();
        self.train.iter().chain(validation).chain(&self.test).chain(more)
    }

    fn drafts_mut(&mut self) -> impl Iterator<Item = &mut Draft> {
        let more = self.more_tests.iter_mut().flat_map(|(_, drafts)| drafts);
        let validation = self.validation.iter_mut().flatten();
        self.train.iter_mut().chain(validation).chain(&mut self.test).chain(more)
    }

    /// Where a data set has categories and no super-classes, the categories are the super-classes,
    /// numbered from 1 in the order of their names.
    fn group_by_category(&mut self) {
        if self.drafts().any(|draft| draft.super_label.is_some()) {
            return;
        }
        let names: BTreeSet<_> = self.drafts().filter_map(|draft| draft.category.clone()).collect();
        let numbers: HashMap<_, u32> = names.into_iter().zip(1..).collect();
        for draft in self.drafts_mut() {
            draft.super_label = draft.category.as_ref().map(|name| numbers[name]);
        }
    }
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
    checks::options(options)?;
    let entry = choose(options)?;
    let mut splits = (entry.read)(options)?;
    splits.group_by_category();
    if options.boxes == Boxes::Use && splits.drafts().all(|draft| draft.region.is_none()) {
        let rule = format!("'{}' has no boxes for its images", options.source.display());
        return Err(DataError::Setting { setting: "boxes", value: "use".to_owned(), rule });
    }
    if let Some(split) = options.validation {
        validation::take(&mut splits, split)?;
    }
    if let Some(fold) = options.fold {
        folds::take(&mut splits, fold, options.seed)?;
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

fn assemble(
    name: &str,
    source: &Path,
    splits: Splits,
    make_set: MakeSet,
) -> Result<Dataset, DataError> {
    checks::splits(&splits, source)?;
    let number = |drafts| number(drafts, make_set);
    let more_tests = splits.more_tests.into_iter();
    let more_tests = more_tests.map(|(name, drafts)| Ok(TestSplit { name, set: number(drafts)? }));
    let mut dataset = Dataset {
        name: name.to_owned(),
        source: source.to_owned(),
        train: number(splits.train)?,
        validation: splits.validation.map(number).transpose()?,
        test: number(splits.test)?,
        more_tests: more_tests.collect::<Result<_, DataError>>()?,
        notes: splits.notes,
    };
    let notes = checks::notes(&dataset);
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
            category: draft.category,
            region: draft.region,
            role: draft.role,
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
