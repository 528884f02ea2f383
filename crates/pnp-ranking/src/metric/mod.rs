//! Ranking metrics: embeddings and labels in, scores out.
//!
//! Every item is a query against all the others. For each query the others are ranked, the nearest
//! first, and a metric is a function of the ranks of the query's positives, the items of its class.
//! The conventions, which every number depends on:
//!
//! - The query is left out of its own list by its id, so duplicates of it stay in.
//! - Items that are equally near are ranked by the lower id; [`EvalCounts::ties`] tells how often
//!   that mattered.
//! - The new names leave out queries that have no positive, and divide by the number of *other*
//!   items of the class. The names of the PyTorch code keep its values: they average over all
//!   items, and `mAP` and its kin divide by the class size with the query.
//! - Nearness is computed in f32. The result has the same bits for any number of threads.
//!
//! A new metric is one file with its entry, and one line in [`METRICS`].

mod class_structure;
mod clustering;
mod confidence;
mod counting;
mod evaluate;
mod map;
mod mrr;
mod name;
mod ndcg;
mod ordered;
mod precision;
mod query_scores;
mod r_precision;
mod ranks;
mod recall;
mod set;

use ranks::QueryRanks;

pub use confidence::{Comparison, Interval, Resampling, bootstrap, check_level, compare};
pub use evaluate::{EvalCounts, EvalOptions, Evaluation, evaluate, evaluate_sets};
pub use name::Metric;
pub use query_scores::QueryScores;
pub use set::EvalSet;

use crate::cluster::Contingency;
pub use crate::distance::Distance;
use crate::structure::ClassDistances;

/// A line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct MetricEntry {
    /// The name to ask for; a `k` behind `@` stands for any depth.
    pub name: &'static str,
    /// The metrics it belongs with, for tables and plots.
    pub family: &'static str,
    /// What it is, with its conventions.
    pub summary: &'static str,
    /// The distance that the name implies; without one, [`EvalOptions::distance`].
    distance: Option<Distance>,
    /// What a query without a positive does to the mean.
    lone: Lone,
    /// Whether the depth must not exceed the length of a list.
    within_gallery: bool,
    /// What it is made of.
    score: Score,
}

/// What a metric makes of one query's ranks and the depth.
type OfRanks = fn(QueryRanks<'_>, usize) -> f64;

/// What a metric needs, and what it makes of it. Each need is computed once for all metrics.
#[derive(Debug, Clone, Copy)]
enum Score {
    /// One query's ranks and the depth (0 for names without one): 0 to 1, averaged over queries.
    Ranks(OfRanks),
    /// The classes beside k-means clusters by the metric's distance.
    Clusters(fn(&Contingency) -> f64),
    /// The widths and distances of the classes; none where it is not defined.
    Classes(fn(&ClassDistances) -> Option<f64>),
    /// The spectrum of the embeddings, from the value that the name gives on; from 0 the list.
    Spectrum,
}

/// What a query without a positive does to a metric's mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lone {
    /// It does not enter.
    LeftOut,
    /// It enters with its score, which is 0.
    Zero,
}

/// All ranking metrics, the PyTorch code's names last.
pub const METRICS: &[MetricEntry] = &[
    recall::RECALL,
    recall::HIT_RATE,
    precision::PRECISION,
    ndcg::NDCG,
    r_precision::R_PRECISION,
    map::MAP_AT_R,
    map::MAP_AT_K,
    map::MAP,
    mrr::MRR,
    clustering::AMI,
    clustering::PURITY,
    clustering::C_AMI,
    clustering::C_PURITY,
    recall::E_RECALL,
    recall::C_RECALL,
    precision::E_PRECISION,
    precision::C_PRECISION,
    map::OLD_MAP,
    map::OLD_MAP_C,
    map::OLD_MAP_1000,
    map::OLD_MAP_LIM,
    map::OLD_C_MAP,
    map::OLD_C_MAP_C,
    map::OLD_C_MAP_1000,
    map::OLD_C_MAP_LIM,
    clustering::NMI,
    clustering::F1,
    clustering::C_NMI,
    clustering::C_F1,
    class_structure::INTRA,
    class_structure::INTER,
    class_structure::INTRA_OVER_INTER,
    class_structure::RHO_SPECTRUM,
];

/// A good set of metrics for any data: all defined whatever the number of items.
pub const DEFAULT_METRICS: &[&str] = &[
    "recall@1",
    "recall@2",
    "recall@4",
    "recall@8",
    "recall@10",
    "recall@100",
    "r-precision",
    "map@r",
    "map@1000",
    "map",
    "mrr",
];
