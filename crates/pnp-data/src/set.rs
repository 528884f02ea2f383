//! Images and their classes: one split, and a data set of two or three.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::Decoder;
use crate::error::{DataError, Split};
use crate::pack::Pack;

/// How many missing files an error names.
const NAMED_MISSING: usize = 5;

/// One image of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where the file is: absolute, or relative to the working directory.
    pub path: PathBuf,
    /// Its name as the data set's list has it, relative to the set's root, separated by `/`.
    pub name: String,
    /// Its class, an index into [`ImageSet::class_names`].
    pub label: u32,
    /// The group its class belongs to, under the data set's own number, where it has such groups.
    pub super_label: Option<u32>,
}

/// The images of one split, with labels that are dense: every number from 0 to `classes() - 1` is
/// the label of at least one image.
#[derive(Debug, Clone)]
pub struct ImageSet {
    items: Vec<Item>,
    labels: Vec<u32>,
    class_names: Vec<String>,
    /// The items of class `c` are `members[starts[c]..starts[c + 1]]`, in the set's order.
    members: Vec<u32>,
    starts: Vec<usize>,
    /// Bytes of each file.
    sizes: Vec<u64>,
    /// Where images are read from instead of their files.
    packed: Option<Packed>,
}

/// A pack that has the images of a set.
#[derive(Debug, Clone)]
struct Packed {
    pack: Arc<Pack>,
    /// The place in the pack of each item.
    places: Vec<u32>,
}

impl ImageSet {
    /// A set of these images; `class_names` holds the name of each label.
    ///
    /// # Errors
    /// [`DataError::MissingImages`] where a path is no file; [`DataError::Setting`] where a label
    /// has no name, a name no image, or there are more than 2^32 - 1 images.
    pub fn new(items: Vec<Item>, class_names: Vec<String>) -> Result<Self, DataError> {
        let sizes = all_there(&items, file_sizes(&items))?;
        Self::with_sizes(items, class_names, sizes)
    }

    /// [`new`](Self::new) of images whose files need not be there; such a file has 0 bytes.
    pub(crate) fn incomplete(
        items: Vec<Item>,
        class_names: Vec<String>,
    ) -> Result<Self, DataError> {
        let sizes = file_sizes(&items).into_iter().map(Option::unwrap_or_default).collect();
        Self::with_sizes(items, class_names, sizes)
    }

    fn with_sizes(
        items: Vec<Item>,
        class_names: Vec<String>,
        sizes: Vec<u64>,
    ) -> Result<Self, DataError> {
        let labels: Vec<u32> = items.iter().map(|item| item.label).collect();
        let (members, starts) = group_by_label(&labels, class_names.len())?;
        Ok(Self { items, labels, class_names, members, starts, sizes, packed: None })
    }

    /// Puts an image into `image`, whose memory is used again: from the pack where there is one,
    /// else from its file. After an error the image is empty.
    pub(crate) fn load(
        &self,
        index: u32,
        decoder: &mut Decoder,
        image: &mut RgbImage,
    ) -> Result<(), DataError> {
        let index = index as usize;
        if let Some(Packed { pack, places }) = &self.packed
            && pack.read(places[index], decoder, image)?
        {
            return Ok(());
        }
        decoder.decode_into(&self.items[index].path, image)
    }

    /// Bytes of each file.
    pub(crate) fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// The images, in the data set's order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The label of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The name of each label.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The images of one class, as indices into [`items`](Self::items) in ascending order; empty
    /// for a label that is none.
    pub fn class_items(&self, label: u32) -> &[u32] {
        let label = label as usize;
        match (self.starts.get(label), self.starts.get(label + 1)) {
            (Some(&from), Some(&to)) => &self.members[from..to],
            _ => &[],
        }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// How many classes have one image only: these can never be retrieved.
    pub fn lone_classes(&self) -> usize {
        self.starts.windows(2).filter(|range| range[1] - range[0] == 1).count()
    }

    fn hash_into(&self, split: Split, hash: &mut Sha256) {
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(split.to_string().as_bytes());
        for (item, size) in self.items.iter().zip(&self.sizes) {
            field(item.name.as_bytes());
            field(&item.label.to_le_bytes());
            field(&size.to_le_bytes());
        }
    }
}

/// The item indices sorted by label, and where each label's begin.
fn group_by_label(labels: &[u32], classes: usize) -> Result<(Vec<u32>, Vec<usize>), DataError> {
    let refuse = |setting, value: String, rule: &str| {
        Err(DataError::Setting { setting, value, rule: rule.to_owned() })
    };
    if u32::try_from(labels.len()).is_err() {
        return refuse("images", labels.len().to_string(), "a set holds at most 2^32 - 1 of them");
    }
    let mut starts = vec![0; classes + 1];
    for &label in labels {
        match starts.get_mut(label as usize + 1) {
            Some(count) => *count += 1,
            None => return refuse("label", label.to_string(), "it has no class name"),
        }
    }
    if let Some(label) = starts[1..].iter().position(|&count| count == 0) {
        return refuse("label", label.to_string(), "no image has it, and labels must be dense");
    }
    for class in 0..classes {
        starts[class + 1] += starts[class];
    }
    let mut next = starts.clone();
    let mut members = vec![0; labels.len()];
    for (index, &label) in labels.iter().enumerate() {
        members[next[label as usize]] = index as u32;
        next[label as usize] += 1;
    }
    Ok((members, starts))
}

/// The size of each file that is there.
fn file_sizes(items: &[Item]) -> Vec<Option<u64>> {
    let size = |item: &Item| {
        std::fs::metadata(&item.path).ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
    };
    items.par_iter().map(size).collect()
}

/// The sizes of files that are all there; an error that counts those that are not.
fn all_there(items: &[Item], sizes: Vec<Option<u64>>) -> Result<Vec<u64>, DataError> {
    let mut missing = items.iter().zip(&sizes).filter(|(_, size)| size.is_none());
    let first: Vec<_> =
        missing.by_ref().take(NAMED_MISSING).map(|(item, _)| item.path.clone()).collect();
    if first.is_empty() {
        return Ok(sizes.into_iter().flatten().collect());
    }
    let count = first.len() + missing.count();
    Err(DataError::MissingImages { count, total: items.len(), first })
}

/// A data set that was opened and checked.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The reader's name in [`crate::DATASETS`].
    pub name: String,
    /// The path it was opened from.
    pub source: PathBuf,
    /// What a model is trained on.
    pub train: ImageSet,
    /// What the best checkpoint is picked on, where there is such a split.
    pub validation: Option<ImageSet>,
    /// What is measured at the end.
    pub test: ImageSet,
    /// What a user should know about it and need not act on, one sentence each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// The splits there are, in the order train, validation, test.
    pub fn splits(&self) -> impl Iterator<Item = (Split, &ImageSet)> {
        [
            (Split::Train, Some(&self.train)),
            (Split::Validation, self.validation.as_ref()),
            (Split::Test, Some(&self.test)),
        ]
        .into_iter()
        .filter_map(|(split, set)| Some((split, set?)))
    }

    /// Makes loaders read the images from a pack.
    ///
    /// # Errors
    /// [`DataError::StalePack`] where an image is not in it or has changed since; nothing is
    /// changed then.
    pub fn use_pack(&mut self, pack: &Arc<Pack>) -> Result<(), DataError> {
        let places: Vec<Vec<u32>> =
            self.splits().map(|(_, set)| pack.locate(set)).collect::<Result<_, _>>()?;
        let sets = std::iter::once(&mut self.train)
            .chain(self.validation.as_mut())
            .chain(std::iter::once(&mut self.test));
        for (set, places) in sets.zip(places) {
            set.packed = Some(Packed { pack: Arc::clone(pack), places });
        }
        Ok(())
    }

    /// SHA-256, in hexadecimal, over the splits and each image's name, label and file size (not
    /// its contents), and over the settings of the pack that is used: tells in a run folder whether
    /// two runs saw the same data set.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        if let Some(Packed { pack, .. }) = &self.train.packed {
            hash.update(pack.settings().to_string());
        }
        for (split, set) in self.splits() {
            set.hash_into(split, &mut hash);
        }
        let mut text = String::new();
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}
