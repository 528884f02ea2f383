//! Where each query's positives stand in its ranked list.
//!
//! Items are sorted by class, so that the positives of a query are one run of places. Their
//! nearness is computed first and sorted; then the negatives go by, tile by tile, and for each
//! positive those that rank before it are counted ([`Positives`]). The order is: nearest first,
//! equal nearness by the lower id.
//!
//! One tile of products serves both distances. Where queries and gallery are one set, it also
//! serves both directions, so that half the tiles do: that needs the positives of all queries in
//! memory. Where those are too many, or there is a gallery apart, blocks of queries go by with all
//! tiles, and nothing larger than a block's positives is kept. Both count the same.
//!
//! Counting compares similarities that come from different products; they can be compared for
//! equality since a product's bits do not depend on its tile (see `product`).

use std::ops::Range;

use rayon::prelude::*;

use super::counting::{Positives, RowSpace};
use super::ordered::Ordered;
use crate::distance::Distance;

/// How the work is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Queries in a block.
    pub(super) queries: usize,
    /// References in a tile.
    pub(super) references: usize,
    /// The side of a tile that serves both directions.
    pub(super) side: usize,
    /// How many pairs of one class may be kept, for both directions, over all distances.
    pub(super) pairs: usize,
}

impl Default for Tiling {
    fn default() -> Self {
        // 32 million pairs take 416 MiB.
        Self { queries: 128, references: 1024, side: 512, pairs: 1 << 25 }
    }
}

/// One query's result.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryRanks<'a> {
    /// The ranks of its positives, from 1, ascending. Empty for a query without one.
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
    /// Pairs of a query and a positive whose nearness another item has as well, bit for bit,
    /// added up over the distances.
    pub(super) ties: usize,
}

/// Ranks every query's list by each distance and calls `visit` with its id and its ranks, one for
/// each distance.
pub(super) fn rank_queries<R: Send + Default + Clone>(
    queries: &Ordered,
    gallery: Option<&Ordered>,
    distances: &[Distance],
    tiling: Tiling,
    visit: impl Fn(usize, &[QueryRanks<'_>]) -> R + Sync,
) -> Ranking<R> {
    let found = match gallery {
        None if queries.pairs(queries) * distances.len() <= tiling.pairs => {
            by_half(queries, distances, tiling, &visit)
        }
        gallery => by_blocks(queries, gallery.unwrap_or(queries), distances, tiling, &visit),
    };
    let mut ranking = Ranking { results: vec![R::default(); queries.len()], ties: 0 };
    let mut place = 0;
    for (results, ties) in found {
        ranking.ties += ties;
        for result in results {
            ranking.results[queries.id(place) as usize] = result;
            place += 1;
        }
    }
    ranking
}

/// What `visit` made of the queries of neighbouring places, and their ties.
type Visited<R> = (Vec<R>, usize);

/// Each block of queries with all tiles of the gallery.
fn by_blocks<R: Send>(
    queries: &Ordered,
    gallery: &Ordered,
    distances: &[Distance],
    tiling: Tiling,
    visit: &(impl Fn(usize, &[QueryRanks<'_>]) -> R + Sync),
) -> Vec<Visited<R>> {
    /// How many positives a block may have in memory.
    const POSITIVES: usize = 1 << 22;
    let size = (POSITIVES / gallery.largest_class().max(1)).clamp(1, tiling.queries);
    blocks(queries.len(), size)
        .into_par_iter()
        .map_init(Space::default, |space, block| {
            let positives = sorted(queries, gallery, block.clone(), distances, &mut space.tile);
            for places in blocks(gallery.len(), tiling.references) {
                let (from, to) = (&queries.prepared, &gallery.prepared);
                from.products(block.clone(), to, places.clone(), &mut space.tile);
                let rows = space.tile.chunks_exact(places.len()).zip(block.clone());
                for (products, query) in rows {
                    for positives in &positives {
                        let row = &mut space.row;
                        positives.count(queries, query, gallery, &places, products, row);
                    }
                }
            }
            finish(queries, block, &positives, visit)
        })
        .collect()
}

/// All pairs of blocks of one set, each once, for both directions.
fn by_half<R: Send>(
    set: &Ordered,
    distances: &[Distance],
    tiling: Tiling,
    visit: &(impl Fn(usize, &[QueryRanks<'_>]) -> R + Sync),
) -> Vec<Visited<R>> {
    let sides = blocks(set.len(), tiling.side);
    let positives: Vec<Vec<Positives>> = sides
        .par_iter()
        .map_init(Vec::new, |tile, block| sorted(set, set, block.clone(), distances, tile))
        .collect();
    let pairs = (0..sides.len()).flat_map(|i| (i..sides.len()).map(move |j| (i, j)));
    let pairs: Vec<(usize, usize)> = pairs.collect();
    pairs.into_par_iter().for_each_init(Space::default, |space, (i, j)| {
        let (rows, columns) = (&sides[i], &sides[j]);
        let Space { tile, turned, row } = space;
        set.prepared.products(rows.clone(), &set.prepared, columns.clone(), tile);
        for positives in &positives[i] {
            for (products, query) in tile.chunks_exact(columns.len()).zip(rows.clone()) {
                positives.count(set, query, set, columns, products, row);
            }
        }
        if i != j {
            transpose(tile, rows.len(), columns.len(), turned);
            for positives in &positives[j] {
                for (products, query) in turned.chunks_exact(rows.len()).zip(columns.clone()) {
                    positives.count(set, query, set, rows, products, row);
                }
            }
        }
    });
    let blocks = sides.into_par_iter().zip(&positives);
    blocks.map(|(block, positives)| finish(set, block, positives, visit)).collect()
}

/// What a task needs.
#[derive(Debug, Default)]
struct Space {
    tile: Vec<f32>,
    turned: Vec<f32>,
    row: RowSpace,
}

fn blocks(items: usize, size: usize) -> Vec<Range<usize>> {
    (0..items).step_by(size).map(|start| start..(start + size).min(items)).collect()
}

fn sorted(
    queries: &Ordered,
    gallery: &Ordered,
    block: Range<usize>,
    distances: &[Distance],
    tile: &mut Vec<f32>,
) -> Vec<Positives> {
    let of = |&distance| Positives::new(queries, gallery, block.clone(), distance, tile);
    distances.iter().map(of).collect()
}

fn finish<R>(
    queries: &Ordered,
    block: Range<usize>,
    positives: &[Positives],
    visit: &impl Fn(usize, &[QueryRanks<'_>]) -> R,
) -> Visited<R> {
    let mut ranks: Vec<Vec<u32>> = vec![Vec::new(); positives.len()];
    let results = block.map(|query| {
        for (positives, ranks) in positives.iter().zip(&mut ranks) {
            positives.ranks(query, ranks);
        }
        let ranks: Vec<QueryRanks<'_>> = ranks.iter().map(|ranks| QueryRanks { ranks }).collect();
        visit(queries.id(query) as usize, &ranks)
    });
    (results.collect(), positives.iter().map(Positives::ties).sum())
}

/// `out[j, i] = tile[i, j]`, in squares that stay in the first-level cache.
fn transpose(tile: &[f32], rows: usize, columns: usize, out: &mut Vec<f32>) {
    const SQUARE: usize = 16;
    out.resize(rows * columns, 0.0);
    for i0 in (0..rows).step_by(SQUARE) {
        for j0 in (0..columns).step_by(SQUARE) {
            for i in i0..(i0 + SQUARE).min(rows) {
                for j in j0..(j0 + SQUARE).min(columns) {
                    out[j * rows + i] = tile[i * columns + j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embeddings::Embeddings;
    use crate::metric::EvalSet;
    use crate::test_data::noise;

    const DIM: usize = 3;

    /// Items of few values, so that many tie, in classes of many sizes.
    struct Items {
        values: Vec<f32>,
        labels: Vec<u32>,
        ids: Vec<u64>,
        groups: Vec<u32>,
    }

    impl Items {
        fn new(rows: usize, seed: u64) -> Self {
            let values = noise::<f32>(rows * DIM, seed).into_iter().map(|v| (v * 2.0).round());
            let rows = rows as u32;
            Self {
                values: values.collect(),
                labels: (0..rows).map(|i| i * 37 % rows / (1 + i % 50)).collect(),
                // Some come twice.
                ids: (0..rows).map(|i| u64::from(i * 7 % rows / 2)).collect(),
                groups: (0..rows).map(|i| i % 3).collect(),
            }
        }

        fn set(&self, named: bool) -> EvalSet<'_> {
            let embeddings = Embeddings::new(&self.values, DIM).unwrap();
            let set = EvalSet::new(embeddings, &self.labels).unwrap();
            if !named {
                return set;
            }
            set.with_ids(&self.ids).unwrap().with_groups(&self.groups).unwrap()
        }

        fn row(&self, i: usize) -> &[f32] {
            &self.values[i * DIM..(i + 1) * DIM]
        }
    }

    fn ranks(
        queries: &Items,
        gallery: Option<&Items>,
        named: bool,
        tiling: Tiling,
    ) -> Ranking<Vec<u32>> {
        let own = Ordered::new(&queries.set(named), gallery.is_none()).unwrap();
        let other = gallery.map(|gallery| Ordered::new(&gallery.set(named), false).unwrap());
        let distances = [Distance::Cosine, Distance::Euclidean];
        rank_queries(&own, other.as_ref(), &distances, tiling, |_, ranks| ranks[1].ranks.to_vec())
    }

    /// Sorts each list in full. The values are small whole numbers, so that distances are exact.
    fn by_sorting(queries: &Items, gallery: Option<&Items>, named: bool) -> Vec<Vec<u32>> {
        let other = gallery.unwrap_or(queries);
        let list_of = |q: usize| {
            let distance = |i: usize| -> f32 {
                queries.row(q).iter().zip(other.row(i)).map(|(a, b)| (a - b) * (a - b)).sum()
            };
            let listed = |&i: &usize| {
                let same_class = queries.labels[q] == other.labels[i];
                let left_out = named
                    && (queries.ids[q] == other.ids[i]
                        || (same_class && queries.groups[q] == other.groups[i]));
                !left_out && (gallery.is_some() || i != q)
            };
            let mut list: Vec<usize> = (0..other.labels.len()).filter(listed).collect();
            list.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
            let positives =
                list.iter().zip(1..).filter(|(i, _)| other.labels[**i] == queries.labels[q]);
            positives.map(|(_, rank)| rank).collect()
        };
        (0..queries.labels.len()).map(list_of).collect()
    }

    fn ties_by_looking(items: &Items, distance: impl Fn(&[f32], &[f32]) -> f32) -> usize {
        let rows = items.labels.len();
        let mut ties = 0;
        for q in 0..rows {
            let to = |i: usize| distance(items.row(q), items.row(i));
            let positives = (0..rows).filter(|&i| i != q && items.labels[i] == items.labels[q]);
            ties += positives
                .filter(|&i| (0..rows).any(|j| j != q && j != i && to(j) == to(i)))
                .count();
        }
        ties
    }

    #[test]
    fn ranks_equal_those_of_a_full_sort_in_any_tiling() {
        let items = Items::new(230, 9);
        let gallery = Items::new(150, 4);
        for named in [false, true] {
            let alone = by_sorting(&items, None, named);
            let against = by_sorting(&items, Some(&gallery), named);
            for (queries, references, side) in
                [(128, 1024, 512), (1, 1, 7), (7, 50, 64), (64, 17, 1), (230, 230, 230)]
            {
                for pairs in [0, 1 << 25] {
                    let tiling = Tiling { queries, references, side, pairs };
                    let found = ranks(&items, None, named, tiling);
                    assert_eq!(found.results, alone, "{tiling:?}");
                    let found = ranks(&items, Some(&gallery), named, tiling);
                    assert_eq!(found.results, against, "{tiling:?}");
                }
            }
        }
    }

    #[test]
    fn ties_are_counted_by_either_way() {
        let items = Items::new(230, 9);
        let squared =
            |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum() };
        let own = Ordered::new(&items.set(false), true).unwrap();
        let expected = ties_by_looking(&items, squared);
        assert!(expected > 1000, "the data should tie: {expected}");
        for pairs in [0, 1 << 25] {
            let tiling = Tiling { pairs, side: 64, ..Tiling::default() };
            let ranking = rank_queries(&own, None, &[Distance::Euclidean], tiling, |_, _| ());
            assert_eq!(ranking.ties, expected);
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
