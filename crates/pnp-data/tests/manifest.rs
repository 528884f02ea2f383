//! CSV manifests, and how they can be wrong.

mod common;

use std::fs;

use common::{names, open_error, options, touch};
use pnp_data::{Boxes, DatasetOptions, Role, ValidationSplit};
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
        ("val,,img/d.png,pot", "test-,,img/d.png,pot", "found 'test-', expected a split"),
        ("val,,img/d.png,pot", "test-a/b,,img/d.png,pot", "expected a split"),
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
    assert!(open_error(&unknown).contains("vehicle_id, manifest, folder"));
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

const COLUMNS: &str = "path,label,split,category,super_label,is_query,is_gallery,x1,y1,x2,y2\n";

/// The optional columns, with this in the cells of a test image on line 4.
fn optional(line: &str) -> TempDir {
    folder(&format!(
        "{COLUMNS}img/a.png,mug,train,ware,3,,,,,,\nimg/b.png,cup,train,,,False,0,,,,\n\
         img/c.png,pot,test,{line}\nimg/d.png,pot,test,ware,,True,False,1,2,3,4\n\
         img/e.png,pot,test-big,,,,,,,,\nimg/c.png,pot,test-big,,,,,,,,\n"
    ))
}

#[test]
fn optional_columns_are_read() {
    let folder = optional("thing,,0,1,0.0,0,12,9");
    let dataset = pnp_data::open(&options(folder.path())).unwrap();
    let item = &dataset.train.items()[0];
    assert_eq!((item.category.as_deref(), item.super_label), (Some("ware"), Some(3)));
    assert_eq!(dataset.train.categories().unwrap(), ["ware", ""]);
    assert_eq!(dataset.train.roles(), None);
    assert_eq!(dataset.test.roles().unwrap(), [Role::Gallery, Role::Query]);
    assert_eq!(dataset.test.items()[0].region.unwrap().corners(), [0, 0, 12, 9]);
    // An image may be in several test splits.
    assert_eq!(dataset.more_tests[0].name, "test-big");
    assert_eq!(names(&dataset.more_tests[0].set), ["img/e.png", "img/c.png"]);
    let ignoring = DatasetOptions { boxes: Boxes::Ignore, ..options(folder.path()) };
    let whole = pnp_data::open(&ignoring).unwrap();
    assert!(whole.test.items().iter().all(|item| item.region.is_none()));
}

#[test]
fn a_box_that_begins_before_its_image_refuses_no_manifest() {
    let folder = optional(",,,,-3,-1.0,12,9");
    let dataset = pnp_data::open(&options(folder.path())).unwrap();
    assert_eq!(dataset.test.items()[0].region.unwrap().corners(), [-3, -1, 12, 9]);
    // And it is written as it was read.
    let copy = pnp_data::to_manifest(&dataset, folder.path()).unwrap();
    assert!(String::from_utf8(copy).unwrap().contains(",-3,-1,12,9\n"));
}

#[test]
fn each_broken_optional_cell_is_named_with_what_was_expected() {
    for (cells, expected) in [
        (",0,,,,,,", "found '0', expected the number of a super-class"),
        (",-1,,,,,,", "the number of a super-class"),
        (",,yes,True,,,,", "found 'yes', expected True or False"),
        (",,True,,,,,", "in both of is_query and is_gallery"),
        (",,False,False,,,,", "it would take no part"),
        (",,,,1,2,3,", "found '', expected a box of four whole numbers"),
        (",,,,1,2,3,x", "found 'x', expected a box of four whole numbers"),
        (",,,,1,2,3,-4", "x1 < x2 and y1 < y2"),
        (",,,,1,2,3,-9999999999", "a box of four whole numbers"),
        (",,,,1.5,2,3,4", "a box of four whole numbers"),
        (",,,,3,2,3,4", "x1 < x2 and y1 < y2"),
        (",,,,1,4,3,4", "x1 < x2 and y1 < y2"),
    ] {
        let error = open_error(&options(optional(cells).path()));
        assert!(error.contains("manifest.csv' line 4"), "{cells}: {error}");
        assert!(error.contains(expected), "{cells}: {error}");
    }
    let trained = format!("{COLUMNS}img/a.png,mug,train,,,True,True,,,,\n");
    let error = open_error(&options(folder(&trained).path()));
    assert!(error.contains("line 2") && error.contains("neither query nor gallery"), "{error}");
}

#[test]
fn columns_that_belong_together_are_refused_alone() {
    for (column, expected) in [
        (",is_gallery", "both of the columns is_query and is_gallery"),
        (",y2", "all of the columns x1, y1, x2, y2"),
    ] {
        let header = COLUMNS.replace(column, "");
        let error = open_error(&options(folder(&header).path()));
        assert!(error.contains("line 1") && error.contains(expected), "{error}");
    }
}

#[test]
fn an_image_is_listed_again_only_with_another_box_or_in_another_test_split() {
    let cell = "thing,,True,True,0,0,12,9\nimg/c.png,mug,test,,,True,True,0,0,12,8";
    assert_eq!(pnp_data::open(&options(optional(cell).path())).unwrap().test.len(), 3);
    for (cells, line) in [
        ("thing,,True,True,0,0,12,9\nimg/c.png,mug,test,,,True,True,0,0,12,9", 5),
        (",,,,,,,\nimg/a.png,mug,test,,,,,,,,", 5),
        (",,,,,,,\nimg/d.png,mug,train,,,,,1,2,3,4", 6),
        (",,,,,,,\nimg/c.png,mug,train,,,,,,,,", 5),
    ] {
        let error = open_error(&options(optional(cells).path()));
        assert!(error.contains(&format!("line {line}:")), "{cells}: {error}");
        assert!(error.contains("each image once"), "{cells}: {error}");
    }
}

/// As open-metric-learning's table of a data set with boxes, written by pandas.
const OML: &str = ",label,path,split,is_query,is_gallery,x_1,x_2,y_1,y_2,category,category_int\n\
    0,1,img/a.png,train,,,1.0,9.0,2.0,8.0,shoe,0\n1,1,img/b.png,train,,,,,,,shoe,0\n\
    2,2,img/c.png,validation,True,False,,,,,hat,1\n3,2,img/d.png,validation,False,True,,,,,hat,1\n\
    4,3,img/e.png,validation,True,True,,,,,hat,1\n5,3,img/f.png,validation,True,True,,,,,hat,1\n";

#[test]
fn the_format_of_open_metric_learning_is_read() {
    let dataset = pnp_data::open(&options(folder(OML).path())).unwrap();
    assert_eq!(dataset.train.items()[0].region.unwrap().corners(), [1, 2, 9, 8]);
    assert!(dataset.validation.is_none());
    let roles = [Role::Query, Role::Gallery, Role::Both, Role::Both];
    assert_eq!(dataset.test.roles().unwrap(), roles);
    assert_eq!(dataset.test.items()[0].super_label, Some(1));
    assert_eq!(dataset.train.items()[0].super_label, Some(2));
    assert!(dataset.notes.iter().any(|note| note.contains("open-metric-learning")));
    // With a test split, a validation split is what it says.
    let with_test = OML.replace("validation,True,True", "test,True,True");
    let dataset = pnp_data::open(&options(folder(&with_test).path())).unwrap();
    assert_eq!((dataset.validation.unwrap().len(), dataset.test.len()), (2, 2));
}
