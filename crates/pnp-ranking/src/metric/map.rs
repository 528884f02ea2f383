//! Mean average precision, in the corrected forms and in those of the PyTorch code.
//!
//! All are the sum of the precisions at the positives down to some depth, divided by a number of
//! positives. The corrected forms divide by the positives there are, the query left out; the old
//! ones by the size of the class with the query, so that a perfect list of a class of 4 has 0.75.

use super::{Distance, Lone, MetricEntry, QueryRanks, Score};

/// The registry's lines.
pub(super) const MAP_AT_R: MetricEntry = MetricEntry {
    name: "map@r",
    summary: "mean average precision down to depth R, R being the query's positives (Musgrave et \
              al., ECCV 2020), divided by R",
    score: Score::Ranks(|query, _| over_positives(query, query.positives())),
    ..ENTRY
};
pub(super) const MAP_AT_K: MetricEntry = MetricEntry {
    name: "map@k",
    summary: "mean average precision down to depth k, divided by the query's positives, also where \
              they are more than k",
    score: Score::Ranks(over_positives),
    ..ENTRY
};
pub(super) const MAP: MetricEntry = MetricEntry {
    name: "map",
    summary: "mean average precision over the whole list, divided by the query's positives",
    score: Score::Ranks(|query, _| over_positives(query, usize::MAX)),
    ..ENTRY
};

/// `mAP` and its kin: name, depth and distance.
macro_rules! old {
    ($name:literal, $distance:ident, $depth:expr, $text:literal) => {
        MetricEntry {
            name: $name,
            summary: concat!(
                "the PyTorch code's mean average precision ",
                $text,
                ", divided by the class size with the query; the mean over all items, lone ones \
                 counting 0"
            ),
            distance: Some(Distance::$distance),
            lone: Lone::Zero,
            score: Score::Ranks(|query, _| over_class(query, $depth)),
            ..ENTRY
        }
    };
}

pub(super) const OLD_MAP: MetricEntry =
    old!("mAP", Euclidean, |_| usize::MAX, "by Euclidean distance over the whole list");
pub(super) const OLD_MAP_C: MetricEntry =
    old!("mAP_c", Euclidean, |class| class, "by Euclidean distance down to the class size");
pub(super) const OLD_MAP_1000: MetricEntry =
    old!("mAP_1000", Euclidean, |_| 1000, "by Euclidean distance down to depth 1000");
pub(super) const OLD_MAP_LIM: MetricEntry =
    old!("mAP_lim", Euclidean, |_| 1023, "by Euclidean distance down to depth 1023");
pub(super) const OLD_C_MAP: MetricEntry =
    old!("c_mAP", Cosine, |_| usize::MAX, "by cosine over the whole list");
pub(super) const OLD_C_MAP_C: MetricEntry =
    old!("c_mAP_c", Cosine, |class| class, "by cosine down to the class size");
pub(super) const OLD_C_MAP_1000: MetricEntry =
    old!("c_mAP_1000", Cosine, |_| 1000, "by cosine down to depth 1000");
pub(super) const OLD_C_MAP_LIM: MetricEntry =
    old!("c_mAP_lim", Cosine, |_| 1023, "by cosine down to depth 1023");

const ENTRY: MetricEntry = MetricEntry {
    name: "",
    family: "map",
    summary: "",
    distance: None,
    lone: Lone::LeftOut,
    within_gallery: false,
    score: Score::Ranks(over_positives),
};

fn over_positives(query: QueryRanks, depth: usize) -> f64 {
    query.precision_sum(depth) / query.positives() as f64
}

/// The depth follows from the size of the class, the query included.
fn over_class(query: QueryRanks, depth: fn(usize) -> usize) -> f64 {
    let class = query.positives() + 1;
    query.precision_sum(depth(class)) / class as f64
}
