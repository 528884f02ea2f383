//! Every loss against its formula written out slowly, and what must hold for any batch.
//!
//! A module per loss: its literal formula over ranked lists, and one call of [`checks::all`].

mod checks;
mod golden;
mod pnp;
mod proxies;
