//! Is the second model better on the same queries? A paired permutation test.
//!
//! ```sh
//! cargo run -p pnp-ranking --example compare_models
//! ```

use pnp_ranking::metric::{EvalOptions, Metric, Resampling, compare, evaluate};
use pnp_ranking::{Embeddings, RankingError};

const ITEMS: u32 = 600;
const DIM: u32 = 16;

fn main() -> Result<(), RankingError> {
    let labels: Vec<u32> = (0..ITEMS).map(|item| item / 4).collect();
    let metrics = [Metric::parse("recall@1")?, Metric::parse("map@r")?];
    let scored = |noise: f32| -> Result<_, RankingError> {
        let values = embeddings(&labels, noise);
        let embeddings = Embeddings::new(&values, DIM as usize)?;
        Ok(evaluate(embeddings, &labels, &metrics, &EvalOptions::default())?.queries)
    };
    let (first, second) = (scored(0.7)?, scored(0.6)?);
    for found in compare(&first, &second, &Resampling::default())? {
        println!(
            "{:<10} {:.4} and {:.4}: {} queries better, {} worse, p = {:.4}",
            found.metric, found.first, found.second, found.better, found.worse, found.p_value
        );
    }
    Ok(())
}

/// Rows around a centre for each class, from a formula.
fn embeddings(labels: &[u32], noise: f32) -> Vec<f32> {
    let wave = |seed: u32, d: u32| ((seed * 7919 + d * d * 31 + seed * d * 17) as f32).sin();
    let rows = (0..).zip(labels);
    let row = |(item, &label): (u32, &u32)| {
        (0..DIM).map(move |d| wave(label, d) + noise * wave(item + 5000, d))
    };
    rows.flat_map(row).collect()
}
