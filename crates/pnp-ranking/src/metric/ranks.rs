//! Where each query's positives stand in its ranked list.
//!
//! Items are sorted by class, so that the positives of a block of queries are one run of columns.
//! Their nearness is computed first and sorted; then the negatives go by, tile by tile, and for
//! each positive those that rank before it are counted. Nothing larger than a tile and a block's
//! positives is kept. The order is: nearest first, equal nearness by the lower id. The query is
//! left out by its id.
//!
//! Counting compares similarities that come from different products; they can be compared for
//! equality since a product's bits do not depend on its tile (see `product`).

use rayon::prelude::*;

use crate::classes::Classes;
use crate::distance::Prepared;
use crate::vectorised::vectorised;

/// How the work is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Queries in a block.
    pub(super) queries: usize,
    /// References in a tile.
    pub(super) references: usize,
    /// With more positives than this, each negative looks for its place among them instead of
    /// each positive counting the negatives before it.
    pub(super) few: usize,
}

impl Default for Tiling {
    fn default() -> Self {
        Self { queries: 128, references: 1024, few: 32 }
    }
}

/// One query's result.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryRanks<'a> {
    /// The ranks of its positives, from 1, ascending. Empty for a query alone in its class.
    pub(super) ranks: &'a [u32],
}

impl QueryRanks<'_> {
    /// How many positives there are, the query left out.
    pub(super) fn positives(&self) -> usize {
        self.ranks.len()
    }

    /// How many positives are among the first `depth` of the list.
    pub(super) fn hits(&self, depth: usize) -> usize {
        self.ranks.partition_point(|&rank| rank as usize <= depth)
    }

    /// The sum of the precisions at the positives among the first `depth` of the list.
    pub(super) fn precision_sum(&self, depth: usize) -> f64 {
        let hits = self.ranks.iter().zip(1..).take_while(|&(&rank, _)| rank as usize <= depth);
        hits.map(|(&rank, count)| f64::from(count) / f64::from(rank)).sum()
    }
}

/// What [`rank_queries`] found.
#[derive(Debug)]
pub(super) struct Ranking<R> {
    /// What `visit` made of each query, by id.
    pub(super) results: Vec<R>,
    /// Pairs of a query and a positive whose nearness another item has as well, bit for bit.
    pub(super) ties: usize,
}

/// Ranks every item's list and calls `visit` with it.
///
/// `prepared` holds the items in the order of `classes.items()`.
pub(super) fn rank_queries<R: Send + Default + Clone>(
    prepared: &Prepared,
    classes: &Classes,
    tiling: Tiling,
    visit: impl Fn(QueryRanks) -> R + Sync,
) -> Ranking<R> {
    let items = prepared.rows();
    let blocks = items.div_ceil(tiling.queries);
    let ranked: Vec<(Vec<R>, usize)> = (0..blocks)
        .into_par_iter()
        .map_init(Vec::new, |tile, block| {
            let first = block * tiling.queries;
            let queries = first..(first + tiling.queries).min(items);
            let mut block = Block::new(prepared, classes, queries, tile);
            block.count_negatives(prepared, classes, tiling, tile);
            block.finish(&visit)
        })
        .collect();
    let mut ranking = Ranking { results: vec![R::default(); items], ties: 0 };
    let mut places = classes.items().iter();
    for (results, ties) in ranked {
        ranking.ties += ties;
        for (result, &item) in results.into_iter().zip(places.by_ref()) {
            ranking.results[item as usize] = result;
        }
    }
    ranking
}

/// A positive of one query.
#[derive(Debug, Clone, Copy)]
struct Positive {
    nearness: f32,
    id: u32,
    /// Negatives that rank before it. While places are looked up: those between the positive
    /// before it and itself.
    before: u32,
    /// Another item has the same nearness.
    tied: bool,
}

/// A block of queries, by their places.
#[derive(Debug)]
struct Block {
    queries: std::ops::Range<usize>,
    /// The positives of all queries, each query's nearest first.
    positives: Vec<Positive>,
    /// Where each query's positives end.
    ends: Vec<usize>,
}

impl Block {
    /// Sorts the positives of the queries at these places.
    fn new(
        prepared: &Prepared,
        classes: &Classes,
        queries: std::ops::Range<usize>,
        tile: &mut Vec<f32>,
    ) -> Self {
        let ids = classes.items();
        let class_at = |place: usize| classes.places_of(ids[place] as usize);
        let columns = class_at(queries.start).start..class_at(queries.end - 1).end;
        prepared.nearness(queries.clone(), prepared, columns.clone(), tile);
        let (mut positives, mut ends) = (Vec::new(), Vec::new());
        for (query, row) in queries.clone().zip(tile.chunks_exact(columns.len())) {
            let start = positives.len();
            positives.extend(class_at(query).filter(|&place| place != query).map(|place| {
                let nearness = row[place - columns.start];
                Positive { nearness, id: ids[place], before: 0, tied: false }
            }));
            let list = &mut positives[start..];
            list.sort_unstable_by(|a, b| b.nearness.total_cmp(&a.nearness).then(a.id.cmp(&b.id)));
            for i in 1..list.len() {
                if list[i - 1].nearness == list[i].nearness {
                    list[i - 1].tied = true;
                    list[i].tied = true;
                }
            }
            ends.push(positives.len());
        }
        Self { queries, positives, ends }
    }

    /// Counts, for each positive, the negatives that rank before it.
    fn count_negatives(
        &mut self,
        prepared: &Prepared,
        classes: &Classes,
        tiling: Tiling,
        tile: &mut Vec<f32>,
    ) {
        let ids = classes.items();
        for start in (0..ids.len()).step_by(tiling.references) {
            let columns = start..(start + tiling.references).min(ids.len());
            prepared.nearness(self.queries.clone(), prepared, columns.clone(), tile);
            let mut rest = self.positives.as_mut_slice();
            let mut taken = 0;
            for ((row, &end), query) in
                tile.chunks_exact_mut(columns.len()).zip(&self.ends).zip(self.queries.clone())
            {
                let (list, others) = rest.split_at_mut(end - taken);
                (rest, taken) = (others, end);
                if list.is_empty() {
                    continue;
                }
                let class = classes.places_of(ids[query] as usize);
                let own = class.start.clamp(columns.start, columns.end) - columns.start
                    ..class.end.clamp(columns.start, columns.end) - columns.start;
                row[own].fill(f32::NEG_INFINITY);
                if list.len() > tiling.few {
                    look_up_places(row, &ids[columns.clone()], list);
                } else {
                    count_before(row, &ids[columns.clone()], list);
                }
            }
        }
        let mut start = 0;
        for &end in &self.ends {
            if end - start > tiling.few {
                let mut sum = 0;
                for positive in &mut self.positives[start..end] {
                    sum += positive.before;
                    positive.before = sum;
                }
            }
            start = end;
        }
    }

    /// Turns counts into ranks.
    fn finish<R>(self, visit: &impl Fn(QueryRanks) -> R) -> (Vec<R>, usize) {
        let ties = self.positives.iter().filter(|positive| positive.tied).count();
        let mut ranks = Vec::new();
        let mut start = 0;
        let results = self.ends.iter().map(|&end| {
            ranks.clear();
            let list = self.positives[start..end].iter().zip(1..);
            ranks.extend(list.map(|(positive, place): (_, u32)| place + positive.before));
            start = end;
            visit(QueryRanks { ranks: &ranks })
        });
        (results.collect(), ties)
    }
}

/// Each positive counts the negatives of the row that rank before it: a vector comparison per
/// element, which wins while there are few positives.
fn count_before(row: &[f32], ids: &[u32], positives: &mut [Positive]) {
    vectorised(
        #[inline(always)]
        || {
            for positive in positives.iter_mut() {
                let nearness = positive.nearness;
                let (mut nearer, mut equal) = (0_u32, 0_u32);
                for &other in row {
                    nearer += u32::from(other > nearness);
                    equal += u32::from(other == nearness);
                }
                positive.before += nearer;
                if equal > 0 {
                    positive.tied = true;
                    let same = row.iter().zip(ids);
                    let lower = same.filter(|&(&s, &id)| s == nearness && id < positive.id);
                    positive.before += lower.count() as u32;
                }
            }
        },
    );
}

/// Each negative finds the first positive that ranks after it: a bisection per element that is
/// nearer than the last positive.
fn look_up_places(row: &[f32], ids: &[u32], positives: &mut [Positive]) {
    let Some(last) = positives.last().map(|positive| positive.nearness) else { return };
    for (&nearness, &id) in row.iter().zip(ids) {
        if nearness < last {
            continue;
        }
        let place = positives
            .partition_point(|p| p.nearness > nearness || (p.nearness == nearness && p.id < id));
        if let Some(positive) = positives.get_mut(place) {
            positive.before += 1;
        }
        let tied_after = positives[place..].iter_mut().take_while(|p| p.nearness == nearness);
        tied_after.for_each(|p| p.tied = true);
        let tied_before =
            positives[..place].iter_mut().rev().take_while(|p| p.nearness == nearness);
        tied_before.for_each(|p| p.tied = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::Distance;
    use crate::embeddings::Embeddings;
    use crate::test_data::noise;

    /// Few values, so that many items tie.
    fn coarse(rows: usize, dim: usize) -> Vec<f32> {
        noise::<f32>(rows * dim, 9).into_iter().map(|v| (v * 2.0).round()).collect()
    }

    fn ranks(values: &[f32], dim: usize, labels: &[u32], tiling: Tiling) -> Ranking<Vec<u32>> {
        let classes = Classes::new(labels);
        let embeddings = Embeddings::new(values, dim).unwrap();
        let prepared = Prepared::new(&embeddings, classes.items(), Distance::Euclidean).unwrap();
        rank_queries(&prepared, &classes, tiling, |query| query.ranks.to_vec())
    }

    /// Sorts each list in full. The values are small whole numbers, so that distances are exact.
    fn ranks_by_sorting(values: &[f32], dim: usize, labels: &[u32]) -> Ranking<Vec<u32>> {
        let rows: Vec<&[f32]> = values.chunks_exact(dim).collect();
        let mut ranking = Ranking { results: Vec::new(), ties: 0 };
        for (q, query) in rows.iter().enumerate() {
            let distance = |i: usize| -> f32 {
                query.iter().zip(rows[i]).map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let mut list: Vec<usize> = (0..rows.len()).filter(|&i| i != q).collect();
            list.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
            let positives = list.iter().zip(1..).filter(|(i, _)| labels[**i] == labels[q]);
            ranking.results.push(positives.clone().map(|(_, rank)| rank).collect());
            ranking.ties += positives
                .filter(|&(&i, _)| list.iter().any(|&j| j != i && distance(i) == distance(j)))
                .count();
        }
        ranking
    }

    #[test]
    fn ranks_equal_those_of_a_full_sort_in_any_tiling() {
        let (rows, dim) = (230, 3);
        let values = coarse(rows, dim);
        let labels: Vec<u32> = (0..rows as u32).map(|i| i * 37 % 230 / (1 + i % 50)).collect();
        let expected = ranks_by_sorting(&values, dim, &labels);
        assert!(expected.ties > 1000, "the data should tie: {}", expected.ties);
        for (queries, references) in [(128, 1024), (1, 1), (7, 50), (64, 17), (230, 230)] {
            for few in [0, 3, 1000] {
                let ranking = ranks(&values, dim, &labels, Tiling { queries, references, few });
                assert_eq!(ranking.results, expected.results, "{queries} x {references}, {few}");
                assert_eq!(ranking.ties, expected.ties, "{queries} x {references}, {few}");
            }
        }
    }

    #[test]
    fn sums_over_a_list_stop_at_the_depth() {
        let query = QueryRanks { ranks: &[1, 4, 5] };
        assert_eq!(query.positives(), 3);
        assert_eq!([0, 1, 3, 4, 9].map(|depth| query.hits(depth)), [0, 1, 1, 2, 3]);
        assert_eq!(query.precision_sum(4), 1.0 + 2.0 / 4.0);
        assert_eq!(query.precision_sum(usize::MAX), 1.0 + 2.0 / 4.0 + 3.0 / 5.0);
    }
}
