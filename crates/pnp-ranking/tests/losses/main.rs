//! Every loss against its formula written out slowly, and what must hold for any batch.
//!
//! A module per loss: its literal formula over ranked lists, and one call of [`checks::all`].

mod checks;
mod contrastive;
mod fast_ap;
mod golden;
mod golden_losses;
mod multi_similarity;
mod pnp;
mod proxies;
mod recall_at_k;
mod smooth_ap;
mod sup_ap;
mod triplet;
