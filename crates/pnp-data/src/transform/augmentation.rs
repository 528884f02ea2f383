//! The registry of augmentations: what happens to training images, by name.
//!
//! An augmentation is one line in [`AUGMENTATIONS`], put together from the families in the files
//! beside this one. The names are the PyTorch code's, and so is the order of the steps.

use super::color::ColorJitter;
use super::random_crop::RandomCrop;
use super::random_resized_crop::RandomResizedCrop;
use super::train::{TrainCrop, TrainTransform};
use crate::error::DataError;

/// A line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct AugmentationEntry {
    /// Its name, as `--augmentation` takes it.
    pub name: &'static str,
    /// One line for a list of augmentations.
    pub summary: &'static str,
    /// The side of an image in pixels, in training and in evaluation, unless another is asked for.
    pub side: u32,
    /// The shorter side from which a square is cut at one scale; `None`: random scales and shapes.
    pub resize: Option<u32>,
    /// How likely an image loses its colours.
    pub grey: f64,
    /// How far each quality of the colours may be moved; 0: not at all.
    pub jitter: f64,
}

/// `RandomResizedCrop` to 224 pixels and nothing else.
const PLAIN: AugmentationEntry =
    AugmentationEntry { name: "", summary: "", side: 224, resize: None, grey: 0.0, jitter: 0.0 };

/// The augmentations there are, the default first. All of them mirror half of the images.
pub const AUGMENTATIONS: &[AugmentationEntry] = &[
    AugmentationEntry { name: "base", summary: "RandomResizedCrop and flip", ..PLAIN },
    AugmentationEntry {
        name: "adv",
        summary: "base, RandomGrayscale(0.2) and ColorJitter(0.2, 0.2, 0.2, 0.2)",
        grey: 0.2,
        jitter: 0.2,
        ..PLAIN
    },
    AugmentationEntry { name: "big", summary: "base at 256 pixels", side: 256, ..PLAIN },
    AugmentationEntry {
        name: "red",
        summary: "Resize(256), RandomCrop and flip",
        resize: Some(256),
        ..PLAIN
    },
];

impl AugmentationEntry {
    /// The transform; `crop` says what crops of random scale are like.
    pub fn transform(&self, crop: RandomResizedCrop) -> TrainTransform {
        let Self { grey, jitter, .. } = *self;
        TrainTransform {
            size: self.side,
            crop: match self.resize {
                Some(resize) => TrainCrop::AtOneScale(RandomCrop { resize }),
                None => TrainCrop::Resized(crop),
            },
            grey,
            jitter: ColorJitter {
                brightness: jitter,
                contrast: jitter,
                saturation: jitter,
                hue: jitter,
            },
            ..TrainTransform::default()
        }
    }
}

/// The registry's line of this name.
///
/// # Errors
/// [`DataError::UnknownAugmentation`] with the names there are.
pub fn augmentation(name: &str) -> Result<&'static AugmentationEntry, DataError> {
    AUGMENTATIONS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<_> = AUGMENTATIONS.iter().map(|entry| entry.name).collect();
        DataError::UnknownAugmentation { name: name.to_owned(), known: known.join(", ") }
    })
}
