//! iNaturalist 2018, with and without its annotations, and files that are broken.

mod common;

use std::fs;

use common::layouts::inaturalist;
use common::{open_error, options};
use pnp_data::DatasetOptions;

#[test]
fn classes_and_super_classes_are_the_annotations() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = pnp_data::open(&options(&inaturalist(folder.path(), true))).unwrap();
    assert_eq!(dataset.train.class_names(), ["8", "12", "13", "7477"]);
    assert_eq!(dataset.test.class_names(), ["9", "100"]);
    assert_eq!(dataset.test.categories().unwrap(), ["Plantae", "Plantae", "Aves", "Aves"]);
    let groups: Vec<_> = dataset.test.items().iter().map(|item| item.super_label).collect();
    assert_eq!(groups, [Some(2), Some(2), Some(1), Some(1)]);
    assert!(dataset.notes.is_empty(), "{:?}", dataset.notes);
}

#[test]
fn without_annotations_the_paths_say_it() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = pnp_data::open(&options(&inaturalist(folder.path(), false))).unwrap();
    assert_eq!(dataset.test.class_names(), ["Aves/100", "Plantae/9"]);
    assert_eq!(dataset.test.categories().unwrap(), ["Plantae", "Plantae", "Aves", "Aves"]);
    assert!(dataset.notes[0].contains("those of the paths"), "{:?}", dataset.notes);
}

fn broken(annotated: bool, file: &str, change: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = inaturalist(folder.path(), annotated);
    let text = fs::read_to_string(root.join(file)).unwrap();
    let changed = change(&text);
    assert_ne!(text, changed);
    fs::write(root.join(file), changed).unwrap();
    open_error(&DatasetOptions { name: Some("inaturalist".to_owned()), ..options(&root) })
}

#[test]
fn each_broken_line_of_a_list_is_named_with_what_was_expected() {
    let list = "Inat_dataset_splits/Inaturalist_test_set1.txt";
    let good = "train_val2018/Aves/100/0ab.jpg";
    for (annotated, bad, expected) in [
        (true, "../x.jpg", "inside the data set's folder"),
        (true, "/x.jpg", "inside the data set's folder"),
        (true, "", "inside the data set's folder"),
        (true, "train_val2018/Aves/100/none.jpg", "that the annotations give a category"),
        (true, "train_val2018/Aves/12/0ab.jpg", "each image once"),
        (false, "0ab.jpg", "<super-category>/<category>/<image>.jpg"),
    ] {
        let error = broken(annotated, list, |text| text.replace(good, bad));
        assert!(error.contains("Inaturalist_test_set1.txt' line 3"), "{bad}: {error}");
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn annotations_that_are_no_json_or_lack_a_part_are_refused() {
    let of =
        |from: &str, to: &str| broken(true, "train2018.json", |text| text.replacen(from, to, 1));
    for (from, to, part) in [
        ("{", "[", "train2018.json' line 1"),
        ("\"images\"", "\"pictures\"", "missing field `images`"),
        ("\"annotations\"", "\"notes\"", "missing field `annotations`"),
        ("\"categories\"", "\"kinds\"", "missing field `categories`"),
        ("\"supercategory\"", "\"super\"", "missing field `supercategory`"),
        ("\"id\": 0", "\"id\": -1", "invalid value"),
        ("\"category_id\": 7477", "\"category_id\": 7478", "category 7478, which is none"),
        ("\"image_id\": 10", "\"image_id\": 0", "gives image 0 two categories"),
    ] {
        let error = of(from, to);
        assert!(error.contains("train2018.json") && error.contains(part), "{from}: {error}");
    }
    let cut = broken(true, "val2018.json", |text| text[..text.len() / 2].to_owned());
    assert!(cut.contains("val2018.json' line") && cut.contains("EOF"), "{cut}");
}

#[test]
fn annotations_nested_without_end_are_refused() {
    let deep = "[".repeat(100_000);
    for (place, what) in [("{\"year\": 2018}", "expected value"), ("\"images\": [", "invalid type")]
    {
        let nested = format!("{place}{deep}").replace("{\"year\": 2018}", "");
        let error = broken(true, "train2018.json", |text| text.replacen(place, &nested, 1));
        assert!(error.contains("train2018.json' line 1") && error.contains(what), "{error}");
    }
}

#[test]
fn lists_that_are_not_there_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = inaturalist(folder.path(), true);
    fs::remove_dir_all(root.join("Inat_dataset_splits")).unwrap();
    let named = DatasetOptions { name: Some("inaturalist".to_owned()), ..options(&root) };
    assert!(open_error(&named).contains("Inaturalist_train_set1.txt"));
}
