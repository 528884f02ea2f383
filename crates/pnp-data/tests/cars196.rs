//! Cars196 in its three forms, and annotations that are broken.

mod common;

use std::fs;

use common::layouts::{cars_folders, cars_mat, cars_parts, cars_whole, write};
use common::mat::annotations;
use common::{names, open_error, options, touch};
use pnp_data::{Boxes, DatasetOptions};

#[test]
fn annotations_by_another_writer_are_read_compressed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let root = cars_whole(folder.path());
    let mut digests = Vec::new();
    for compressed in [true, false] {
        fs::write(root.join("cars_annos.mat"), cars_mat(compressed)).unwrap();
        let options = DatasetOptions { boxes: Boxes::Use, ..options(&root) };
        let dataset = pnp_data::open(&options).unwrap();
        assert_eq!(names(&dataset.test), ["car_ims/000004.jpg", "car_ims/000005.jpg"]);
        assert_eq!(
            dataset.test.class_names(),
            ["099.Make Model 99 2012", "100.Make Model 100 2012"]
        );
        assert_eq!(
            dataset.train.class_names(),
            ["001.Make Model 1 2012", "098.Make Model 98 2012"]
        );
        assert_eq!(dataset.train.labels(), [0, 0, 1, 1]);
        // Pixels are counted from 1 there, the last included.
        let region = dataset.train.items()[0].region.unwrap();
        assert_eq!(region.corners(), [111, 6, 853, 717]);
        digests.push(dataset.digest());
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn the_two_folders_of_the_kit_are_divided_anew() {
    let folder = tempfile::tempdir().unwrap();
    let root = cars_parts(folder.path());
    let dataset = pnp_data::open(&options(&root)).unwrap();
    let train = ["cars_train/00001.jpg", "cars_test/00001.jpg", "cars_test/00002.jpg"];
    assert_eq!(names(&dataset.train)[..3], train);
    assert_eq!(dataset.train.class_names(), ["001", "002"]);
    assert_eq!(names(&dataset.test), ["cars_train/00002.jpg", "cars_train/00003.jpg"]);
    // Some copies have the folders twice.
    for name in ["cars_train", "cars_test"] {
        fs::rename(root.join(name), root.join("x")).unwrap();
        fs::create_dir(root.join(name)).unwrap();
        fs::rename(root.join("x"), root.join(name).join(name)).unwrap();
    }
    let twice = pnp_data::open(&options(&root)).unwrap();
    assert_eq!(twice.train.items()[0].name, "cars_train/cars_train/00001.jpg");
}

#[test]
fn class_folders_of_both_folders_are_divided_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = pnp_data::open(&options(&cars_folders(folder.path()))).unwrap();
    assert_eq!((dataset.train.classes(), dataset.train.len()), (98, 196));
    assert_eq!(dataset.test.class_names(), ["Make 098", "Make 099"]);
}

#[test]
fn class_folders_under_any_other_name_are_cars_only_when_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = cars_folders(folder.path()).join("car_data/car_data");
    assert_eq!(pnp_data::open(&options(&root)).unwrap().name, "folder");
    let named = DatasetOptions { name: Some("cars196".to_owned()), ..options(&root) };
    assert_eq!(pnp_data::open(&named).unwrap().test.classes(), 2);
    touch(&folder.path().join("one/train/a/1.jpg"));
    touch(&folder.path().join("one/test/b/1.jpg"));
    let few =
        DatasetOptions { name: Some("cars196".into()), ..options(&folder.path().join("one")) };
    assert!(open_error(&few).contains("the test split"));
}

/// The error with these bytes as the annotations.
fn broken(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = cars_whole(folder.path());
    write(&root.join("cars_annos.mat"), bytes);
    open_error(&DatasetOptions { boxes: Boxes::Use, ..options(&root) })
}

#[test]
fn each_broken_annotation_is_named_with_what_was_expected() {
    let with = |name: &str, class: u8| {
        broken(&annotations("relative_im_path", &[("car_ims/000001.jpg", 1), (name, class)]))
    };
    for (name, class, expected) in [
        ("../secret.jpg", 1, "inside the data set's folder"),
        ("/secret.jpg", 1, "inside the data set's folder"),
        ("car_ims/000002.jpg", 0, "found 0, expected a class from 1"),
        ("car_ims/000001.jpg", 1, "each image once"),
    ] {
        let error = with(name, class);
        assert!(error.contains("cars_annos.mat' line 2"), "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn annotations_without_a_field_are_refused() {
    let error = broken(&annotations("fname", &[("000001.jpg", 1)]));
    assert!(error.contains("no field 'relative_im_path'"), "{error}");
}

#[test]
fn files_that_are_cut_off_or_something_else_are_refused() {
    for compressed in [true, false] {
        let whole = cars_mat(compressed);
        for cut in [0, 100, 140, 300, whole.len() / 2, whole.len() - 9] {
            let error = broken(&whole[..cut]);
            assert!(error.contains("cars_annos.mat"), "{cut}: {error}");
        }
    }
    assert!(broken(&cars_mat(false)[..128]).contains("no struct array 'annotations'"));
    assert!(broken(&[b'x'; 300]).contains("no MAT file of version 5"));
}

#[test]
fn a_class_beyond_the_names_is_refused() {
    // The last annotation's class, 98, becomes one that no name is there for.
    let mut bytes = cars_mat(false);
    let place = bytes.windows(8).rposition(|w| w[..4] == [2, 0, 1, 0] && w[4] == 98).unwrap();
    bytes[place + 4] = 200;
    let error = broken(&bytes);
    assert!(error.contains("line 6: found 200, expected a class from 1 to 100"), "{error}");
}
