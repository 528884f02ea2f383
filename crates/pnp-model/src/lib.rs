//! Backbones and embedding heads in Burn, and their weights in and out.
//!
//! - [`Network`] is a backbone, a pool ([`Pool`]) and an embedding head ([`HeadKind`]). It embeds
//!   images, and for training it hands out a [`TrainPass`]: the embeddings now, the gradients of
//!   all parameters once the gradient of a loss with respect to the embeddings is known.
//! - [`backbone`] holds one file per architecture and their registry.
//! - [`Parameters`] is the flat table of everything trained or stored, under PyTorch's key names.
//! - [`onnx`] writes a network down as an ONNX graph, for other programs to run.
//! - [`weights`] reads and writes state dicts: safetensors and PyTorch's `.pth`.
//!
//! The device is the caller's choice. On the host device convolutions run on this crate's own
//! kernels (see `ops`), on any other device on Burn's.

pub mod backbone;
mod error;
mod executor;
mod folded;
mod head;
mod layer;
mod memory;
mod network;
pub mod onnx;
mod ops;
mod parameters;
mod pixels;
mod pool;
mod precision;
mod resample;
mod transformer;
pub mod weights;

pub use backbone::{
    BackboneEntry, BackboneOptions, InputConvention, ResNetStride, SideRule, Stage,
};
pub use error::ModelError;
pub use head::{HeadInit, HeadKind};
pub use memory::keep_freed_memory;
pub use network::{GradientNorm, Network, NetworkConfig, ParameterGradients, TrainPass};
pub use parameters::{Entry, Layer, ParameterId, Parameters, Role, to_host};
pub use pixels::PixelScale;
pub use pool::Pool;
pub use precision::Precision;
