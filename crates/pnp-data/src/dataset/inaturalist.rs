//! iNaturalist 2018 (Van Horn et al., "The iNaturalist Species Classification and Detection
//! Dataset", CVPR 2018), with the class-disjoint lists that Brown et al. made of it for retrieval
//! ("Smooth-AP", ECCV 2020): 325,846 training images of 5,690 species and 136,093 test images of
//! 2,452 others.
//!
//! A list has one path per line, `train_val2018/<super-category>/<category>/<image>.jpg`. Where
//! `train2018.json` and `val2018.json` are there, classes and super-categories are theirs;
//! otherwise they are read from the paths, as Smooth-AP's code does.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{INSIDE, Listed, drafts, io, is_inside, lines, read_text, root, wrong_layout};
use super::{Categories, DatasetEntry, DatasetOptions, Draft, Splits};
use crate::error::DataError;

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "inaturalist",
    summary: "iNaturalist 2018 with the class-disjoint lists of Smooth-AP",
    layout: "Inaturalist_train_set1.txt and Inaturalist_test_set1.txt, or Inat_dataset_splits/ \
             with them, beside train_val2018/ and, where they are there, train2018.json and \
             val2018.json",
    detect: |source| locate(source).is_some(),
    read,
};

const FOLDERS: [&str; 4] = ["inaturalist", "Inaturalist", "iNaturalist", "inaturalist2018"];
const TRAIN_LIST: &str = "Inaturalist_train_set1.txt";
const TEST_LIST: &str = "Inaturalist_test_set1.txt";
const ANNOTATIONS: [&str; 2] = ["train2018.json", "val2018.json"];

fn lists(root: &Path) -> Option<PathBuf> {
    let folders = [root.join("Inat_dataset_splits"), root.to_owned()];
    let both = |folder: &PathBuf| [TRAIN_LIST, TEST_LIST].iter().all(|l| folder.join(l).is_file());
    folders.into_iter().find(both)
}

fn locate(source: &Path) -> Option<PathBuf> {
    root(source, &FOLDERS, |root| lists(root).is_some())
}

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    let wrong = || wrong_layout(&options.source, ENTRY.layout);
    let root = locate(&options.source).ok_or_else(wrong)?;
    let lists = lists(&root).ok_or_else(wrong)?;
    let mut classes = Classes::default();
    for name in ANNOTATIONS {
        let path = root.join(name);
        if path.is_file() {
            let bytes = std::fs::read(&path).map_err(|e| io(&path, e))?;
            classes.parse(&bytes, &path)?;
        }
    }
    let mut splits = Splits::default();
    if classes.images.is_empty() {
        splits.notes.push(format!(
            "there is neither {} nor {}: classes and super-categories are those of the paths",
            ANNOTATIONS[0], ANNOTATIONS[1]
        ));
    }
    let (mut listed, mut categories) = (Listed::default(), Categories::default());
    let mut read = |name: &str| -> Result<Vec<Draft>, DataError> {
        let list = lists.join(name);
        let text = read_text(&list)?;
        drafts(lines(&text), &list, &mut listed, |text| {
            let name = text.trim();
            if !is_inside(name) {
                return Err(INSIDE);
            }
            let (class, category) = classes.find(name)?;
            let category = Some(categories.get(category));
            Ok(Draft { category, ..Draft::new(root.join(name), name, class) })
        })
    };
    (splits.train, splits.test) = (read(TRAIN_LIST)?, read(TEST_LIST)?);
    Ok(splits)
}

/// What the annotations say.
#[derive(Default)]
pub(super) struct Classes {
    /// The category of each image, by its file name.
    images: HashMap<String, u64>,
    /// The super-category of each category.
    categories: HashMap<u64, String>,
}

/// A file of annotations; what else it holds is passed over.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    images: Vec<Image<'a>>,
    annotations: Vec<Annotation>,
    #[serde(borrow)]
    categories: Vec<Category<'a>>,
}

#[derive(Deserialize)]
struct Image<'a> {
    id: u64,
    #[serde(borrow)]
    file_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
}

#[derive(Deserialize)]
struct Category<'a> {
    id: u64,
    #[serde(borrow)]
    supercategory: Cow<'a, str>,
}

impl Classes {
    /// Adds what a file of annotations says; `path` is where it is.
    pub(super) fn parse(&mut self, bytes: &[u8], path: &Path) -> Result<(), DataError> {
        let parsed: Document<'_> = serde_json::from_slice(bytes).map_err(|e| DataError::Line {
            path: path.to_owned(),
            line: e.line() as u64,
            found: e.to_string(),
            expected: "JSON with images (id, file_name), annotations (image_id, category_id) \
                           and categories (id, supercategory)"
                .to_owned(),
        })?;
        let reject = |reason: String| DataError::Layout { path: path.to_owned(), reason };
        for category in parsed.categories {
            self.categories.insert(category.id, category.supercategory.into_owned());
        }
        let mut of_image = HashMap::with_capacity(parsed.annotations.len());
        for Annotation { image_id, category_id } in parsed.annotations {
            if !self.categories.contains_key(&category_id) {
                let reason = format!(
                    "its annotation of image {image_id} has category {category_id}, which is none \
                     of its categories"
                );
                return Err(reject(reason));
            }
            if of_image.insert(image_id, category_id).is_some_and(|other| other != category_id) {
                return Err(reject(format!("it gives image {image_id} two categories")));
            }
        }
        for image in parsed.images {
            // Images of the competition's test have no annotation; no list names them.
            if let Some(&category) = of_image.get(&image.id) {
                self.images.insert(image.file_name.into_owned(), category);
            }
        }
        Ok(())
    }

    /// The class and super-category of an image; the error says what its name should have been.
    fn find<'a>(&'a self, name: &'a str) -> Result<(Cow<'a, str>, &'a str), &'static str> {
        if self.images.is_empty() {
            let mut parts = name.rsplit('/').skip(1);
            let of_path = parts.next().zip(parts.next());
            let (class, category) =
                of_path.ok_or("a path <folder>/<super-category>/<category>/<image>.jpg")?;
            return Ok((Cow::Owned(format!("{category}/{class}")), category));
        }
        let category = self.images.get(name);
        let category = category.ok_or("an image that the annotations give a category")?;
        // Every category of an annotation was found among the categories.
        let name = self.categories.get(category).map_or("", String::as_str);
        Ok((Cow::Owned(category.to_string()), name))
    }
}
