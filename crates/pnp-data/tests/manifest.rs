//! CSV manifests, and how they can be wrong.

mod common;

use std::fs;

use common::{names, open_error, options, touch};
use pnp_data::{DatasetOptions, ValidationSplit};
use tempfile::{TempDir, tempdir};

/// A folder with six images and this manifest.
fn folder(manifest: &str) -> TempDir {
    let folder = tempdir().unwrap();
    for name in ["a", "b", "c", "d", "e", "f"] {
        touch(&folder.path().join(format!("img/{name}.png")));
    }
    fs::write(folder.path().join("manifest.csv"), manifest).unwrap();
    folder
}

const GOOD: &str = "split,note,path,label\ntrain,,img/a.png,mug\ntrain,\"x, y\",img/b.png,cup\n\
    train,,img/c.png,mug\nval,,img/d.png,pot\ntest,,img/e.png,pan\ntest,,img/f.png,pan\n";

#[test]
fn columns_come_in_any_order_and_among_others() {
    let folder = folder(GOOD);
    let by_folder = pnp_data::open(&options(folder.path())).unwrap();
    let by_file = pnp_data::open(&options(&folder.path().join("manifest.csv"))).unwrap();
    for dataset in [by_folder, by_file] {
        assert_eq!(dataset.name, "manifest");
        assert_eq!(names(&dataset.train), ["img/a.png", "img/b.png", "img/c.png"]);
        assert_eq!(dataset.train.class_names(), ["cup", "mug"]);
        assert_eq!(dataset.train.labels(), [1, 0, 1]);
        assert_eq!(dataset.validation.unwrap().class_names(), ["pot"]);
        assert_eq!(dataset.test.len(), 2);
    }
}

#[test]
fn a_manifest_of_another_name_opens_by_name() {
    let folder = folder("");
    let path = folder.path().join("list.txt");
    fs::write(&path, GOOD).unwrap();
    assert!(pnp_data::open(&options(&path)).is_err());
    let named = DatasetOptions { name: Some("manifest".to_owned()), ..options(&path) };
    assert_eq!(pnp_data::open(&named).unwrap().train.len(), 3);
}

#[test]
fn each_broken_line_is_named_with_what_was_expected() {
    for (good, bad, expected) in [
        ("val,,img/d.png,pot", "valid,,img/d.png,pot", "found 'valid', expected a split"),
        ("val,,img/d.png,pot", "val,,img/d.png", "found 3 fields, expected 4 fields"),
        ("val,,img/d.png,pot", "val,,img/d.png,pot,x", "found 5 fields, expected 4 fields"),
        ("val,,img/d.png,pot", "val,,,pot", "expected the path of an image"),
        ("val,,img/d.png,pot", "val,,img/d.png,", "expected a label"),
        ("val,,img/d.png,pot", "val,,./img/b.png,pot", "expected each image once"),
    ] {
        let error = open_error(&options(folder(&GOOD.replace(good, bad)).path()));
        assert!(error.contains("manifest.csv' line 5"), "{bad}: {error}");
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn a_missing_column_is_named() {
    for column in ["path", "label", "split"] {
        let header = GOOD.replacen(column, "other", 1);
        let error = open_error(&options(folder(&header).path()));
        assert!(error.contains("line 1") && error.contains(&format!("'{column}'")), "{error}");
    }
    assert!(open_error(&options(folder("").path())).contains("a column 'path'"));
}

#[test]
fn an_empty_split_is_named() {
    for (split, other) in [("train", "test"), ("test", "train")] {
        let manifest = GOOD.replace(&format!("{split},"), &format!("{other},"));
        let error = open_error(&options(folder(&manifest).path()));
        assert!(error.contains(&format!("the {split} split")), "{error}");
    }
}

#[test]
fn one_training_image_is_too_few() {
    let manifest = "path,label,split\nimg/a.png,x,train\nimg/b.png,y,test\n";
    assert!(open_error(&options(folder(manifest).path())).contains("one image to train on"));
}

#[test]
fn missing_files_and_folders_in_place_of_files_are_counted() {
    let manifest = GOOD.replace("img/a.png", "img/none.png").replace("img/b.png", "img");
    let error = open_error(&options(folder(&manifest).path()));
    assert!(error.contains("2 of 3 images are missing or no files"), "{error}");
}

#[test]
fn classes_on_both_sides_are_noted() {
    let dataset = pnp_data::open(&options(folder(&GOOD.replace(",pan", ",mug")).path())).unwrap();
    assert!(dataset.notes.iter().any(|note| note.contains("also trained on")));
}

#[test]
fn a_second_validation_split_is_refused() {
    let folder = folder(GOOD);
    let validation = Some(ValidationSplit { fraction_train: 0.8, by_samples: false });
    let error = open_error(&DatasetOptions { validation, ..options(folder.path()) });
    assert!(error.contains("of its own"), "{error}");
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let folder = folder("");
    fs::write(folder.path().join("manifest.csv"), b"path,label,split\n\xff,a,train\n").unwrap();
    assert!(open_error(&options(folder.path())).contains("line 2"));
}

#[test]
fn settings_and_names_that_do_not_exist_are_refused() {
    let folder = folder(GOOD);
    let base = options(folder.path());
    let unknown = DatasetOptions { name: Some("cars".to_owned()), ..base.clone() };
    assert!(open_error(&unknown).contains("online_products, manifest, folder"));
    for fraction in [0.0, 1.0, f64::NAN] {
        let error = open_error(&DatasetOptions { test_fraction: fraction, ..base.clone() });
        assert!(error.starts_with("test_fraction"), "{error}");
        let validation = Some(ValidationSplit { fraction_train: fraction, by_samples: true });
        let error = open_error(&DatasetOptions { validation, ..base.clone() });
        assert!(error.starts_with("fraction_train"), "{error}");
    }
    let empty = tempdir().unwrap();
    let error = open_error(&options(empty.path()));
    assert!(error.contains("no data set is recognised") && error.contains("Ebay_train"), "{error}");
}
