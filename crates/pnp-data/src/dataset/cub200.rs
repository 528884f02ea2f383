//! CUB-200-2011 (Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset", 2011): 11,788 photos of 200
//! kinds of birds.
//!
//! The field trains on the first 100 classes and measures on the other 100 (Song et al., CVPR
//! 2016); the data set's own `train_test_split.txt` is for classification and is not read. Images
//! are used whole unless their boxes are asked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::files::{
    INSIDE, Listed, fields, id, is_inside, lines, malformed, read_text, root, wrong_layout,
};
use super::{DatasetEntry, DatasetOptions, Draft, Splits};
use crate::error::DataError;
use crate::item::Region;

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "cub200",
    summary: "CUB-200-2011: birds, the first 100 classes for training",
    layout: "images.txt, image_class_labels.txt and classes.txt beside images/; \
             bounding_boxes.txt where boxes are asked for",
    detect: |source| locate(source).is_some(),
    read,
};

const FOLDERS: [&str; 3] = ["CUB_200_2011", "cub200", "CUB_200_2011/CUB_200_2011"];
const IMAGES: &str = "images.txt";
const LABELS: &str = "image_class_labels.txt";
const CLASSES: &str = "classes.txt";
const BOXES: &str = "bounding_boxes.txt";

/// Classes with ids up to this one are trained on.
const LAST_TRAINED: u32 = 100;

fn locate(source: &Path) -> Option<PathBuf> {
    let holds =
        |root: &Path| [IMAGES, LABELS, CLASSES].iter().all(|list| root.join(list).is_file());
    root(source, &FOLDERS, holds)
}

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    let root =
        locate(&options.source).ok_or_else(|| wrong_layout(&options.source, ENTRY.layout))?;
    let classes = by_id(&root.join(CLASSES), "a class id from 1 on and its name", |name| {
        Some(name.to_owned())
    })?;
    let labels = by_id(&root.join(LABELS), "an image id and a class id, both from 1 on", id)?;
    let regions = if options.boxes.wanted(false) {
        by_id(&root.join(BOXES), "an image id from 1 on and a box: x, y, width, height", region)?
    } else {
        HashMap::new()
    };
    let list = root.join(IMAGES);
    let mut splits = Splits::default();
    let (mut listed, mut ids) = (Listed::default(), Listed::default());
    for (line, text) in lines(&read_text(&list)?) {
        let wrong = |expected: &str| malformed(&list, line, text, expected);
        let (image, name) = id_and_rest(text)
            .ok_or_else(|| wrong("an image id from 1 on and a path, separated by a space"))?;
        if !is_inside(name) {
            return Err(wrong(INSIDE));
        }
        ids.add(&image.to_string(), &list, line)?;
        listed.add(name, &list, line)?;
        let label = labels
            .get(&image)
            .ok_or_else(|| wrong(&format!("an image id that {LABELS} gives a class")))?;
        let class = classes.get(label).ok_or_else(|| {
            wrong(&format!("an image of a class of {CLASSES}, and {LABELS} gives it {label}"))
        })?;
        let draft = Draft {
            region: regions.get(&image).copied(),
            ..Draft::new(root.join("images").join(name), name, class)
        };
        let trained = *label <= LAST_TRAINED;
        if trained { &mut splits.train } else { &mut splits.test }.push(draft);
    }
    Ok(splits)
}

/// What a list of lines `<id> <rest>` says about each id.
fn by_id<T>(
    list: &Path,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<HashMap<u32, T>, DataError> {
    let mut values = HashMap::new();
    for (line, text) in lines(&read_text(list)?) {
        let parsed = id_and_rest(text).and_then(|(id, rest)| Some((id, parse(rest)?)));
        let (id, value) = parsed.ok_or_else(|| malformed(list, line, text, expected))?;
        if values.insert(id, value).is_some() {
            return Err(malformed(list, line, text, "each id once"));
        }
    }
    Ok(values)
}

fn id_and_rest(line: &str) -> Option<(u32, &str)> {
    let (first, rest) = line.split_once(' ')?;
    let rest = rest.trim();
    if rest.is_empty() { None } else { Some((id(first)?, rest)) }
}

/// A box of `x y width height` in pixels and fractions of them, widened to whole pixels.
fn region(text: &str) -> Option<Region> {
    let numbers: [&str; 4] = fields(text)?;
    let [x, y, width, height] = numbers.map(|number| number.parse::<f64>().unwrap_or(f64::NAN));
    let range = f64::from(i32::MIN)..=f64::from(i32::MAX);
    let whole = |value: f64| range.contains(&value).then_some(value as i32);
    Region::new(
        whole(x.floor())?,
        whole(y.floor())?,
        whole((x + width).ceil())?,
        whole((y + height).ceil())?,
    )
}
