//! The nearest items of each query, exactly, by looking at all of them.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;

use crate::distance::Distance;
use crate::error::RankingError;
use crate::prepared::{Frame, Panel, Panels, Prepared};
use crate::rows::Rows;
use crate::vectorised::vectorised;

/// How the work is cut.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    /// Queries in a block.
    queries: usize,
    /// References in a tile.
    references: usize,
    /// How many values a panel of rows may have.
    panel: usize,
    /// How many candidates may be kept, over all queries of a panel.
    candidates: usize,
}

const TILING: Tiling =
    Tiling { queries: 128, references: 1024, panel: 1 << 24, candidates: 1 << 25 };

/// The nearest items of each query, the nearest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Ids in the gallery, `[queries, k]`, row-major.
    pub indices: Vec<u32>,
    /// For [`Distance::Cosine`] the similarities, falling; for [`Distance::Euclidean`] the
    /// distances, rising. `[queries, k]`, row-major.
    pub values: Vec<f32>,
    /// How many neighbours each query has: as many as asked for, or all there are.
    pub k: usize,
}

impl Neighbours {
    /// One query's neighbours with their similarities or distances. Nothing for a query that does
    /// not exist.
    pub fn of(&self, query: usize) -> impl Iterator<Item = (u32, f32)> {
        let start = query.saturating_mul(self.k).min(self.indices.len());
        let end = (start + self.k).min(self.indices.len());
        let pairs = self.indices[start..end].iter().zip(&self.values[start..end]);
        pairs.map(|(&index, &value)| (index, value))
    }
}

/// Finds the `k` nearest items of `gallery` for each query, or, without a gallery, the nearest of
/// the other queries: a query is then left out by its id, while duplicates of it stay.
///
/// Items that are equally near come by the lower id. With fewer than `k` items to find, all of
/// them are returned, and [`Neighbours::k`] says how many. Candidates are picked by nearness in
/// f32, with all that rounding may have put behind the `k`-th; their similarities or distances are
/// then computed in f64 and decide, so that a duplicate is at distance 0. The result has the same
/// bits for any number of threads.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::metric::Distance;
/// use pnp_ranking::neighbours::nearest;
///
/// let values = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0];
/// let found = nearest(&Embeddings::new(&values, 2)?, None, 1, Distance::Cosine)?;
/// assert_eq!(found.indices, [1, 0, 1]);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
///
/// # Errors
/// [`RankingError::Setting`] for `k` = 0, [`RankingError::DimensionMismatch`],
/// [`RankingError::TooLarge`].
pub fn nearest<'a>(
    queries: impl Into<Rows<'a>>,
    gallery: Option<Rows<'a>>,
    k: usize,
    distance: Distance,
) -> Result<Neighbours, RankingError> {
    nearest_tiled(queries.into(), gallery, k, distance, TILING)
}

fn nearest_tiled(
    queries: Rows<'_>,
    gallery: Option<Rows<'_>>,
    k: usize,
    distance: Distance,
    tiling: Tiling,
) -> Result<Neighbours, RankingError> {
    if k == 0 {
        let rule = "ask for at least one neighbour";
        return Err(RankingError::Setting { setting: "k", value: "0".into(), rule });
    }
    let references = gallery.unwrap_or(queries);
    if queries.dim() != references.dim() {
        let (queries, gallery) = (queries.dim(), references.dim());
        return Err(RankingError::DimensionMismatch { queries, gallery });
    }
    let alone = gallery.is_none();
    let k = k.min(references.rows().saturating_sub(usize::from(alone)));
    let mut found = Neighbours { indices: Vec::new(), values: Vec::new(), k };
    let orders = [queries, references].map(|rows| (0..rows.rows() as u32).collect::<Vec<_>>());
    for (frame, _) in Frame::of(&queries, &references, &[distance])? {
        let [own, other] = [(queries, &orders[0]), (references, &orders[1])]
            .map(|(rows, order)| Prepared::new(rows, order, &frame));
        let search = Search { own: &own, other: &other, alone, k, distance, tiling };
        for places in search.stretches() {
            for candidate in search.stretch(places) {
                found.indices.push(candidate.id);
                found.values.push(candidate.value);
            }
        }
    }
    Ok(found)
}

/// An item that is among the nearest.
#[derive(Debug, Clone, Copy)]
struct Found {
    id: u32,
    value: f32,
}

struct Search<'a> {
    own: &'a Prepared<'a>,
    other: &'a Prepared<'a>,
    /// Queries and gallery are one set.
    alone: bool,
    k: usize,
    distance: Distance,
    tiling: Tiling,
}

/// What a task needs.
#[derive(Default)]
struct Space<'a> {
    tile: Vec<f32>,
    nearness: Vec<f32>,
    measure: Measure<'a>,
}

impl<'a> Search<'a> {
    /// Queries whose rows and candidates are in memory at once.
    fn stretches(&self) -> Vec<Range<usize>> {
        let most = self.tiling.panel / self.own.dim();
        let most = most.min(self.tiling.candidates / Nearest::room(self.k)).max(1);
        let rows = self.own.len();
        (0..rows).step_by(most).map(|start| start..(start + most).min(rows)).collect()
    }

    /// The nearest of each query, `k` each.
    fn stretch(&self, queries: Range<usize>) -> Vec<Found> {
        // Few queries make small blocks, so that every thread has some.
        let share = queries.len().div_ceil(4 * rayon::current_num_threads());
        let block = self.tiling.queries.min(share).max(1);
        let own = self.own.panel(queries.clone());
        let rounding = |query| self.own.rounding(query, self.distance);
        let lists = queries.clone().map(|query| Nearest::new(self.k, rounding(query)));
        let mut lists: Vec<Nearest> = lists.collect();
        let mut panels = Panels::new(self.other, self.tiling.references, self.tiling.panel);
        for i in 0..panels.len() {
            let panel = panels.read(i);
            let blocks = lists.par_chunks_mut(block).enumerate();
            blocks.for_each_init(Space::default, |space, (i, lists)| {
                let first = queries.start + i * block;
                self.offer(&own, first..first + lists.len(), panel, lists, space);
            });
        }
        let lists = queries.into_par_iter().zip(lists);
        let finish = |measure: &mut Measure<'a>, (query, list): (usize, Nearest)| {
            measure.begin(self, query);
            list.into_sorted(measure)
        };
        let lists: Vec<Vec<Found>> = lists.map_init(Measure::default, finish).collect();
        lists.into_iter().flatten().collect()
    }

    /// Offers all rows of a panel to some queries.
    fn offer(
        &self,
        own: &Panel,
        queries: Range<usize>,
        panel: &Panel,
        lists: &mut [Nearest],
        Space { tile, nearness, measure }: &mut Space<'a>,
    ) {
        let places = panel.places();
        nearness.resize(self.tiling.references, 0.0);
        for start in places.clone().step_by(self.tiling.references) {
            let columns = start..(start + self.tiling.references).min(places.end);
            own.products(queries.clone(), panel, columns.clone(), tile);
            let rows = tile.chunks_exact(columns.len());
            for ((products, list), query) in rows.zip(&mut *lists).zip(queries.clone()) {
                let row = &mut nearness[..columns.len()];
                vectorised(
                    #[inline(always)]
                    || {
                        let (own, other) = (self.own, self.other);
                        own.nearness(query, other, columns.clone(), self.distance, products, row);
                    },
                );
                if self.alone && columns.contains(&query) {
                    row[query - start] = f32::NEG_INFINITY;
                }
                list.offer(row, start as u32);
                if list.is_crowded() {
                    measure.begin(self, query);
                    list.measure(measure);
                }
            }
        }
    }
}

/// Computes how near references are to a query, in f64.
#[derive(Default)]
struct Measure<'a> {
    references: Option<Rows<'a>>,
    distance: Distance,
    query: Vec<f32>,
    reference: Vec<f32>,
    /// The query's length.
    length: f64,
}

impl<'a> Measure<'a> {
    /// Turns to a query.
    fn begin(&mut self, search: &Search<'a>, query: usize) {
        self.references = Some(search.other.rows());
        self.distance = search.distance;
        for row in [&mut self.query, &mut self.reference] {
            row.resize(search.own.dim(), 0.0);
        }
        search.own.rows().read(query, &mut self.query);
        self.length = inner(&self.query, &self.query).sqrt();
    }

    /// The squared distance, or the cosine with the sign changed: the less, the nearer.
    fn gap(&mut self, reference: u32) -> f64 {
        let Some(references) = &self.references else { return f64::INFINITY };
        references.read(reference as usize, &mut self.reference);
        let (query, reference) = (&self.query, &self.reference);
        match self.distance {
            Distance::Euclidean => squared_distance(query, reference),
            Distance::Cosine => {
                let lengths = self.length * inner(reference, reference).sqrt();
                if lengths > 0.0 { -inner(query, reference) / lengths + 0.0 } else { 0.0 }
            }
        }
    }

    /// What is told of a gap.
    fn value(&self, gap: f64) -> f32 {
        match self.distance {
            Distance::Euclidean => gap.sqrt() as f32,
            Distance::Cosine => (0.0 - gap) as f32,
        }
    }
}

/// Sums that run side by side, always added up in the same order.
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(a.into(), b.into());
        }
    }
    lanes.iter().sum()
}

fn inner(a: &[f32], b: &[f32]) -> f64 {
    sum_of(a, b, |a, b| a * b)
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    sum_of(a, b, |a, b| (a - b) * (a - b))
}

/// An item that may be among the nearest.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// The larger, the nearer, but for rounding.
    nearness: f32,
    id: u32,
    /// See [`Measure::gap`]; none before it is computed.
    gap: Option<f64>,
}

/// The `k` nearest so far, with some more that are thrown out from time to time.
#[derive(Debug, Clone)]
struct Nearest {
    candidates: Vec<Candidate>,
    k: usize,
    /// How far two nearnesses may be apart by rounding alone.
    rounding: f32,
    /// Nothing below this can be among the nearest any more.
    bar: f32,
    /// How many candidates make it look for those that can be thrown out.
    full: usize,
}

impl Nearest {
    fn new(k: usize, rounding: f32) -> Self {
        // Each of two is off by as much.
        let rounding = 2.0 * rounding;
        let bar = f32::MIN;
        Self { candidates: Vec::new(), k, rounding, bar, full: Self::room(k) }
    }

    /// How many candidates a list of `k` has at least room for.
    fn room(k: usize) -> usize {
        2 * k + 64
    }

    /// Takes in a row of references with the ids from `first` on.
    fn offer(&mut self, row: &[f32], first: u32) {
        for (&nearness, id) in row.iter().zip(first..) {
            if nearness >= self.bar {
                self.candidates.push(Candidate { nearness, id, gap: None });
                if self.candidates.len() >= self.full {
                    self.prune();
                }
            }
        }
    }

    /// Throws out what is farther than the `k`-th for certain.
    fn prune(&mut self) {
        if self.k == 0 {
            self.candidates.clear();
            return;
        }
        if self.candidates.len() > self.k {
            let nearer = |a: &Candidate, b: &Candidate| b.nearness.total_cmp(&a.nearness);
            self.candidates.select_nth_unstable_by(self.k - 1, nearer);
            self.bar = self.bar.max(self.candidates[self.k - 1].nearness - self.rounding);
            self.candidates.retain(|candidate| candidate.nearness >= self.bar);
        }
        self.full = Self::room(self.k).max(2 * self.candidates.len());
    }

    /// Whether rounding keeps many more than there is room for.
    fn is_crowded(&self) -> bool {
        self.candidates.len() > 4 * Self::room(self.k)
    }

    /// Computes the gaps, which decide, and keeps the `k` nearest.
    fn measure(&mut self, measure: &mut Measure<'_>) {
        for candidate in &mut self.candidates {
            candidate.gap.get_or_insert_with(|| measure.gap(candidate.id));
        }
        if self.k > 0 && self.candidates.len() > self.k {
            self.candidates.select_nth_unstable_by(self.k - 1, by_gap);
            self.candidates.truncate(self.k);
        }
        self.full = Self::room(self.k);
    }

    fn into_sorted(mut self, measure: &mut Measure<'_>) -> Vec<Found> {
        self.prune();
        self.measure(measure);
        self.candidates.sort_unstable_by(by_gap);
        let value = |candidate: &Candidate| measure.value(candidate.gap.unwrap_or(f64::INFINITY));
        self.candidates.iter().map(|c| Found { id: c.id, value: value(c) }).collect()
    }
}

/// The nearer first, then the lower id.
fn by_gap(a: &Candidate, b: &Candidate) -> Ordering {
    let gap = |candidate: &Candidate| candidate.gap.unwrap_or(f64::INFINITY);
    gap(a).total_cmp(&gap(b)).then(a.id.cmp(&b.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embeddings::Embeddings;
    use crate::test_data::noise;

    /// Few values, so that many items tie and distances are exact.
    fn coarse(rows: usize, dim: usize, seed: u64) -> Vec<f32> {
        noise::<f32>(rows * dim, seed).into_iter().map(|v| (v * 2.0).round()).collect()
    }

    /// Sorts all distances.
    fn by_sorting(queries: &[f32], gallery: &[f32], dim: usize, k: usize, same: bool) -> Vec<u32> {
        let mut indices = Vec::new();
        for (q, query) in queries.chunks_exact(dim).enumerate() {
            let distances = gallery.chunks_exact(dim).map(|reference| -> f32 {
                query.iter().zip(reference).map(|(a, b)| (a - b) * (a - b)).sum()
            });
            let mut list: Vec<(u32, f32)> =
                (0..).zip(distances).filter(|&(i, _)| !same || i as usize != q).collect();
            list.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            indices.extend(list.iter().take(k).map(|&(i, _)| i));
        }
        indices
    }

    #[test]
    fn neighbours_equal_those_of_a_full_sort_in_any_tiling() {
        let dim = 3;
        let (x, y) = (coarse(70, dim, 1), coarse(300, dim, 2));
        let (q, g) = (Rows::f32(&x, dim).unwrap(), Rows::f32(&y, dim).unwrap());
        for k in [1, 5, 299, 1000] {
            for (queries, references, panel, candidates) in
                [(128, 1024, 1 << 24, 1 << 24), (1, 1, 3, 1), (7, 33, 120, 4000)]
            {
                let tiling = Tiling { queries, references, panel, candidates };
                let found = nearest_tiled(q, Some(g), k, Distance::Euclidean, tiling).unwrap();
                assert_eq!(found.indices, by_sorting(&x, &y, dim, k, false));
                assert_eq!(found.k, k.min(300));
                let found = nearest_tiled(g, None, k, Distance::Euclidean, tiling).unwrap();
                assert_eq!(found.indices, by_sorting(&y, &y, dim, k, true));
                assert_eq!(found.k, k.min(299));
            }
        }
    }

    #[test]
    fn a_duplicate_is_found_but_not_the_query_itself() {
        let values = [1.0_f32, 2.0, 1.0, 2.0, 1.0, 2.0, 5.0, 5.0];
        let embeddings = Embeddings::new(&values, 2).unwrap();
        let found = nearest(embeddings, None, 2, Distance::Euclidean).unwrap();
        assert_eq!(found.of(1).collect::<Vec<_>>(), [(0, 0.0), (2, 0.0)]);
        assert_eq!(found.of(3).map(|(id, _)| id).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(found.of(4).count(), 0);
    }

    #[test]
    fn duplicates_are_found_where_f32_does_not_tell_them_apart() {
        // Two groups far from each other and from their mean, each row twice.
        const DIM: usize = 32;
        let near = noise::<f32>(200 * DIM, 7);
        let side = |i: usize| if i / DIM < 100 { 3000.0 } else { -3000.0 };
        let once: Vec<f32> = near.iter().enumerate().map(|(i, v)| side(i) + 0.1 * v).collect();
        let values = [once.clone(), once].concat();
        let rows = Rows::f32(&values, DIM).unwrap();
        let found = nearest(rows, None, 1, Distance::Euclidean).unwrap();
        for query in 0..400 {
            let twin = (query + 200) % 400;
            assert_eq!(found.of(query).next(), Some((twin as u32, 0.0)));
        }
        // All of one row: the lowest ids.
        let same = vec![0.1_f32; 3000 * 3];
        for distance in [Distance::Euclidean, Distance::Cosine] {
            let found = nearest(Rows::f32(&same, 3).unwrap(), None, 2, distance).unwrap();
            assert_eq!(found.of(2999).map(|(id, _)| id).collect::<Vec<_>>(), [0, 1]);
            assert_eq!(found.of(0).map(|(id, _)| id).collect::<Vec<_>>(), [1, 2]);
        }
    }

    #[test]
    fn cosine_values_are_similarities() {
        let queries = [3.0_f32, 0.0];
        let gallery = [0.0_f32, 1.0, 2.0, 0.0, 0.6, 0.8];
        let (q, g) = (Rows::f32(&queries, 2).unwrap(), Rows::f32(&gallery, 2).unwrap());
        let found = nearest(q, Some(g), 3, Distance::Cosine).unwrap();
        assert_eq!(found.indices, [1, 2, 0]);
        assert_eq!(found.values, [1.0, 0.6, 0.0]);
    }

    #[test]
    fn nothing_to_find_is_an_empty_list() {
        let one = Rows::f32(&[1.0, 0.0], 2).unwrap();
        let none = Rows::f32(&[], 2).unwrap();
        for (queries, gallery) in [(one, None), (one, Some(none)), (none, Some(one)), (none, None)]
        {
            let found = nearest(queries, gallery, 3, Distance::Cosine).unwrap();
            assert!(found.indices.is_empty() && found.values.is_empty());
        }
    }

    #[test]
    fn no_neighbours_and_other_dimensions_are_refused() {
        let two = Rows::f32(&[1.0, 0.0], 2).unwrap();
        let one = Rows::f32(&[1.0], 1).unwrap();
        let error = nearest(two, None, 0, Distance::Cosine).unwrap_err();
        assert!(matches!(error, RankingError::Setting { setting: "k", .. }), "{error}");
        let error = nearest(two, Some(one), 1, Distance::Cosine).unwrap_err();
        assert_eq!(error, RankingError::DimensionMismatch { queries: 2, gallery: 1 });
    }
}
