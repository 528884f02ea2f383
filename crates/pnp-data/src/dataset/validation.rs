//! A validation split out of the training images, by the old code's rule: within each super-class
//! the first share of the class ids trains, or within each class the first share of its images.

use std::collections::{BTreeMap, HashSet};

use super::{Draft, Splits, ValidationSplit, class_order};
use crate::error::DataError;

/// Divides `splits.train`. Both parts keep their order; nothing is drawn at random.
pub(super) fn take(splits: &mut Splits, split: ValidationSplit) -> Result<(), DataError> {
    if splits.validation.is_some() {
        return Err(refuse(split, "the data set has a validation split of its own"));
    }
    let train = std::mem::take(&mut splits.train);
    let (kept, held) = if split.by_samples {
        by_samples(train, split.fraction_train)
    } else {
        by_classes(train, split.fraction_train)
    };
    if kept.is_empty() || held.is_empty() {
        let side = if kept.is_empty() { "training" } else { "validation" };
        return Err(refuse(split, &format!("it leaves no image for {side}")));
    }
    splits.train = kept;
    splits.validation = Some(held);
    Ok(())
}

fn refuse(split: ValidationSplit, rule: &str) -> DataError {
    let value = split.fraction_train.to_string();
    DataError::Setting { setting: "fraction_train", value, rule: rule.to_owned() }
}

/// The share of `count`, rounded down, as the old code does.
fn share(count: usize, fraction: f64) -> usize {
    (count as f64 * fraction) as usize
}

fn by_classes(train: Vec<Draft>, fraction: f64) -> (Vec<Draft>, Vec<Draft>) {
    let mut groups: BTreeMap<Option<u32>, Vec<&Draft>> = BTreeMap::new();
    for draft in &train {
        groups.entry(draft.super_label).or_default().push(draft);
    }
    let mut kept = HashSet::new();
    for drafts in groups.into_values() {
        let classes = class_order(drafts);
        let count = share(classes.len(), fraction);
        kept.extend(classes.into_iter().take(count));
    }
    train.into_iter().partition(|draft| kept.contains(&draft.class))
}

fn by_samples(train: Vec<Draft>, fraction: f64) -> (Vec<Draft>, Vec<Draft>) {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    for draft in &train {
        *left.entry(draft.class.clone()).or_default() += 1;
    }
    for count in left.values_mut() {
        *count = share(*count, fraction);
    }
    train.into_iter().partition(|draft| match left.get_mut(&draft.class) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn draft(name: &str, class: &str, super_label: Option<u32>) -> Draft {
        Draft { super_label, ..Draft::new(PathBuf::from(name), name, class) }
    }

    fn names(drafts: &[Draft]) -> Vec<&str> {
        drafts.iter().map(|draft| draft.name.as_str()).collect()
    }

    fn split(train: Vec<Draft>, by_samples: bool) -> (Vec<Draft>, Vec<Draft>) {
        let mut splits = Splits { train, ..Splits::default() };
        take(&mut splits, ValidationSplit { fraction_train: 0.8, by_samples }).unwrap();
        (splits.train, splits.validation.unwrap())
    }

    #[test]
    fn classes_are_divided_within_each_super_class() {
        let mut train = Vec::new();
        for class in 1..=15 {
            // Ids 9 and 10 stand on either side of the cut only if ids are compared as numbers.
            let group = u32::from(class > 10);
            train.push(draft(&format!("{class}_0"), &class.to_string(), Some(group)));
        }
        let (_, held) = split(train, false);
        assert_eq!(names(&held), ["9_0", "10_0", "15_0"]);
    }

    #[test]
    fn images_are_divided_within_each_class_in_list_order() {
        let train: Vec<_> =
            (0..5).flat_map(|i| ["a", "b"].map(|c| draft(&format!("{c}{i}"), c, None))).collect();
        let (kept, held) = split(train, true);
        assert_eq!(kept.len(), 8);
        assert_eq!(names(&held), ["a4", "b4"]);
    }

    #[test]
    fn a_split_that_leaves_a_side_empty_is_refused() {
        let options = ValidationSplit { fraction_train: 0.8, by_samples: false };
        let mut splits = Splits { train: vec![draft("x", "a", None)], ..Splits::default() };
        let error = take(&mut splits, options).unwrap_err().to_string();
        assert!(error.contains("no image for training"), "{error}");
    }

    #[test]
    fn a_data_set_with_its_own_validation_split_keeps_it() {
        let options = ValidationSplit { fraction_train: 0.8, by_samples: false };
        let mut splits = Splits { validation: Some(Vec::new()), ..Splits::default() };
        let error = take(&mut splits, options).unwrap_err().to_string();
        assert!(error.contains("of its own"), "{error}");
    }
}
