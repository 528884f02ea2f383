//! Recall at a depth: whether a positive is among the nearest.

use super::{Distance, Lone, MetricEntry, QueryRanks, Score};

/// The registry's lines.
pub(super) const RECALL: MetricEntry = MetricEntry {
    name: "recall@k",
    family: "recall",
    summary: "share of queries with a positive among the k nearest; queries without a positive \
              are left out",
    ..ENTRY
};
pub(super) const HIT_RATE: MetricEntry = MetricEntry {
    name: "hit-rate@k",
    summary: "recall@k under the name that recommendation uses: the share of queries with a hit",
    ..RECALL
};
pub(super) const E_RECALL: MetricEntry = MetricEntry {
    name: "e_recall@k",
    summary: "the PyTorch code's recall@k by Euclidean distance: the share of all items, lone ones \
              counting as misses",
    distance: Some(Distance::Euclidean),
    ..OLD
};
pub(super) const C_RECALL: MetricEntry = MetricEntry {
    name: "c_recall@k",
    summary: "the PyTorch code's recall@k by cosine: the share of all items, lone ones counting as \
              misses",
    distance: Some(Distance::Cosine),
    ..OLD
};

const ENTRY: MetricEntry = MetricEntry {
    name: "",
    family: "recall",
    summary: "",
    distance: None,
    lone: Lone::LeftOut,
    within_gallery: false,
    score: Score::Ranks(score),
};
const OLD: MetricEntry = MetricEntry { lone: Lone::Zero, ..ENTRY };

fn score(query: QueryRanks, k: usize) -> f64 {
    if query.hits(k) > 0 { 1.0 } else { 0.0 }
}
