//! All default metrics, and the nearest neighbours, over a made-up set with 5 items per class.
//!
//! `half_a_product` is the least work of the ranking metrics: the similarities of each pair once.
//! The size of Stanford Online Products' test split is left out unless `--include-ignored` is
//! given. `benches/peers/metrics.py` has the peers on the same set.

mod made_up;

use std::hint::black_box;

use divan::Bencher;
use gemm::{Parallelism, gemm};
use pnp_ranking::Embeddings;
use pnp_ranking::metric::{DEFAULT_METRICS, Distance, EvalOptions, Metric, evaluate};
use pnp_ranking::neighbours::nearest;

/// Items, dimension and classes.
type Size = (usize, usize, usize);

const SETS: [Size; 2] = [(10_000, 128, 2000), (10_000, 512, 2000)];

fn main() {
    divan::main();
}

#[divan::bench(args = SETS, sample_count = 10)]
fn default_metrics(bencher: Bencher, size: Size) {
    default_metrics_of(bencher, size, DEFAULT_METRICS);
}

fn default_metrics_of(bencher: Bencher, (items, dim, classes): Size, names: &[&str]) {
    let (values, labels) = made_up::set(items, dim, classes);
    let embeddings = Embeddings::new(&values, dim).unwrap();
    let metrics: Vec<Metric> = names.iter().map(|name| Metric::parse(name).unwrap()).collect();
    let options = EvalOptions::default();
    bencher.bench(|| evaluate(black_box(&embeddings), &labels, &metrics, &options).unwrap());
}

/// Stanford Online Products' test split.
const SOP: Size = (60_502, 512, 11_316);

#[divan::bench(sample_count = 1, ignore)]
fn default_metrics_of_60502x512(bencher: Bencher) {
    default_metrics_of(bencher, SOP, DEFAULT_METRICS);
}

/// The PyTorch code's default metrics.
#[divan::bench(sample_count = 1, ignore)]
fn old_metrics_of_60502x512(bencher: Bencher) {
    default_metrics_of(bencher, SOP, &OLD);
}

const OLD: [&str; 26] = [
    "e_recall@1",
    "e_recall@10",
    "e_recall@100",
    "e_recall@1000",
    "e_precision@10",
    "e_precision@50",
    "e_precision@100",
    "nmi",
    "f1",
    "mAP_1000",
    "mAP_lim",
    "mAP_c",
    "c_recall@1",
    "c_recall@2",
    "c_recall@4",
    "c_precision@10",
    "c_precision@50",
    "c_precision@100",
    "dists@intra",
    "dists@inter",
    "dists@intra_over_inter",
    "rho_spectrum@0",
    "rho_spectrum@-1",
    "rho_spectrum@1",
    "rho_spectrum@2",
    "rho_spectrum@10",
];

#[divan::bench(args = SETS, sample_count = 10)]
fn half_a_product(bencher: Bencher, size: Size) {
    half_of(bencher, size);
}

#[divan::bench(sample_count = 1, ignore)]
fn half_a_product_of_60502x512(bencher: Bencher) {
    half_of(bencher, SOP);
}

/// Blocks of 2,048 rows with all rows from theirs on.
fn half_of(bencher: Bencher, (items, dim, classes): Size) {
    const BLOCK: usize = 2048;
    let (values, _) = made_up::set(items, dim, classes);
    let mut out = vec![0.0_f32; BLOCK * items];
    bencher.bench_local(|| {
        for first in (0..items).step_by(BLOCK) {
            let (rows, columns) = (BLOCK.min(items - first), items - first);
            let values = &values[first * dim..];
            assert!(out.len() >= rows * columns && values.len() == columns * dim);
            // SAFETY: the slices hold the values of the three matrices, as asserted, and `out` is
            // borrowed mutably.
            unsafe {
                gemm(
                    rows,
                    columns,
                    dim,
                    out.as_mut_ptr(),
                    1,
                    columns as isize,
                    false,
                    values.as_ptr(),
                    1,
                    dim as isize,
                    values.as_ptr(),
                    dim as isize,
                    1,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::Rayon(0),
                );
            }
            black_box(&out);
        }
    });
}

#[divan::bench(args = SETS, sample_count = 10)]
fn ten_nearest(bencher: Bencher, (items, dim, classes): Size) {
    let (values, _) = made_up::set(items, dim, classes);
    let embeddings = Embeddings::new(&values, dim).unwrap();
    bencher.bench(|| nearest(black_box(&embeddings), None, 10, Distance::Cosine).unwrap());
}
