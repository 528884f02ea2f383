//! PNP against its formula written out slowly, and what must hold for any batch.

use pnp_ranking::loss::{Loss, LossCounts, LossOutput, PnpLoss, PnpSettings, PnpVariant};
use pnp_ranking::{Embeddings, RankingError};
use proptest::prelude::*;

use crate::checks::{self, List};

const DIM: usize = 4;

fn unit_rows(mut values: Vec<f64>) -> Vec<f64> {
    for row in values.chunks_exact_mut(DIM) {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-3);
        for value in row {
            *value /= norm;
        }
    }
    values
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The formula, term by term.
fn slow_loss(settings: &PnpSettings, values: &[f64], labels: &[u32]) -> f64 {
    let rows: Vec<&[f64]> = values.chunks_exact(DIM).collect();
    let cost = |r: f64| match settings.variant {
        PnpVariant::O => r,
        PnpVariant::Iu => (1.0 + r) * (1.0 + r).ln(),
        PnpVariant::Ib => (settings.b * r - (1.0 + settings.b * r).ln()) / settings.b.powi(2),
        PnpVariant::Ds => (1.0 + r).ln(),
        PnpVariant::Dq => 1.0 - (1.0 + r).powf(-settings.alpha.unwrap()),
    };
    let (mut total, mut queries) = (0.0, 0.0_f64);
    for q in 0..labels.len() {
        let same = |i: &usize| labels[*i] == labels[q];
        if (0..labels.len()).filter(same).count() < 2 {
            continue;
        }
        let (mut sum, mut positives) = (0.0, 0.0);
        for p in (0..labels.len()).filter(same).filter(|&p| settings.count_query || p != q) {
            let negatives = (0..labels.len()).filter(|&n| labels[n] != labels[q]);
            let r = negatives.map(|n| {
                let x = (dot(rows[q], rows[n]) - dot(rows[q], rows[p])) / settings.anneal;
                1.0 / (1.0 + (-x).exp())
            });
            sum += cost(r.sum());
            positives += 1.0;
        }
        total += sum / positives;
        queries += 1.0;
    }
    total / queries.max(1.0)
}

fn forward(settings: &PnpSettings, values: &[f64], labels: &[u32]) -> LossOutput<f64> {
    let loss = PnpLoss::new(settings).unwrap();
    loss.forward_f64(&Embeddings::new(values, DIM).unwrap(), labels).unwrap()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

prop_compose! {
    fn batch()(items in 1_usize..24)(
        values in prop::collection::vec(-1.0..1.0_f64, items * DIM),
        labels in prop::collection::vec(0_u32..6, items),
    ) -> (Vec<f64>, Vec<u32>) {
        (unit_rows(values), labels)
    }
}

prop_compose! {
    fn any_settings()(
        variant in prop::sample::select(PnpVariant::ALL.to_vec()),
        alpha in 1.0..9.0_f64,
        b in 0.2..5.0_f64,
        anneal in 0.05..1.0_f64,
        count_query in any::<bool>(),
    ) -> PnpSettings {
        PnpSettings { variant, alpha: Some(alpha), b, anneal, count_query }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn value_and_gradient_are_those_of_the_formula(
        (values, labels) in batch(),
        settings in any_settings(),
    ) {
        let output = forward(&settings, &values, &labels);
        let expected = slow_loss(&settings, &values, &labels);
        prop_assert!((output.value - expected).abs() < 1e-9 * (1.0 + expected));
        let scale = largest(&output.gradient).max(1e-3);
        for i in 0..values.len() {
            let at = |h: f64| {
                let mut values = values.clone();
                values[i] += h;
                slow_loss(&settings, &values, &labels)
            };
            let h = 1e-5;
            // Fourth order, so that the step may be large enough for the rounding.
            let numeric = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
            prop_assert!((output.gradient[i] - numeric).abs() < 1e-5 * scale, "entry {}", i);
        }
    }

    #[test]
    fn the_order_and_the_names_of_classes_do_not_matter(
        (values, labels) in batch(),
        settings in any_settings(),
        shift in 1_usize..20,
    ) {
        let items = labels.len();
        let order: Vec<usize> = (0..items).map(|i| (i + shift) % items).rev().collect();
        let moved: Vec<f64> =
            order.iter().flat_map(|&i| values[i * DIM..(i + 1) * DIM].to_vec()).collect();
        let renamed: Vec<u32> = order.iter().map(|&i| 1000 - 7 * labels[i]).collect();
        let (before, after) =
            (forward(&settings, &values, &labels), forward(&settings, &moved, &renamed));
        prop_assert!((before.value - after.value).abs() < 1e-12 * (1.0 + before.value));
        prop_assert_eq!(before.counts, after.counts);
        let scale = largest(&before.gradient).max(1e-9);
        for (place, &i) in order.iter().enumerate() {
            for d in 0..DIM {
                let (a, b) = (before.gradient[i * DIM + d], after.gradient[place * DIM + d]);
                prop_assert!((a - b).abs() < 1e-9 * scale);
            }
        }
    }

    #[test]
    fn f32_stays_near_f64((values, labels) in batch(), settings in any_settings()) {
        let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        let loss = PnpLoss::new(&settings).unwrap();
        let ours = loss.forward_f32(&Embeddings::new(&narrow, DIM).unwrap(), &labels).unwrap();
        let wide: Vec<f64> = narrow.iter().map(|&v| f64::from(v)).collect();
        let expected = forward(&settings, &wide, &labels);
        prop_assert!((ours.value - expected.value).abs() < 2e-5 * (1e-3 + expected.value));
        let scale = largest(&expected.gradient).max(1e-3);
        for (a, b) in ours.gradient.iter().zip(&expected.gradient) {
            prop_assert!((f64::from(*a) - b).abs() < 2e-5 * scale);
        }
    }
}

#[test]
fn labels_that_repeat_a_class_in_two_places_are_one_class() {
    let values = unit_rows((0..40).map(|i| f64::from(i * 37 % 41) / 20.0 - 1.0).collect());
    let labels = [3, 1, 3, 2, 1, 3, 2, 2, 1, 3];
    let settings = PnpSettings { anneal: 0.1, ..PnpSettings::default() };
    let output = forward(&settings, &values, &labels);
    assert!((output.value - slow_loss(&settings, &values, &labels)).abs() < 1e-12);
}

#[test]
fn batches_without_a_positive_or_a_negative_are_zero() {
    let values = unit_rows((0..16).map(|i| f64::from(i % 7) - 3.0).collect());
    for variant in PnpVariant::ALL {
        let settings = PnpSettings { variant, alpha: Some(2.0), ..PnpSettings::default() };
        let zero = vec![0.0; 16];
        let lone = forward(&settings, &values, &[0, 1, 2, 3]);
        let counts =
            LossCounts { items: 4, references: 4, lone_queries: 4, ..LossCounts::default() };
        assert_eq!((lone.value, &lone.gradient, lone.counts), (0.0, &zero, counts));
        let one_class = forward(&settings, &values, &[5; 4]);
        let counts = LossCounts {
            items: 4,
            references: 4,
            queries: 4,
            positives: 12,
            terms: 4,
            ..LossCounts::default()
        };
        assert_eq!((one_class.value, one_class.gradient, one_class.counts), (0.0, zero, counts));
        let empty = forward(&settings, &[], &[]);
        assert_eq!((empty.value, empty.gradient.len(), empty.counts.items), (0.0, 0, 0));
    }
}

#[test]
fn equal_embeddings_cost_half_a_negative_each() {
    let values = [0.6_f32, 0.8].repeat(6);
    let loss = PnpLoss::new(&PnpSettings::default()).unwrap();
    let output =
        loss.forward_f32(&Embeddings::new(&values, 2).unwrap(), &[0, 0, 0, 1, 1, 1]).unwrap();
    assert_eq!(output.value, 1.5);
    assert!(output.gradient.iter().all(|g| g.is_finite()));
}

#[test]
fn extreme_settings_stay_finite() {
    let values: Vec<f32> = (0..64 * 8).map(|i| ((i * 7919 % 1009) as f32 / 504.0) - 1.0).collect();
    let labels: Vec<u32> = (0..64).map(|i| i / 4).collect();
    for scale in [1e-12_f32, 1.0, 1e6] {
        let values: Vec<f32> = values.iter().map(|v| v * scale).collect();
        let embeddings = Embeddings::new(&values, 8).unwrap();
        for variant in PnpVariant::ALL {
            for (alpha, b, anneal) in
                [(1.0, 2.0, 1e-4), (64.0, 1e-6, 1.0), (1e6, 1e6, 1e-6), (8.0, 2.0, 1e6)]
            {
                let settings =
                    PnpSettings { variant, alpha: Some(alpha), b, anneal, count_query: true };
                let loss = PnpLoss::new(&settings).unwrap();
                let output = loss.forward_f32(&embeddings, &labels).unwrap();
                assert!(output.value.is_finite() && output.value >= 0.0, "{}", loss.name());
                assert!(output.gradient.iter().all(|g| g.is_finite()), "{}", loss.name());
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let loss = PnpLoss::new(&PnpSettings::default()).unwrap();
    let values = [1e30_f32, 0.0, 1.0, 0.0];
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let error = loss.forward_f32(&embeddings, &[0, 0, 0]).unwrap_err();
    assert_eq!(error, RankingError::LabelCount { embeddings: 2, labels: 3 });
    let error = loss.forward_f32(&embeddings, &[0, 0]).unwrap_err();
    assert!(matches!(error, RankingError::TooLarge { row: 0, .. }), "{error}");
}

#[test]
fn every_variant_is_its_formula_against_any_references() {
    for variant in PnpVariant::ALL {
        for count_query in [true, false] {
            let settings =
                PnpSettings { variant, alpha: Some(2.5), b: 2.0, anneal: 0.1, count_query };
            let cost = |r: f64| match variant {
                PnpVariant::O => r,
                PnpVariant::Iu => (1.0 + r) * (1.0 + r).ln(),
                PnpVariant::Ib => (2.0 * r - (1.0 + 2.0 * r).ln()) / 4.0,
                PnpVariant::Ds => (1.0 + r).ln(),
                PnpVariant::Dq => 1.0 - (1.0 + r).powf(-2.5),
            };
            checks::all(
                &PnpLoss::new(&settings).unwrap(),
                &|lists| {
                    let lists: Vec<&List> =
                        lists.iter().filter(|l| !l.positives.is_empty()).collect();
                    let costs = lists.iter().map(|list| {
                        let positives = list.positives_with_query(count_query);
                        let costs = positives.iter().map(|p| {
                            let terms = list.negatives.iter();
                            cost(terms.map(|n| 1.0 / (1.0 + (-(n - p) / 0.1).exp())).sum())
                        });
                        costs.sum::<f64>() / positives.len() as f64
                    });
                    costs.sum::<f64>() / lists.len().max(1) as f64
                },
                checks::SMOOTH,
            );
        }
    }
}
