//! Numbers only: ranking losses, ranking metrics and nearest neighbours over plain slices.
//!
//! - [`Embeddings`] is a checked view of rows of f32 or f64, which losses take; [`Rows`] is one in
//!   any precision, which metrics read some rows at a time ([`widen`] makes f32 of f16 and bf16).
//!   Labels are class ids, one per row; [`class_ids`] makes them of anything that can be sorted.
//! - [`loss`] computes a loss and its gradient with respect to the embeddings.
//! - [`metric`] scores a set by what stands near what.
//! - [`neighbours`] finds the nearest items themselves.
//!
//! All three work on tiles of the matrix of similarities that come out of matrix products, in
//! parallel, and never keep that matrix. The bits of a result depend on the input alone: not on
//! the number of threads, not on the size of a tile.

// A kernel must be inlined into the function that `pulp` compiles for the processor's vectors.
#![allow(clippy::inline_always)]

mod classes;
pub mod cluster;
mod distance;
mod embeddings;
mod error;
mod half_precision;
pub mod loss;
pub mod metric;
pub mod neighbours;
mod prepared;
mod product;
mod real;
mod rows;
pub mod structure;
#[cfg(test)]
mod test_data;
mod vectorised;

pub use classes::class_ids;
pub use embeddings::Embeddings;
pub use error::RankingError;
pub use half_precision::{Half, widen};
pub use real::Real;
pub use rows::{Precision, Rows};
