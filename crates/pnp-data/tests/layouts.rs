//! What holds for every layout: it is told from its files, opens, divides, and becomes a manifest
//! that says the same.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::layouts::LAYOUTS;
use common::options;
use pnp_data::{Boxes, Dataset, DatasetOptions, Fold, ImageSet, ValidationSplit, to_manifest};

#[test]
fn each_is_told_from_its_files_and_opens() {
    for (name, write) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let dataset = pnp_data::open(&options(&write(folder.path()))).unwrap();
        assert_eq!(dataset.name, name);
        for (split, set) in dataset.named_splits() {
            assert!(!set.is_empty(), "{name} {split}");
            assert!(set.items().iter().all(|item| item.path.is_file()), "{name} {split}");
        }
        let trained: BTreeSet<_> = dataset.train.class_names().iter().collect();
        let tested = dataset.named_splits().skip(1).flat_map(|(_, set)| set.class_names());
        assert!(tested.into_iter().all(|class| !trained.contains(class)), "{name}");
    }
}

#[test]
fn each_opens_from_the_folder_around_it() {
    for (name, write) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let source = write(folder.path());
        if name != "folder" {
            let around = pnp_data::open(&options(folder.path())).unwrap();
            assert_eq!(around.name, name);
            assert_eq!(around.digest(), pnp_data::open(&options(&source)).unwrap().digest());
        }
    }
}

#[test]
fn each_divides_by_classes_by_samples_and_into_folds() {
    for (name, write) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let base = options(&write(folder.path()));
        let whole = pnp_data::open(&base).unwrap();
        for by_samples in [false, true] {
            let validation = Some(ValidationSplit { fraction_train: 0.5, by_samples });
            let divided = pnp_data::open(&DatasetOptions { validation, ..base.clone() }).unwrap();
            check_divided(name, &whole, &divided, by_samples);
        }
        for fold in 1..=2 {
            let fold = Some(Fold { folds: 2, fold });
            let divided = pnp_data::open(&DatasetOptions { fold, ..base.clone() }).unwrap();
            check_divided(name, &whole, &divided, false);
        }
    }
}

fn check_divided(name: &str, whole: &Dataset, divided: &Dataset, shares_classes: bool) {
    let validation = divided.validation.as_ref().unwrap();
    assert_eq!(divided.train.len() + validation.len(), whole.train.len(), "{name}");
    let classes = |set: &ImageSet| set.class_names().iter().cloned().collect::<BTreeSet<_>>();
    let disjoint = classes(&divided.train).is_disjoint(&classes(validation));
    assert_eq!(disjoint, !shares_classes, "{name}");
    assert_eq!(divided.test.labels(), whole.test.labels(), "{name}");
}

/// All that a manifest keeps of an image, and the size of its file.
fn kept(set: &ImageSet) -> Vec<String> {
    let item = |item: &pnp_data::Item| {
        let class = &set.class_names()[item.label as usize];
        let path = item.path.canonicalize().unwrap();
        let path = path.display();
        let pnp_data::Item { label, super_label, category, region, role, .. } = item;
        format!("{path} {class} {label} {super_label:?} {category:?} {region:?} {role:?}")
    };
    set.items().iter().map(item).collect()
}

#[test]
fn each_becomes_a_manifest_that_says_the_same() {
    for (name, write) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let source = write(folder.path());
        let aside = folder.path().join("lists/of mine");
        fs::create_dir_all(&aside).unwrap();
        for boxes in [Boxes::Auto, Boxes::Ignore] {
            for fold in [None, Some(Fold { folds: 2, fold: 1 })] {
                let options = DatasetOptions { boxes, fold, ..options(&source) };
                let dataset = pnp_data::open(&options).unwrap();
                for place in [folder.path(), aside.as_path()] {
                    let path = place.join("converted.csv");
                    fs::write(&path, to_manifest(&dataset, place).unwrap()).unwrap();
                    let again = pnp_data::open(&common::options(&path)).unwrap();
                    assert_eq!(again.name, "manifest");
                    let splits = dataset.named_splits().zip(again.named_splits());
                    for ((split, set), (other_split, other)) in splits {
                        assert_eq!(split, other_split, "{name}");
                        assert_eq!(kept(set), kept(other), "{name} {split}");
                    }
                    assert_eq!(dataset.named_splits().count(), again.named_splits().count());
                    let text = fs::read_to_string(&path).unwrap();
                    let absolute = text.lines().skip(1).any(|line| line.starts_with('/'));
                    assert!(!absolute, "{name}: {text}");
                }
            }
        }
    }
}

#[test]
fn boxes_are_used_as_the_field_does_unless_told_otherwise() {
    for (name, write) in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        let source = write(folder.path());
        let boxed = |boxes: Boxes| {
            let dataset = pnp_data::open(&DatasetOptions { boxes, ..options(&source) })?;
            let mut items = dataset.train.items().iter();
            Ok::<_, pnp_data::DataError>(items.any(|item| item.region.is_some()))
        };
        assert_eq!(boxed(Boxes::Auto).unwrap(), matches!(name, "in_shop" | "manifest"), "{name}");
        assert!(!boxed(Boxes::Ignore).unwrap());
        match boxed(Boxes::Use) {
            Ok(boxed) => assert!(boxed, "{name}"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("boxes = use") && error.contains("has no boxes"), "{error}");
            }
        }
    }
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = options(&common::layouts::folder(folder.path()));
    let refused = |fold: (usize, usize), validation: bool, part: &str| {
        let fold = Some(Fold { folds: fold.0, fold: fold.1 });
        let split = ValidationSplit { fraction_train: 0.5, by_samples: false };
        let validation = validation.then_some(split);
        let error = common::open_error(&DatasetOptions { fold, validation, ..base.clone() });
        assert!(error.contains(part), "{error}");
    };
    refused((1, 1), false, "folds = 1");
    refused((0, 1), false, "folds = 0");
    refused((3, 0), false, "fold = 0");
    refused((3, 4), false, "from 1 to folds = 3");
    refused((3, 1), true, "choose one of both");
    refused((5, 1), false, "4 classes to train on");
}

#[test]
fn a_split_is_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let source = common::layouts::vehicle_id(folder.path());
    let open = || pnp_data::open(&options(&source)).unwrap();
    assert_eq!(open().split("test-1600").unwrap().classes(), 4);
    assert_eq!(open().split("test").unwrap().classes(), 2);
    for name in ["val", "test-2400", ""] {
        let error = open().split(name).unwrap_err().to_string();
        assert!(error.contains(&format!("'{name}'")), "{error}");
        assert!(error.contains("train, test, test-1600"), "{error}");
    }
}
