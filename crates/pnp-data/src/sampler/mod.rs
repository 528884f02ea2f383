//! Which images form the batches of an epoch: the registry of samplers.
//!
//! A sampler is one file here with one line in [`SAMPLERS`]. What all of them keep: an epoch's
//! batches are a function of the seed, the epoch's number and, for those that
//! [want them](Sampler::class_mean_images), the class means that they were given last; so a run
//! goes on anywhere. What those by class keep: an epoch has `images / batch_size` batches, rounded
//! down, and a batch holds images of one class next to each other, `samples_per_class` of them.

mod class_means;
mod class_random;
mod hard_class;
mod hierarchical;
mod m_per_class;
mod shuffle;

use std::fmt::Debug;

pub use class_means::ClassMeans;

use crate::error::DataError;
use crate::set::ImageSet;

/// Draws the batches of an epoch.
pub trait Sampler: Debug + Send + Sync {
    /// Its name in [`SAMPLERS`].
    fn name(&self) -> &'static str;

    /// All batches of an epoch, as indices into [`ImageSet::items`].
    fn batches(&self, epoch: u64) -> Vec<Vec<u32>>;

    /// The images of whose embeddings the class means are to be taken after an epoch, as ascending
    /// indices into [`ImageSet::items`], at least one of each class; the sampler is then to be given
    /// them by [`set_class_means`](Self::set_class_means). `None` for a sampler that does not draw
    /// by what the network makes of the classes.
    fn class_mean_images(&self, _epoch: u64) -> Option<Vec<u32>> {
        None
    }

    /// Takes the mean embeddings of the training set's classes: the epochs that are drawn from now
    /// on go by them. A sampler that does not want them ignores them.
    ///
    /// # Errors
    /// [`DataError::Setting`] where they are not as many as the classes.
    fn set_class_means(&mut self, _means: ClassMeans) -> Result<(), DataError> {
        Ok(())
    }

    /// The means that it was given last: all of its state beyond its settings.
    fn class_means(&self) -> Option<&ClassMeans> {
        None
    }
}

/// What a sampler needs to know beside the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerSettings {
    /// Images per batch, a multiple of `samples_per_class`. The paper's code uses 112.
    pub batch_size: usize,
    /// Images of one class in a batch, at least 1. The paper's code uses 2. With 1 no image of a
    /// batch has a positive but itself: that is of use only where positives come from elsewhere,
    /// such as a memory of earlier batches, so it is for the trainer to refuse.
    pub samples_per_class: usize,
    /// Super-classes in a batch of `hierarchical`, at least 1. FastAP's paper uses 2.
    pub super_classes: usize,
    /// Classes that come with each class that `hard_class` draws, at least 1.
    pub hard_neighbours: usize,
    /// Images of each class, at most, that `hard_class` takes its means of, at least 1.
    pub hard_images: usize,
    /// Decides every draw, together with the epoch.
    pub seed: u64,
}

impl Default for SamplerSettings {
    /// 112 images, 4 of each class, from 2 super-classes, 3 neighbours to a class by the means of 8
    /// images.
    fn default() -> Self {
        Self {
            batch_size: 112,
            samples_per_class: 4,
            super_classes: 2,
            hard_neighbours: 3,
            hard_images: 8,
            seed: 1,
        }
    }
}

type Build = fn(&ImageSet, &SamplerSettings) -> Result<Box<dyn Sampler>, DataError>;

/// A kind of sampler.
#[derive(Debug)]
pub struct SamplerEntry {
    /// Its name, as [`build`] takes it.
    pub name: &'static str,
    /// One line for a list of samplers.
    pub summary: &'static str,
    /// Whether it draws `samples_per_class` images of a class; else positives meet by chance, and
    /// a loss needs them from elsewhere.
    pub by_class: bool,
    /// Whether it draws by super-classes: a run with it is one on other data when they change.
    pub by_super_class: bool,
    build: Build,
}

/// The samplers there are, the default first.
pub const SAMPLERS: &[SamplerEntry] = &[
    m_per_class::ENTRY,
    class_random::ENTRY,
    hierarchical::ENTRY,
    hard_class::ENTRY,
    shuffle::ENTRY,
];

/// The sampler of this name for these images.
///
/// # Errors
/// [`DataError::UnknownSampler`]; [`DataError::Setting`] where the settings contradict each other
/// or the set is too small for one batch.
pub fn build(
    name: &str,
    set: &ImageSet,
    settings: &SamplerSettings,
) -> Result<Box<dyn Sampler>, DataError> {
    let entry = find(name)?;
    check(set, settings)?;
    (entry.build)(set, settings)
}

/// The registry's line of this name.
///
/// # Errors
/// [`DataError::UnknownSampler`] with the names there are.
pub fn find(name: &str) -> Result<&'static SamplerEntry, DataError> {
    SAMPLERS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<_> = SAMPLERS.iter().map(|entry| entry.name).collect();
        DataError::UnknownSampler { name: name.to_owned(), known: known.join(", ") }
    })
}

fn check(set: &ImageSet, settings: &SamplerSettings) -> Result<(), DataError> {
    let &SamplerSettings { batch_size, samples_per_class, .. } = settings;
    if samples_per_class == 0 {
        return Err(setting("samples_per_class", 0, "it must be at least 1".to_owned()));
    }
    if batch_size == 0 || batch_size % samples_per_class != 0 {
        let rule = format!("it must be a multiple of samples_per_class = {samples_per_class}");
        return Err(setting("batch_size", batch_size, rule));
    }
    if batch_size > set.len() {
        let rule = format!("the training set has {} images, less than one batch", set.len());
        return Err(setting("batch_size", batch_size, rule));
    }
    Ok(())
}

/// Refuses a batch that needs more distinct classes than there are.
fn check_classes(set: &ImageSet, settings: &SamplerSettings) -> Result<(), DataError> {
    let needed = settings.batch_size / settings.samples_per_class;
    if needed <= set.classes() {
        return Ok(());
    }
    let rule = format!(
        "with samples_per_class = {} a batch needs {needed} distinct classes, and the training set \
         has {}",
        settings.samples_per_class,
        set.classes()
    );
    Err(setting("batch_size", settings.batch_size, rule))
}

fn setting(setting: &'static str, value: usize, rule: String) -> DataError {
    DataError::Setting { setting, value: value.to_string(), rule }
}

/// The images of each class, for a sampler to keep.
fn classes(set: &ImageSet) -> Vec<Vec<u32>> {
    (0..set.classes() as u32).map(|label| set.class_items(label).to_vec()).collect()
}
