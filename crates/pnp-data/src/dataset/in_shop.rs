//! In-Shop Clothes Retrieval, a part of DeepFashion (Liu et al., "DeepFashion: Powering Robust
//! Clothes Recognition and Retrieval with Rich Annotations", CVPR 2016): 52,712 photos of 7,982
//! items, with lists of training, query and gallery images.
//!
//! `list_bbox_inshop.txt` is used where it is there. The kind of clothes, the two folders above an
//! item's own (`WOMEN/Dresses`), is the category.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::{
    INSIDE, Listed, fields, is_inside, lines, malformed, read_text, root, wrong_layout,
};
use super::{Boxes, Categories, DatasetEntry, DatasetOptions, Draft, Splits};
use crate::error::DataError;
use crate::item::{Region, Role};

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "in_shop",
    summary: "In-Shop Clothes Retrieval (DeepFashion), with its queries and gallery",
    layout: "list_eval_partition.txt, or Eval/ with it, beside img/ or Img/img/; \
             list_bbox_inshop.txt beside it or in Anno/ is used where it is there",
    detect: |source| locate(source).is_some(),
    read,
};

const FOLDERS: [&str; 6] = [
    "in_shop",
    "in-shop",
    "inshop",
    "InShop_Clothes",
    "DeepFashion_InShop",
    "In-shop Clothes Retrieval Benchmark",
];
const PARTITION: [&str; 3] = ["Eval", "", "Anno"];
const PARTITION_COLUMNS: [&str; 3] = ["image_name", "item_id", "evaluation_status"];
const BOX_COLUMNS: [&str; 7] =
    ["image_name", "clothes_type", "pose_type", "x_1", "y_1", "x_2", "y_2"];

fn partition(root: &Path) -> Option<PathBuf> {
    let lists = PARTITION.iter().map(|folder| root.join(folder).join("list_eval_partition.txt"));
    lists.into_iter().find(|list| list.is_file())
}

/// The folder that the names of the lists, `img/…`, are relative to.
fn images(root: &Path) -> Option<PathBuf> {
    let folders = ["Img", "", "img"].map(|folder| root.join(folder));
    folders.into_iter().find(|folder| folder.join("img").is_dir())
}

// A list of this name is in other parts of DeepFashion and in CelebA as well.
fn locate(source: &Path) -> Option<PathBuf> {
    root(source, &FOLDERS, |root| {
        let header = |list: PathBuf| {
            let text = read_text(&list).ok()?;
            let header = text.lines().nth(1)?;
            Some(header.split_ascii_whitespace().eq(PARTITION_COLUMNS))
        };
        partition(root).and_then(header) == Some(true)
    })
}

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    let wrong = || wrong_layout(&options.source, ENTRY.layout);
    let root = root(&options.source, &FOLDERS, |root| partition(root).is_some());
    let root = root.ok_or_else(wrong)?;
    let (list, images) = (partition(&root).ok_or_else(wrong)?, images(&root).ok_or_else(wrong)?);
    let boxes = ["Anno", "", "Eval"].map(|folder| root.join(folder).join("list_bbox_inshop.txt"));
    let boxes = boxes.into_iter().find(|list| list.is_file());
    let regions = match &boxes {
        Some(list) if options.boxes != Boxes::Ignore => parse_boxes(&read_text(list)?, list)?,
        _ => HashMap::new(),
    };
    let mut splits = Splits::default();
    let mut categories = Categories::default();
    let mut listed = Listed::default();
    let text = read_text(&list)?;
    for (line, text) in rows(&text, &list, &PARTITION_COLUMNS)? {
        let wrong = |expected: &str| malformed(&list, line, text, expected);
        let [name, item, status] = fields(text)
            .ok_or_else(|| wrong("three fields: image_name, item_id, evaluation_status"))?;
        if !is_inside(name) {
            return Err(wrong(INSIDE));
        }
        let role = match status {
            "train" => None,
            "query" => Some(Role::Query),
            "gallery" => Some(Role::Gallery),
            _ => return Err(wrong("the evaluation_status train, query or gallery")),
        };
        listed.add(name, &list, line)?;
        let draft = Draft {
            category: category(name).map(|name| categories.get(name)),
            region: regions.get(name).copied(),
            role: role.unwrap_or_default(),
            ..Draft::new(images.join(name), name, item)
        };
        if role.is_none() { &mut splits.train } else { &mut splits.test }.push(draft);
    }
    let boxless = splits.drafts().filter(|draft| draft.region.is_none()).count();
    if !regions.is_empty() && boxless > 0 {
        splits.notes.push(format!("{boxless} images have no box and are used whole"));
    }
    Ok(splits)
}

/// `WOMEN/Dresses` of `img/WOMEN/Dresses/id_00000002/02_1_front.jpg`.
fn category(name: &str) -> Option<&str> {
    let (folder, _) = name.rsplit_once('/')?;
    let (kind, _) = folder.rsplit_once('/')?;
    kind.split_once('/').map(|(_, kind)| kind)
}

/// The lines below a list's head, which is how many there are and the names of the columns.
fn rows<'a, const N: usize>(
    text: &'a str,
    list: &Path,
    columns: &[&str; N],
) -> Result<impl Iterator<Item = (u64, &'a str)>, DataError> {
    let mut lines = lines(text);
    let (_, count) = lines.next().unwrap_or_default();
    let declared: usize = count
        .trim()
        .parse()
        .map_err(|_| malformed(list, 1, count, "how many images are listed"))?;
    let (_, header) = lines.next().unwrap_or_default();
    if !header.split_ascii_whitespace().eq(columns.iter().copied()) {
        return Err(malformed(list, 2, header, &format!("the header '{}'", columns.join(" "))));
    }
    let there = text.trim_end().lines().count().saturating_sub(2);
    if there != declared {
        let found = format!("{declared} images declared, {there} listed");
        return Err(malformed(list, 1, &found, "as many as are listed: the file is cut off"));
    }
    Ok(lines)
}

/// The boxes of a list's text.
pub(super) fn parse_boxes(text: &str, list: &Path) -> Result<HashMap<String, Region>, DataError> {
    let expected = "seven fields: image_name, clothes_type, pose_type and a box of whole pixels \
                    with x_1 < x_2 and y_1 < y_2";
    let mut regions = HashMap::new();
    for (line, text) in rows(text, list, &BOX_COLUMNS)? {
        let parse = || {
            let [name, _, _, x1, y1, x2, y2] = fields(text)?;
            let number = |text: &str| text.parse().ok();
            Some((name, Region::new(number(x1)?, number(y1)?, number(x2)?, number(y2)?)?))
        };
        let (name, region) = parse().ok_or_else(|| malformed(list, line, text, expected))?;
        if regions.insert(name.to_owned(), region).is_some() {
            return Err(malformed(list, line, text, "each image once"));
        }
    }
    Ok(regions)
}
