//! The contrastive loss against its two formulas.

use pnp_ranking::loss::{ContrastiveLoss, ContrastiveSettings, Loss, PnpSettings, build};
use pnp_ranking::metric::Distance;
use pnp_ranking::{Embeddings, RankingError};

use crate::checks::{self, List};

fn made(distance: Distance, margin: f64) -> ContrastiveLoss {
    ContrastiveLoss::new(&ContrastiveSettings { distance, margin }).unwrap()
}

/// The mean over all lists, those without a positive among them.
fn mean(lists: &[List], cost: impl Fn(&List) -> f64) -> f64 {
    lists.iter().map(cost).sum::<f64>() / lists.len().max(1) as f64
}

#[test]
fn by_cosine_it_is_its_formula() {
    for margin in [0.5, -0.3, 0.9, -1.0, 1.0] {
        checks::all(
            &made(Distance::Cosine, margin),
            &|lists| {
                mean(lists, |list| {
                    let near = list.positives.iter().map(|s| 1.0 - s);
                    let far = list.negatives.iter().map(|s| (s - margin).max(0.0));
                    near.sum::<f64>() + far.sum::<f64>()
                })
            },
            checks::KINKED,
        );
    }
}

#[test]
fn by_euclidean_distance_it_is_its_formula() {
    for margin in [1.0, 0.3, 1.7, 2.0] {
        checks::all(
            &made(Distance::Euclidean, margin),
            &|lists| {
                mean(lists, |list| {
                    let squared = |s: &f64| (2.0 - 2.0 * s).max(0.0);
                    let near = list.positives.iter().map(|s| squared(s) / 2.0);
                    let far = list.negatives.iter().map(|s| (margin - squared(s).sqrt()).max(0.0));
                    near.sum::<f64>() + far.map(|inside| inside * inside / 2.0).sum::<f64>()
                })
            },
            checks::KINKED,
        );
    }
}

/// A pair at the cosine 0.6, and a third item at 0.8 from the first and 0 from the second.
const VALUES: [f64; 6] = [1.0, 0.0, 0.6, 0.8, 0.8, -0.6];

#[test]
fn a_small_batch_costs_what_paper_says() {
    let embeddings = Embeddings::new(&VALUES, 2).unwrap();
    // Queries: 0.4 + 0.3, then 0.4, then the lone one's 0.3.
    let output = made(Distance::Cosine, 0.5).forward_f64(&embeddings, &[0, 0, 1]).unwrap();
    assert!((output.value - 1.4 / 3.0).abs() < 1e-12);
    assert_eq!((output.counts.queries, output.counts.lone_queries), (3, 1));
    // Each pair counts from both its ends: the first item's gradient is 2/3 of the third item less
    // 2/3 of the second.
    for (found, expected) in output.gradient.iter().zip([0.4, -2.8, -2.0, 0.0, 2.0, 0.0]) {
        assert!((found - expected / 3.0).abs() < 1e-12);
    }
    let output = made(Distance::Euclidean, 1.0).forward_f64(&embeddings, &[0, 0, 1]).unwrap();
    let far = (1.0 - 0.4_f64.sqrt()).powi(2) / 2.0;
    assert!((output.value - (0.8 + 2.0 * far) / 3.0).abs() < 1e-12);
}

#[test]
fn duplicates_of_another_class_stay_finite_and_nearly_cost_the_full_margin() {
    let values: Vec<f32> = [0.6, 0.8, 0.0].repeat(6);
    let embeddings = Embeddings::new(&values, 3).unwrap();
    let loss = made(Distance::Euclidean, 1.0);
    let output = loss.forward_f32(&embeddings, &[0, 0, 0, 1, 1, 1]).unwrap();
    assert!((output.value - 1.5).abs() < 1e-2, "{}", output.value);
    assert!(output.gradient.iter().all(|g| g.is_finite()));
}

#[test]
fn the_margin_follows_the_distance() {
    let name = |text| build(text, &PnpSettings::default()).unwrap().name();
    assert_eq!(name("contrastive"), "contrastive(distance=cosine, margin=0.5)");
    assert_eq!(
        name("contrastive(distance=euclidean)"),
        "contrastive(distance=euclidean, margin=1)"
    );
    assert_eq!(made(Distance::Cosine, 0.5).settings(), &ContrastiveSettings::default());
}

#[test]
fn settings_out_of_range_are_refused() {
    for (distance, margin, range) in [
        (Distance::Cosine, 1.01, "from -1 to 1"),
        (Distance::Cosine, f64::NAN, "from -1 to 1"),
        (Distance::Euclidean, 0.0, "from 0.000001 to 2"),
        (Distance::Euclidean, 2.1, "from 0.000001 to 2"),
    ] {
        let error = ContrastiveLoss::new(&ContrastiveSettings { distance, margin }).unwrap_err();
        assert!(matches!(error, RankingError::Setting { setting: "margin", .. }), "{error}");
        assert!(error.to_string().contains(range), "{error}");
    }
    let error = build("contrastive(distance=manhattan)", &PnpSettings::default()).unwrap_err();
    assert!(matches!(error, RankingError::UnknownDistance { .. }), "{error}");
}
