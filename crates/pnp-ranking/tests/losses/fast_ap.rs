//! FastAP against its formula.

use pnp_ranking::loss::{FastApLoss, FastApSettings, Loss, PnpSettings, build};
use pnp_ranking::{Embeddings, RankingError};

use crate::checks::{self, KINKED, List, Tolerance};

/// An item close to a centre stands in the way of eight derivatives, of 60 in the smallest set.
const TOLERANCE: Tolerance = Tolerance { skipped: 0.14, ..KINKED };

fn made(bins: usize) -> FastApLoss {
    FastApLoss::new(&FastApSettings { bins }).unwrap()
}

fn average_precision(list: &List, bins: usize) -> f64 {
    let width = 4.0 / bins as f64;
    let count = |similarities: &[f64], l: usize| -> f64 {
        let squared = similarities.iter().map(|s| (2.0 - 2.0 * s).clamp(0.0, 4.0));
        squared.map(|d| (1.0 - (d - width * l as f64).abs() / width).max(0.0)).sum()
    };
    let (mut sum, mut positives, mut all) = (0.0, 0.0, 0.0);
    for l in 0..=bins {
        let here = count(&list.positives, l);
        positives += here;
        all += here + count(&list.negatives, l);
        if here > 0.0 {
            sum += here * positives / all;
        }
    }
    sum / list.positives.len() as f64
}

#[test]
fn it_is_its_formula() {
    for bins in [10, 1, 4, 20] {
        checks::all(
            &made(bins),
            &|lists| {
                let lists: Vec<&List> =
                    lists.iter().filter(|list| !list.positives.is_empty()).collect();
                let costs = lists.iter().map(|list| 1.0 - average_precision(list, bins));
                costs.sum::<f64>() / lists.len().max(1) as f64
            },
            TOLERANCE,
        );
    }
}

#[test]
fn a_small_batch_costs_what_paper_says() {
    // Two pairs. The queries' squared distances to their positive and their negatives are, with
    // centres at 0, 1, 2, 3 and 4:
    //   0 and 1: 2 to the positive, 2 and 4 to the negatives; 2 and 3: the same.
    let values = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0];
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let output = made(4).forward_f64(&embeddings, &[0, 0, 1, 1]).unwrap();
    assert!((output.value - 0.5).abs() < 1e-12);
    // With the positive at 0.8 (D² = 0.4, shares 0.6 and 0.4) and a negative at 0.4 (1.2, shares
    // 0.8 and 0.2): 0.6 · 1 + 0.4 · 1 / 1.8.
    let at = |s: f64| [s, (1.0 - s * s).sqrt()];
    let values = [[1.0, 0.0], at(0.8), at(0.4)].concat();
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let output = made(4).forward_f64(&embeddings, &[0, 0, 1]).unwrap();
    let first = 0.6 + 0.4 / 1.8;
    // The second query's negative is at 0.8 · 0.4 + 0.6 · √0.84, so D² = 0.260.
    let d = 2.0 - 2.0 * (0.32 + 0.6 * 0.84_f64.sqrt());
    let second = 0.6 * 0.6 / (0.6 + 1.0 - d) + 0.4 * 1.0 / 2.0;
    assert!((output.value - (1.0 - f64::midpoint(first, second))).abs() < 1e-12);
    assert_eq!((output.counts.queries, output.counts.lone_queries), (2, 1));
}

#[test]
fn equal_similarities_share_a_place() {
    // All at the distance 0: the precision is the positives' share, and nothing moves.
    let values = [1.0, 0.0].repeat(5);
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let output = made(10).forward_f64(&embeddings, &[0, 0, 1, 1, 1]).unwrap();
    let expected = 1.0 - (2.0 * 0.25 + 3.0 * 0.5) / 5.0;
    assert!((output.value - expected).abs() < 1e-12);
    assert!(output.gradient.iter().all(|&g| g == 0.0));
}

#[test]
fn the_value_stays_between_0_and_1() {
    let values: Vec<f32> = (0..60 * 8).map(|i| ((i * 7919 % 1009) as f32 / 504.0) - 1.0).collect();
    let labels: Vec<u32> = (0..60).map(|i| i % 7).collect();
    for bins in [1, 10, 1000] {
        for scale in [1e-6, 0.4, 1.0, 1e6] {
            let values: Vec<f32> = values.iter().map(|v| v * scale).collect();
            let embeddings = Embeddings::new(&values, 8).unwrap();
            let output = made(bins).forward_f32(&embeddings, &labels).unwrap();
            assert!((0.0..=1.0).contains(&output.value), "{bins}, {scale}: {}", output.value);
            assert!(output.gradient.iter().all(|g| g.is_finite()), "{bins}, {scale}");
        }
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    for bins in [0, 1001] {
        let error = FastApLoss::new(&FastApSettings { bins }).unwrap_err();
        assert!(matches!(error, RankingError::Setting { setting: "bins", .. }), "{error}");
    }
    for text in ["FastAP(bins=2.5)", "FastAP(bins=-1)"] {
        let error = build(text, &PnpSettings::default()).unwrap_err();
        assert!(matches!(error, RankingError::Setting { setting: "bins", .. }), "{error}");
    }
    assert_eq!(build("FastAP", &PnpSettings::default()).unwrap().name(), "FastAP(bins=10)");
}
