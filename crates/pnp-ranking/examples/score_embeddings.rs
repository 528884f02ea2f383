//! Scores embeddings that are in memory, with bootstrap intervals and the worst class.
//!
//! ```sh
//! cargo run -p pnp-ranking --example score_embeddings
//! ```

use pnp_ranking::metric::{EvalOptions, Metric, Resampling, bootstrap, evaluate};
use pnp_ranking::{Embeddings, RankingError, class_ids};

fn main() -> Result<(), RankingError> {
    // Row by row; any names will do for labels.
    let values = [1.0, 0.1, 0.9, 0.2, 0.8, -0.1, 0.1, 1.0, 0.3, 0.9, 0.9, 0.5, -1.0, 0.4];
    let names = ["shoe", "shoe", "shoe", "lamp", "lamp", "lamp", "sofa"];
    let embeddings = Embeddings::new(&values, 2)?;
    let labels = class_ids(&names);

    let metrics = ["recall@1", "precision@2", "map@r", "nmi"].map(Metric::parse);
    let metrics: Vec<Metric> = metrics.into_iter().collect::<Result<_, _>>()?;
    let found = evaluate(embeddings, &labels, &metrics, &EvalOptions::default())?;
    for (name, score) in &found.scores {
        println!("{name:<12} {score:.4}");
    }
    println!("queries {}, without a positive {}", found.counts.queries, found.counts.lone_queries);

    let intervals = bootstrap(&found.queries, 0.95, &Resampling::default())?;
    for (name, interval) in found.queries.metrics().iter().zip(intervals) {
        println!("{name:<12} {:.4} to {:.4}", interval.low, interval.high);
    }

    // The means over the queries of each class, by the first metric.
    for (class, means) in found.queries.by(&names) {
        match means[0] {
            Some(mean) => println!("{class:<12} {mean:.4}"),
            None => println!("{class:<12} has no other item"),
        }
    }
    Ok(())
}
