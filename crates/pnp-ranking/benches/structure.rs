//! Class distances and spectra of a made-up set with 5 items per class.
//!
//! `cargo bench --bench structure -- --include-ignored` adds the size of Stanford Online Products'
//! test set.

use std::hint::black_box;

use divan::Bencher;
use pnp_ranking::Embeddings;
use pnp_ranking::structure::{class_distances, spectrum};

const SMALL: [(usize, usize); 2] = [(10_000, 128), (10_000, 512)];
const LARGE: (usize, usize) = (60_502, 512);

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

#[divan::bench(args = SMALL, sample_count = 10)]
fn distances_of_classes(bencher: Bencher, (items, dim): (usize, usize)) {
    let (values, labels) = set(items, dim);
    let embeddings = Embeddings::new(&values, dim).unwrap();
    bencher.bench(|| class_distances(black_box(&embeddings), &labels).unwrap());
}

#[divan::bench(args = [LARGE], sample_count = 5, ignore)]
fn distances_of_many_classes(bencher: Bencher, size: (usize, usize)) {
    distances_of_classes(bencher, size);
}

#[divan::bench(args = SMALL, sample_count = 10)]
fn singular_values(bencher: Bencher, (items, dim): (usize, usize)) {
    let (values, _) = set(items, dim);
    let embeddings = Embeddings::new(&values, dim).unwrap();
    bencher.bench(|| spectrum(black_box(&embeddings)));
}

#[divan::bench(args = [LARGE], sample_count = 5, ignore)]
fn singular_values_of_many(bencher: Bencher, size: (usize, usize)) {
    singular_values(bencher, size);
}
