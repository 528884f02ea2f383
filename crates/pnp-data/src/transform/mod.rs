//! Crops, resizes, recolours and normalises images, with torchvision's sizes, rounding and
//! distributions.
//!
//! Everything works on RGB bytes until [`Normalization`] writes `f32` planes; a crop is taken
//! before it is resized. One file holds one family of training transforms; [`AUGMENTATIONS`] puts
//! them together under names.

mod augmentation;
mod color;
mod eval;
mod normalization;
mod random_crop;
mod random_resized_crop;
mod resample;
pub(crate) mod resized;
mod train;
mod view;

pub use augmentation::{AUGMENTATIONS, AugmentationEntry, augmentation};
pub use color::{Adjustment, ColorJitter};
pub use eval::EvalTransform;
pub use normalization::Normalization;
pub(crate) use normalization::NormalizationTable;
pub use random_crop::RandomCrop;
pub use random_resized_crop::{CropBox, RandomResizedCrop};
pub use resample::{Region, Resampler};
pub use train::{Augmentation, DrawnCrop, TrainCrop, TrainTransform};
pub use view::RgbView;
