//! A loss of a batch and its gradient, which goes into any network's backward pass.
//!
//! ```sh
//! cargo run -p pnp-ranking --example loss_gradient
//! ```

use pnp_ranking::loss::{PnpSettings, build};
use pnp_ranking::{Embeddings, RankingError};

fn main() -> Result<(), RankingError> {
    // Four items of length 1 in two classes.
    let values = [1.0, 0.0, 0.6, 0.8, 0.8, 0.6, 0.0, 1.0];
    let embeddings = Embeddings::new(&values, 2)?;
    for name in ["PNP-D_q(alpha=4)", "Smooth-AP", "PNP-O:1,contrastive:0.1"] {
        let loss = build(name, &PnpSettings::default())?;
        let output = loss.forward_f32(&embeddings, &[0, 0, 1, 1])?;
        println!("{}\n    {:.6}, gradient {:?}", loss.name(), output.value, output.gradient);
    }
    Ok(())
}
