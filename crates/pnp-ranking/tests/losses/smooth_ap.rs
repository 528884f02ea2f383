//! Smooth-AP against its formula.

use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Loss, SmoothApLoss, SmoothApSettings};

use crate::checks::{self, List, one_list};

fn made(anneal: f64, count_query: bool) -> SmoothApLoss {
    SmoothApLoss::new(&SmoothApSettings { anneal, count_query }).unwrap()
}

fn average_precision(list: &List, anneal: f64, count_query: bool) -> f64 {
    let before = |from: f64, to: f64| 1.0 / (1.0 + (-(from - to) / anneal).exp());
    let positives = list.positives_with_query(count_query);
    let mut sum = 0.0;
    for (i, &s) in positives.iter().enumerate() {
        let (mut among_positives, mut among_all) = (1.0, 1.0);
        for (j, &other) in positives.iter().enumerate() {
            if j != i {
                among_positives += before(other, s);
                among_all += before(other, s);
            }
        }
        for &other in &list.negatives {
            among_all += before(other, s);
        }
        sum += among_positives / among_all;
    }
    sum / positives.len() as f64
}

#[test]
fn it_is_its_formula() {
    for (anneal, count_query) in [(0.1, true), (0.1, false), (0.01, true), (1.0, true)] {
        checks::all(
            &made(anneal, count_query),
            &|lists| {
                let lists: Vec<&List> =
                    lists.iter().filter(|list| !list.positives.is_empty()).collect();
                let costs =
                    lists.iter().map(|list| 1.0 - average_precision(list, anneal, count_query));
                costs.sum::<f64>() / lists.len().max(1) as f64
            },
            checks::SMOOTH,
        );
    }
}

#[test]
fn far_similarities_give_the_average_precision_itself() {
    let loss = made(1e-4, true);
    let near = |list: (&[f64], &[f64]), cost: f64| {
        let output = one_list(&loss, list.0, list.1);
        assert!((output.value - cost).abs() < 1e-12, "{} for {cost}", output.value);
    };
    near((&[0.9, 0.7], &[0.5, 0.1]), 0.0);
    // One positive, a negative, a positive: (1/1 + 2/3) / 2.
    near((&[0.9, 0.7], &[0.8, 0.1]), 1.0 / 6.0);
    // Two negatives, a positive, a negative, two positives: (1/3 + 2/5 + 3/6) / 3.
    near((&[0.6, 0.1, 0.3], &[0.9, 0.5, 0.8]), 1.0 - (1.0 / 3.0 + 2.0 / 5.0 + 3.0 / 6.0) / 3.0);
    // Nothing to rank before.
    near((&[0.6, 0.1], &[]), 0.0);
}

#[test]
fn near_similarities_count_by_shares() {
    // A tenth is log(3) anneals: the one stands three quarters before the other.
    let loss = made(0.1 / 3.0_f64.ln(), false);
    let output = one_list(&loss, &[0.5], &[0.6]);
    assert!((output.value - 0.75 / 1.75).abs() < 1e-12);
    let output = one_list(&loss, &[0.5, 0.6], &[0.5]);
    let lower = (1.0 + 0.75) / (1.0 + 0.75 + 0.5);
    let upper = (1.0 + 0.25) / (1.0 + 0.25 + 0.25);
    assert!((output.value - (1.0 - 0.5 * lower - 0.5 * upper)).abs() < 1e-12);
}

#[test]
fn equal_similarities_stand_half_before_each_other() {
    // Three of a class and three others: of 1 + 2/2 before a positive among its own, and 3/2
    // negatives. The query counts.
    let values = [0.6_f32, 0.8].repeat(6);
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let output = made(0.01, true).forward_f32(&embeddings, &[0, 0, 0, 1, 1, 1]).unwrap();
    assert!((output.value - 1.5 / 3.5).abs() < 1e-9);
    assert!(output.gradient.iter().all(|g| g.is_finite()));
    // Without the query: 1 + 1/2.
    let output = made(0.01, false).forward_f32(&embeddings, &[0, 0, 0, 1, 1, 1]).unwrap();
    assert!((output.value - 1.5 / 3.0).abs() < 1e-9);
}

#[test]
fn extreme_anneals_stay_finite() {
    for anneal in [1e-6, 1e-4, 1.0, 1e6] {
        checks::hostile_values_stay_finite(&made(anneal, true));
    }
}
