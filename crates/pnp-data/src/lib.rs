//! Images on disk to training batches.
//!
//! - [`open`] reads a data set: which image belongs to which class, and the train, validation and
//!   test splits. [`dataset`] holds one file per layout and their registry.
//! - [`decode()`] turns one PNG or JPEG file into RGB bytes, as Pillow's `convert("RGB")` does.
//! - [`transform`] crops, resizes and normalises, with torchvision's sizes and rounding.
//! - [`Preparer`] does both for one image, and decodes no more of it than the transform needs.
//! - [`sampler`] decides which images form a batch; [`sampler::build`] makes one by name.
//! - [`audit()`] decodes a whole data set once and says what is wrong with it.
//! - [`mod@pack`] puts all images, resized, into one file that loaders map into memory.
//! - [`Loader`] runs decoding and transforms on worker threads ahead of the consumer.
//!
//! Every random decision comes from a generator keyed by the seed and by *what* is decided (the
//! epoch, the step, the place in the batch), never by *who* decides it: the number of workers, a
//! resumed run and a skipped image change nothing else.

pub mod audit;
pub mod dataset;
pub mod decode;
mod error;
mod item;
mod loader;
pub mod pack;
mod prepare;
mod random;
pub mod sampler;
mod set;
pub mod transform;

pub use audit::{Audit, audit};
pub use dataset::{
    Boxes, DATASETS, DatasetEntry, DatasetOptions, Fold, ValidationSplit, open, open_incomplete,
    to_manifest,
};
pub use decode::decode;
pub use error::{DataError, Split};
pub use item::{Item, Region, Role};
pub use loader::{Batch, BatchStream, Loader, LoaderOptions, OnBadImage, Pixels, Skipped};
pub use pack::{Pack, PackFormat, PackSettings};
pub use prepare::Preparer;
pub use sampler::{ClassMeans, SAMPLERS, Sampler, SamplerEntry, SamplerSettings};
pub use set::{Dataset, ImageSet, TestSplit};
