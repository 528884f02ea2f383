//! Queries against a gallery in half precision: the nearest items, and the scores of the ranking.
//!
//! ```sh
//! cargo run -p pnp-ranking --example search_gallery
//! ```

use half::f16;
use pnp_ranking::metric::{Distance, EvalOptions, EvalSet, Metric, evaluate_sets};
use pnp_ranking::neighbours::nearest;
use pnp_ranking::{RankingError, Rows};

fn main() -> Result<(), RankingError> {
    let queries = [1.0_f32, 0.0, 0.0, 1.0];
    let gallery = [0.9, 0.1, 0.5, 0.5, 0.1, 0.9, -1.0, 0.2].map(f16::from_f32);
    let (queries, gallery) = (Rows::f32(&queries, 2)?, Rows::f16(&gallery, 2)?);

    let found = nearest(queries, Some(gallery), 2, Distance::Cosine)?;
    for query in 0..queries.rows() {
        let list: Vec<String> =
            found.of(query).map(|(item, cosine)| format!("{item} ({cosine:.3})")).collect();
        println!("query {query}: {}", list.join(", "));
    }

    // Items with the query's own id are left out of its list, as the same photo in both sets.
    let queries = EvalSet::new(queries, &[7, 9])?.with_ids(&[100, 101])?;
    let gallery = EvalSet::new(gallery, &[7, 7, 9, 9])?.with_ids(&[100, 200, 201, 202])?;
    let metrics = [Metric::parse("recall@1")?, Metric::parse("mrr")?];
    let scores = evaluate_sets(&queries, Some(&gallery), &metrics, &EvalOptions::default())?;
    for (name, score) in scores.scores {
        println!("{name:<10} {score:.4}");
    }
    Ok(())
}
