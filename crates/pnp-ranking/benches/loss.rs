//! Value and gradient of the PNP loss in f32, 4 items per class, 512 dimensions.
//!
//! `two_products` is the least work: the similarities and the gradient as matrix products. A batch
//! of 4,096 goes by panels and takes three.

use std::hint::black_box;

use divan::Bencher;
use gemm::{Parallelism, gemm};
use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Loss, PnpLoss, PnpSettings, PnpVariant};

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

fn forward(bencher: Bencher, items: usize, variant: PnpVariant) {
    let (values, labels) = batch(items);
    let embeddings = Embeddings::new(&values, DIM).unwrap();
    let settings = PnpSettings { variant, alpha: Some(4.0), ..PnpSettings::default() };
    let loss = PnpLoss::new(&settings).unwrap();
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

#[divan::bench(args = ITEMS)]
fn two_products(bencher: Bencher, items: usize) {
    let (values, _) = batch(items);
    let mut similarities = vec![0.0; items * items];
    let mut gradient = vec![0.0; items * DIM];
    bencher.bench_local(|| {
        multiply([items, items, DIM], &mut similarities, &values, &values, [1, DIM]);
        multiply([items, DIM, items], &mut gradient, &similarities, &values, [DIM, 1]);
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
