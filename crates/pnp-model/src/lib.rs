//! Backbones and embedding heads in Burn, and their weights in and out.
//!
//! - [`Network`] is a backbone, a global average pool and a linear embedding head. It embeds
//!   images, and for training it hands out a [`TrainPass`]: the embeddings now, the gradients of
//!   all parameters once the gradient of a loss with respect to the embeddings is known.
//! - [`backbone`] holds one file per architecture and their registry.
//! - [`Parameters`] is the flat table of everything trained or stored, under PyTorch's key names.
//! - [`weights`] reads and writes state dicts: safetensors and PyTorch's `.pth`.
//!
//! The device is the caller's choice. On the host device convolutions run on this crate's own
//! kernels (see `ops`), on any other device on Burn's.

pub mod backbone;
mod error;
mod layer;
mod network;
mod ops;
mod parameters;
mod pixels;
pub mod weights;

pub use backbone::{BackboneEntry, BackboneOptions, InputConvention, ResNetStride};
pub use error::ModelError;
pub use network::{Network, NetworkConfig, ParameterGradients, TrainPass};
pub use parameters::{Entry, ParameterId, Parameters, Role, to_host};
pub use pixels::PixelScale;
