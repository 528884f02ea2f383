//! Normalised discounted cumulative gain with relevance 0 or 1 (Järvelin and Kekäläinen, 2002).

use super::{Lone, MetricEntry, QueryRanks, Score};

/// The registry's line.
pub(super) const NDCG: MetricEntry = MetricEntry {
    name: "ndcg@k",
    family: "ndcg",
    summary: "gains 1 / log2(1 + rank) of the positives among the k nearest, divided by the most \
              that k places can gain; queries without a positive are left out",
    distance: None,
    lone: Lone::LeftOut,
    within_gallery: false,
    score: Score::Ranks(score),
};

fn score(query: QueryRanks, k: usize) -> f64 {
    let gain = |rank: u32| 1.0 / (1.0 + f64::from(rank)).log2();
    let found = query.ranks.iter().copied().take_while(|&rank| rank as usize <= k);
    let ideal = (1..).take(query.positives().min(k));
    found.map(gain).sum::<f64>() / ideal.map(gain).sum::<f64>()
}
