//! PKU VehicleID: its test splits, the draw of their galleries, and lists that are broken.

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::layouts::vehicle_id;
use common::{names, open_error, options};
use pnp_data::{DatasetOptions, ImageSet};

#[test]
fn each_list_is_a_test_split() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = pnp_data::open(&options(&vehicle_id(folder.path()))).unwrap();
    let splits: Vec<_> =
        dataset.named_splits().map(|(name, set)| (name, set.len(), set.classes())).collect();
    assert_eq!(splits, [("train", 12, 4), ("test", 6, 2), ("test-1600", 12, 4)]);
    assert_eq!(dataset.train.class_names(), ["1", "2", "3", "4"]);
    assert_eq!(dataset.train.items()[0].name, "0000010.jpg");
    assert!(dataset.notes.iter().any(|note| note == "the test split is test_list_800.txt"));
    assert_eq!(dataset.splits().count(), 3);
}

#[test]
fn the_smallest_list_there_is_the_main_test_split() {
    let folder = tempfile::tempdir().unwrap();
    let root = vehicle_id(folder.path());
    let whole = pnp_data::open(&options(&root)).unwrap();
    fs::remove_file(root.join("train_test_split/test_list_800.txt")).unwrap();
    let dataset = pnp_data::open(&options(&root)).unwrap();
    assert_eq!(dataset.test.len(), 12);
    assert!(dataset.more_tests.is_empty());
    // What a list's gallery is does not depend on which other lists are there.
    assert_eq!(dataset.test.roles(), whole.more_tests[0].set.roles());
    fs::remove_file(root.join("train_test_split/test_list_1600.txt")).unwrap();
    let named = DatasetOptions { name: Some("vehicle_id".to_owned()), ..options(&root) };
    assert!(open_error(&named).contains("test_list_800.txt"));
}

fn gallery(set: &ImageSet) -> BTreeMap<u32, Vec<&str>> {
    let mut gallery: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for item in set.items().iter().filter(|item| item.role.is_gallery()) {
        assert!(!item.role.is_query());
        gallery.entry(item.label).or_default().push(&item.name);
    }
    gallery
}

#[test]
fn one_image_of_each_vehicle_is_drawn_into_the_gallery_by_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let root = vehicle_id(folder.path());
    let open = |seed| pnp_data::open(&DatasetOptions { seed, ..options(&root) }).unwrap();
    let first = open(1);
    for set in [&first.test, &first.more_tests[0].set] {
        let drawn = gallery(set);
        assert_eq!(drawn.len(), set.classes());
        assert!(drawn.values().all(|images| images.len() == 1));
    }
    assert_eq!(first.digest(), open(1).digest());
    assert!((2..9).any(|seed| open(seed).digest() != first.digest()));
    // Each of the three images is drawn about as often as the others.
    let mut counts = BTreeMap::new();
    for seed in 0..300 {
        let dataset = open(seed);
        for (_, images) in gallery(&dataset.more_tests[0].set) {
            *counts.entry(images[0].as_bytes()[6] - b'0').or_insert(0) += 1;
        }
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    // 1,200 draws of a third: 400, with a standard deviation of 16.
    assert!(counts.values().all(|&count| (320..480).contains(&count)), "{counts:?}");
}

#[test]
fn the_draw_does_not_depend_on_the_order_of_the_other_vehicles() {
    let folder = tempfile::tempdir().unwrap();
    let root = vehicle_id(folder.path());
    let drawn = |root| {
        let dataset = pnp_data::open(&options(root)).unwrap();
        let gallery = gallery(&dataset.test).into_values().flatten().map(str::to_owned);
        gallery.collect::<Vec<_>>()
    };
    let before = drawn(&root);
    let path = root.join("train_test_split/test_list_800.txt");
    let text = fs::read_to_string(&path).unwrap();
    let (five, six): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.ends_with('5'));
    fs::write(&path, [six, five].concat().join("\n")).unwrap();
    assert_eq!(drawn(&root), before);
    assert_eq!(names(&pnp_data::open(&options(&root)).unwrap().test)[0], "0000060.jpg");
}

#[test]
fn each_broken_line_is_named_with_what_was_expected() {
    for (list, bad, expected) in [
        ("train_list", "0000012", "the numbers of an image and of its vehicle"),
        ("train_list", "0000012 1 2", "the numbers of an image and of its vehicle"),
        ("train_list", "x 1", "the numbers of an image and of its vehicle"),
        ("train_list", "../1 1", "the numbers of an image and of its vehicle"),
        ("train_list", "0000012 -1", "the numbers of an image and of its vehicle"),
        ("train_list", "0000012 99999999999", "the numbers of an image and of its vehicle"),
        ("train_list", "0000010 1", "each image once"),
        ("test_list_800", "0000050 5", "each image once"),
        ("test_list_1600", "0000010 5", "each image once"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = vehicle_id(folder.path());
        let path = root.join(format!("train_test_split/{list}.txt"));
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines[2] = bad;
        fs::write(&path, lines.join("\n")).unwrap();
        let error = open_error(&options(&root));
        assert!(error.contains(&format!("{list}.txt' line 3")), "{bad}: {error}");
        assert!(error.contains(expected), "{bad}: {error}");
    }
}
