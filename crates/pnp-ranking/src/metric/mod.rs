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
mod map;
mod mrr;
mod ndcg;
mod ordered;
mod precision;
mod query_scores;
mod r_precision;
mod ranks;
mod recall;
mod set;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroI32;
use std::str::FromStr;

use ordered::Ordered;
use ranks::{QueryRanks, Ranking, Tiling, rank_queries};

pub use confidence::{Comparison, Interval, Resampling, bootstrap, check_level, compare};
pub use query_scores::QueryScores;
pub use set::EvalSet;

use crate::cluster::{Contingency, KMeansOptions, k_means};
pub use crate::distance::Distance;
use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::structure::{ClassDistances, Spectrum, class_distances, spectrum};

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
    /// The spectrum of the embeddings, from the value that the name gives on.
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

/// A metric that was asked for by name.
#[derive(Debug, Clone)]
pub struct Metric {
    name: String,
    entry: &'static MetricEntry,
    /// 0 for names without one.
    depth: usize,
    /// The m of `rho_spectrum@m`.
    from: Option<NonZeroI32>,
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
    /// [`RankingError::WholeSpectrum`] for `rho_spectrum@0`, [`RankingError::UnknownMetric`].
    pub fn parse(name: &str) -> Result<Self, RankingError> {
        let name = if name == "r_precision" { "r-precision" } else { name };
        if let Some(entry) = METRICS.iter().find(|entry| entry.name == name && !entry.takes_depth())
        {
            return Ok(Self { name: name.to_owned(), entry, depth: 0, from: None });
        }
        let (stem, depth) = name.split_once('@').unwrap_or((name, ""));
        if stem == "rho_spectrum" {
            return Self::parse_spectrum(name, depth);
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
                Ok(Self { name: format!("{stem}@{k}"), entry, depth: k as usize, from: None })
            }
            _ => Err(RankingError::MetricDepth { name: name.to_owned(), pattern: entry.name }),
        }
    }

    fn parse_spectrum(name: &str, from: &str) -> Result<Self, RankingError> {
        match from.parse::<i32>().map(NonZeroI32::new) {
            Ok(Some(from)) => Ok(Self {
                name: format!("rho_spectrum@{from}"),
                entry: &class_structure::RHO_SPECTRUM,
                depth: 0,
                from: Some(from),
            }),
            Ok(None) => Err(RankingError::WholeSpectrum),
            Err(_) => Err(RankingError::MetricDepth {
                name: name.to_owned(),
                pattern: class_structure::RHO_SPECTRUM.name,
            }),
        }
    }

    /// The name in its usual form.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether each query has a score of its own, and the metric is their mean.
    pub fn is_ranked(&self) -> bool {
        matches!(self.entry.score, Score::Ranks(_))
    }

    /// The metrics it belongs with, for tables and plots, as `recall` or `clustering`.
    pub fn family(&self) -> &'static str {
        self.entry.family
    }
}

impl MetricEntry {
    fn takes_depth(&self) -> bool {
        self.name.ends_with("@k") || self.name.ends_with("@m")
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
    /// The seed of the clustering. Default: 0.
    pub seed: u64,
}

/// What [`evaluate`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Names and scores in the order asked for, 0 to 1 but for distances and divergences.
    pub scores: Vec<(String, f64)>,
    /// What the scores are means over.
    pub counts: EvalCounts,
    /// Every query's scores by the ranking metrics, for intervals, tables and comparisons.
    pub queries: QueryScores,
}

/// What an evaluated set held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvalCounts {
    /// Embeddings in the set.
    pub items: usize,
    /// Different labels.
    pub classes: usize,
    /// Queries with a positive in their list.
    pub queries: usize,
    /// Queries without one: left out by the new names, misses for the old ones.
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

/// Scores a set of embeddings, `[items, dim]`, with one label per item: each item is a query
/// against all the others.
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
    evaluate_sets(&EvalSet::new(*embeddings, labels)?, None, metrics, options)
}

/// Scores queries against a gallery, or, without one, against each other.
///
/// Labels of both sets are the same classes. With ids, references that have the query's are left
/// out of its list, whatever their label; with groups, those of its class and group are (other
/// shots of one camera, say). Counts and classes are those of the queries.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::metric::{EvalOptions, EvalSet, Metric, evaluate_sets};
///
/// let (queries, gallery) = ([1.0, 0.0], [0.9, 0.1, 0.0, 1.0, 0.7, 0.7]);
/// let queries = EvalSet::new(Embeddings::new(&queries, 2)?, &[7])?;
/// let gallery = EvalSet::new(Embeddings::new(&gallery, 2)?, &[9, 9, 7])?;
/// let metrics = [Metric::parse("recall@1")?, Metric::parse("mrr")?];
/// let found = evaluate_sets(&queries, Some(&gallery), &metrics, &EvalOptions::default())?;
/// assert_eq!(found.scores.iter().map(|score| score.1).collect::<Vec<_>>(), [0.0, 0.5]);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
///
/// # Errors
/// As [`evaluate`], and [`RankingError::DimensionMismatch`].
pub fn evaluate_sets(
    queries: &EvalSet<'_>,
    gallery: Option<&EvalSet<'_>>,
    metrics: &[Metric],
    options: &EvalOptions,
) -> Result<Evaluation, RankingError> {
    evaluate_tiled(queries, gallery, metrics, options, Tiling::default())
}

fn evaluate_tiled(
    queries: &EvalSet<'_>,
    gallery: Option<&EvalSet<'_>>,
    metrics: &[Metric],
    options: &EvalOptions,
    tiling: Tiling,
) -> Result<Evaluation, RankingError> {
    if let Some(gallery) = gallery {
        let (own, other) = (queries.embeddings.dim(), gallery.embeddings.dim());
        if own != other {
            return Err(RankingError::DimensionMismatch { queries: own, gallery: other });
        }
        let sides = [
            (queries.ids.is_some(), gallery.ids.is_some(), "ids"),
            (queries.groups.is_some(), gallery.groups.is_some(), "groups"),
        ];
        if let Some((.., what)) = sides.iter().find(|(own, other, _)| own != other) {
            return Err(RankingError::OneSided { what });
        }
    }
    let own = Ordered::new(queries, gallery.is_none())?;
    let other = gallery.map(|gallery| Ordered::new(gallery, false)).transpose()?;
    let against = other.as_ref().unwrap_or(&own);
    check_depths(metrics, &own, against)?;
    let lone: Vec<bool> = own.lone(against);
    let counts = count(&own, &queries.embeddings, &lone);
    if counts.queries == 0 {
        return Err(RankingError::NoPositives { items: counts.items });
    }
    let (scores, ties) = rank(&own, other.as_ref(), metrics, options, tiling, lone);
    let means: HashMap<String, f64> = scores.means().into_iter().collect();
    let set = set_scores(queries, metrics, options, counts.classes)?;
    let value = |metric: &Metric| {
        let ranked = means.get(&metric.name).copied();
        ranked.or_else(|| set.get(&metric.name).copied()).unwrap_or(f64::NAN)
    };
    let all = metrics.iter().map(|metric| (metric.name.clone(), value(metric)));
    Ok(Evaluation { scores: all.collect(), counts: EvalCounts { ties, ..counts }, queries: scores })
}

/// Every query's scores by the metrics that are made of ranks, and the ties.
fn rank(
    own: &Ordered,
    other: Option<&Ordered>,
    metrics: &[Metric],
    options: &EvalOptions,
    tiling: Tiling,
    lone: Vec<bool>,
) -> (QueryScores, usize) {
    // Which distances are wanted, and which of them each metric takes.
    let mut distances: Vec<Distance> = Vec::new();
    let mut ranked: Vec<(&Metric, OfRanks, usize)> = Vec::new();
    for metric in metrics {
        let Score::Ranks(score) = metric.entry.score else { continue };
        let distance = metric.entry.distance.unwrap_or(options.distance);
        let place = distances.iter().position(|&d| d == distance).unwrap_or_else(|| {
            distances.push(distance);
            distances.len() - 1
        });
        ranked.push((metric, score, place));
    }
    let ranking = if distances.is_empty() {
        Ranking { results: Vec::new(), ties: 0 }
    } else {
        rank_queries(own, other, &distances, tiling, |_, ranks| {
            let scores = ranked.iter().map(|&(metric, score, distance)| {
                let query = ranks[distance];
                // Whether a lone query enters the mean is the metric's affair.
                if query.positives() == 0 { 0.0 } else { score(query, metric.depth) }
            });
            scores.collect::<Vec<f64>>()
        })
    };
    let names = ranked.iter().map(|(metric, ..)| metric.name.clone()).collect();
    let zeros = ranked.iter().map(|(metric, ..)| metric.entry.lone == Lone::Zero).collect();
    let values = ranking.results.concat();
    (QueryScores::new(names, values, lone, zeros), ranking.ties)
}

/// The metrics of the set as a whole, by name. What several need is computed once.
fn set_scores(
    set: &EvalSet<'_>,
    metrics: &[Metric],
    options: &EvalOptions,
    classes: usize,
) -> Result<HashMap<String, f64>, RankingError> {
    let mut clusters: [Option<Contingency>; 2] = [None, None];
    let (mut distances, mut spectrum): (Option<ClassDistances>, Option<Spectrum>) = (None, None);
    let mut scores = HashMap::new();
    for metric in metrics {
        let score = match metric.entry.score {
            Score::Ranks(_) => continue,
            Score::Clusters(score) => {
                let distance = metric.entry.distance.unwrap_or(options.distance);
                let place = &mut clusters[usize::from(distance == Distance::Cosine)];
                if place.is_none() {
                    let how = KMeansOptions {
                        distance,
                        seed: options.seed,
                        ..KMeansOptions::new(classes)
                    };
                    let found = k_means(&set.embeddings, &how)?;
                    *place = Some(Contingency::new(set.labels, &found.assignment)?);
                }
                place.as_ref().map(score)
            }
            Score::Classes(score) => {
                if distances.is_none() {
                    distances = Some(class_distances(&set.embeddings, set.labels)?);
                }
                distances.as_ref().and_then(score)
            }
            Score::Spectrum => {
                let spectrum = spectrum.get_or_insert_with(|| self::spectrum(&set.embeddings));
                metric.from.map(|from| spectrum.rho(from)).transpose()?
            }
        };
        let Some(score) = score else {
            return Err(RankingError::Undefined { name: metric.name.clone() });
        };
        scores.insert(metric.name.clone(), score);
    }
    Ok(scores)
}

fn check_depths(
    metrics: &[Metric],
    queries: &Ordered,
    gallery: &Ordered,
) -> Result<(), RankingError> {
    let mut deepest = metrics.iter().filter(|metric| metric.entry.within_gallery);
    let Some(first) = deepest.next() else { return Ok(()) };
    let deepest = deepest.fold(first, |a, b| if b.depth > a.depth { b } else { a });
    let lone = queries.lone(gallery);
    let enters = |query: &usize| !lone[queries.id(*query) as usize];
    let lengths = (0..queries.len()).filter(enters);
    let lengths = lengths.map(|query| queries.list_length(query, gallery));
    match lengths.min() {
        Some(shortest) if deepest.depth > shortest => {
            Err(RankingError::DepthBeyondGallery { name: deepest.name.clone(), gallery: shortest })
        }
        _ => Ok(()),
    }
}

fn count(queries: &Ordered, embeddings: &Embeddings<'_, f32>, lone: &[bool]) -> EvalCounts {
    let items = embeddings.rows();
    let lone_queries = lone.iter().filter(|&&lone| lone).count();
    let mut seen = HashSet::with_capacity(items);
    EvalCounts {
        items,
        classes: queries.class_count(),
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
            let name = entry.name.replace("@k", "@3").replace("@m", "@-1");
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
    fn unknown_names_are_refused() {
        for name in ["accuracy@10", "Recall@1", "mrr@5", "dists@width", "nmi@3", ""] {
            let error = Metric::parse(name).unwrap_err();
            assert!(matches!(error, RankingError::UnknownMetric { .. }), "{error}");
        }
    }

    #[test]
    fn the_spectrum_is_asked_for_from_a_value_on() {
        assert_eq!(Metric::parse("rho_spectrum@-1").unwrap().name(), "rho_spectrum@-1");
        assert_eq!(Metric::parse("rho_spectrum@0").unwrap_err(), RankingError::WholeSpectrum);
        let error = Metric::parse("rho_spectrum@x").unwrap_err();
        assert!(matches!(error, RankingError::MetricDepth { .. }), "{error}");
    }

    #[test]
    fn the_bits_do_not_depend_on_tiles_or_threads() {
        let values: Vec<f32> = unit_rows(700, 20, 8);
        let labels: Vec<u32> = (0..700).map(|i| i * 77 % 700 / (1 + i % 9)).collect();
        let embeddings = Embeddings::new(&values, 20).unwrap();
        let metrics: Vec<Metric> = METRICS
            .iter()
            .map(|e| Metric::parse(&e.name.replace("@k", "@5").replace("@m", "@1")).unwrap())
            .collect();
        let options = EvalOptions::default();
        let set = EvalSet::new(embeddings, &labels).unwrap();
        let run = |tiling| evaluate_tiled(&set, None, &metrics, &options, tiling).unwrap();
        let expected = run(Tiling::default());
        // With no pairs allowed, blocks of queries go by.
        for (queries, references, side, pairs, threads) in [
            (128, 1024, 512, 1 << 25, 1),
            (128, 1024, 33, 1 << 25, 3),
            (128, 1024, 700, 1 << 25, 2),
            (1, 700, 1, 0, 3),
            (33, 19, 1, 0, 2),
        ] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let tiling = Tiling { queries, references, side, pairs };
            let evaluation = pool.install(|| run(tiling));
            assert_eq!(evaluation, expected, "{tiling:?}, {threads} threads");
        }
    }
}
