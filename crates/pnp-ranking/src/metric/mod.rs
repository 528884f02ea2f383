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

mod map;
mod mrr;
mod precision;
mod r_precision;
mod ranks;
mod recall;

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use ranks::{QueryRanks, Tiling, rank_queries};

use crate::classes::Classes;
pub use crate::distance::Distance;
use crate::distance::Prepared;
use crate::embeddings::Embeddings;
use crate::error::RankingError;

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
    /// One query's score at a depth (0 for names without one), 0 to 1.
    score: fn(QueryRanks, usize) -> f64,
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
    precision::PRECISION,
    r_precision::R_PRECISION,
    map::MAP_AT_R,
    map::MAP_AT_K,
    map::MAP,
    mrr::MRR,
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

/// Names of the PyTorch code that are not computed yet.
const NOT_YET: &[&str] = &["nmi", "f1", "c_nmi", "c_f1", "dists", "rho_spectrum"];

/// A metric that was asked for by name.
#[derive(Debug, Clone)]
pub struct Metric {
    name: String,
    entry: &'static MetricEntry,
    /// 0 for names without one.
    depth: usize,
}

impl Metric {
    /// Reads a name: one of [`METRICS`], with a whole number for its `k`.
    ///
    /// ```
    /// use pnp_ranking::metric::Metric;
    ///
    /// assert_eq!(Metric::parse("recall@10")?.family(), "recall");
    /// assert_eq!(Metric::parse("r_precision")?.name(), "r-precision");
    /// assert!(Metric::parse("recall@0").is_err());
    /// # Ok::<(), pnp_ranking::RankingError>(())
    /// ```
    ///
    /// # Errors
    /// [`RankingError::MetricDepth`] if the depth is missing or wrong,
    /// [`RankingError::MetricNotYet`], [`RankingError::UnknownMetric`].
    pub fn parse(name: &str) -> Result<Self, RankingError> {
        let name = if name == "r_precision" { "r-precision" } else { name };
        if let Some(entry) = METRICS.iter().find(|entry| entry.name == name && !entry.takes_depth())
        {
            return Ok(Self { name: name.to_owned(), entry, depth: 0 });
        }
        let (stem, depth) = name.split_once('@').unwrap_or((name, ""));
        if NOT_YET.contains(&stem) {
            return Err(RankingError::MetricNotYet { name: name.to_owned() });
        }
        let Some(entry) = METRICS.iter().find(|entry| entry.name.strip_suffix("@k") == Some(stem))
        else {
            let known: Vec<&str> = METRICS.iter().map(|entry| entry.name).collect();
            return Err(RankingError::UnknownMetric {
                name: name.to_owned(),
                known: known.join(", "),
            });
        };
        let digits = !depth.is_empty() && depth.bytes().all(|byte| byte.is_ascii_digit());
        match depth.parse::<u32>() {
            Ok(k) if digits && k > 0 => {
                Ok(Self { name: format!("{stem}@{k}"), entry, depth: k as usize })
            }
            _ => Err(RankingError::MetricDepth { name: name.to_owned(), pattern: entry.name }),
        }
    }

    /// The name in its usual form.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The metrics it belongs with, for tables and plots: `recall`, `precision`, `map`, `mrr` or
    /// `r_precision`.
    pub fn family(&self) -> &'static str {
        self.entry.family
    }
}

impl MetricEntry {
    fn takes_depth(&self) -> bool {
        self.name.ends_with("@k")
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Metric {}

impl Hash for Metric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for Metric {
    type Err = RankingError;

    fn from_str(name: &str) -> Result<Self, RankingError> {
        Self::parse(name)
    }
}

/// How [`evaluate`] ranks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvalOptions {
    /// The distance of the new names; the PyTorch code's names carry their own. Default: cosine.
    pub distance: Distance,
}

/// What [`evaluate`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Names and scores, 0 to 1, in the order asked for.
    pub scores: Vec<(String, f64)>,
    /// What the scores are means over.
    pub counts: EvalCounts,
}

/// What an evaluated set held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvalCounts {
    /// Embeddings in the set.
    pub items: usize,
    /// Different labels.
    pub classes: usize,
    /// Items that share their class with another item.
    pub queries: usize,
    /// Items alone in their class: left out by the new names, misses for the old ones.
    pub lone_queries: usize,
    /// Items whose embedding has the same bits as that of an item before them.
    pub duplicates: usize,
    /// Pairs of a query and a positive that another item of the list is exactly as near as, so
    /// that ids decided the order. Added up over the distances that were used.
    pub ties: usize,
}

impl EvalCounts {
    /// The counts with their names, for records and answers.
    pub fn named(&self) -> [(&'static str, usize); 6] {
        [
            ("items", self.items),
            ("classes", self.classes),
            ("queries", self.queries),
            ("lone_queries", self.lone_queries),
            ("duplicates", self.duplicates),
            ("ties", self.ties),
        ]
    }
}

/// Scores a set of embeddings, `[items, dim]`, with one label per item.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::metric::{EvalOptions, Metric, evaluate};
///
/// let values = [1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9];
/// let metrics = [Metric::parse("recall@1")?, Metric::parse("map@r")?];
/// let embeddings = Embeddings::new(&values, 2)?;
/// let evaluation = evaluate(&embeddings, &[7, 7, 9, 9], &metrics, &EvalOptions::default())?;
/// assert_eq!(evaluation.scores[0], ("recall@1".to_string(), 1.0));
/// assert_eq!(evaluation.counts.classes, 2);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
///
/// # Errors
/// [`RankingError::LabelCount`]; [`RankingError::NoPositives`] if every item is alone in its
/// class, whatever the metrics; [`RankingError::DepthBeyondGallery`] for `precision@k`;
/// [`RankingError::TooLarge`].
pub fn evaluate(
    embeddings: &Embeddings<'_, f32>,
    labels: &[u32],
    metrics: &[Metric],
    options: &EvalOptions,
) -> Result<Evaluation, RankingError> {
    evaluate_tiled(embeddings, labels, metrics, options, Tiling::default())
}

fn evaluate_tiled(
    embeddings: &Embeddings<'_, f32>,
    labels: &[u32],
    metrics: &[Metric],
    options: &EvalOptions,
    tiling: Tiling,
) -> Result<Evaluation, RankingError> {
    embeddings.check_labels(labels)?;
    let classes = Classes::new(labels);
    let mut counts = count(&classes, embeddings);
    if counts.queries == 0 {
        return Err(RankingError::NoPositives { items: counts.items });
    }
    check_depths(metrics, counts.items - 1)?;
    let mut values = vec![0.0; metrics.len()];
    for distance in [Distance::Cosine, Distance::Euclidean] {
        let uses = |metric: &Metric| metric.entry.distance.unwrap_or(options.distance) == distance;
        let chosen: Vec<usize> = (0..metrics.len()).filter(|&m| uses(&metrics[m])).collect();
        if chosen.is_empty() {
            continue;
        }
        let prepared = Prepared::new(embeddings, classes.items(), distance)?;
        let ranking = rank_queries(&prepared, &classes, tiling, |query| {
            let score = |&m: &usize| score(&metrics[m], query);
            chosen.iter().map(score).collect::<Vec<f64>>()
        });
        counts.ties += ranking.ties;
        for (column, &m) in chosen.iter().enumerate() {
            let sum: f64 = ranking.results.iter().map(|scores| scores[column]).sum();
            let entered = match metrics[m].entry.lone {
                Lone::LeftOut => counts.queries,
                Lone::Zero => counts.items,
            };
            values[m] = sum / entered as f64;
        }
    }
    let names = metrics.iter().map(|metric| metric.name.clone());
    Ok(Evaluation { scores: names.zip(values).collect(), counts })
}

/// A lone query scores 0; whether it enters the mean is the metric's affair.
fn score(metric: &Metric, query: QueryRanks) -> f64 {
    if query.positives() == 0 { 0.0 } else { (metric.entry.score)(query, metric.depth) }
}

fn check_depths(metrics: &[Metric], gallery: usize) -> Result<(), RankingError> {
    match metrics.iter().find(|metric| metric.entry.within_gallery && metric.depth > gallery) {
        Some(metric) => {
            Err(RankingError::DepthBeyondGallery { name: metric.name.clone(), gallery })
        }
        None => Ok(()),
    }
}

fn count(classes: &Classes, embeddings: &Embeddings<'_, f32>) -> EvalCounts {
    let items = embeddings.rows();
    let lone_queries = (0..items).filter(|&item| classes.places_of(item).len() == 1).count();
    let mut seen = HashSet::with_capacity(items);
    EvalCounts {
        items,
        classes: classes.len(),
        queries: items - lone_queries,
        lone_queries,
        duplicates: (0..items).filter(|&item| !seen.insert(Bits(embeddings.row(item)))).count(),
        ties: 0,
    }
}

/// A row that equals another one if all its bits do.
struct Bits<'a>(&'a [f32]);

impl PartialEq for Bits<'_> {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0);
        self.0.len() == other.0.len() && pairs.into_iter().all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

impl Eq for Bits<'_> {}

impl Hash for Bits<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| state.write_u32(value.to_bits()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::unit_rows;

    #[test]
    fn names_are_read_back_and_belong_to_families() {
        for (name, usual, family) in [
            ("recall@1", "recall@1", "recall"),
            ("recall@010", "recall@10", "recall"),
            ("e_precision@50", "e_precision@50", "precision"),
            ("map@r", "map@r", "map"),
            ("map@1000", "map@1000", "map"),
            ("map", "map", "map"),
            ("mAP", "mAP", "map"),
            ("c_mAP_lim", "c_mAP_lim", "map"),
            ("mrr", "mrr", "mrr"),
            ("r_precision", "r-precision", "r_precision"),
        ] {
            let metric = Metric::parse(name).unwrap();
            assert_eq!((metric.name(), metric.family()), (usual, family));
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
    }

    #[test]
    fn every_entry_and_default_can_be_asked_for() {
        for entry in METRICS {
            let name = entry.name.replace("@k", "@3");
            assert_eq!(Metric::parse(&name).unwrap().name(), name);
            assert!(!entry.summary.is_empty());
        }
        for name in DEFAULT_METRICS {
            assert_eq!(Metric::parse(name).unwrap().name(), *name);
        }
    }

    #[test]
    fn a_missing_or_wrong_depth_is_refused() {
        for name in ["recall", "recall@", "recall@0", "recall@-1", "recall@+1", "recall@1.5"] {
            let error = Metric::parse(name).unwrap_err();
            let expected = RankingError::MetricDepth { name: name.into(), pattern: "recall@k" };
            assert_eq!(error, expected);
        }
        assert!(matches!(Metric::parse("map@0"), Err(RankingError::MetricDepth { .. })));
        assert!(matches!(Metric::parse("map@99999999999"), Err(RankingError::MetricDepth { .. })));
    }

    #[test]
    fn metrics_that_come_later_are_told_from_unknown_ones() {
        for name in ["nmi", "c_f1", "dists@intra", "rho_spectrum@-1"] {
            let error = Metric::parse(name).unwrap_err();
            assert_eq!(error, RankingError::MetricNotYet { name: name.into() });
        }
        for name in ["ndcg@10", "Recall@1", "mrr@5", ""] {
            let error = Metric::parse(name).unwrap_err();
            assert!(matches!(error, RankingError::UnknownMetric { .. }), "{error}");
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_tiles_or_threads() {
        let values: Vec<f32> = unit_rows(700, 20, 8);
        let labels: Vec<u32> = (0..700).map(|i| i * 77 % 700 / (1 + i % 9)).collect();
        let embeddings = Embeddings::new(&values, 20).unwrap();
        let metrics: Vec<Metric> =
            METRICS.iter().map(|e| Metric::parse(&e.name.replace("@k", "@5")).unwrap()).collect();
        let options = EvalOptions::default();
        let run =
            |tiling| evaluate_tiled(&embeddings, &labels, &metrics, &options, tiling).unwrap();
        let expected = run(Tiling::default());
        for (queries, references, few, threads) in
            [(128, 1024, 32, 1), (128, 1024, 32, 3), (1, 700, 0, 3), (33, 19, 4, 2)]
        {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let evaluation = pool.install(|| run(Tiling { queries, references, few }));
            assert_eq!(evaluation, expected, "{queries} x {references}, {threads} threads");
        }
    }
}
