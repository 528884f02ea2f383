//! Ranking metrics against the PyTorch code (Faiss, scikit-learn) and PyTorch Metric Learning.

use pnp_ranking::Embeddings;
use pnp_ranking::metric::{Distance, EvalOptions, Metric, evaluate};
use serde_json::Value;

/// The peers compute the order of near ties, and some means, in float32.
const TOLERANCE: f64 = 1e-7;

fn check(text: &str, ranking_metrics: usize) {
    let golden: Value = serde_json::from_str(text).unwrap();
    let numbers = |key: &str| -> Vec<f64> {
        golden[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let values: Vec<f32> = numbers("embeddings").iter().map(|&x| x as f32).collect();
    let labels: Vec<u32> = numbers("labels").iter().map(|&x| x as u32).collect();
    let embeddings = Embeddings::new(&values, golden["dim"].as_u64().unwrap() as usize).unwrap();

    let old = golden["seed_reference"].as_object().unwrap();
    let old = old.iter().filter_map(|(name, value)| {
        Metric::parse(name).ok().map(|metric| (metric, value.as_f64().unwrap()))
    });
    let corrected = [
        ("map@r", "map_at_r"),
        ("r-precision", "r_precision"),
        ("precision@1", "precision_at_1"),
        ("recall@1", "precision_at_1"),
        ("map", "map_full"),
        ("mrr", "mrr_full"),
    ];
    let corrected = corrected.iter().map(|(name, key)| {
        (Metric::parse(name).unwrap(), golden["corrected"][key].as_f64().unwrap())
    });
    let (metrics, expected): (Vec<Metric>, Vec<f64>) = old.chain(corrected).unzip();
    assert_eq!(metrics.len(), ranking_metrics);

    let options = EvalOptions { distance: Distance::Euclidean, ..EvalOptions::default() };
    let evaluation = evaluate(embeddings, &labels, &metrics, &options).unwrap();
    assert_eq!(evaluation.counts.classes, golden["classes"].as_u64().unwrap() as usize);
    assert_eq!((evaluation.counts.lone_queries, evaluation.counts.duplicates), (0, 0));
    for (((name, value), metric), expected) in evaluation.scores.iter().zip(&metrics).zip(expected)
    {
        assert_eq!(name, metric.name());
        let exact = matches!(metric.family(), "recall" | "precision" | "r_precision");
        let tolerance = if exact { 1e-12 } else { TOLERANCE };
        assert!((value - expected).abs() < tolerance, "{name}: {value} for {expected}");
    }
}

#[test]
fn unit_embeddings_score_as_in_the_peers() {
    check(include_str!("../../../golden/metrics/metrics_normalized.json"), 33);
}

#[test]
fn raw_embeddings_score_as_in_the_peers() {
    check(include_str!("../../../golden/metrics/metrics_raw.json"), 33);
}
