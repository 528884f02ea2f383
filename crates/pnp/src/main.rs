//! pnp
fn main() {}
