//! In-Shop Clothes, and lists that are broken.

mod common;

use std::fs;

use common::layouts::{IN_SHOP, in_shop};
use common::{open_error, options};
use pnp_data::{Boxes, DatasetOptions, Role};

#[test]
fn statuses_are_splits_and_roles_and_folders_are_categories() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = pnp_data::open(&options(&in_shop(folder.path()))).unwrap();
    assert_eq!((dataset.train.len(), dataset.train.classes()), (8, 4));
    assert_eq!(dataset.train.roles(), None);
    let (query, gallery) = (Role::Query, Role::Gallery);
    assert_eq!(dataset.test.roles().unwrap(), [query, gallery, query, gallery, gallery]);
    assert_eq!(dataset.test.categories().unwrap()[..3], ["MEN/Denim", "MEN/Denim", "WOMEN/Skirts"]);
    // Categories in the order of their names are the super-classes.
    let groups: Vec<_> = dataset.test.items().iter().map(|item| item.super_label).collect();
    assert_eq!(groups, [Some(1), Some(1), Some(3), Some(3), Some(3)]);
    assert_eq!(dataset.test.lone_queries(), 0);
    let region = dataset.train.items()[1].region.unwrap();
    assert_eq!(region.corners(), [50, 1, 208, 182]);
}

#[test]
fn boxes_may_be_absent_or_left_unused() {
    let folder = tempfile::tempdir().unwrap();
    let root = in_shop(folder.path());
    let ignored = DatasetOptions { boxes: Boxes::Ignore, ..options(&root) };
    let with = pnp_data::open(&options(&root)).unwrap();
    let without = pnp_data::open(&ignored).unwrap();
    assert!(without.train.items()[0].region.is_none());
    assert_ne!(with.digest(), without.digest());
    fs::remove_dir_all(root.join("Anno")).unwrap();
    assert_eq!(pnp_data::open(&options(&root)).unwrap().digest(), without.digest());
}

#[test]
fn lists_in_the_root_and_images_beside_them_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = in_shop(folder.path());
    let before = pnp_data::open(&options(&root)).unwrap().digest();
    fs::rename(root.join("Eval/list_eval_partition.txt"), root.join("list_eval_partition.txt"))
        .unwrap();
    fs::rename(root.join("Anno/list_bbox_inshop.txt"), root.join("list_bbox_inshop.txt")).unwrap();
    fs::rename(root.join("Img/img"), root.join("img")).unwrap();
    assert_eq!(pnp_data::open(&options(&root)).unwrap().digest(), before);
}

fn broken(list: &str, change: impl Fn(&str) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = in_shop(folder.path());
    let path = root.join(list);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, change(&text)).unwrap();
    open_error(&DatasetOptions { name: Some("in_shop".to_owned()), ..options(&root) })
}

#[test]
fn each_broken_line_is_named_with_what_was_expected() {
    let (partition, boxes) = ("Eval/list_eval_partition.txt", "Anno/list_bbox_inshop.txt");
    let name = IN_SHOP[2].0;
    let with = |rest: &str| format!("{name} {rest}");
    for (list, line, bad, expected) in [
        (partition, 1, "many".to_owned(), "how many images are listed"),
        (partition, 1, "12".to_owned(), "as many as are listed"),
        (partition, 2, "image_name item_id".to_owned(), "the header 'image_name item_id eval"),
        (partition, 5, with("id_1"), "three fields"),
        (partition, 5, with("id_1 train more"), "three fields"),
        (partition, 5, with("id_1 test"), "train, query or gallery"),
        (partition, 5, "../a.jpg id_1 train".to_owned(), "inside the data set's folder"),
        (partition, 5, format!("{} id_1 train", IN_SHOP[1].0), "each image once"),
        (boxes, 1, String::new(), "how many images are listed"),
        (boxes, 2, "image_name".to_owned(), "the header 'image_name clothes_type"),
        (boxes, 5, with("1 1 5 5 9"), "seven fields"),
        (boxes, 5, with("1 1 5 5 9 9 9"), "seven fields"),
        (boxes, 5, with("1 1 9 5 9 9"), "x_1 < x_2"),
        (boxes, 5, with("1 1 0.5 5 9 9"), "whole pixels"),
        (boxes, 5, format!("{} 1 1 5 5 9 9", IN_SHOP[1].0), "each image once"),
    ] {
        let error = broken(list, |text| {
            let mut lines: Vec<_> = text.lines().collect();
            lines[line - 1] = &bad;
            lines.join("\n")
        });
        let file = list.rsplit('/').next().unwrap();
        assert!(error.contains(&format!("{file}' line {line}")), "{bad}: {error}");
        assert!(error.contains(expected), "{bad}: {error}");
    }
}

#[test]
fn a_list_that_is_cut_off_is_refused() {
    let cut = |text: &str| text.lines().take(8).collect::<Vec<_>>().join("\n");
    let error = broken("Eval/list_eval_partition.txt", cut);
    assert!(error.contains("13 images declared, 6 listed"), "{error}");
}

#[test]
fn a_split_without_queries_or_gallery_is_refused() {
    for (role, other, missing) in [("query", "gallery", "query"), ("gallery", "query", "gallery")] {
        let error = broken("Eval/list_eval_partition.txt", |text| text.replace(role, other));
        assert!(error.contains(&format!("'test' has no {missing}")), "{error}");
    }
}

#[test]
fn queries_that_cannot_succeed_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let root = in_shop(folder.path());
    let path = root.join("Eval/list_eval_partition.txt");
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replace("id_00000081      gallery", "id_00000009      gallery");
    assert_ne!(text, changed);
    fs::write(&path, changed).unwrap();
    let dataset = pnp_data::open(&options(&root)).unwrap();
    assert_eq!(dataset.test.lone_queries(), 1);
    let note = "1 test queries have no image of their class in the gallery";
    assert!(dataset.notes.iter().any(|n| n.starts_with(note)), "{:?}", dataset.notes);
}

#[test]
fn lists_without_images_say_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let root = in_shop(folder.path());
    fs::remove_dir_all(root.join("Img")).unwrap();
    assert!(open_error(&options(&root)).contains("img/ or Img/img/"));
}
