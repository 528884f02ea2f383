//! The checks that every data set goes through, whatever its layout, and what is worth telling.

use std::collections::HashSet;
use std::path::Path;

use super::{DatasetOptions, Draft, Splits};
use crate::error::{DataError, Split};
use crate::set::{Dataset, ImageSet};

/// Refuses options that mean nothing, before anything is read.
pub(super) fn options(options: &DatasetOptions) -> Result<(), DataError> {
    fraction("test_fraction", options.test_fraction)?;
    if let Some(split) = &options.validation {
        fraction("fraction_train", split.fraction_train)?;
    }
    let Some(fold) = options.fold else { return Ok(()) };
    let refuse = |setting, value: usize, rule: &str| {
        Err(DataError::Setting { setting, value: value.to_string(), rule: rule.to_owned() })
    };
    if options.validation.is_some() {
        let rule = "a validation split is cut off already: choose one of both";
        return refuse("folds", fold.folds, rule);
    }
    if fold.folds < 2 {
        return refuse("folds", fold.folds, "one part validates and others train: at least 2");
    }
    if !(1..=fold.folds).contains(&fold.fold) {
        return refuse("fold", fold.fold, &format!("it counts from 1 to folds = {}", fold.folds));
    }
    Ok(())
}

fn fraction(setting: &'static str, value: f64) -> Result<(), DataError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    let rule = "it must be above 0 and below 1".to_owned();
    Err(DataError::Setting { setting, value: value.to_string(), rule })
}

/// Refuses what cannot be trained or measured on.
pub(super) fn splits(splits: &Splits, source: &Path) -> Result<(), DataError> {
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
    let validation = splits.validation.as_deref().map(|drafts| ("val", drafts));
    let more = splits.more_tests.iter().map(|(name, drafts)| (name.as_str(), drafts.as_slice()));
    let measured = validation.into_iter().chain([("test", splits.test.as_slice())]).chain(more);
    measured.into_iter().try_for_each(|(name, drafts)| roles(name, drafts, source))
}

/// A measured split needs something to search for, and something to find.
fn roles(split: &str, drafts: &[Draft], source: &Path) -> Result<(), DataError> {
    let (queries, gallery) = (
        drafts.iter().any(|draft| draft.role.is_query()),
        drafts.iter().any(|draft| draft.role.is_gallery()),
    );
    let missing = if !queries {
        "query"
    } else if !gallery {
        "gallery image"
    } else {
        return Ok(());
    };
    let reason = format!("its split '{split}' has no {missing}, so nothing can be measured on it");
    Err(DataError::Layout { path: source.to_owned(), reason })
}

/// What is allowed, and worth knowing.
pub(super) fn notes(dataset: &Dataset) -> Vec<String> {
    let mut notes = Vec::new();
    for ((name, set), (split, _)) in dataset.named_splits().zip(dataset.splits()) {
        let name = if split == Split::Validation { "validation" } else { name };
        notes.extend(lone(name, split, set));
    }
    let trained: HashSet<_> = dataset.train.class_names().iter().collect();
    let mut tests = dataset.named_splits().filter(|(name, _)| name.starts_with("test"));
    notes.extend(tests.find_map(|(name, test)| {
        let shared = test.class_names().iter().filter(|name| trained.contains(name)).count();
        (shared > 0).then(|| {
            format!(
                "{shared} of {} {name} classes are also trained on: scores will not tell how well \
                 unseen classes are retrieved",
                test.classes()
            )
        })
    }));
    notes
}

/// What is lost of a split because nothing can be found.
fn lone(name: &str, split: Split, set: &ImageSet) -> Option<String> {
    if split != Split::Train && set.roles().is_some() {
        let lone = set.lone_queries();
        return (lone > 0).then(|| {
            format!("{lone} {name} queries have no image of their class in the gallery: left out")
        });
    }
    let lone = set.lone_classes();
    let what = match split {
        Split::Train => "they are never anything but negatives to other images",
        Split::Validation | Split::Test => "their images are left out as queries",
    };
    let verb = if lone == 1 { "class has" } else { "classes have" };
    (lone > 0).then(|| format!("{lone} {name} {verb} one image: {what}"))
}
