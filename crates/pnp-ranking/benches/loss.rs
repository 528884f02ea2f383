//! Value and gradient of the PNP loss in f32, 4 items per class, 512 dimensions.
//!
//! `two_products` is the least work: the similarities and the gradient as matrix products. A batch
//! above 4,096 goes by panels and takes three.
//!
//! `with_memory` ranks a batch of 384 against itself and 60,000 embeddings of earlier batches in
//! 11,318 classes; `its_products` are that list's similarities and the batch's gradient.

use std::hint::black_box;

use divan::Bencher;
use gemm::{Parallelism, gemm};
use pnp_ranking::Embeddings;
use pnp_ranking::loss::{
    Items, Loss, LossInput, PnpLoss, PnpSettings, PnpVariant, build, initial_proxies,
};

const DIM: usize = 512;
const ITEMS: [usize; 3] = [384, 768, 4096];

fn main() {
    divan::main();
}

/// Unit rows around a centre per class, from a formula.
fn batch(items: usize) -> (Vec<f32>, Vec<u32>) {
    let labels: Vec<u32> = (0..items as u32).map(|i| i / 4).collect();
    let mut values = Vec::with_capacity(items * DIM);
    for (i, &label) in labels.iter().enumerate() {
        let noise = |seed: usize, d: usize| ((seed * 7919 + d * d * 31 + d) as f32 * 0.618).sin();
        let row = (0..DIM).map(|d| noise(label as usize, d) + 0.8 * noise(i + 100_000, d));
        let row: Vec<f32> = row.collect();
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        values.extend(row.iter().map(|v| v / norm));
    }
    (values, labels)
}

fn pnp(variant: PnpVariant) -> PnpLoss {
    let settings = PnpSettings { variant, alpha: Some(4.0), ..PnpSettings::default() };
    PnpLoss::new(&settings).unwrap()
}

fn forward(bencher: Bencher, items: usize, variant: PnpVariant) {
    let (values, labels) = batch(items);
    let embeddings = Embeddings::new(&values, DIM).unwrap();
    let loss = pnp(variant);
    bencher.bench(|| loss.forward_f32(black_box(&embeddings), &labels).unwrap());
}

#[divan::bench(args = ITEMS)]
fn pnp_d_q(bencher: Bencher, items: usize) {
    forward(bencher, items, PnpVariant::Dq);
}

#[divan::bench(args = ITEMS)]
fn pnp_o(bencher: Bencher, items: usize) {
    forward(bencher, items, PnpVariant::O);
}

/// Losses other than PNP, as [`build`] reads them.
const LOSSES: [&str; 10] = [
    "Smooth-AP",
    "FastAP",
    "Recall@k",
    "SupAP",
    "contrastive",
    "contrastive(distance=euclidean)",
    "triplet(mining=all)",
    "triplet(mining=semi-hard)",
    "triplet(mining=hard)",
    "multi-similarity",
];

#[divan::bench(args = LOSSES.into_iter().flat_map(|name| [(name, 384), (name, 4096)]))]
fn loss(bencher: Bencher, (name, items): (&str, usize)) {
    let (values, labels) = batch(items);
    let embeddings = Embeddings::new(&values, DIM).unwrap();
    let loss = build(name, &PnpSettings::default()).unwrap();
    bencher.bench(|| loss.forward_f32(black_box(&embeddings), &labels).unwrap());
}

/// As many classes as Stanford Online Products has for training. The least work is three products:
/// the proxies' gradient is wanted too.
const CLASSES: usize = 11_318;

#[divan::bench(args = ["normalised-softmax", "proxy-anchor"], sample_count = 10)]
fn with_proxies_at_384(bencher: Bencher, name: &str) {
    let (values, labels) = batch(384);
    let proxies = initial_proxies(CLASSES, DIM, 1);
    let loss = build(name, &PnpSettings::default()).unwrap();
    bencher.bench(|| {
        let batch = Items::new(Embeddings::new(black_box(&values), DIM).unwrap(), &labels).unwrap();
        let proxies = Embeddings::new(&proxies, DIM).unwrap();
        loss.compute_f32(&LossInput::batch(batch).with_proxies(proxies).unwrap()).unwrap()
    });
}

#[divan::bench(args = ITEMS)]
fn two_products(bencher: Bencher, items: usize) {
    let (values, _) = batch(items);
    products(bencher, &values, &values);
}

#[divan::bench(sample_count = 5)]
fn pnp_d_q_of_16384(bencher: Bencher) {
    forward(bencher, 16_384, PnpVariant::Dq);
}

#[divan::bench(sample_count = 5)]
fn two_products_of_16384(bencher: Bencher) {
    let (values, _) = batch(16_384);
    products(bencher, &values, &values);
}

const MEMORY: usize = 60_000;

#[divan::bench(sample_count = 10)]
fn with_memory(bencher: Bencher) {
    let (values, mut labels) = batch(384);
    for label in &mut labels {
        *label *= 7;
    }
    let (older, _) = batch(MEMORY);
    let older_labels: Vec<u32> = (0..MEMORY as u32).map(|i| i * 7919 % 11_318).collect();
    let older_ids: Vec<u64> = (0..MEMORY as u64).collect();
    let ids: Vec<u64> = (0..384).map(|i| i * 100).collect();
    let loss = pnp(PnpVariant::Dq);
    bencher.bench(|| {
        let batch = Items::new(Embeddings::new(black_box(&values), DIM).unwrap(), &labels).unwrap();
        let older = Items::new(Embeddings::new(&older, DIM).unwrap(), &older_labels).unwrap();
        let (batch, older) = (batch.with_ids(&ids).unwrap(), older.with_ids(&older_ids).unwrap());
        loss.compute_f32(&LossInput::batch_and(batch, older).unwrap()).unwrap()
    });
}

#[divan::bench(sample_count = 10)]
fn its_products(bencher: Bencher) {
    products(bencher, &batch(384).0, &batch(MEMORY + 384).0);
}

/// The similarities of queries to references, and the queries' gradient.
fn products(bencher: Bencher, queries: &[f32], references: &[f32]) {
    let [q, r] = [queries.len() / DIM, references.len() / DIM];
    let mut similarities = vec![0.0; q * r];
    let mut gradient = vec![0.0; q * DIM];
    bencher.bench_local(|| {
        multiply([q, r, DIM], &mut similarities, queries, references, [1, DIM]);
        multiply([q, DIM, r], &mut gradient, &similarities, references, [DIM, 1]);
        black_box(&gradient);
    });
}

/// `out[m, n] = a[m, k] · b[k, n]` on all threads; `b` has the strides given.
fn multiply([m, n, k]: [usize; 3], out: &mut [f32], a: &[f32], b: &[f32], strides: [usize; 2]) {
    assert!(out.len() == m * n && a.len() == m * k && b.len() == k * n);
    let (out, a, b) = (out.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    let [b_row, b_column] = strides.map(|stride| stride as isize);
    let threads = Parallelism::Rayon(0);
    let (n_stride, k_stride) = (n as isize, k as isize);
    // SAFETY: the slices hold m · n, m · k and k · n values, as asserted, and `out` is borrowed
    // mutably.
    unsafe {
        gemm(
            m, n, k, out, 1, n_stride, false, a, 1, k_stride, b, b_column, b_row, 1.0, 1.0, false,
            false, false, threads,
        );
    }
}
