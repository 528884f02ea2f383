//! Mean reciprocal rank: how soon the first positive comes.

use super::{Lone, MetricEntry, Score};

/// The registry's line.
pub(super) const MRR: MetricEntry = MetricEntry {
    name: "mrr",
    family: "mrr",
    summary: "mean of 1 / rank of the nearest positive; queries without a positive are left out",
    distance: None,
    lone: Lone::LeftOut,
    within_gallery: false,
    score: Score::Ranks(|query, _| query.ranks.first().map_or(0.0, |&rank| 1.0 / f64::from(rank))),
};
