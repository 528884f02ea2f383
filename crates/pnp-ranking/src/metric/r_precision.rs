//! R-precision: precision at the depth at which it can just be 1.

use super::{Lone, MetricEntry, Score};

/// The registry's line.
pub(super) const R_PRECISION: MetricEntry = MetricEntry {
    name: "r-precision",
    family: "r_precision",
    summary: "share of positives among the R nearest, R being the query's positives; queries \
              without a positive are left out",
    distance: None,
    lone: Lone::LeftOut,
    within_gallery: false,
    score: Score::Ranks(|query, _| query.hits(query.positives()) as f64 / query.positives() as f64),
};
