//! k-means over a made-up set with about 5 rows around each centre, and plain k-means beside it.
//!
//! The size of Stanford Online Products' test set takes a while and is left out unless asked for:
//! `cargo bench -p pnp-ranking --bench k_means -- --include-ignored`.

use std::hint::black_box;

use divan::Bencher;
use pnp_ranking::Embeddings;
use pnp_ranking::cluster::{KMeansOptions, KMeansStart, k_means};
use pnp_ranking::metric::Distance;
use pnp_ranking::neighbours::nearest;

const STARTS: [KMeansStart; 2] = [KMeansStart::PlusPlus, KMeansStart::Random];

fn main() {
    divan::main();
}

/// `items` directions around `around` others, from a seed.
fn set(items: usize, dim: usize, around: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    let centres: Vec<f32> = (0..around * dim).map(|_| noise()).collect();
    let centre = |i: usize, d: usize| centres[i % around * dim + d];
    (0..items * dim).map(|at| centre(at / dim, at % dim) + 0.8 * noise()).collect()
}

fn twenty_iterations(
    bencher: Bencher<'_, '_>,
    start: KMeansStart,
    [items, dim, clusters]: [usize; 3],
) {
    let values = set(items, dim, clusters);
    let embeddings = Embeddings::new(&values, dim).unwrap();
    let options = KMeansOptions { start, ..KMeansOptions::new(clusters) };
    bencher.bench(|| k_means(black_box(&embeddings), &options).unwrap());
}

/// The products of one iteration of the plain method, which needs 21 times as many.
fn plain_products(bencher: Bencher<'_, '_>, [items, dim, clusters]: [usize; 3]) {
    let values = set(items, dim, clusters);
    let rows = Embeddings::new(&values, dim).unwrap();
    let centres = Embeddings::new(&values[..clusters * dim], dim).unwrap();
    bencher.bench(|| nearest(black_box(&rows), Some(centres.into()), 1, Distance::Cosine).unwrap());
}

#[divan::bench(args = STARTS, sample_count = 5)]
fn k_means_10_000_x_128_into_500(bencher: Bencher, start: KMeansStart) {
    twenty_iterations(bencher, start, [10_000, 128, 500]);
}

#[divan::bench(sample_count = 5)]
fn plain_iteration_10_000_x_128_into_500(bencher: Bencher) {
    plain_products(bencher, [10_000, 128, 500]);
}

#[divan::bench(args = STARTS, sample_count = 1, ignore)]
fn k_means_60_502_x_512_into_11_316(bencher: Bencher, start: KMeansStart) {
    twenty_iterations(bencher, start, [60_502, 512, 11_316]);
}

#[divan::bench(sample_count = 1, ignore)]
fn plain_iteration_60_502_x_512_into_11_316(bencher: Bencher) {
    plain_products(bencher, [60_502, 512, 11_316]);
}
