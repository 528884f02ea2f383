//! All default metrics, and the nearest neighbours, over a made-up set with 5 items per class.

use std::hint::black_box;

use divan::Bencher;
use pnp_ranking::Embeddings;
use pnp_ranking::metric::{DEFAULT_METRICS, Distance, EvalOptions, Metric, evaluate};
use pnp_ranking::neighbours::nearest;

const SETS: [(usize, usize); 2] = [(10_000, 128), (10_000, 512)];

fn main() {
    divan::main();
}

/// Rows around a centre per class, from a formula.
fn set(items: usize, dim: usize) -> (Vec<f32>, Vec<u32>) {
    let labels: Vec<u32> = (0..items as u32).map(|i| i / 5).collect();
    let mut values = Vec::with_capacity(items * dim);
    for (i, &label) in labels.iter().enumerate() {
        let noise = |seed: usize, d: usize| ((seed * 7919 + d * d * 31 + d) as f32 * 0.618).sin();
        values.extend((0..dim).map(|d| noise(label as usize, d) + noise(i + 100_000, d)));
    }
    (values, labels)
}

#[divan::bench(args = SETS, sample_count = 10)]
fn default_metrics(bencher: Bencher, (items, dim): (usize, usize)) {
    let (values, labels) = set(items, dim);
    let embeddings = Embeddings::new(&values, dim).unwrap();
    let metrics: Vec<Metric> =
        DEFAULT_METRICS.iter().map(|name| Metric::parse(name).unwrap()).collect();
    let options = EvalOptions::default();
    bencher.bench(|| evaluate(black_box(&embeddings), &labels, &metrics, &options).unwrap());
}

#[divan::bench(args = SETS, sample_count = 10)]
fn ten_nearest(bencher: Bencher, (items, dim): (usize, usize)) {
    let (values, _) = set(items, dim);
    let embeddings = Embeddings::new(&values, dim).unwrap();
    bencher.bench(|| nearest(black_box(&embeddings), None, 10, Distance::Cosine).unwrap());
}
