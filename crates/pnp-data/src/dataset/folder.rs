//! A folder of class folders: `<class>/<image>`, or `<class>/<one more folder>/<image>`.
//!
//! Where the folder holds `train/` and `test/`, these (and `val/` or `validation/`) hold the class
//! folders of each split. Otherwise a share of the classes, drawn by the seed, is the test split:
//! no class is both trained on and measured.

use std::path::Path;

use rand::seq::SliceRandom;

use super::files::{FolderEntry, has_image_name, read_folder};
use super::{DatasetEntry, DatasetOptions, Draft, Splits, class_order};
use crate::error::DataError;
use crate::random::{Purpose, keyed};

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "folder",
    summary: "one folder of images per class, optionally below train/, val/ and test/",
    layout: "<class>/<image>.png, .jpg or .jpeg, or the same below train/, test/ and val/",
    detect: |source| {
        read_folder(source).is_ok_and(|entries| entries.iter().any(|entry| entry.is_folder))
    },
    read,
};

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    let source = &options.source;
    let entries = read_folder(source)?;
    let has = |name: &str| entries.iter().any(|entry| entry.is_folder && entry.name == name);
    let mut skipped = Skipped::default();
    let mut splits = if has("train") && has("test") {
        read_splits(source, entries, &mut skipped)?
    } else {
        let drafts = read_classes("", entries, &mut skipped)?;
        hold_out(drafts, options)?
    };
    splits.notes.extend(skipped.notes());
    Ok(splits)
}

/// The split folders, as they are.
fn read_splits(
    source: &Path,
    entries: Vec<FolderEntry>,
    skipped: &mut Skipped,
) -> Result<Splits, DataError> {
    let mut splits = Splits::default();
    for entry in entries {
        let FolderEntry { name, path, is_folder } = entry;
        let is_split = matches!(name.as_str(), "train" | "test" | "val" | "validation");
        if !is_folder || !is_split {
            splits.notes.push(format!("'{name}' beside train/ and test/ was left out"));
            continue;
        }
        let drafts = read_classes(&format!("{name}/"), read_folder(&path)?, skipped)?;
        match name.as_str() {
            "train" => splits.train = drafts,
            "test" => splits.test = drafts,
            _ if splits.validation.is_some() => {
                let reason = "it has both val/ and validation/; keep one of them".to_owned();
                return Err(DataError::Layout { path: source.to_owned(), reason });
            }
            _ => splits.validation = Some(drafts),
        }
    }
    Ok(splits)
}

/// What is no image in a class folder.
#[derive(Default)]
pub(super) struct Skipped {
    loose: usize,
    others: usize,
    deep: usize,
}

impl Skipped {
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (count, what) in [
            (self.loose, "beside the class folders belong to no class and were left out"),
            (self.others, "have no name of a PNG or JPEG image and were left out"),
        ] {
            if count > 0 {
                notes.push(format!("{count} files {what}"));
            }
        }
        if self.deep > 0 {
            let deep = self.deep;
            notes.push(format!(
                "{deep} folders lie more than one level inside a class folder and were left out"
            ));
        }
        notes
    }
}

/// The images of all class folders among `entries`; `prefix` begins their names.
pub(super) fn read_classes(
    prefix: &str,
    entries: Vec<FolderEntry>,
    skipped: &mut Skipped,
) -> Result<Vec<Draft>, DataError> {
    let mut drafts = Vec::new();
    for class in entries {
        if class.is_folder {
            let name = format!("{prefix}{}/", class.name);
            read_class(&class.name, &name, &class.path, 0, skipped, &mut drafts)?;
        } else {
            skipped.loose += 1;
        }
    }
    Ok(drafts)
}

fn read_class(
    class: &str,
    prefix: &str,
    folder: &Path,
    depth: usize,
    skipped: &mut Skipped,
    drafts: &mut Vec<Draft>,
) -> Result<(), DataError> {
    for FolderEntry { name, path, is_folder } in read_folder(folder)? {
        if is_folder && depth == 0 {
            read_class(class, &format!("{prefix}{name}/"), &path, 1, skipped, drafts)?;
        } else if is_folder {
            skipped.deep += 1;
        } else if has_image_name(&path) {
            let name = format!("{prefix}{name}");
            drafts.push(Draft::new(path, name, class));
        } else {
            skipped.others += 1;
        }
    }
    Ok(())
}

/// Holds classes out for testing.
fn hold_out(drafts: Vec<Draft>, options: &DatasetOptions) -> Result<Splits, DataError> {
    let mut classes = class_order(&drafts);
    if classes.len() < 2 {
        return Err(DataError::Layout {
            path: options.source.clone(),
            reason: format!(
                "it has {} class folders with images, and at least two are needed: one to train \
                 on and one to test on",
                classes.len()
            ),
        });
    }
    let share = (classes.len() as f64 * options.test_fraction).round() as usize;
    let count = share.clamp(1, classes.len() - 1);
    classes.shuffle(&mut keyed(options.seed, Purpose::HoldOut, 0, 0));
    let held: std::collections::HashSet<_> = classes.into_iter().take(count).collect();
    let (test, train) = drafts.into_iter().partition(|draft| held.contains(&draft.class));
    Ok(Splits { train, test, ..Splits::default() })
}
