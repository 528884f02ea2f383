//! The multi-similarity loss against its formula.

use pnp_ranking::loss::{
    Loss, MultiSimilarityLoss, MultiSimilaritySettings as Settings, PnpSettings, build,
};
use pnp_ranking::{Embeddings, RankingError};

use crate::checks::{self, List};

fn made(settings: &Settings) -> MultiSimilarityLoss {
    MultiSimilarityLoss::new(settings).unwrap()
}

fn cost(list: &List, settings: &Settings) -> f64 {
    let &Settings { alpha, beta, base, epsilon } = settings;
    let farthest = list.positives.iter().copied().fold(f64::INFINITY, f64::min);
    let nearest = list.negatives.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let near = list.positives.iter().filter(|&&s| s - epsilon < nearest);
    let far = list.negatives.iter().filter(|&&s| s + epsilon > farthest);
    let near: f64 = near.map(|s| (-alpha * (s - base)).exp()).sum();
    let far: f64 = far.map(|s| (beta * (s - base)).exp()).sum();
    (1.0 + near).ln() / alpha + (1.0 + far).ln() / beta
}

#[test]
fn it_is_its_formula() {
    let default = Settings::default();
    for settings in [
        default.clone(),
        Settings { beta: 40.0, base: 1.0, ..default.clone() },
        Settings { alpha: 10.0, beta: 5.0, base: -0.2, epsilon: 0.5 },
        Settings { epsilon: 0.0, ..default.clone() },
        Settings { epsilon: 4.0, ..default },
    ] {
        checks::all(
            &made(&settings),
            &|lists| {
                let lists: Vec<&List> =
                    lists.iter().filter(|list| !list.positives.is_empty()).collect();
                let costs = lists.iter().map(|list| cost(list, &settings));
                costs.sum::<f64>() / lists.len().max(1) as f64
            },
            checks::KINKED,
        );
    }
}

#[test]
fn extreme_settings_stay_finite() {
    let values: Vec<f32> = (0..32 * 8).map(|i| ((i * 7919 % 1009) as f32 / 504.0) - 1.0).collect();
    let labels: Vec<u32> = (0..32).map(|i| i / 4).collect();
    for scale in [0.0, 1e-3, 1.0, 1e6] {
        let values: Vec<f32> = values.iter().map(|v| v * scale).collect();
        let embeddings = Embeddings::new(&values, 8).unwrap();
        for (alpha, beta) in [(1e-6, 1e6), (1e6, 1e-6), (1e6, 1e6)] {
            for (base, epsilon) in [(1.0, 0.0), (-1.0, 4.0)] {
                let loss = made(&Settings { alpha, beta, base, epsilon });
                let output = loss.forward_f32(&embeddings, &labels).unwrap();
                assert!(output.value.is_finite(), "{}", loss.name());
                assert!(output.gradient.iter().all(|g| g.is_finite()), "{}", loss.name());
            }
        }
    }
}

#[test]
fn only_mined_pairs_have_a_part() {
    // The query's positives are at 0.9 and 0.5, its negatives at 0.7, 0.45 and 0.3.
    let s = [0.9_f64, 0.5, 0.7, 0.45, 0.3];
    let mut values = vec![1.0, 0.0];
    values.extend(s.iter().flat_map(|s| [*s, (1.0 - s * s).sqrt()]));
    let loss = made(&Settings::default());
    let slopes = {
        use pnp_ranking::loss::{Items, LossInput};
        let embeddings = Embeddings::new(&values, 2).unwrap();
        let labels = [0, 0, 0, 1, 2, 3];
        let input = LossInput::batch(Items::new(embeddings, &labels).unwrap());
        loss.slopes_f64(&input, 0..1).unwrap()
    };
    // 0.9 is not below 0.7 + 0.1, and 0.3 not above 0.5 - 0.1. There are 3 queries.
    let share = |x: f64, sum: f64| x / (1.0 + sum) / 3.0;
    let far = |s: f64| (50.0 * (s - 0.5)).exp();
    let sum = far(0.7) + far(0.45);
    let expected = [0.0, 0.0, -share(1.0, 1.0), share(far(0.7), sum), share(far(0.45), sum), 0.0];
    for (found, expected) in slopes.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }
}

#[test]
fn equal_similarities_are_mined_together_unless_they_meet_the_limit() {
    let values = [1.0, 0.0].repeat(4);
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let value = |epsilon| {
        let loss = made(&Settings { epsilon, ..Settings::default() });
        loss.forward_f64(&embeddings, &[0, 0, 1, 1]).unwrap().value
    };
    let expected = (-1.0_f64).exp().ln_1p() / 2.0 + (2.0 * 25.0_f64.exp()).ln_1p() / 50.0;
    assert!((value(0.1) - expected).abs() < 1e-12);
    assert_eq!(value(0.0), 0.0);
}

#[test]
fn settings_out_of_range_are_refused() {
    let default = Settings::default();
    for (setting, bad) in [
        ("alpha", Settings { alpha: 0.0, ..default.clone() }),
        ("beta", Settings { beta: f64::INFINITY, ..default.clone() }),
        ("base", Settings { base: 1.5, ..default.clone() }),
        ("epsilon", Settings { epsilon: -0.1, ..default }),
    ] {
        let error = MultiSimilarityLoss::new(&bad).unwrap_err();
        assert!(matches!(error, RankingError::Setting { setting: s, .. } if s == setting));
    }
    let default = build("multi-similarity", &PnpSettings::default()).unwrap();
    let name = "multi-similarity(alpha=2, beta=50, base=0.5, epsilon=0.1)";
    assert_eq!(default.name(), name);
}
