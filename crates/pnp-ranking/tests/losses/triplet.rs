//! The triplet loss against its formula, for each kind of mining.

use pnp_ranking::loss::{Loss, PnpSettings, TripletLoss, TripletMining, TripletSettings, build};
use pnp_ranking::{Embeddings, RankingError};

use crate::checks::{self, KINKED, List, Tolerance};

/// A triplet close to its margin stands in the way of twelve derivatives, of 60 in the smallest
/// set.
const TOLERANCE: Tolerance = Tolerance { skipped: 0.2, ..KINKED };

fn made(margin: f64, mining: TripletMining) -> TripletLoss {
    TripletLoss::new(&TripletSettings { margin, mining }).unwrap()
}

/// The costs of the triplets that count.
fn costs(list: &List, margin: f64, mining: TripletMining) -> Vec<f64> {
    // In the squared distances of the papers.
    let squared = |s: &f64| 2.0 - 2.0 * s;
    let positives: Vec<f64> = list.positives.iter().map(squared).collect();
    let negatives: Vec<f64> = list.negatives.iter().map(squared).collect();
    let mut costs = Vec::new();
    match mining {
        TripletMining::All | TripletMining::SemiHard => {
            for p in &positives {
                for n in &negatives {
                    let cost = p - n + margin;
                    if cost > 0.0 && (mining == TripletMining::All || n > p) {
                        costs.push(cost);
                    }
                }
            }
        }
        TripletMining::Hard => {
            if !positives.is_empty() && !negatives.is_empty() {
                let farthest = positives.iter().copied().fold(f64::MIN, f64::max);
                let nearest = negatives.iter().copied().fold(f64::MAX, f64::min);
                costs.push((farthest - nearest + margin).max(0.0));
            }
        }
    }
    costs
}

#[test]
fn each_mining_is_its_formula() {
    for mining in TripletMining::ALL {
        for margin in [0.2, 0.7, 4.0] {
            checks::all(
                &made(margin, mining),
                &|lists| {
                    let costs: Vec<f64> =
                        lists.iter().flat_map(|list| costs(list, margin, mining)).collect();
                    costs.iter().sum::<f64>() / costs.len().max(1) as f64
                },
                TOLERANCE,
            );
        }
    }
}

#[test]
fn a_small_batch_costs_what_paper_says() {
    // A pair at the cosine 0.6; the third is at 0.8 from the first and 0 from the second.
    let values = [1.0, 0.0, 0.6, 0.8, 0.8, -0.6];
    let embeddings = Embeddings::new(&values, 2).unwrap();
    let value = |margin, mining| {
        let output = made(margin, mining).forward_f64(&embeddings, &[0, 0, 1]).unwrap();
        assert_eq!((output.counts.queries, output.counts.lone_queries), (2, 1));
        output.value
    };
    // First query: 2 (0.8 - 0.6) + margin. Second: 2 (0 - 0.6) + margin. At 1.5: 1.9 and 0.3.
    assert!((value(0.2, TripletMining::Hard) - 0.6 / 2.0).abs() < 1e-12);
    assert!((value(0.2, TripletMining::All) - 0.6).abs() < 1e-12);
    assert_eq!(value(0.2, TripletMining::SemiHard), 0.0);
    assert!((value(1.5, TripletMining::Hard) - 1.1).abs() < 1e-12);
    assert!((value(1.5, TripletMining::All) - 1.1).abs() < 1e-12);
    assert!((value(1.5, TripletMining::SemiHard) - 0.3).abs() < 1e-12);
}

#[test]
fn equal_embeddings_cost_the_margin_unless_farther_ones_are_asked_for() {
    let values = [1.0_f32, 0.0].repeat(6);
    let embeddings = Embeddings::new(&values, 2).unwrap();
    for (mining, expected) in
        [(TripletMining::All, 0.5), (TripletMining::Hard, 0.5), (TripletMining::SemiHard, 0.0)]
    {
        let loss = made(0.5, mining);
        let output = loss.forward_f32(&embeddings, &[0, 0, 0, 1, 1, 1]).unwrap();
        assert_eq!(output.value, expected, "{mining}");
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    for margin in [0.0, -0.2, 4.1, f64::NAN] {
        let mining = TripletMining::All;
        let error = TripletLoss::new(&TripletSettings { margin, mining }).unwrap_err();
        assert!(matches!(error, RankingError::Setting { setting: "margin", .. }), "{error}");
    }
    let error = build("triplet(mining=easy)", &PnpSettings::default()).unwrap_err();
    assert!(matches!(error, RankingError::Setting { setting: "mining", .. }), "{error}");
    let default = build("triplet", &PnpSettings::default()).unwrap();
    assert_eq!(default.name(), "triplet(margin=0.2, mining=semi-hard)");
}
