//! Crops, resizes and normalises images, with torchvision's sizes, rounding and distributions.
//!
//! Everything works on RGB bytes until [`Normalization`] writes `f32` planes; a crop is taken
//! before it is resized.

mod eval;
mod normalization;
mod resample;
mod train;

pub use eval::EvalTransform;
pub(crate) use eval::resized_side;
pub use normalization::Normalization;
pub(crate) use normalization::NormalizationTable;
pub use resample::Resampler;
pub use train::{Augmentation, CropBox, TrainTransform};
