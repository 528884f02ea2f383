//! CUB-200-2011, and lists that are broken.

mod common;

use std::fs;
use std::path::Path;

use common::layouts::cub200;
use common::{open_error, options};
use pnp_data::{Boxes, DatasetOptions};

#[test]
fn the_first_hundred_classes_train() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = pnp_data::open(&options(&cub200(folder.path()))).unwrap();
    assert_eq!((dataset.train.classes(), dataset.train.len()), (100, 200));
    assert_eq!(dataset.test.class_names(), ["101.Bird", "102.Bird"]);
    assert_eq!(dataset.train.items()[0].name, "001.Bird/Bird_0001.jpg");
    assert!(dataset.train.items().iter().all(|item| item.region.is_none()));
}

#[test]
fn boxes_are_widened_to_whole_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let options = DatasetOptions { boxes: Boxes::Use, ..options(&cub200(folder.path())) };
    let dataset = pnp_data::open(&options).unwrap();
    // 60.5 27.0 10.0 3.0: from x, y on, so wide and high.
    let region = dataset.train.items()[2].region.unwrap();
    assert_eq!(region.corners(), [60, 27, 71, 30]);
    // One that begins before the image does.
    let list = options.source.join("bounding_boxes.txt");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace("3 60.5 27.0 10.0 3.0", "3 -1.5 -0.0 10.0 3.0")).unwrap();
    let dataset = pnp_data::open(&options).unwrap();
    assert_eq!(dataset.train.items()[2].region.unwrap().corners(), [-2, 0, 9, 3]);
}

/// The error after `change` of a list.
fn broken(list: &str, change: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = cub200(folder.path());
    let path = root.join(list);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, change(&text)).unwrap();
    open_error(&DatasetOptions { boxes: Boxes::Use, ..options(&root) })
}

#[test]
fn each_broken_line_is_named_with_what_was_expected() {
    for (list, line, bad, expected) in [
        ("images.txt", 3, "3", "an image id from 1 on and a path"),
        ("images.txt", 3, "x a.jpg", "an image id from 1 on"),
        ("images.txt", 3, "0 a.jpg", "an image id from 1 on"),
        ("images.txt", 3, "3 ../a.jpg", "inside the data set's folder"),
        ("images.txt", 3, "3 /a.jpg", "inside the data set's folder"),
        ("images.txt", 3, "300 a.jpg", "an image id that image_class_labels.txt gives a class"),
        ("images.txt", 3, "2 a.jpg", "each image once"),
        ("images.txt", 3, "3 001.Bird/Bird_0001.jpg", "each image once"),
        ("image_class_labels.txt", 5, "5", "an image id and a class id"),
        ("image_class_labels.txt", 5, "5 0", "a class id, both from 1 on"),
        ("image_class_labels.txt", 5, "5 x", "a class id, both from 1 on"),
        ("image_class_labels.txt", 5, "4 3", "each id once"),
        ("classes.txt", 7, "seven x", "a class id from 1 on and its name"),
        ("classes.txt", 7, "6 x", "each id once"),
        ("bounding_boxes.txt", 9, "9 1 2 3", "a box: x, y, width, height"),
        ("bounding_boxes.txt", 9, "9 1 2 3 4 5", "a box"),
        ("bounding_boxes.txt", 9, "9 1 2 0 4", "a box"),
        ("bounding_boxes.txt", 9, "9 -inf 2 3 4", "a box"),
        ("bounding_boxes.txt", 9, "9 1 2 NaN 4", "a box"),
        ("bounding_boxes.txt", 9, "9 1 2 1e30 4", "a box"),
    ] {
        let error = broken(list, |text| {
            let mut lines: Vec<_> = text.lines().collect();
            lines[line - 1] = bad;
            lines.join("\n")
        });
        assert!(error.contains(&format!("{list}' line {line}")), "{bad}: {error}");
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn a_class_id_out_of_range_is_named() {
    let error = broken("image_class_labels.txt", |text| text.replace("7 4\n", "7 103\n"));
    assert!(error.contains("images.txt' line 7"), "{error}");
    assert!(error.contains("classes.txt, and image_class_labels.txt gives it 103"), "{error}");
}

#[test]
fn a_folder_without_the_lists_says_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let named =
        |source: &Path| DatasetOptions { name: Some("cub200".to_owned()), ..options(source) };
    assert!(open_error(&named(folder.path())).contains("image_class_labels.txt"));
    let root = cub200(folder.path());
    fs::remove_file(root.join("bounding_boxes.txt")).unwrap();
    let boxes = DatasetOptions { boxes: Boxes::Use, ..named(&root) };
    assert!(open_error(&boxes).contains("bounding_boxes.txt"));
    assert!(pnp_data::open(&named(&root)).is_ok());
}
