//! Class distances and spectra against the PyTorch code, NumPy and plain definitions.

use std::num::NonZeroI32;

use pnp_ranking::structure::{ClassDistances, VANISHING, class_distances, spectrum};
use pnp_ranking::{Embeddings, RankingError};
use proptest::prelude::*;
use serde_json::Value;

/// The PyTorch code averages float32 distances.
const OLD_CODE: f64 = 1e-8;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

fn assert_near(name: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{name}: {found} for {expected}");
}

fn depth(m: i32) -> NonZeroI32 {
    NonZeroI32::new(m).unwrap()
}

fn check_the_old_code(text: &str) {
    let golden: Value = serde_json::from_str(text).unwrap();
    let values = narrow(&numbers(&golden["embeddings"]));
    let labels: Vec<u32> = numbers(&golden["labels"]).iter().map(|&x| x as u32).collect();
    let embeddings = Embeddings::new(&values, golden["dim"].as_u64().unwrap() as usize).unwrap();

    let distances = class_distances(embeddings, &labels).unwrap();
    let old = |name: &str| golden["seed_reference"][name].as_f64().unwrap();
    assert_near("intra", distances.intra.unwrap(), old("dists@intra"), OLD_CODE);
    assert_near("inter", distances.inter.unwrap(), old("dists@inter"), OLD_CODE);
    let ratio = distances.intra_over_inter().unwrap();
    assert_near("ratio", ratio, old("dists@intra_over_inter"), OLD_CODE);
    assert_eq!(distances.classes.len() as u64, golden["classes"].as_u64().unwrap());

    let spectrum = spectrum(embeddings);
    let full = &golden["rho_spectrum_full_svd"];
    let shares = numbers(&full["rho_spectrum@0"]);
    assert_eq!(spectrum.shares().len(), shares.len());
    for (found, expected) in spectrum.shares().iter().zip(shares) {
        assert_near("rho_spectrum@0", *found, expected, OLD_CODE);
    }
    for m in [-1, 1, 2, 10] {
        let name = format!("rho_spectrum@{m}");
        let expected = full[&name].as_f64().unwrap();
        assert_near(&name, spectrum.rho(depth(m)).unwrap(), expected, OLD_CODE);
    }
}

#[test]
fn normalised_embeddings_as_the_old_code() {
    check_the_old_code(include_str!("../../../golden/metrics/metrics_normalized.json"));
}

#[test]
fn raw_embeddings_as_the_old_code() {
    check_the_old_code(include_str!("../../../golden/metrics/metrics_raw.json"));
}

#[test]
fn spectra_as_a_full_decomposition() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../golden/structure/spectrum.json")).unwrap();
    for case in golden.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let count = |key: &str| case[key].as_u64().unwrap() as usize;
        let values = narrow(&numbers(&case["embeddings"]));
        let embeddings = Embeddings::new(&values, count("dim")).unwrap();
        assert_eq!(embeddings.rows(), count("rows"), "{name}");
        let spectrum = spectrum(embeddings);
        assert_eq!(spectrum.rank(), count("rank"), "{name}");
        assert_eq!(spectrum.values().len(), count("rows").min(count("dim")), "{name}");
        let expected = numbers(&case["singular_values"]);
        for (&found, &value) in spectrum.values().iter().zip(&expected) {
            // The square of a value is exact to 1e-15 of the largest's or so.
            let tolerance = 3e-15 * expected[0] * expected[0] / value;
            assert_near(name, found, value, tolerance);
        }
        assert!(spectrum.values()[spectrum.rank()..].iter().all(|&value| value == 0.0));
        for (m, rho) in case["rho"].as_object().into_iter().flatten() {
            let found = spectrum.rho(m.parse().unwrap()).unwrap();
            assert_near(&format!("{name} @{m}"), found, rho.as_f64().unwrap(), 1e-6);
        }
    }
}

#[test]
fn unused_directions_make_the_divergence_large_and_not_infinite() {
    // Rows of two of four directions, equally.
    let values = [1.0_f32, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0].repeat(3);
    let spectrum = spectrum(Embeddings::new(&values, 4).unwrap());
    assert_eq!((spectrum.rank(), spectrum.shares()), (2, vec![0.5, 0.5, 0.0, 0.0]));
    // Half the terms are ln(0.25 / 0.5), half of it ln of 4 times what vanishes.
    let expected = 0.5 * 0.5_f64.ln() - 0.5 * (2.0 * VANISHING).ln();
    assert_near("m = 1", spectrum.rho(depth(1)).unwrap(), expected, 1e-5);
    assert_near("m = -1", spectrum.rho(depth(-1)).unwrap(), 2.0_f64.ln(), 1e-12);
    for m in [3, -3, i32::MAX, i32::MIN] {
        let error = spectrum.rho(depth(m)).unwrap_err();
        assert_eq!(error, RankingError::SpectrumDepth { m, rank: 2 });
    }
}

#[test]
fn nothing_has_no_spectrum_to_speak_of() {
    for (values, length) in [(vec![], 0), (vec![0.0_f32; 12], 3)] {
        let spectrum = spectrum(Embeddings::new(&values, 3).unwrap());
        assert_eq!(spectrum.rank(), 0);
        assert_eq!(spectrum.shares(), vec![0.0; length]);
        let error = spectrum.rho(depth(1)).unwrap_err();
        assert_eq!(error, RankingError::SpectrumDepth { m: 1, rank: 0 });
    }
}

#[test]
fn equal_singular_values_diverge_by_nothing() {
    let mut identity = vec![0.0_f32; 25];
    (0..5).for_each(|i| identity[i * 6] = 2.0);
    let spectrum = spectrum(Embeddings::new(&identity, 5).unwrap());
    for m in [1, -1, 5, -5] {
        assert_near("rho", spectrum.rho(depth(m)).unwrap(), 0.0, 1e-14);
    }
}

#[test]
fn embeddings_of_any_finite_size_have_numbers() {
    for scale in [f32::MAX, 1e19, 1e-30, 1e-45] {
        let values = [scale, 0.0, scale, scale, 0.0, scale].repeat(2);
        let embeddings = Embeddings::new(&values, 2).unwrap();
        let distances = class_distances(embeddings, &[0, 0, 1, 1, 2, 2]).unwrap();
        assert!(distances.intra_over_inter().unwrap().is_finite(), "{scale}");
        let spectrum = spectrum(embeddings);
        assert_eq!(spectrum.rank(), 2, "{scale}");
        // The values are as √3 to 1.
        let expected = 0.5 * ((1.0 + 3.0_f64.sqrt()).powi(2) / (4.0 * 3.0_f64.sqrt())).ln();
        assert_near("rho", spectrum.rho(depth(1)).unwrap(), expected, 1e-12);
    }
}

/// Straight from the definition: every pair. Zeros are at a distance of 1.
fn by_all_pairs(values: &[f32], dim: usize, labels: &[u32]) -> [Option<f64>; 2] {
    fn distance(a: &[f64], b: &[f64]) -> f64 {
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let lengths = inner(a, a) * inner(b, b);
        if lengths > 0.0 { 1.0 - inner(a, b) / lengths.sqrt() } else { 1.0 }
    }
    fn over_pairs(rows: &[Vec<f64>]) -> Option<f64> {
        let pairs = (0..rows.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        let distances: Vec<f64> = pairs.map(|(i, j)| distance(&rows[i], &rows[j])).collect();
        mean(&distances)
    }
    fn mean(values: &[f64]) -> Option<f64> {
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
    let mut names = labels.to_vec();
    names.sort_unstable();
    names.dedup();
    let (mut intra, mut means) = (Vec::new(), Vec::new());
    for name in names {
        let members = values.chunks_exact(dim).zip(labels).filter(|&(_, &label)| label == name);
        let rows: Vec<Vec<f64>> =
            members.map(|(row, _)| row.iter().map(|&v| f64::from(v)).collect()).collect();
        intra.extend(over_pairs(&rows));
        means.push((0..dim).map(|d| rows.iter().map(|row| row[d]).sum()).collect());
    }
    [mean(&intra), over_pairs(&means)]
}

fn measure(values: &[f32], dim: usize, labels: &[u32]) -> ClassDistances {
    class_distances(Embeddings::new(values, dim).unwrap(), labels).unwrap()
}

fn assert_same(found: Option<f64>, expected: Option<f64>) {
    assert_eq!(found.is_some(), expected.is_some(), "{found:?} for {expected:?}");
    if let (Some(found), Some(expected)) = (found, expected) {
        assert_near("distance", found, expected, 1e-12);
    }
}

const DIM: usize = 3;

prop_compose! {
    /// Small whole numbers: with zeros, duplicates and opposites; some classes of one item.
    fn set()(items in 1_usize..50)(
        values in prop::collection::vec(-2_i8..=2, items * DIM),
        labels in prop::collection::vec(0_u32..12, items),
    ) -> (Vec<f32>, Vec<u32>) {
        (values.into_iter().map(f32::from).collect(), labels)
    }
}

proptest! {
    #[test]
    fn distances_equal_those_of_all_pairs((values, labels) in set()) {
        let found = measure(&values, DIM, &labels);
        let [intra, inter] = by_all_pairs(&values, DIM, &labels);
        assert_same(found.intra, intra);
        assert_same(found.inter, inter);
        for class in &found.classes {
            let own: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class.label).collect();
            prop_assert_eq!(own.len(), class.items);
            let rows: Vec<f32> =
                own.iter().flat_map(|&i| values[i * DIM..(i + 1) * DIM].to_vec()).collect();
            assert_same(class.intra, by_all_pairs(&rows, DIM, &vec![0; own.len()])[0]);
            for distance in class.intra.iter().chain(&class.inter) {
                prop_assert!((0.0..=2.0).contains(distance), "{}", distance);
            }
        }
        let lone = found.classes.iter().filter(|class| class.items == 1).count();
        prop_assert_eq!(found.lone_classes, lone);
        let each: Vec<f64> = found.classes.iter().filter_map(|class| class.inter).collect();
        let mean = each.iter().sum::<f64>() / each.len() as f64;
        assert_same((!each.is_empty()).then_some(mean), found.inter);
    }

    #[test]
    fn order_names_and_lengths_do_not_matter(
        (values, labels) in set(), turn in 0_usize..50, exponent in -20_i32..20,
    ) {
        let before = measure(&values, DIM, &labels);
        let singular = spectrum(Embeddings::new(&values, DIM).unwrap());
        let turn = turn % labels.len();

        let (mut turned, mut names) = (values.clone(), labels.clone());
        turned.rotate_left(turn * DIM);
        names.rotate_left(turn);
        let names: Vec<u32> = names.iter().map(|name| 1000 - name).collect();
        let scale = 2.0_f32.powi(exponent);
        let turned: Vec<f32> = turned.iter().map(|value| value * scale).collect();
        let after = measure(&turned, DIM, &names);
        assert_same(after.intra, before.intra);
        assert_same(after.inter, before.inter);
        prop_assert_eq!(after.lone_classes, before.lone_classes);

        let after = spectrum(Embeddings::new(&turned, DIM).unwrap());
        prop_assert_eq!(after.rank(), singular.rank());
        for (after, before) in after.shares().iter().zip(singular.shares()) {
            assert_near("share", *after, before, 1e-6);
        }
    }
}

#[test]
fn the_length_of_an_embedding_does_not_change_intra() {
    let short = measure(&[1.0, 0.0, 0.6, 0.8, 0.0, 1.0], 2, &[0, 0, 1]);
    let long = measure(&[64.0, 0.0, 0.6, 0.8, 0.0, 4.0], 2, &[0, 0, 1]);
    assert_eq!(short.intra, long.intra);
    assert!(short.inter != long.inter, "a class mean leans towards its long embeddings");
}

#[test]
fn equal_embeddings_are_at_distance_0_and_their_ratio_is_undefined() {
    let values = [0.3_f32, -0.7, 0.1].repeat(1000);
    let labels: Vec<u32> = (0..1000).map(|i| i / 4).collect();
    let distances = measure(&values, 3, &labels);
    assert_eq!((distances.intra, distances.intra_over_inter()), (Some(0.0), None));
    assert!(distances.inter.unwrap() < 1e-30);
}

#[test]
fn class_means_of_one_direction_have_no_ratio() {
    let class = |scale: f32| [3.0, 1.0, -2.0, 1.0, 1.0, 5.0].map(|value| value * scale);
    let values: Vec<f32> = (1..200_u8).flat_map(|scale| class(f32::from(scale))).collect();
    let labels: Vec<u32> = (0..2 * 199).map(|i| i / 2).collect();
    let distances = measure(&values, 3, &labels);
    assert!(distances.intra > Some(0.5) && distances.inter < Some(1e-28), "{distances:?}");
    assert_eq!(distances.intra_over_inter(), None);
}

#[test]
fn what_is_not_defined_is_none() {
    let one_class = measure(&[1.0, 0.0, 0.0, 1.0], 2, &[5, 5]);
    assert_eq!((one_class.intra, one_class.inter), (Some(1.0), None));
    assert_eq!(one_class.intra_over_inter(), None);
    let alone = measure(&[1.0, 0.0, 0.0, 1.0], 2, &[5, 6]);
    assert_eq!((alone.intra, alone.inter, alone.lone_classes), (None, Some(1.0), 2));
    let empty = measure(&[], 2, &[]);
    assert_eq!((empty.intra, empty.inter, empty.classes.len()), (None, None, 0));
}

#[test]
fn labels_that_do_not_pair_up_are_refused() {
    let embeddings = Embeddings::new(&[1.0_f32, 0.0], 2).unwrap();
    let error = class_distances(embeddings, &[0, 0]).unwrap_err();
    assert_eq!(error, RankingError::LabelCount { embeddings: 1, labels: 2 });
}

#[test]
fn the_bits_do_not_depend_on_the_threads() {
    // More than one tile and chunk, and more classes than blocks.
    let (rows, dim) = (2500, 150);
    let values: Vec<f32> = (0..rows * dim).map(|i| ((i * i % 7919) as f32 * 0.37).sin()).collect();
    let labels: Vec<u32> = (0..rows as u32).map(|i| i % 700).collect();
    let wide = Embeddings::new(&values, rows).unwrap();
    let tall = Embeddings::new(&values, dim).unwrap();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| (class_distances(tall, &labels), spectrum(tall), spectrum(wide)))
    };
    assert_eq!(on(1), on(3));
}
