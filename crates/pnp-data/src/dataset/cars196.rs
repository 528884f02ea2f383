//! Cars196 (Krause et al., "3D Object Representations for Fine-Grained Categorization", 3dRR 2013):
//! 16,185 photos of 196 models of cars.
//!
//! The field trains on the first 98 classes and measures on the other 98 (Song et al., CVPR 2016);
//! the data set's own division is for classification and is not used. Three forms are read:
//! `cars_annos.mat` beside `car_ims/`; `cars_train/` and `cars_test/` with the annotations of the
//! development kit; and a folder of class folders below each of `train/` and `test/`, whose names,
//! in the order of their bytes, are in the order of the classes. Images are used whole unless their
//! boxes are asked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::{INSIDE, Listed, io, is_inside, read_folder, root, wrong_layout};
use super::folder::{Skipped, read_classes};
use super::mat::{self, Array};
use super::{DatasetEntry, DatasetOptions, Draft, Splits, class_order};
use crate::error::DataError;
use crate::item::Region;

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "cars196",
    summary: "Cars196: models of cars, the first 98 classes for training",
    layout: "cars_annos.mat beside car_ims/; or cars_train/, cars_test/ and the development kit's \
             cars_train_annos.mat and cars_test_annos_withlabels.mat; or class folders below \
             car_data/train/ and car_data/test/",
    detect: |source| locate(source).is_some_and(|root| root != Form::Folders(source.to_owned())),
    read,
};

const FOLDERS: [&str; 4] = ["cars196", "CARS196", "stanford_cars", "car_data"];

/// Classes up to this one, counted from 1, are trained on.
const LAST_TRAINED: usize = 98;

/// Where the data set is, in one of its forms.
#[derive(Debug, PartialEq)]
enum Form {
    /// `cars_annos.mat`.
    Whole(PathBuf),
    /// The annotations of the two folders; the third is the kit's list of names.
    Parts { train: PathBuf, test: PathBuf, names: Option<PathBuf> },
    /// The folder with `train/` and `test/`. Of any such folder, unless it is called `car_data`, it
    /// must be said that it is Cars196.
    Folders(PathBuf),
}

fn locate(source: &Path) -> Option<Form> {
    let whole = |root: &Path| root.join("cars_annos.mat").is_file();
    if let Some(root) = root(source, &FOLDERS, whole) {
        return Some(Form::Whole(root.join("cars_annos.mat")));
    }
    let has_folders = |root: &Path, names: [&str; 2]| names.iter().all(|n| root.join(n).is_dir());
    let parts = |root: &Path| root.join("cars_train").is_dir() && root.join("cars_test").is_dir();
    if let Some(root) = root(source, &FOLDERS, parts) {
        let kit = |name: &str| {
            let folders = [root.join("devkit"), root.clone(), root.join("car_devkit/devkit")];
            folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
        };
        let train = kit("cars_train_annos.mat");
        if let Some((train, test)) = train.zip(kit("cars_test_annos_withlabels.mat")) {
            return Some(Form::Parts { train, test, names: kit("cars_meta.mat") });
        }
    }
    let inner = ["car_data/car_data", "car_data", "cars196/car_data", ""];
    let mut roots = inner.iter().map(|inner| source.join(inner));
    let found = roots.find(|root| has_folders(root, ["train", "test"]))?;
    Some(Form::Folders(found.components().collect()))
}

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    let boxes = options.boxes.wanted(false);
    match locate(&options.source) {
        Some(Form::Whole(list)) => whole(&list, boxes),
        Some(Form::Parts { train, test, names }) => {
            parts(&options.source, &train, &test, names.as_deref(), boxes)
        }
        Some(Form::Folders(root)) => folders(&root),
        None => Err(wrong_layout(&options.source, ENTRY.layout)),
    }
}

fn read_mat(list: &Path) -> Result<HashMap<String, Array>, DataError> {
    let bytes = std::fs::read(list).map_err(|e| io(list, e))?;
    let variables = mat::parse(&bytes);
    let variables =
        variables.map_err(|reason| DataError::Layout { path: list.to_owned(), reason })?;
    Ok(variables.into_iter().collect())
}

/// The names of the classes, in their order.
fn class_names(variables: &HashMap<String, Array>) -> Vec<String> {
    match variables.get("class_names") {
        Some(Array::Cells(cells)) => {
            cells.iter().map(|cell| cell.text().unwrap_or_default().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn whole(list: &Path, boxes: bool) -> Result<Splits, DataError> {
    let variables = read_mat(list)?;
    let names = class_names(&variables);
    let mut collected = Collected::default();
    let folder = list.parent().unwrap_or(Path::new(""));
    collected.add(list, &variables, "relative_im_path", folder, "", &names, boxes)?;
    Ok(collected.splits)
}

fn parts(
    source: &Path,
    train: &Path,
    test: &Path,
    names: Option<&Path>,
    boxes: bool,
) -> Result<Splits, DataError> {
    let names = names.map(read_mat).transpose()?.unwrap_or_default();
    let names = class_names(&names);
    let mut collected = Collected::default();
    for (list, name) in [(train, "cars_train"), (test, "cars_test")] {
        let roots = |root: &Path| ["cars_train", "cars_test"].iter().all(|n| root.join(n).is_dir());
        let root = root(source, &FOLDERS, roots);
        let root = root.ok_or_else(|| wrong_layout(source, ENTRY.layout))?;
        // Some copies have the folder twice: cars_train/cars_train/.
        let twice = format!("{name}/{name}");
        let prefix = if root.join(&twice).is_dir() { twice } else { name.to_owned() };
        let (variables, prefix) = (read_mat(list)?, format!("{prefix}/"));
        collected.add(list, &variables, "fname", &root, &prefix, &names, boxes)?;
    }
    Ok(collected.splits)
}

/// What was read of the annotations so far.
#[derive(Default)]
struct Collected {
    splits: Splits,
    listed: Listed,
}

impl Collected {
    /// Adds the images of a file's `annotations`, whose field `path` gives their names below
    /// `prefix` in `folder`.
    #[expect(clippy::too_many_arguments, reason = "each says one thing about one list")]
    fn add(
        &mut self,
        list: &Path,
        variables: &HashMap<String, Array>,
        path: &str,
        folder: &Path,
        prefix: &str,
        names: &[String],
        boxes: bool,
    ) -> Result<(), DataError> {
        let reject =
            |reason: &str| DataError::Layout { path: list.to_owned(), reason: reason.to_owned() };
        let Some(Array::Structs { fields, values }) = variables.get("annotations") else {
            return Err(reject("it has no struct array 'annotations'"));
        };
        let column = |name: &str| fields.iter().position(|field| field == name);
        let need = |name: &str| {
            column(name).ok_or_else(|| reject(&format!("its annotations have no field '{name}'")))
        };
        let (path, class) = (need(path)?, need("class")?);
        let corners = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"].map(column);
        for (entry, values) in (1..).zip(values.chunks_exact(fields.len())) {
            let wrong = |found: String, expected: &str| DataError::Line {
                path: list.to_owned(),
                line: entry,
                found,
                expected: format!("{expected} (lines are annotations, counted from 1)"),
            };
            let name = values[path].text().filter(|name| is_inside(name));
            let name = name.ok_or_else(|| wrong(values[path].described(), INSIDE))?;
            let last = if names.is_empty() { usize::from(u16::MAX) } else { names.len() };
            let number = values[class].number().filter(|id| id.fract() == 0.0);
            let number = number.filter(|&id| id >= 1.0 && id <= last as f64);
            let expected = format!("a class from 1 to {last}");
            let number = number.ok_or_else(|| wrong(values[class].described(), &expected))?;
            let number = number as usize;
            let name = format!("{prefix}{name}");
            self.listed.add(&name, list, entry)?;
            let region = if boxes {
                let expected = "a box of whole pixels with x1 < x2 and y1 < y2";
                let found = || format!("the box of '{name}'");
                Some(region(values, corners).ok_or_else(|| wrong(found(), expected))?)
            } else {
                None
            };
            let label = match names.get(number - 1) {
                Some(label) => format!("{number:03}.{label}"),
                None => format!("{number:03}"),
            };
            let draft = Draft { region, ..Draft::new(folder.join(&name), name, label) };
            let Splits { train, test, .. } = &mut self.splits;
            if number <= LAST_TRAINED { train } else { test }.push(draft);
        }
        Ok(())
    }
}

/// The annotations count pixels from 1 and include the last.
fn region(values: &[Array], corners: [Option<usize>; 4]) -> Option<Region> {
    let mut numbers = [0; 4];
    for (number, corner) in numbers.iter_mut().zip(corners) {
        let value = values[corner?].number()?;
        // Of the least number one could not be taken off.
        let range = f64::from(-i32::MAX)..=f64::from(i32::MAX);
        let whole = value.fract() == 0.0 && range.contains(&value);
        *number = whole.then_some(value as i32)?;
    }
    let [x1, y1, x2, y2] = numbers;
    Region::new(x1 - 1, y1 - 1, x2, y2)
}

/// The classes of both folders, divided anew.
fn folders(root: &Path) -> Result<Splits, DataError> {
    let mut skipped = Skipped::default();
    let mut drafts = Vec::new();
    for name in ["train", "test"] {
        let entries = read_folder(&root.join(name))?;
        drafts.extend(read_classes(&format!("{name}/"), entries, &mut skipped)?);
    }
    let classes = class_order(&drafts);
    let trained: std::collections::HashSet<_> = classes.iter().take(LAST_TRAINED).collect();
    let (train, test) = drafts.into_iter().partition(|draft| trained.contains(&draft.class));
    Ok(Splits { train, test, notes: skipped.notes(), ..Splits::default() })
}
