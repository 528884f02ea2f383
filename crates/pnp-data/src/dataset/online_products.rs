//! Stanford Online Products (Song et al., "Deep Metric Learning via Lifted Structured Feature
//! Embedding", CVPR 2016): 120,053 product photos of 22,634 classes in 12 super-classes, half of
//! the classes for training.
//!
//! Two layouts are read: the download's (`Stanford_Online_Products/` with both lists and the
//! `*_final` folders in it) and the old code's (`online_products/` with the lists in `Info_Files/`
//! and the folders in `images/`). The source may be that folder or the one around it.

use std::path::{Path, PathBuf};

use super::files::{
    INSIDE, Listed, drafts, id, is_inside, lines, malformed, read_text, wrong_layout,
};
use super::{DatasetEntry, DatasetOptions, Draft, Splits};
use crate::error::DataError;

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "online_products",
    summary: "Stanford Online Products, as downloaded or as the PyTorch code laid it out",
    layout: "Ebay_train.txt and Ebay_test.txt beside the *_final folders, or in Info_Files/ beside \
             images/",
    detect: |source| locate(source).is_some(),
    read,
};

const TRAIN_LIST: &str = "Ebay_train.txt";
const TEST_LIST: &str = "Ebay_test.txt";
const COLUMNS: [&str; 4] = ["image_id", "class_id", "super_class_id", "path"];

/// Where the two lists and the images are.
struct Places {
    lists: PathBuf,
    images: PathBuf,
}

fn locate(source: &Path) -> Option<Places> {
    let roots = [
        source.to_owned(),
        source.join("online_products"),
        source.join("Stanford_Online_Products"),
    ];
    for root in roots {
        for lists in [root.join("Info_Files"), root.clone()] {
            if lists.join(TRAIN_LIST).is_file() && lists.join(TEST_LIST).is_file() {
                let images = root.join("images");
                let images = if images.is_dir() { images } else { root };
                return Some(Places { lists, images });
            }
        }
    }
    None
}

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    let places =
        locate(&options.source).ok_or_else(|| wrong_layout(&options.source, ENTRY.layout))?;
    let mut listed = Listed::default();
    let mut read = |name: &str| {
        let list = places.lists.join(name);
        parse_list(&read_text(&list)?, &list, &places.images, &mut listed)
    };
    Ok(Splits { train: read(TRAIN_LIST)?, test: read(TEST_LIST)?, ..Splits::default() })
}

/// The images of a list's text.
pub(super) fn parse_list(
    text: &str,
    list: &Path,
    images: &Path,
    listed: &mut Listed,
) -> Result<Vec<Draft>, DataError> {
    let mut lines = lines(text);
    let header = lines.next().map_or("", |(_, header)| header);
    if !header.split(' ').eq(COLUMNS) {
        return Err(malformed(list, 1, header, &format!("the header '{}'", COLUMNS.join(" "))));
    }
    drafts(lines, list, listed, |text| parse(text, images))
}

/// One line; the error says what the line should have been.
fn parse(line: &str, images: &Path) -> Result<Draft, &'static str> {
    let fields = "four fields separated by single spaces: image, class and super-class id, path";
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or(fields);
    let (image, class, group, name) = (next()?, next()?, next()?, next()?);
    if id(image).is_none() {
        return Err("an image id from 1 on");
    }
    let class = id(class).ok_or("a class id from 1 on")?;
    let group = id(group).ok_or("a super-class id from 1 on")?;
    if !is_inside(name) {
        return Err(INSIDE);
    }
    let draft = Draft::new(images.join(name), name, class.to_string());
    Ok(Draft { super_label: Some(group), ..draft })
}
