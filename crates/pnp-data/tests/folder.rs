//! Folders of class folders.

mod common;

use common::{names, open_error, options, touch};
use pnp_data::DatasetOptions;
use tempfile::{TempDir, tempdir};

fn tree(files: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    for file in files {
        touch(&folder.path().join(file));
    }
    folder
}

fn classes(count: usize) -> TempDir {
    let files: Vec<String> =
        (0..count).flat_map(|c| (0..3).map(move |n| format!("c{c:02}/{n}.png"))).collect();
    tree(&files.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn classes_are_held_out_by_share_and_seed() {
    let folder = classes(10);
    let open = |seed, test_fraction| {
        pnp_data::open(&DatasetOptions { seed, test_fraction, ..options(folder.path()) }).unwrap()
    };
    let half = open(1, 0.5);
    assert_eq!((half.train.classes(), half.test.classes()), (5, 5));
    assert_eq!(half.train.len() + half.test.len(), 30);
    let shared = half.train.class_names().iter().any(|c| half.test.class_names().contains(c));
    assert!(!shared && half.validation.is_none());
    assert_eq!(open(1, 0.5).test.class_names(), half.test.class_names());
    assert!((2..20).any(|seed| open(seed, 0.5).test.class_names() != half.test.class_names()));
    assert_eq!(open(1, 0.2).test.classes(), 2);
    // Neither side is ever empty.
    assert_eq!(open(1, 0.001).test.classes(), 1);
    assert_eq!(open(1, 0.999).train.classes(), 1);
}

#[test]
fn split_folders_are_the_splits() {
    let folder = tree(&[
        "train/a/1.png",
        "train/a/2.JPG",
        "train/b/3.Jpeg",
        "val/c/4.png",
        "test/d/5.png",
        "test/d/6.png",
        "readme.txt",
    ]);
    let dataset = pnp_data::open(&options(folder.path())).unwrap();
    assert_eq!(names(&dataset.train), ["train/a/1.png", "train/a/2.JPG", "train/b/3.Jpeg"]);
    assert_eq!(dataset.train.class_names(), ["a", "b"]);
    assert_eq!(names(&dataset.validation.unwrap()), ["val/c/4.png"]);
    assert_eq!(dataset.test.len(), 2);
    assert!(dataset.notes.iter().any(|note| note.contains("'readme.txt'")));
}

#[test]
fn a_class_may_be_called_train() {
    let folder = tree(&["train/1.png", "train/2.png", "boat/3.png", "boat/4.png"]);
    let dataset = pnp_data::open(&options(folder.path())).unwrap();
    assert_eq!(dataset.train.classes() + dataset.test.classes(), 2);
}

#[test]
fn one_more_level_is_read_and_the_rest_is_left_out_and_noted() {
    let folder = tree(&[
        "a/1.png",
        "a/front/2.png",
        "a/front/deep/3.png",
        "a/notes.txt",
        "a/.hidden.png",
        ".git/x.png",
        "b/1.png",
        "loose.png",
    ]);
    // Class b has one image, too few to train on: the first seed that opens trains on a.
    let dataset = (1..20)
        .find_map(|seed| pnp_data::open(&DatasetOptions { seed, ..options(folder.path()) }).ok())
        .unwrap();
    assert_eq!(names(&dataset.train), ["a/1.png", "a/front/2.png"]);
    assert_eq!(names(&dataset.test), ["b/1.png"]);
    for note in ["1 files beside", "1 files have no name", "1 folders lie more"] {
        assert!(dataset.notes.iter().any(|n| n.starts_with(note)), "{note}: {:?}", dataset.notes);
    }
}

#[test]
fn a_single_class_is_too_few() {
    let error = open_error(&options(tree(&["a/1.png", "a/2.png", "b/x.gif"]).path()));
    assert!(error.contains("1 class folders") && error.contains("at least two"), "{error}");
}

#[test]
fn empty_and_double_splits_are_refused() {
    let error = open_error(&options(tree(&["train/a/1.png", "test/b/x.txt"]).path()));
    assert!(error.contains("the test split"), "{error}");
    let files = ["train/a/1.png", "test/b/2.png", "val/c/3.png", "validation/d/4.png"];
    assert!(open_error(&options(tree(&files).path())).contains("both val/ and validation/"));
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let folder = tempdir().unwrap();
    let source = folder.path().join("nothing");
    let named = DatasetOptions { name: Some("folder".to_owned()), ..options(&source) };
    for options in [named, options(&source)] {
        let error = open_error(&options);
        assert!(error.starts_with("cannot read") && error.contains("nothing"), "{error}");
    }
}
