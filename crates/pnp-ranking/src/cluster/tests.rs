//! k-means against the plain method, written down literally.

use super::centres::Centres;
use super::points::Points;
use super::{Clustering, KMeansOptions, KMeansStart, k_means, start};
use crate::distance::Distance;
use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::product::{Matrix, Update, multiply};
use crate::test_data::{noise, unit_rows};

const STARTS: [KMeansStart; 2] = [KMeansStart::Random, KMeansStart::PlusPlus];
const DISTANCES: [Distance; 2] = [Distance::Euclidean, Distance::Cosine];

fn euclidean(clusters: usize) -> KMeansOptions {
    KMeansOptions { distance: Distance::Euclidean, ..KMeansOptions::new(clusters) }
}

fn run(values: &[f32], dim: usize, options: &KMeansOptions) -> Clustering {
    k_means(Embeddings::new(values, dim).unwrap(), options).unwrap()
}

fn started(points: &Points<'_>, options: &KMeansOptions) -> Centres {
    match options.start {
        KMeansStart::PlusPlus => start::plus_plus(points, options.clusters, options.seed).0,
        KMeansStart::Random => start::random(points, options.clusters, options.seed).0,
    }
}

/// Lloyd's method from the same start, with the whole matrix of nearness in every iteration.
fn literal(values: &[f32], dim: usize, options: &KMeansOptions) -> Clustering {
    let embeddings = Embeddings::new(values, dim).unwrap();
    let points = Points::new((&embeddings).into(), options.distance).unwrap();
    let (rows, clusters) = (points.rows(), options.clusters);
    let x: Vec<f32> = (0..rows).flat_map(|row| points.with_row(row, <[f32]>::to_vec)).collect();
    let mut c = started(&points, options).into_values();
    let (mut iterations, mut converged, mut reseeded) = (0, false, 0);
    while iterations < options.iterations && !converged {
        iterations += 1;
        let mut assignment = literal_nearest(&x, &c, dim, options.distance);
        let size = |assignment: &[u32], j: usize| {
            assignment.iter().filter(|&&cluster| cluster as usize == j).count()
        };
        let centre = |c: &[f32], j: usize| c[j * dim..(j + 1) * dim].to_vec();
        let costs: Vec<f64> = (0..rows)
            .map(|row| points.cost(row, &centre(&c, assignment[row] as usize)))
            .map(|cost| if cost > 0.0 { cost } else { 0.0 })
            .collect();
        let mut taken = vec![false; rows];
        let empty = (0..clusters).filter(|&j| size(&assignment, j) == 0).collect::<Vec<_>>();
        for j in empty {
            let candidates = (0..rows).filter(|&row| {
                let alone = size(&assignment, assignment[row] as usize) == 1;
                !taken[row] && !alone && costs[row] > 0.0 && points.has_place(row)
            });
            let farthest = candidates.fold(None, |best: Option<usize>, row| match best {
                Some(best) if costs[best] >= costs[row] => Some(best),
                _ => Some(row),
            });
            if let Some(row) = farthest {
                assignment[row] = j as u32;
                taken[row] = true;
                reseeded += 1;
            }
        }
        let before = c.clone();
        for j in (0..clusters).filter(|&j| size(&assignment, j) > 0) {
            let mut sum = vec![0.0_f64; dim];
            for row in (0..rows).filter(|&row| assignment[row] as usize == j) {
                for (sum, value) in sum.iter_mut().zip(points.with_row(row, <[f32]>::to_vec)) {
                    *sum += f64::from(value);
                }
            }
            let divisor = match options.distance {
                Distance::Euclidean => size(&assignment, j) as f64,
                Distance::Cosine => sum.iter().map(|sum| sum * sum).sum::<f64>().sqrt(),
            };
            for (value, sum) in c[j * dim..(j + 1) * dim].iter_mut().zip(sum) {
                *value = if divisor > 0.0 { (sum / divisor) as f32 } else { 0.0 };
            }
        }
        converged = before == c;
    }
    let assignment = literal_nearest(&x, &c, dim, options.distance);
    let sizes = (0..clusters as u32)
        .map(|j| assignment.iter().filter(|&&cluster| cluster == j).count() as u32)
        .collect();
    let cost = (0..rows)
        .map(|row| {
            let j = assignment[row] as usize;
            points.cost(row, &c[j * dim..(j + 1) * dim])
        })
        .sum();
    Clustering { assignment, centroids: c, sizes, cost, iterations, converged, reseeded }
}

fn literal_nearest(x: &[f32], c: &[f32], dim: usize, distance: Distance) -> Vec<u32> {
    let clusters = c.len() / dim;
    let mut nearness = vec![0.0; x.len() / dim * clusters];
    let columns = Matrix::from_rows(c, dim).transposed();
    multiply(Matrix::from_rows(x, dim), columns, &mut nearness, Update::Set);
    let row = |row: &[f32]| {
        let mut best = (0, f32::NEG_INFINITY);
        for (j, (&product, centre)) in row.iter().zip(c.chunks_exact(dim)).enumerate() {
            let half: f64 = centre.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / 2.0;
            let value = match distance {
                Distance::Euclidean => product - half as f32,
                Distance::Cosine => product,
            };
            if value > best.1 {
                best = (j as u32, value);
            }
        }
        best.0
    };
    nearness.chunks_exact(clusters).map(row).collect()
}

/// Rows around some centres, at different lengths, away from the origin.
fn clustered(rows: usize, dim: usize, around: usize, spread: f32, seed: u64) -> Vec<f32> {
    let centres: Vec<f32> = noise(around * dim, seed);
    let mut values: Vec<f32> = noise(rows * dim, seed + 1);
    for (i, row) in values.chunks_exact_mut(dim).enumerate() {
        let centre = &centres[i % around * dim..][..dim];
        let scale = 0.5 + (i % 7) as f32 / 4.0;
        row.iter_mut().zip(centre).for_each(|(x, c)| *x = (*x * spread + c + 0.3) * scale);
    }
    values
}

/// Few values, so that rows repeat and distances tie.
fn coarse(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
    noise::<f32>(rows * dim, seed).into_iter().map(|value| (value * 1.6).round()).collect()
}

#[test]
fn the_result_is_that_of_the_plain_method_to_the_bit() {
    let sets = [
        (clustered(900, 24, 60, 0.4, 1), 24, vec![1, 2, 60, 200]),
        (clustered(1300, 5, 25, 0.9, 2), 5, vec![25, 130]),
        (clustered(400, 600, 70, 0.6, 3), 600, vec![70]),
        (clustered(500, 1, 9, 0.5, 4), 1, vec![9, 40]),
        (unit_rows(1500, 32, 5), 32, vec![10, 300]),
        (coarse(700, 2, 6), 2, vec![3, 20, 24, 25, 30]),
        (coarse(600, 3, 7), 3, vec![8, 100]),
        (clustered(50, 8, 5, 0.3, 8), 8, vec![49, 50]),
    ];
    let (mut all_converged, mut reseeded, mut most_iterations) = (0, 0, 0);
    for (values, dim, cluster_counts) in &sets {
        for &clusters in cluster_counts {
            for (start, distance) in STARTS.iter().flat_map(|&s| DISTANCES.map(|d| (s, d))) {
                for (seed, iterations) in [(0, 20), (1, 3), (2, 100)] {
                    let options = KMeansOptions { clusters, iterations, seed, start, distance };
                    let ours = run(values, *dim, &options);
                    assert_eq!(ours, literal(values, *dim, &options), "{options:?}, dim {dim}");
                    all_converged += usize::from(ours.converged);
                    reseeded += ours.reseeded;
                    most_iterations = most_iterations.max(ours.iterations);
                }
            }
        }
    }
    // Otherwise the sets would not have put the rules to the test.
    assert!(all_converged > 100 && reseeded > 20 && most_iterations > 20);
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    let values = clustered(3000, 20, 150, 0.7, 9);
    for (start, distance) in STARTS.iter().flat_map(|&s| DISTANCES.map(|d| (s, d))) {
        let options = KMeansOptions { start, distance, ..KMeansOptions::new(170) };
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&values, 20, &options))
        };
        let expected = with(1);
        assert_eq!(with(2), expected);
        assert_eq!(with(5), expected);
    }
}

#[test]
fn the_cost_falls_and_is_that_of_the_centroids() {
    let values = clustered(800, 12, 30, 0.8, 10);
    for distance in DISTANCES {
        let mut last = f64::INFINITY;
        for iterations in 1..12 {
            let options = KMeansOptions { iterations, distance, ..KMeansOptions::new(30) };
            let clustering = run(&values, 12, &options);
            assert!(clustering.cost <= last, "{iterations}: {} after {last}", clustering.cost);
            assert_eq!(clustering.sizes.iter().sum::<u32>(), 800);
            last = clustering.cost;
        }
    }
    let clustering = run(&[0.0, 2.0, 10.0, 12.0], 1, &euclidean(2));
    assert_eq!((clustering.cost, clustering.converged), (4.0, true));
}

#[test]
fn spherical_clusters_do_not_see_lengths() {
    let values = clustered(600, 16, 40, 0.5, 11);
    let powers = [0.25_f32, 1.0, 8.0];
    let scaled: Vec<f32> = values
        .chunks_exact(16)
        .enumerate()
        .flat_map(|(i, row)| row.iter().map(move |value| value * powers[i % 3]))
        .collect();
    let options = KMeansOptions::new(45);
    assert_eq!(run(&values, 16, &options), run(&scaled, 16, &options));
    let clustering = run(&values, 16, &options);
    for centroid in clustering.centroids.chunks_exact(16) {
        let square: f64 = centroid.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((square - 1.0).abs() < 1e-6);
    }
}

#[test]
fn an_empty_cluster_is_given_the_farthest_row() {
    // From centres at 0 twice, the second is empty; 9 and 10 are in cluster 0, and 10 is farther.
    let values = [0.0_f32, 0.0, 1.0, 9.0, 10.0];
    let from_zero = (0..200).map(|seed| KMeansOptions {
        seed,
        iterations: 1,
        start: KMeansStart::Random,
        ..euclidean(2)
    });
    let embeddings = Embeddings::new(&values, 1).unwrap();
    let points = Points::new((&embeddings).into(), Distance::Euclidean).unwrap();
    let mut twins = from_zero.filter(|options| started(&points, options).values() == [0.0, 0.0]);
    let clustering = run(&values, 1, &twins.next().unwrap());
    assert_eq!(clustering.reseeded, 1);
    assert_eq!(clustering.centroids, [2.5, 10.0]);
    assert_eq!(clustering.assignment, [0, 0, 0, 1, 1]);
}

#[test]
fn clusters_beyond_the_different_rows_stay_empty() {
    for start in STARTS {
        let collapsed = [0.5_f32; 24];
        let clustering = run(&collapsed, 2, &KMeansOptions { start, ..euclidean(5) });
        assert_eq!(clustering.sizes, [12, 0, 0, 0, 0]);
        assert_eq!((clustering.cost, clustering.converged), (0.0, true));
        let three = [1.0_f32, 2.0, 3.0, 1.0, 2.0, 3.0, 3.0];
        let clustering = run(&three, 1, &KMeansOptions { start, ..euclidean(5) });
        assert_eq!(clustering.cost, 0.0);
        let mut sizes = clustering.sizes;
        sizes.sort_unstable();
        assert_eq!(sizes, [0, 0, 2, 2, 3]);
    }
}

#[test]
fn rows_of_zeros_have_no_direction() {
    let values = [0.0_f32, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0];
    for (seed, start) in (0..20).flat_map(|seed| STARTS.map(|start| (seed, start))) {
        let options = KMeansOptions { seed, start, ..KMeansOptions::new(2) };
        let clustering = run(&values, 2, &options);
        assert_eq!(clustering.assignment[0], 0);
        assert_eq!(clustering.assignment[4], 0);
        if start == KMeansStart::PlusPlus {
            assert_eq!(clustering.cost, 2.0);
            assert_ne!(clustering.assignment[1], clustering.assignment[2]);
        }
    }
    assert_eq!(run(&[0.0; 6], 2, &KMeansOptions::new(2)).sizes, [3, 0]);
}

#[test]
fn a_random_start_takes_different_rows_evenly() {
    let values: Vec<f32> = (0..6).map(|i| i as f32).collect();
    let embeddings = Embeddings::new(&values, 1).unwrap();
    let points = Points::new((&embeddings).into(), Distance::Euclidean).unwrap();
    let mut counts = [0; 6];
    for seed in 0..3000 {
        let mut rows = start::random(&points, 3, seed).0.into_values();
        for &row in &rows {
            counts[row as usize] += 1;
        }
        rows.sort_by(f32::total_cmp);
        rows.dedup();
        assert_eq!(rows.len(), 3);
    }
    // 1500 expected, the standard deviation 27.
    assert!(counts.iter().all(|count| (1390..1610).contains(count)), "{counts:?}");
}

/// The probability of each set of rows, of one bit each, after `more` draws of k-means++.
fn add_draws(values: &[f32], taken: u32, more: usize, probability: f64, sets: &mut [f64]) {
    if more == 0 {
        sets[taken as usize] += probability;
        return;
    }
    let centres = || values.iter().enumerate().filter(|(i, _)| taken >> i & 1 == 1);
    let cost =
        |x: f32| centres().map(|(_, c)| f64::from((x - c) * (x - c))).fold(f64::INFINITY, f64::min);
    let weights: Vec<f64> =
        values.iter().map(|&x| if taken == 0 { 1.0 } else { cost(x) }).collect();
    let total: f64 = weights.iter().sum();
    for (i, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        add_draws(values, taken | 1 << i, more - 1, probability * weight / total, sets);
    }
}

#[test]
fn plus_plus_draws_by_the_cost() {
    const DRAWS: u64 = 6000;
    let values = [0.0_f32, 1.0, 2.5, 4.0, 4.5, 9.0, 11.0];
    let embeddings = Embeddings::new(&values, 1).unwrap();
    let points = Points::new((&embeddings).into(), Distance::Euclidean).unwrap();
    // The fourth and the fifth centre are drawn by old costs.
    for clusters in [2, 4, 5] {
        let mut expected = vec![0.0; 1 << values.len()];
        add_draws(&values, 0, clusters, 1.0, &mut expected);
        let mut counts = vec![0_u32; 1 << values.len()];
        for seed in 0..DRAWS {
            let centres = start::plus_plus(&points, clusters, seed).0.into_values();
            let bit = |centre: &f32| 1 << values.iter().position(|value| value == centre).unwrap();
            counts[centres.iter().map(bit).sum::<usize>()] += 1;
        }
        let (mut chi_square, mut kinds) = (0.0, 0);
        for (&probability, &count) in expected.iter().zip(&counts) {
            let mean = probability * DRAWS as f64;
            assert!(probability > 0.0 || count == 0);
            if mean > 5.0 {
                chi_square += (f64::from(count) - mean).powi(2) / mean;
                kinds += 1;
            }
        }
        let freedom = f64::from(kinds - 1);
        let limit = freedom + 4.0 * (2.0 * freedom).sqrt();
        assert!(chi_square < limit, "{clusters} clusters: {chi_square} of {freedom}");
    }
}

#[test]
fn plus_plus_knows_the_first_assignment_and_takes_no_row_twice() {
    let values = coarse(900, 3, 12);
    let embeddings = Embeddings::new(&values, 3).unwrap();
    for distance in DISTANCES {
        let points = Points::new((&embeddings).into(), distance).unwrap();
        let count_different = |mut rows: Vec<Vec<f32>>| {
            rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
            rows.dedup();
            rows.len()
        };
        let with_place = (0..900).filter(|&row| points.has_place(row));
        let different =
            count_different(with_place.map(|row| points.with_row(row, <[f32]>::to_vec)).collect());
        for clusters in [1, 2, 3, different] {
            let (centres, best) = start::plus_plus(&points, clusters, 3);
            assert_eq!(
                count_different(centres.values().chunks_exact(3).map(<[f32]>::to_vec).collect()),
                clusters
            );
            let x: Vec<f32> =
                (0..900).flat_map(|row| points.with_row(row, <[f32]>::to_vec)).collect();
            let ids: Vec<u32> = best.iter().map(|best| best.id).collect();
            assert_eq!(ids, literal_nearest(&x, centres.values(), 3, distance));
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let values = [1.0_f32, 2.0, 3.0];
    let embeddings = Embeddings::new(&values, 1).unwrap();
    let refused = |options: &KMeansOptions| k_means(embeddings, options).unwrap_err().to_string();
    assert_eq!(
        refused(&KMeansOptions::new(0)),
        "clusters = 0 is not possible: ask for at least one cluster"
    );
    assert_eq!(
        refused(&KMeansOptions { iterations: 0, ..KMeansOptions::new(1) }),
        "iterations = 0 is not possible: let the centres move at least once"
    );
    assert_eq!(
        refused(&KMeansOptions::new(4)),
        "4 clusters of 3 rows: ask for no more clusters than rows"
    );
    let none = Embeddings::<f32>::new(&[], 3).unwrap();
    let error = k_means(none, &KMeansOptions::new(1)).unwrap_err();
    assert_eq!(error, RankingError::TooManyClusters { clusters: 1, rows: 0 });
    let long = [1e19_f32, 1e19];
    let error = k_means(Embeddings::new(&long, 2).unwrap(), &KMeansOptions::new(1)).unwrap_err();
    assert!(matches!(error, RankingError::TooLarge { row: 0, .. }), "{error}");
}

#[test]
fn far_from_the_origin_and_at_any_scale_clusters_are_found() {
    const DIM: usize = 16;
    // Eight groups of ten rows.
    let near = coarse(8, DIM, 3);
    let noise = crate::test_data::noise::<f32>(80 * DIM, 4);
    let at = |scale: f32, offset: f32| -> Vec<f32> {
        let rows = noise.chunks_exact(DIM).enumerate().flat_map(|(i, noise)| {
            let centre = &near[i % 8 * DIM..(i % 8 + 1) * DIM];
            centre.iter().zip(noise).map(|(c, n)| c + 0.01 * n)
        });
        rows.map(|value| scale * (offset + value)).collect()
    };
    let expected = run(&at(1.0, 0.0), DIM, &euclidean(8));
    for (scale, offset) in [(1.0, 1000.0), (1e-25, 0.0), (1e15, 0.0), (1e-25, 100.0)] {
        let found = run(&at(scale, offset), DIM, &euclidean(8));
        let mut pairs: Vec<(u32, u32)> =
            expected.assignment.iter().copied().zip(found.assignment).collect();
        pairs.sort_unstable();
        pairs.dedup();
        assert_eq!(pairs.len(), 8, "{scale}, {offset}: {pairs:?}");
        // Centres and cost are told in the units of the rows.
        let first = f64::from(found.centroids[0]) / f64::from(scale);
        assert!((first - f64::from(offset)).abs() < 3.0, "{first}");
        let cost = found.cost / f64::from(scale).powi(2);
        assert!((cost / expected.cost - 1.0).abs() < 0.1, "{cost} for {}", expected.cost);
    }
}
