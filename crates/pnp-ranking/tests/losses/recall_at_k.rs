//! The recall@k loss against its formula.

use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Loss, RecallAtKLoss, RecallAtKSettings};

use crate::checks::{self, DIM, List, one_list};

fn made(k: &[usize], anneal: f64, rank_temperature: &[f64]) -> RecallAtKLoss {
    let (k, rank_temperature) = (k.to_vec(), rank_temperature.to_vec());
    RecallAtKLoss::new(&RecallAtKSettings { k, anneal, rank_temperature }).unwrap()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn recall(list: &List, k: usize, anneal: f64, rank_temperature: f64) -> f64 {
    let mut reached = 0.0;
    for (i, &s) in list.positives.iter().enumerate() {
        let mut rank = 1.0;
        for (j, &other) in list.positives.iter().enumerate() {
            if j != i {
                rank += sigmoid((other - s) / anneal);
            }
        }
        for &other in &list.negatives {
            rank += sigmoid((other - s) / anneal);
        }
        reached += sigmoid((k as f64 - rank) / rank_temperature);
    }
    reached.min(k as f64) / k.min(list.positives.len()) as f64
}

#[test]
fn it_is_its_formula() {
    for (k, anneal, rank_temperature) in [
        (&[1, 2, 4, 8, 16][..], 0.1, &[1.0][..]),
        (&[1, 2, 4, 8, 16], 0.01, &[1.0]),
        // As in the authors' command line.
        (&[1, 2, 4], 0.1, &[1.0, 2.0, 4.0]),
        // Steep, and so flat that sums reach their k.
        (&[3], 0.1, &[0.2]),
        (&[1, 2, 3], 1.0, &[20.0]),
    ] {
        checks::all(
            &made(k, anneal, rank_temperature),
            &|lists| {
                let lists: Vec<&List> =
                    lists.iter().filter(|list| !list.positives.is_empty()).collect();
                let costs = lists.iter().map(|list| {
                    let temperatures = rank_temperature.iter().cycle();
                    let recalls =
                        k.iter().zip(temperatures).map(|(&k, &t)| recall(list, k, anneal, t));
                    1.0 - recalls.sum::<f64>() / k.len() as f64
                });
                costs.sum::<f64>() / lists.len().max(1) as f64
            },
            checks::KINKED,
        );
    }
}

#[test]
fn sharp_steps_give_the_recall_itself() {
    // A positive, a negative, a positive, a negative, a positive: 1 of 1, 1 of 2, 2 of 3, 3 of 3.
    for (k, recall) in [(1, 1.0), (2, 0.5), (3, 2.0 / 3.0), (4, 2.0 / 3.0), (5, 1.0), (9, 1.0)] {
        let loss = made(&[k], 1e-4, &[1e-3]);
        let output = one_list(&loss, &[0.9, 0.7, 0.5], &[0.8, 0.6]);
        // A positive at rank k itself stands half within the first k.
        let at_the_edge = f64::from(u8::from([1, 3, 5].contains(&k)));
        let expected = 1.0 - recall + 0.5 * at_the_edge / k.min(3) as f64;
        assert!((output.value - expected).abs() < 1e-12, "{k}: {}", output.value);
    }
}

#[test]
fn soft_steps_count_by_shares() {
    // Ranks 1 and 3.
    let output = one_list(&made(&[1, 2], 1e-4, &[1.0]), &[0.9, 0.5], &[0.7, 0.1]);
    let first = sigmoid(0.0) + sigmoid(-2.0);
    let second = 0.5 * sigmoid(1.0) + 0.5 * sigmoid(-1.0);
    assert!((output.value - (1.0 - 0.5 * first - 0.5 * second)).abs() < 1e-12);
    // A temperature for each k.
    let output = one_list(&made(&[1, 2], 1e-4, &[1.0, 2.0]), &[0.9, 0.5], &[0.7, 0.1]);
    let second = 0.5 * sigmoid(0.5) + 0.5 * sigmoid(-0.5);
    assert!((output.value - (1.0 - 0.5 * first - 0.5 * second)).abs() < 1e-12);
}

#[test]
fn a_sum_that_has_reached_k_is_cut_and_pulls_no_more() {
    // Every step stands about half: three positives reach 1.5.
    let (positives, negatives) = ([0.5, 0.52, 0.54], [0.51, 0.53]);
    let output = one_list(&made(&[1], 0.05, &[1e6]), &positives, &negatives);
    assert_eq!(output.value, 0.0);
    assert!(output.gradient.iter().chain(&output.reference_gradient.unwrap()).all(|&g| g == 0.0));
    // Beside it, 1.5 of 2 is not cut: half of its gradient alone.
    let output = one_list(&made(&[1, 2], 0.05, &[1e6]), &positives, &negatives);
    assert!((output.value - 0.125).abs() < 1e-6);
    let alone = one_list(&made(&[2], 0.05, &[1e6]), &positives, &negatives);
    let [both, alone] = [output, alone].map(|output| output.reference_gradient.unwrap());
    assert!(checks::largest(&alone) > 1e-8);
    assert!(both.iter().zip(&alone).all(|(both, alone)| (both - alone / 2.0).abs() < 1e-18));
}

#[test]
fn equal_similarities_stand_half_before_each_other() {
    // Ranks of 1 + 1/2 + 2/2.
    let output = one_list(&made(&[2], 0.01, &[1.0]), &[0.6, 0.6], &[0.6, 0.6]);
    assert!((output.value - (1.0 - sigmoid(-0.5))).abs() < 1e-12);
}

#[test]
fn the_query_has_no_part_in_its_list() {
    // Two of a class: each has the other at rank 1, though it stands before it itself.
    let values = [1.0, 0.0, 0.0, 0.0, 0.8, 0.6, 0.0, 0.0];
    let embeddings = Embeddings::new(&values, DIM).unwrap();
    let output = made(&[1], 0.01, &[1.0]).forward_f64(&embeddings, &[4, 4]).unwrap();
    assert_eq!(output.value, 0.5);
    assert!(output.gradient.iter().all(|&g| g == 0.0));
}

#[test]
fn extreme_settings_stay_finite() {
    for anneal in [1e-6, 1e-4, 1.0, 1e6] {
        for rank_temperature in [1e-6, 1.0, 1e6] {
            let loss = made(&[1, 3, 1_000_000], anneal, &[rank_temperature]);
            checks::hostile_values_stay_finite(&loss);
        }
    }
}
