//! Images and their classes: one split, and a data set of several.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::{DataError, Split};
use crate::item::{Item, Role};
use crate::pack::Pack;
use crate::sampler::SamplerEntry;

/// How many missing files an error names.
const NAMED_MISSING: usize = 5;

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
    /// The role of each image, where not every image has both.
    roles: Option<Vec<Role>>,
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
        let apart = items.iter().any(|item| item.role != Role::Both);
        let roles = apart.then(|| items.iter().map(|item| item.role).collect());
        Ok(Self { items, labels, class_names, members, starts, sizes, roles, packed: None })
    }

    /// Some of the images, in this order, under their own labels: of each class at least one, or
    /// the others would have no labels.
    ///
    /// # Errors
    /// [`DataError::Setting`] where a class has none of them.
    ///
    /// # Panics
    /// Where an index is not below [`len`](Self::len).
    pub fn subset(&self, indices: &[u32]) -> Result<Self, DataError> {
        let chosen = || indices.iter().map(|&index| index as usize);
        let items = chosen().map(|index| self.items[index].clone()).collect();
        let sizes = chosen().map(|index| self.sizes[index]).collect();
        let packed = self.packed.as_ref().map(|Packed { pack, places }| Packed {
            pack: Arc::clone(pack),
            places: chosen().map(|index| places[index]).collect(),
        });
        let subset = Self::with_sizes(items, self.class_names.clone(), sizes)?;
        Ok(Self { packed, ..subset })
    }

    /// The set's pack and the place of an image in it; `None` where there is no pack, or none of
    /// the image's pixels.
    pub(crate) fn packed(&self, index: u32) -> Option<(&Pack, u32)> {
        let Packed { pack, places } = self.packed.as_ref()?;
        let place = places[index as usize];
        pack.has_pixels(place).then_some((&**pack, place))
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

    /// The role of each image; `None` where every image is a query and in the gallery.
    pub fn roles(&self) -> Option<&[Role]> {
        self.roles.as_deref()
    }

    /// The category of each image, empty where it has none; `None` where no image has one.
    pub fn categories(&self) -> Option<Vec<&str>> {
        let category = |item: &'_ Item| item.category.is_some();
        self.items.iter().any(category).then(|| {
            self.items.iter().map(|item| item.category.as_deref().unwrap_or_default()).collect()
        })
    }

    /// How many queries have no other image of their class in the gallery: these cannot succeed.
    pub fn lone_queries(&self) -> usize {
        let mut found = vec![0_usize; self.classes()];
        for item in self.items.iter().filter(|item| item.role.is_gallery()) {
            found[item.label as usize] += 1;
        }
        let lone = |item: &&Item| {
            let itself = usize::from(item.role.is_gallery());
            item.role.is_query() && found[item.label as usize] == itself
        };
        self.items.iter().filter(lone).count()
    }

    /// What an item has beside its name and class enters only where it is there, so that sets
    /// without it keep the digests that their runs recorded.
    fn hash_into(&self, split: &str, super_labels: bool, hash: &mut Sha256) {
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(split.as_bytes());
        for (item, size) in self.items.iter().zip(&self.sizes) {
            field(item.name.as_bytes());
            field(&item.label.to_le_bytes());
            field(&size.to_le_bytes());
            if let Some(category) = &item.category {
                field(b"category");
                field(category.as_bytes());
            }
            if let Some(number) = item.super_label.filter(|_| super_labels) {
                field(b"super_label");
                field(&number.to_le_bytes());
            }
            if let Some(region) = item.region {
                field(b"region");
                region.corners().iter().for_each(|corner| field(&corner.to_le_bytes()));
            }
            match item.role {
                Role::Both => {}
                Role::Query => field(b"query"),
                Role::Gallery => field(b"gallery"),
            }
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

/// A further test split.
#[derive(Debug, Clone)]
pub struct TestSplit {
    /// Its name: `test-` and letters, digits or `-`, as `test-1600`.
    pub name: String,
    /// Its images.
    pub set: ImageSet,
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
    /// Further test splits, where the data set has several, as VehicleID's larger ones.
    pub more_tests: Vec<TestSplit>,
    /// What a user should know about it and need not act on, one sentence each.
    pub notes: Vec<String>,
}

impl Dataset {
    /// The splits there are, in the order train, validation, test, further tests.
    pub fn splits(&self) -> impl Iterator<Item = (Split, &ImageSet)> {
        let more = self.more_tests.iter().map(|more| (Split::Test, &more.set));
        [
            (Split::Train, Some(&self.train)),
            (Split::Validation, self.validation.as_ref()),
            (Split::Test, Some(&self.test)),
        ]
        .into_iter()
        .filter_map(|(split, set)| Some((split, set?)))
        .chain(more)
    }

    /// The same splits under the names that [`split`](Self::split), records and manifests use:
    /// `train`, `val`, `test`, and those of the further tests.
    pub fn named_splits(&self) -> impl Iterator<Item = (&str, &ImageSet)> {
        let more = self.more_tests.iter().map(|more| (more.name.as_str(), &more.set));
        [
            ("train", Some(&self.train)),
            ("val", self.validation.as_ref()),
            ("test", Some(&self.test)),
        ]
        .into_iter()
        .filter_map(|(split, set)| Some((split, set?)))
        .chain(more)
    }

    /// Takes the split of this name out of the data set.
    ///
    /// # Errors
    /// [`DataError::UnknownSplit`] with the names there are.
    pub fn split(self, name: &str) -> Result<ImageSet, DataError> {
        let known: Vec<_> = self.named_splits().map(|(name, _)| name.to_owned()).collect();
        let more = self.more_tests.into_iter();
        let found = match name {
            "train" => Some(self.train),
            "val" => self.validation,
            "test" => Some(self.test),
            other => more.filter(|more| more.name == other).map(|more| more.set).next(),
        };
        found.ok_or_else(|| DataError::UnknownSplit {
            name: name.to_owned(),
            known: known.join(", "),
        })
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
            .chain(std::iter::once(&mut self.test))
            .chain(self.more_tests.iter_mut().map(|more| &mut more.set));
        for (set, places) in sets.zip(places) {
            set.packed = Some(Packed { pack: Arc::clone(pack), places });
        }
        Ok(())
    }

    /// SHA-256, in hexadecimal, over the splits and each image's name, label and file size (not
    /// its contents), and over the settings of the pack that is used: tells whether two runs saw
    /// the same data set. Super-classes do not enter: see [`digest_for`](Self::digest_for).
    pub fn digest(&self) -> String {
        self.digest_with(false)
    }

    /// The digest of a run with this sampler, as its folder has it: the super-classes of the
    /// training images enter where the sampler draws by them.
    pub fn digest_for(&self, sampler: &SamplerEntry) -> String {
        self.digest_with(sampler.by_super_class)
    }

    fn digest_with(&self, super_labels: bool) -> String {
        let mut hash = Sha256::new();
        if let Some(Packed { pack, .. }) = &self.train.packed {
            hash.update(pack.settings().to_string());
        }
        for (split, set) in self.named_splits() {
            // The name under which the validation split always entered.
            let split = if split == "val" { "validation" } else { split };
            set.hash_into(split, super_labels && split == "train", &mut hash);
        }
        let mut text = String::new();
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}
