//! Stanford Online Products, in both layouts, and lists that are broken.

mod common;

use std::fs;
use std::path::Path;

use common::{names, open_error, options, touch};
use pnp_data::{DatasetOptions, ValidationSplit};
use tempfile::{TempDir, tempdir};

const TRAIN: &str = "image_id class_id super_class_id path\n\
    1 1 1 bicycle_final/11_0.JPG\n2 1 1 bicycle_final/11_1.JPG\n3 2 1 bicycle_final/12_0.JPG\n\
    4 3 2 chair_final/13_0.JPG\n5 3 2 chair_final/13_1.JPG\n6 4 2 chair_final/14_0.JPG\n";
const TEST: &str = "image_id class_id super_class_id path\n\
    7 10 1 bicycle_final/21_0.JPG\n8 9 1 bicycle_final/22_0.JPG\n9 10 1 bicycle_final/21_1.JPG\n";

/// The data set with these lists, in the old code's layout or the download's.
fn tree(train: &str, test: &str, old_layout: bool) -> TempDir {
    let folder = tempdir().unwrap();
    let root =
        folder.path().join(if old_layout { "online_products" } else { "Stanford_Online_Products" });
    let (lists, images) = if old_layout {
        (root.join("Info_Files"), root.join("images"))
    } else {
        (root.clone(), root.clone())
    };
    fs::create_dir_all(&lists).unwrap();
    fs::write(lists.join("Ebay_train.txt"), train).unwrap();
    fs::write(lists.join("Ebay_test.txt"), test).unwrap();
    for line in TRAIN.lines().chain(TEST.lines()).filter(|line| line.contains("_final")) {
        touch(&images.join(line.rsplit(' ').next().unwrap()));
    }
    folder
}

#[test]
fn both_layouts_give_the_same_data_set_from_the_folder_or_the_one_around_it() {
    let (old, stock) = (tree(TRAIN, TEST, true), tree(TRAIN, TEST, false));
    let sources = [
        old.path().to_owned(),
        old.path().join("online_products"),
        stock.path().to_owned(),
        stock.path().join("Stanford_Online_Products"),
    ];
    let mut digests = Vec::new();
    for source in &sources {
        let dataset = pnp_data::open(&options(source)).unwrap();
        assert_eq!(dataset.name, "online_products");
        assert_eq!(dataset.train.len(), 6);
        assert_eq!(dataset.train.labels(), [0, 0, 1, 2, 2, 3]);
        assert_eq!(dataset.train.class_names(), ["1", "2", "3", "4"]);
        assert_eq!(dataset.train.items()[3].name, "chair_final/13_0.JPG");
        assert_eq!(dataset.train.items()[3].super_label, Some(2));
        assert!(dataset.train.items()[3].path.is_file());
        // Classes are in the order of their numbers, not of their digits.
        assert_eq!(dataset.test.class_names(), ["9", "10"]);
        assert_eq!(dataset.test.labels(), [1, 0, 1]);
        assert_eq!(dataset.test.class_items(1), [0, 2]);
        assert!(dataset.notes.iter().any(|note| note.starts_with("2 train classes have one")));
        digests.push(dataset.digest());
    }
    // Run folders hold such digests: this one must stay as it is.
    let known = "a07cfefc6d91d0299544b4f8d8e8150d4e29f7ade0e250a67b69b61421a45688";
    assert!(digests.iter().all(|digest| digest == known), "{digests:?}");
}

#[test]
fn the_digest_depends_on_sizes_and_labels() {
    let digest = |folder: &TempDir| pnp_data::open(&options(folder.path())).unwrap().digest();
    let folder = tree(TRAIN, TEST, true);
    let first = digest(&folder);
    assert_eq!(first.len(), 64);
    fs::write(folder.path().join("online_products/images/chair_final/14_0.JPG"), "x").unwrap();
    assert_ne!(digest(&folder), first);
    let other = tree(&TRAIN.replace("6 4 2", "6 3 2"), TEST, true);
    assert_ne!(digest(&other), first);
}

#[test]
fn super_classes_are_in_the_digest_of_a_run_that_draws_by_them_alone() {
    let open = |train: &str| {
        let folder = tree(train, TEST, true);
        pnp_data::open(&options(folder.path())).unwrap()
    };
    let (before, after) = (open(TRAIN), open(&TRAIN.replace("6 4 2", "6 4 1")));
    for entry in pnp_data::SAMPLERS {
        let same = before.digest_for(entry) == after.digest_for(entry);
        assert_eq!(same, entry.name != "hierarchical", "{}", entry.name);
        // Run folders of all others hold the plain digest.
        assert_eq!(before.digest_for(entry) == before.digest(), same);
    }
}

fn with_validation(source: &Path, by_samples: bool) -> DatasetOptions {
    let validation = Some(ValidationSplit { fraction_train: 0.5, by_samples });
    DatasetOptions { validation, ..options(source) }
}

#[test]
fn a_validation_split_is_made_within_each_super_class() {
    let folder = tree(TRAIN, TEST, true);
    let dataset = pnp_data::open(&with_validation(folder.path(), false)).unwrap();
    assert_eq!(dataset.train.class_names(), ["1", "3"]);
    assert_eq!(dataset.validation.unwrap().class_names(), ["2", "4"]);
}

#[test]
fn a_validation_split_by_samples_divides_each_class() {
    let folder = tree(TRAIN, TEST, true);
    let dataset = pnp_data::open(&with_validation(folder.path(), true)).unwrap();
    assert_eq!(names(&dataset.train), ["bicycle_final/11_0.JPG", "chair_final/13_0.JPG"]);
    assert_eq!(dataset.validation.unwrap().len(), 4);
}

#[test]
fn a_malformed_line_is_named() {
    for (line, expected) in [
        ("3 2 1", "four fields"),
        ("3  2 1 bicycle_final/12_0.JPG", "four fields"),
        ("x 2 1 bicycle_final/12_0.JPG", "an image id"),
        ("3 0 1 bicycle_final/12_0.JPG", "a class id from 1 on"),
        ("3 2 -1 bicycle_final/12_0.JPG", "a super-class id"),
        ("3 2 99999999999 bicycle_final/12_0.JPG", "a super-class id"),
        ("3 2 1 ../secret.JPG", "inside the data set's folder"),
        ("3 2 1 /secret.JPG", "inside the data set's folder"),
        ("", "four fields"),
    ] {
        let train = TRAIN.replace("3 2 1 bicycle_final/12_0.JPG", line);
        let error = open_error(&options(tree(&train, TEST, true).path()));
        assert!(error.contains("Ebay_train.txt' line 4"), "{line}: {error}");
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn a_wrong_header_is_named() {
    let error = open_error(&options(tree(TRAIN, &TEST.replace("path\n", "file\n"), true).path()));
    assert!(error.contains("Ebay_test.txt' line 1") && error.contains("the header"), "{error}");
    assert!(open_error(&options(tree("", TEST, true).path())).contains("line 1"));
}

#[test]
fn an_image_listed_twice_is_named_with_both_places() {
    let test = TEST.replace("bicycle_final/22_0.JPG", "bicycle_final/11_1.JPG");
    let error = open_error(&options(tree(TRAIN, &test, true).path()));
    assert!(error.contains("Ebay_test.txt' line 3"), "{error}");
    assert!(error.contains("Ebay_train.txt' line 3"), "{error}");
}

#[test]
fn missing_images_are_counted_and_the_first_named() {
    let folder = tree(TRAIN, TEST, true);
    fs::remove_dir_all(folder.path().join("online_products/images/chair_final")).unwrap();
    let error = open_error(&options(folder.path()));
    assert!(error.contains("3 of 6 images are missing") && error.contains("13_0.JPG"), "{error}");
}

#[test]
fn a_list_that_is_no_text_is_refused() {
    let folder = tree(TRAIN, TEST, true);
    let list = folder.path().join("online_products/Info_Files/Ebay_test.txt");
    fs::write(list, b"\xff\xfe").unwrap();
    assert!(open_error(&options(folder.path())).contains("no UTF-8"));
}

#[test]
fn a_folder_without_the_lists_says_what_is_expected() {
    let folder = tempdir().unwrap();
    let named =
        DatasetOptions { name: Some("online_products".to_owned()), ..options(folder.path()) };
    assert!(open_error(&named).contains("Ebay_train.txt"));
}
