//! Precision at a depth: how many of the nearest are positives.

use super::{Distance, Lone, MetricEntry, QueryRanks, Score};

/// The registry's lines.
pub(super) const PRECISION: MetricEntry = MetricEntry {
    name: "precision@k",
    summary: "share of positives among the k nearest; refused if k exceeds the items of a list; \
              queries without a positive are left out",
    within_gallery: true,
    ..ENTRY
};
pub(super) const E_PRECISION: MetricEntry = MetricEntry {
    name: "e_precision@k",
    summary: "the PyTorch code's precision@k by Euclidean distance: the mean over all items, lone \
              ones counting 0; places beyond the end of a list count as misses",
    distance: Some(Distance::Euclidean),
    ..OLD
};
pub(super) const C_PRECISION: MetricEntry = MetricEntry {
    name: "c_precision@k",
    summary: "the PyTorch code's precision@k by cosine: the mean over all items, lone ones \
              counting 0; places beyond the end of a list count as misses",
    distance: Some(Distance::Cosine),
    ..OLD
};

const ENTRY: MetricEntry = MetricEntry {
    name: "",
    family: "precision",
    summary: "",
    distance: None,
    lone: Lone::LeftOut,
    within_gallery: false,
    score: Score::Ranks(score),
};
const OLD: MetricEntry = MetricEntry { lone: Lone::Zero, ..ENTRY };

fn score(query: QueryRanks, k: usize) -> f64 {
    query.hits(k) as f64 / k as f64
}
