//! SupAP with its calibration against the formula.

use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Loss, SupApLoss, SupApSettings};

use crate::checks::{self, DIM, List, Tolerance, one_list};

/// The bound jumps where a negative meets a positive, and the rank where two positives meet: one
/// such meeting within a step concerns the rows of a query and two references.
const JUMPING: Tolerance = Tolerance { skipped: 0.15, ..checks::KINKED };

fn made(settings: &SupApSettings) -> SupApLoss {
    SupApLoss::new(settings).unwrap()
}

fn uncalibrated() -> SupApSettings {
    SupApSettings { calibration: 0.0, ..SupApSettings::default() }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn upper_bound(x: f64, settings: &SupApSettings) -> f64 {
    let &SupApSettings { anneal, rho, delta, .. } = settings;
    if x <= 0.0 {
        sigmoid(x / anneal)
    } else if x <= delta {
        sigmoid(x / anneal) + 0.5
    } else {
        rho * (x - delta) + sigmoid(delta / anneal) + 0.5
    }
}

fn cost(list: &List, settings: &SupApSettings) -> f64 {
    let positives = list.positives_with_query(settings.count_query);
    let mut precision = 0.0;
    for (i, &s) in positives.iter().enumerate() {
        let mut rank_of_positives = 1.0;
        for (j, &other) in positives.iter().enumerate() {
            if j != i && other >= s {
                rank_of_positives += 1.0;
            }
        }
        let negatives: f64 = list.negatives.iter().map(|n| upper_bound(n - s, settings)).sum();
        precision += rank_of_positives / (rank_of_positives + negatives);
    }
    let sup_ap = 1.0 - precision / positives.len() as f64;

    let near = list.positives.iter().map(|s| (settings.positive_margin - s).max(0.0));
    let far = list.negatives.iter().map(|s| (s - settings.negative_margin).max(0.0));
    let calibration = near.sum::<f64>() / list.positives.len() as f64
        + far.sum::<f64>() / list.negatives.len().max(1) as f64;
    (1.0 - settings.calibration) * sup_ap + settings.calibration * calibration
}

#[test]
fn it_is_its_formula() {
    let default = SupApSettings::default;
    for settings in [
        default(),
        uncalibrated(),
        SupApSettings { count_query: false, ..default() },
        SupApSettings { calibration: 1.0, ..default() },
        SupApSettings { anneal: 0.1, rho: 5.0, delta: 0.3, ..default() },
        SupApSettings { anneal: 0.1, delta: 0.0, ..uncalibrated() },
        SupApSettings {
            anneal: 0.05,
            calibration: 0.2,
            positive_margin: 0.3,
            negative_margin: -0.4,
            ..default()
        },
    ] {
        checks::all(
            &made(&settings),
            &|lists| {
                let lists: Vec<&List> =
                    lists.iter().filter(|list| !list.positives.is_empty()).collect();
                let costs = lists.iter().map(|list| cost(list, &settings));
                costs.sum::<f64>() / lists.len().max(1) as f64
            },
            JUMPING,
        );
    }
}

#[test]
fn a_negative_far_before_a_positive_costs_by_its_distance() {
    // 0.1 before: 100 · 0.05 beyond delta, and what stands there at delta.
    let output = one_list(&made(&uncalibrated()), &[0.5], &[0.6]);
    let before = 5.0 + 0.5 + sigmoid(5.0);
    assert!((output.value - before / (1.0 + before)).abs() < 1e-12);
    let gradient = output.reference_gradient.unwrap();
    let slope = 100.0 / (1.0 + before).powi(2);
    assert!((gradient[0] + slope).abs() < 1e-10 && (gradient[DIM] - slope).abs() < 1e-10);
}

#[test]
fn the_rank_among_positives_is_exact_and_pulls_nothing() {
    // Positives at ranks 1 and 3, next to each other within a sigmoid's width.
    let output = one_list(&made(&uncalibrated()), &[0.5, 0.501], &[0.3, 0.52]);
    let [upper, lower] = [0.019_f64, 0.02].map(|x| sigmoid(x / 0.01) + 0.5);
    let cost = 0.5 * upper / (1.0 + upper) + 0.5 * lower / (2.0 + lower);
    assert!((output.value - cost).abs() < 1e-7, "{} for {cost}", output.value);
    // What pulls one positive up pushes the negative down: nothing goes between the positives.
    let all = output.reference_gradient.unwrap();
    let slope = |x: f64| sigmoid(x / 0.01) * sigmoid(-x / 0.01) / 0.01;
    let expected = [
        -slope(0.02) * 2.0 / (2.0 + lower).powi(2) / 2.0,
        -slope(0.019) / (1.0 + upper).powi(2) / 2.0,
    ];
    assert!((all[0] - expected[0]).abs() < 1e-6 && (all[DIM] - expected[1]).abs() < 1e-6);
    // Without negatives nothing costs.
    let output = one_list(&made(&uncalibrated()), &[0.5, 0.501], &[]);
    assert_eq!((output.value, checks::largest(&output.gradient)), (0.0, 0.0));
}

#[test]
fn equal_positives_stand_before_each_other_and_an_equal_negative_half() {
    // R⁺ = 2 for both, and half a negative.
    let output = one_list(&made(&uncalibrated()), &[0.5, 0.5], &[0.5]);
    assert!((output.value - 0.5 / 2.5).abs() < 1e-12);
}

#[test]
fn the_calibration_is_a_mean_over_all_pairs() {
    let settings = SupApSettings { calibration: 1.0, ..SupApSettings::default() };
    // 0.4 is missing to 0.9 and nothing; 0.1 is beyond 0.6 and nothing.
    let output = one_list(&made(&settings), &[0.5, 0.95], &[0.7, 0.1, 0.6, -0.3]);
    assert!((output.value - (0.4 / 2.0 + 0.1 / 4.0)).abs() < 1e-12);
    let gradient: Vec<f64> =
        output.reference_gradient.unwrap().iter().copied().step_by(DIM).collect();
    assert_eq!(gradient, [-0.5, 0.0, 0.25, 0.0, 0.0, 0.0]);
}

#[test]
fn the_query_is_no_pair_of_the_calibration() {
    // Two of a class at 0.8, far from unit length: each query has one pair, 0.1 short.
    let values = [0.5, 0.0, 0.0, 0.0, 1.6, 0.0, 0.0, 0.0];
    for count_query in [true, false] {
        let settings = SupApSettings { calibration: 1.0, count_query, ..SupApSettings::default() };
        let embeddings = Embeddings::new(&values, DIM).unwrap();
        let output = made(&settings).forward_f64(&embeddings, &[7, 7]).unwrap();
        assert!((output.value - 0.1).abs() < 1e-12);
    }
}

#[test]
fn extreme_settings_stay_finite() {
    for anneal in [1e-6, 1e-4, 1.0, 1e6] {
        for rho in [1e-6, 1e6] {
            for delta in [0.0, 2.0] {
                let settings = SupApSettings { anneal, rho, delta, ..SupApSettings::default() };
                checks::hostile_values_stay_finite(&made(&settings));
            }
        }
    }
    // Similarities near the largest number: the bound leaves f32, the cost does not.
    let values = [5e18_f32, 1.0, -5e18, 1.0, 4e18, 0.0];
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let loss = made(&SupApSettings { rho: 1e6, ..SupApSettings::default() });
    let output = loss.forward_f32(&embeddings, &[0, 0, 1]).unwrap();
    assert!(output.value.is_finite() && output.gradient.iter().all(|g| g.is_finite()));
}
