//! Training: configuration, the two-phase step, the loop around it, checkpoints, and what a
//! trained network is used for.
//!
//! - [`TrainConfig`] is every setting with its rule; [`train`] runs it and [`resume`] goes on with
//!   a run folder to the same bits as a run that was never stopped.
//! - A step is two phases: the network embeds a batch, the loss is computed on the host with its
//!   gradient with respect to the embeddings, and that gradient is fed into the backward pass (see
//!   `step`). The loss does not know the network.
//! - [`Model`] is a trained network with all that is needed to use it: it embeds an image set,
//!   and [`score`] scores the embeddings.
//!
//! Devices are the caller's: this crate names no backend. Progress goes to an [`Observer`].

mod arch;
mod checkpoint;
mod config;
mod error;
mod json;
mod model;
mod network;
mod objective;
mod observer;
mod optimizer;
mod packed;
mod pictures;
mod pretrained;
mod ready;
mod records;
mod rules;
mod run;
mod schedule;
mod step;
mod trainer;
mod workers;

pub use arch::Arch;
pub use checkpoint::{Checkpoint, Progress};
pub use config::{BadImage, JpegCodec, Optimizer, Scheduler, Stride, TrainConfig};
pub use error::TrainError;
pub use model::{EmbeddedSet, Model, embed_set, score};
pub use network::{NetworkSettings, overlaid};
pub use observer::{Observer, Phase, Silent};
pub use optimizer::OptimizerState;
pub use packed::{data_digest, open_dataset};
pub use run::{Host, Outcome, StopFlag, resume, train};
pub use schedule::{Rates, Schedule};
pub use workers::on_workers;
