//! The kernels of the host (`Flex`) device, and how they become operations of Burn.
//!
//! - Convolutions: `convolution` (forward and backward) by the products of `indirect` and
//!   `weight_gradient`, whose innermost loops are in `tile`; `reads` says which positions read
//!   which, `panels` and `patches` put weights and images in order. `depthwise` has its own loops.
//! - What is bound by memory: `memory_bound` (sums, maxima), `activations`, and `rows` (what a
//!   transformer does between its products, with the small products of `product`).
//! - `extension`, `memory_bound_extension` and `row_extension` tell Burn and its autodiff of them.

mod activations;
mod convolution;
mod depthwise;
mod extension;
mod geometry;
mod indirect;
mod memory_bound;
mod memory_bound_extension;
mod panels;
mod patches;
mod product;
mod reads;
mod row_extension;
mod rows;
mod shared;
mod tile;
mod vectorised;
mod weight_gradient;

pub(super) use extension::{Packed, convolve, convolve_packed};
pub(super) use memory_bound_extension::{add, max_pool};
pub(super) use row_extension::apply as rows;
#[cfg(test)]
pub(super) use tile::{VECTORS_OF_THREAD, Vectors};
