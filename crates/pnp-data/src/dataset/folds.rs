//! A validation split for cross-validation: the training classes dealt into folds, one of which
//! validates. No class is on both sides.

use std::collections::{BTreeMap, HashMap};

use rand::seq::SliceRandom;

use super::{Draft, Fold, Splits, class_order};
use crate::error::DataError;
use crate::random::{Purpose, keyed};

/// Divides `splits.train`. Both parts keep their order.
pub(super) fn take(splits: &mut Splits, fold: Fold, seed: u64) -> Result<(), DataError> {
    if splits.validation.is_some() {
        return Err(refuse(fold, "the data set has a validation split of its own"));
    }
    let folds = deal(&splits.train, fold.folds, seed);
    if folds.len() < fold.folds {
        let rule = format!("there are {} classes to train on, less than one a fold", folds.len());
        return Err(refuse(fold, &rule));
    }
    let train = std::mem::take(&mut splits.train);
    let validates = |draft: &Draft| folds[&draft.class] == fold.fold - 1;
    let (held, kept) = train.into_iter().partition(validates);
    splits.train = kept;
    splits.validation = Some(held);
    Ok(())
}

fn refuse(fold: Fold, rule: &str) -> DataError {
    let rule = rule.to_owned();
    DataError::Setting { setting: "folds", value: fold.folds.to_string(), rule }
}

/// The fold, from 0, of each class. The classes of each super-class are shuffled and dealt out one
/// by one, going on where the last super-class ended, so that folds differ by one class at most,
/// in all and within each super-class.
fn deal(train: &[Draft], folds: usize, seed: u64) -> HashMap<String, usize> {
    let mut group_of: HashMap<&str, Option<u32>> = HashMap::new();
    for draft in train {
        group_of.entry(&draft.class).or_insert(draft.super_label);
    }
    let mut groups: BTreeMap<Option<u32>, Vec<String>> = BTreeMap::new();
    for class in class_order(train) {
        groups.entry(group_of[class.as_str()]).or_default().push(class);
    }
    let mut dealt = HashMap::new();
    for (group, mut classes) in groups {
        // Without super-classes there is one group, which has the number that no super-class has.
        let number = group.map_or(0, |group| u64::from(group) + 1);
        classes.shuffle(&mut keyed(seed, Purpose::Folds, number, 0));
        for class in classes {
            let fold = dealt.len() % folds;
            dealt.insert(class, fold);
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn train(classes: usize, groups: u32) -> Vec<Draft> {
        let draft = |class: usize, n: usize| {
            let super_label = (class as u32).checked_rem(groups);
            let name = format!("{class}_{n}");
            Draft { super_label, ..Draft::new(PathBuf::from(&name), name, class.to_string()) }
        };
        (0..classes).flat_map(|class| (0..3).map(move |n| draft(class, n))).collect()
    }

    fn held(train: &[Draft], folds: usize, fold: usize, seed: u64) -> BTreeSet<String> {
        let mut splits = Splits { train: train.to_vec(), ..Splits::default() };
        take(&mut splits, Fold { folds, fold }, seed).unwrap();
        let held = splits.validation.unwrap();
        assert_eq!(held.len() + splits.train.len(), train.len());
        let held: BTreeSet<_> = held.into_iter().map(|draft| draft.class).collect();
        assert!(splits.train.iter().all(|draft| !held.contains(&draft.class)));
        held
    }

    #[test]
    fn every_class_validates_in_exactly_one_fold() {
        let train = train(23, 0);
        let mut seen = BTreeSet::new();
        for fold in 1..=5 {
            let held = held(&train, 5, fold, 1);
            assert!((4..=5).contains(&held.len()));
            assert!(held.into_iter().all(|class| seen.insert(class)));
        }
        assert_eq!(seen.len(), 23);
        assert_eq!(held(&train, 5, 2, 1), held(&train, 5, 2, 1));
        assert!((2..9).any(|seed| held(&train, 5, 2, seed) != held(&train, 5, 2, 1)));
    }

    #[test]
    fn each_super_class_is_spread_over_the_folds() {
        let train = train(24, 4);
        for fold in 1..=3 {
            let held = held(&train, 3, fold, 7);
            for group in 0..4 {
                let of_group = held.iter().filter(|c| c.parse::<u32>().unwrap() % 4 == group);
                assert_eq!(of_group.count(), 2);
            }
        }
    }

    #[test]
    fn more_folds_than_classes_are_refused() {
        let mut splits = Splits { train: train(2, 0), ..Splits::default() };
        let error = take(&mut splits, Fold { folds: 3, fold: 1 }, 1).unwrap_err().to_string();
        assert!(error.contains("folds = 3") && error.contains("2 classes"), "{error}");
    }

    #[test]
    fn a_data_set_with_its_own_validation_split_keeps_it() {
        let mut splits =
            Splits { train: train(4, 0), validation: Some(Vec::new()), ..Splits::default() };
        let error = take(&mut splits, Fold { folds: 2, fold: 1 }, 1).unwrap_err().to_string();
        assert!(error.contains("of its own"), "{error}");
    }
}
