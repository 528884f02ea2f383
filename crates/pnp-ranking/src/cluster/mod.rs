//! Clusters: k-means over embeddings, and how well clusters and classes agree.
//!
//! - [`k_means`] makes clusters, by Euclidean distance or by cosine (spherical k-means).
//! - [`Contingency`] counts which items of which class fell into which cluster; the scores
//!   [`nmi`](Contingency::nmi), [`ami`](Contingency::ami),
//!   [`pairwise_f1`](Contingency::pairwise_f1) and [`purity`](Contingency::purity) follow from it.
//!
//! ```
//! use pnp_ranking::Embeddings;
//! use pnp_ranking::cluster::{Contingency, KMeansOptions, k_means};
//!
//! let values = [0.0_f32, 0.1, 0.2, 5.0, 5.1, 5.2];
//! let options = KMeansOptions { distance: "euclidean".parse()?, ..KMeansOptions::new(2) };
//! let clustering = k_means(&Embeddings::new(&values, 1)?, &options)?;
//! let classes = [7, 7, 7, 3, 3, 3];
//! assert_eq!(Contingency::new(&classes, &clustering.assignment)?.nmi(), 1.0);
//! # Ok::<(), pnp_ranking::RankingError>(())
//! ```

mod agreement;
mod assign;
mod centres;
mod k_means;
mod points;
mod start;
#[cfg(test)]
mod tests;

pub use agreement::Contingency;
pub use k_means::{Clustering, KMeansOptions, KMeansStart, k_means};
