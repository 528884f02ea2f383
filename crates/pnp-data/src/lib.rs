//! Images on disk to training batches.
//!
//! - [`open`] reads a data set: which image belongs to which class, and the train, validation and
//!   test splits. [`dataset`] holds one file per layout and their registry.
//! - [`decode()`] turns one PNG or JPEG file into RGB bytes, as Pillow's `convert("RGB")` does.
//! - [`transform`] crops, resizes and normalises, with torchvision's sizes and rounding.
//! - [`Preparer`] does both for one image, and decodes no more of it than the transform needs.
//! - [`sampler`] decides which images form a batch; [`sampler::build`] makes one by name.
//! - [`check_images`] decodes a whole data set once, before work begins.
//! - [`Loader`] runs decoding and transforms on worker threads ahead of the consumer.
//!
//! Every random decision comes from a generator keyed by the seed and by *what* is decided (the
//! epoch, the step, the place in the batch), never by *who* decides it: the number of workers, a
//! resumed run and a skipped image change nothing else.

mod check;
pub mod dataset;
pub mod decode;
mod error;
mod loader;
mod prepare;
mod random;
pub mod sampler;
mod set;
pub mod transform;

pub use check::{Check, check_images};
pub use dataset::{DATASETS, DatasetEntry, DatasetOptions, ValidationSplit, open};
pub use decode::decode;
pub use error::{DataError, Split};
pub use loader::{Batch, BatchStream, Loader, LoaderOptions, OnBadImage, Skipped};
pub use prepare::Preparer;
pub use sampler::{ClassMeans, SAMPLERS, Sampler, SamplerEntry, SamplerSettings};
pub use set::{Dataset, ImageSet, Item};
