//! From sets to scores: what the metrics need is found out, each need is computed once, and the
//! metrics are made of it.

use std::collections::HashMap;
use std::num::NonZeroI32;

use rayon::prelude::*;

use super::ordered::{Ordered, Side};
use super::ranks::{Tiling, rank_queries};
use super::{EvalSet, Lone, Metric, OfRanks, QueryScores, Score};
use crate::cluster::{Contingency, KMeansOptions, KMeansStart, k_means};
use crate::distance::Distance;
use crate::error::RankingError;
use crate::prepared::{Frame, Prepared};
use crate::rows::Rows;
use crate::structure::{ClassDistances, Spectrum, class_distances, spectrum};

/// How [`evaluate`] ranks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvalOptions {
    /// The distance of the new names; the PyTorch code's names carry their own. Default: cosine.
    pub distance: Distance,
    /// The seed of the clustering. Default: 0.
    pub seed: u64,
    /// Where the clustering starts. Default: k-means++.
    pub start: KMeansStart,
}

/// What [`evaluate`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Names and scores in the order asked for, 0 to 1 but for distances and divergences.
    pub scores: Vec<(String, f64)>,
    /// What was asked for and is a list of numbers, as `rho_spectrum@0` is.
    pub lists: Vec<(String, Vec<f64>)>,
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
/// against all the others. It takes [`Embeddings<f32>`](crate::Embeddings), or [`Rows`] of any
/// precision, in memory or in a mapped file.
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
pub fn evaluate<'a>(
    embeddings: impl Into<Rows<'a>>,
    labels: &'a [u32],
    metrics: &[Metric],
    options: &EvalOptions,
) -> Result<Evaluation, RankingError> {
    evaluate_sets(&EvalSet::new(embeddings, labels)?, None, metrics, options)
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
/// As [`evaluate`], [`RankingError::DimensionMismatch`], and [`RankingError::OneSided`] where only
/// one of both has ids or groups.
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
        check_sides(queries, gallery)?;
    }
    let own = Ordered::new(queries, gallery.is_none());
    let other = gallery.map(|gallery| (gallery, Ordered::new(gallery, false)));
    let against = other.as_ref().map_or(&own, |(_, ordered)| ordered);
    let lone: Vec<bool> = own.lone(against);
    check_depths(metrics, &own, against, &lone)?;
    let counts = count(&own, &queries.rows, &lone);
    if counts.queries == 0 {
        return Err(RankingError::NoPositives { items: counts.items });
    }
    // First what may not be defined.
    let of_set = of_set(queries, metrics, options, counts.classes)?;
    let other = other.as_ref().map(|(set, ordered)| (*set, ordered));
    let (scores, ties) = rank((queries, &own), other, metrics, options, tiling, lone)?;
    let means: HashMap<String, f64> = scores.means().into_iter().collect();
    let mut found = Evaluation {
        scores: Vec::with_capacity(metrics.len()),
        lists: Vec::new(),
        counts: EvalCounts { ties, ..counts },
        queries: scores,
    };
    for metric in metrics {
        let name = metric.name.clone();
        match of_set.get(&metric.name) {
            Some(Value::List(list)) => found.lists.push((name, list.clone())),
            Some(&Value::Score(score)) => found.scores.push((name, score)),
            None => found.scores.push((name, means[&metric.name])),
        }
    }
    Ok(found)
}

fn check_sides(queries: &EvalSet<'_>, gallery: &EvalSet<'_>) -> Result<(), RankingError> {
    let (own, other) = (queries.rows.dim(), gallery.rows.dim());
    if own != other {
        return Err(RankingError::DimensionMismatch { queries: own, gallery: other });
    }
    let sides = [
        (queries.ids.is_some(), gallery.ids.is_some(), "ids"),
        (queries.groups.is_some(), gallery.groups.is_some(), "groups"),
    ];
    match sides.iter().find(|(own, other, _)| own != other) {
        Some((.., what)) => Err(RankingError::OneSided { what }),
        None => Ok(()),
    }
}

/// A metric that is made of ranks.
struct Ranked<'a> {
    metric: &'a Metric,
    score: OfRanks,
    distance: Distance,
}

/// Every query's scores by the metrics that are made of ranks, and the ties.
fn rank(
    (queries, own): (&EvalSet<'_>, &Ordered),
    gallery: Option<(&EvalSet<'_>, &Ordered)>,
    metrics: &[Metric],
    options: &EvalOptions,
    tiling: Tiling,
    lone: Vec<bool>,
) -> Result<(QueryScores, usize), RankingError> {
    let ranked: Vec<Ranked<'_>> = metrics
        .iter()
        .filter_map(|metric| {
            let Score::Ranks(score) = metric.entry.score else { return None };
            let distance = metric.entry.distance.unwrap_or(options.distance);
            Some(Ranked { metric, score, distance })
        })
        .collect();
    let wanted = [Distance::Cosine, Distance::Euclidean].into_iter();
    let wanted: Vec<Distance> =
        wanted.filter(|wanted| ranked.iter().any(|ranked| ranked.distance == *wanted)).collect();
    let (mut values, mut ties) = (vec![0.0; lone.len() * ranked.len()], 0);
    let rows = gallery.map_or(&queries.rows, |(set, _)| &set.rows);
    for (frame, distances) in Frame::of(&queries.rows, rows, &wanted)? {
        let prepared = Prepared::new(queries.rows, own.items(), &frame);
        let other = gallery
            .map(|(set, ordered)| (ordered, Prepared::new(set.rows, ordered.items(), &frame)));
        let other = other.as_ref().map(|(set, prepared)| Side { set, prepared });
        let side = Side { set: own, prepared: &prepared };
        let here = |ranked: &Ranked<'_>| distances.iter().position(|&d| d == ranked.distance);
        let places: Vec<usize> =
            (0..ranked.len()).filter(|&place| here(&ranked[place]).is_some()).collect();
        let ranking = rank_queries(side, other, &distances, tiling, |_, ranks| {
            let of = |&place: &usize| {
                let ranked = &ranked[place];
                let query = ranks[here(ranked).unwrap_or_default()];
                // Whether a lone query enters the mean is the metric's affair.
                if query.positives() == 0 {
                    0.0
                } else {
                    (ranked.score)(query, ranked.metric.depth)
                }
            };
            places.iter().map(of).collect::<Vec<f64>>()
        });
        for (query, scores) in ranking.results.iter().enumerate() {
            for (&place, &score) in places.iter().zip(scores) {
                values[query * ranked.len() + place] = score;
            }
        }
        ties += ranking.ties;
    }
    let names = ranked.iter().map(|ranked| ranked.metric.name.clone()).collect();
    let zeros = ranked.iter().map(|ranked| ranked.metric.entry.lone == Lone::Zero).collect();
    Ok((QueryScores::new(names, values, lone, zeros), ties))
}

/// What a metric of the set as a whole is.
#[derive(Debug)]
enum Value {
    Score(f64),
    List(Vec<f64>),
}

/// The metrics of the set as a whole, by name. What several need is computed once.
fn of_set(
    set: &EvalSet<'_>,
    metrics: &[Metric],
    options: &EvalOptions,
    classes: usize,
) -> Result<HashMap<String, Value>, RankingError> {
    let mut clusters: [Option<Contingency>; 2] = [None, None];
    let (mut distances, mut spectrum): (Option<ClassDistances>, Option<Spectrum>) = (None, None);
    let mut values = HashMap::new();
    // The clustering last: it takes longest and is always defined.
    let is_clustering = |metric: &&Metric| matches!(metric.entry.score, Score::Clusters(_));
    let (clusterings, others): (Vec<&Metric>, Vec<&Metric>) =
        metrics.iter().partition(is_clustering);
    for metric in others.into_iter().chain(clusterings) {
        let value = match metric.entry.score {
            Score::Ranks(_) => continue,
            Score::Clusters(score) => {
                let distance = metric.entry.distance.unwrap_or(options.distance);
                let place = &mut clusters[usize::from(distance == Distance::Cosine)];
                if place.is_none() {
                    *place = Some(clustered(set, distance, options, classes)?);
                }
                place.as_ref().map(score).map(Value::Score)
            }
            Score::Classes(score) => {
                if distances.is_none() {
                    distances = Some(class_distances(set.rows, set.labels)?);
                }
                distances.as_ref().and_then(score).map(Value::Score)
            }
            Score::Spectrum => {
                let spectrum = spectrum.get_or_insert_with(|| self::spectrum(set.rows));
                Some(of_spectrum(spectrum, metric)?)
            }
        };
        let Some(value) = value else {
            return Err(RankingError::Undefined { name: metric.name.clone() });
        };
        values.insert(metric.name.clone(), value);
    }
    Ok(values)
}

/// A divergence, or from 0 on the whole spectrum.
fn of_spectrum(spectrum: &Spectrum, metric: &Metric) -> Result<Value, RankingError> {
    let from = metric.from.and_then(NonZeroI32::new);
    let rho = from.map(|from| spectrum.rho(from)).transpose()?;
    Ok(rho.map_or_else(|| Value::List(spectrum.shares()), Value::Score))
}

/// The classes beside as many clusters.
fn clustered(
    set: &EvalSet<'_>,
    distance: Distance,
    options: &EvalOptions,
    classes: usize,
) -> Result<Contingency, RankingError> {
    let (seed, start) = (options.seed, options.start);
    let how = KMeansOptions { seed, start, distance, ..KMeansOptions::new(classes) };
    Contingency::new(set.labels, &k_means(set.rows, &how)?.assignment)
}

/// Refuses a precision deeper than the shortest list.
fn check_depths(
    metrics: &[Metric],
    queries: &Ordered,
    gallery: &Ordered,
    lone: &[bool],
) -> Result<(), RankingError> {
    let limited = metrics.iter().filter(|metric| metric.entry.within_gallery);
    let Some(deepest) = limited.max_by_key(|metric| metric.depth) else { return Ok(()) };
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

fn count(queries: &Ordered, rows: &Rows<'_>, lone: &[bool]) -> EvalCounts {
    let items = rows.rows();
    let lone_queries = lone.iter().filter(|&&lone| lone).count();
    EvalCounts {
        items,
        classes: queries.class_count(),
        queries: items - lone_queries,
        lone_queries,
        duplicates: duplicates(rows),
        ties: 0,
    }
}

/// Rows with the same bits as one before them.
fn duplicates(rows: &Rows<'_>) -> usize {
    let hashes: Vec<u64> = (0..rows.rows()).into_par_iter().map(|row| rows.hash(row)).collect();
    let mut order: Vec<u32> = (0..rows.rows() as u32).collect();
    order.sort_unstable_by_key(|&row| (hashes[row as usize], row));
    let same_hash = |a: &u32, b: &u32| hashes[*a as usize] == hashes[*b as usize];
    // Rows of one hash are equal, but for chance.
    let of_run = |run: &[u32]| {
        let repeats = |place: &usize| {
            let same = |&before: &u32| rows.same_bits(before as usize, run[*place] as usize);
            run[..*place].iter().any(same)
        };
        (1..run.len()).filter(repeats).count()
    };
    order.chunk_by(same_hash).map(of_run).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embeddings::Embeddings;
    use crate::metric::METRICS;
    use crate::test_data::unit_rows;

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
        for (queries, references, side, pairs, panel, threads) in [
            (128, 1024, 512, 1 << 25, 1 << 24, 1),
            (128, 1024, 33, 1 << 25, 2000, 3),
            (128, 1024, 700, 1 << 25, 0, 2),
            (1, 700, 1, 0, 1 << 24, 3),
            (33, 19, 1, 0, 2000, 2),
        ] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let tiling = Tiling { queries, references, side, pairs, panel };
            let evaluation = pool.install(|| run(tiling));
            assert_eq!(evaluation, expected, "{tiling:?}, {threads} threads");
        }
    }
}
