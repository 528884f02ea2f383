//! Where each query's positives stand in its ranked list.
//!
//! Items are sorted by class, so that the positives of a query are one run of places. Their
//! nearness is computed first and sorted; then the negatives go by, tile by tile, and for each
//! positive those that rank before it are counted ([`Positives`]). The order is: nearest first,
//! equal nearness by the lower id.
//!
//! One tile of products serves both distances. Where queries and gallery are one set, it also
//! serves both directions, so that half the tiles do: that needs the positives of all queries in
//! memory. Where those are too many, or there is a gallery apart, stretches of queries go by with
//! all tiles, and nothing larger than a stretch's positives is kept. Both count the same.
//!
//! Rows are read in panels of many tiles, two at a time: a set may be larger than memory.
//!
//! Counting compares similarities that come from different products; they can be compared for
//! equality since a product's bits do not depend on its tile (see `product`).

use std::ops::Range;

use rayon::prelude::*;

use super::counting::{Positives, RowSpace, SortSpace};
use super::ordered::Side;
use crate::distance::Distance;
use crate::prepared::Panels;

/// How the work is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Queries in a block.
    pub(super) queries: usize,
    /// References in a tile.
    pub(super) references: usize,
    /// The side of a tile that serves both directions.
    pub(super) side: usize,
    /// How many pairs of one class may be kept, over all distances.
    pub(super) pairs: usize,
    /// How many values a panel may have.
    pub(super) panel: usize,
}

impl Default for Tiling {
    fn default() -> Self {
        // 32 million pairs take 416 MiB, a panel 64.
        Self { queries: 128, references: 1024, side: 512, pairs: 1 << 25, panel: 1 << 24 }
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
    queries: Side<'_>,
    gallery: Option<Side<'_>>,
    distances: &[Distance],
    tiling: Tiling,
    visit: impl Fn(usize, &[QueryRanks<'_>]) -> R + Sync,
) -> Ranking<R> {
    let set = queries.set;
    let found = match gallery {
        None if set.pairs(set) * distances.len() <= tiling.pairs => {
            by_half(queries, distances, tiling, &visit)
        }
        gallery => by_stretches(queries, gallery.unwrap_or(queries), distances, tiling, &visit),
    };
    let mut ranking = Ranking { results: vec![R::default(); set.len()], ties: 0 };
    let mut place = 0;
    for (results, ties) in found {
        ranking.ties += ties;
        for result in results {
            ranking.results[set.id(place) as usize] = result;
            place += 1;
        }
    }
    ranking
}

/// What `visit` made of the queries of neighbouring places, and their ties.
type Visited<R> = (Vec<R>, usize);

/// Some blocks of queries at a time, each with all tiles of the gallery.
fn by_stretches<R: Send>(
    queries: Side<'_>,
    gallery: Side<'_>,
    distances: &[Distance],
    tiling: Tiling,
    visit: &(impl Fn(usize, &[QueryRanks<'_>]) -> R + Sync),
) -> Vec<Visited<R>> {
    /// How many positives a block may have.
    const POSITIVES: usize = 1 << 22;
    let size = (POSITIVES / gallery.set.largest_class().max(1)).clamp(1, tiling.queries);
    let mut panels = Panels::new(gallery.prepared, tiling.references, tiling.panel);
    let mut visited = Vec::new();
    for stretch in stretches(queries, gallery, size, distances.len(), tiling) {
        let own = queries.prepared.panel(stretch.clone());
        let of_stretch = blocks(stretch, size);
        let positives = sorted(queries, gallery, &of_stretch, distances);
        for i in 0..panels.len() {
            let panel = panels.read(i);
            let tiles = blocks(panel.places(), tiling.references);
            let pairs = of_stretch.iter().zip(&positives);
            let pairs: Vec<_> =
                pairs.flat_map(|pair| tiles.iter().map(move |tile| (pair, tile))).collect();
            pairs.into_par_iter().for_each_init(Space::default, |space, (block, tile)| {
                let ((rows, positives), columns) = (block, tile);
                own.products(rows.clone(), panel, columns.clone(), &mut space.tile);
                space.count(queries, rows, gallery, columns, positives);
            });
        }
        visited.extend(finish(queries, of_stretch, &positives, visit));
    }
    visited
}

/// The places of the queries in runs of whole blocks, each as long as a panel and its positives
/// may be.
fn stretches(
    queries: Side<'_>,
    gallery: Side<'_>,
    block: usize,
    distances: usize,
    tiling: Tiling,
) -> Vec<Range<usize>> {
    let longest = (tiling.panel / queries.prepared.dim()).max(block);
    let pairs = |places: &Range<usize>| -> usize {
        places.clone().map(|place| queries.set.positives(place, gallery.set)).sum()
    };
    let mut stretches: Vec<Range<usize>> = Vec::new();
    let mut kept = 0;
    for places in blocks(0..queries.set.len(), block) {
        let more = pairs(&places) * distances;
        match stretches.last_mut() {
            Some(last) if places.end - last.start <= longest && kept + more <= tiling.pairs => {
                last.end = places.end;
                kept += more;
            }
            _ => {
                stretches.push(places);
                kept = more;
            }
        }
    }
    stretches
}

/// All pairs of blocks of one set, each once, for both directions.
fn by_half<R: Send>(
    set: Side<'_>,
    distances: &[Distance],
    tiling: Tiling,
    visit: &(impl Fn(usize, &[QueryRanks<'_>]) -> R + Sync),
) -> Vec<Visited<R>> {
    let sides = blocks(0..set.set.len(), tiling.side);
    let positives = sorted(set, set, &sides, distances);
    let mut upper = Panels::new(set.prepared, tiling.side, tiling.panel);
    let mut lower = Panels::new(set.prepared, tiling.side, tiling.panel);
    for i in 0..upper.len() {
        let rows = upper.read(i);
        for j in i..lower.len() {
            let columns = if i == j { rows } else { lower.read(j) };
            let of = |places: Range<usize>| {
                let (first, end) = (places.start / tiling.side, places.end.div_ceil(tiling.side));
                first..end
            };
            let pairs = of(rows.places()).flat_map(|a| of(columns.places()).map(move |b| (a, b)));
            let pairs: Vec<(usize, usize)> = pairs.filter(|(a, b)| a <= b).collect();
            pairs.into_par_iter().for_each_init(Space::default, |space, (a, b)| {
                let (above, beside) = (&sides[a], &sides[b]);
                rows.products(above.clone(), columns, beside.clone(), &mut space.tile);
                space.count(set, above, set, beside, &positives[a]);
                if a != b {
                    space.turn(above.len(), beside.len());
                    space.count(set, beside, set, above, &positives[b]);
                }
            });
        }
    }
    finish(set, sides, &positives, visit)
}

/// What a task needs.
#[derive(Debug, Default)]
struct Space {
    tile: Vec<f32>,
    turned: Vec<f32>,
    row: RowSpace,
}

impl Space {
    /// Counts the negatives in the tile of products for the queries of its rows.
    fn count(
        &mut self,
        queries: Side<'_>,
        rows: &Range<usize>,
        gallery: Side<'_>,
        columns: &Range<usize>,
        positives: &[Positives],
    ) {
        for positives in positives {
            let products = self.tile.chunks_exact(columns.len());
            for (products, query) in products.zip(rows.clone()) {
                positives.count(queries, query, gallery, columns, products, &mut self.row);
            }
        }
    }

    /// Exchanges rows and columns of the tile.
    fn turn(&mut self, rows: usize, columns: usize) {
        transpose(&self.tile, rows, columns, &mut self.turned);
        std::mem::swap(&mut self.tile, &mut self.turned);
    }
}

fn blocks(places: Range<usize>, size: usize) -> Vec<Range<usize>> {
    let end = places.end;
    places.step_by(size).map(|start| start..(start + size).min(end)).collect()
}

/// The positives of each block by each distance.
fn sorted(
    queries: Side<'_>,
    gallery: Side<'_>,
    blocks: &[Range<usize>],
    distances: &[Distance],
) -> Vec<Vec<Positives>> {
    let of_block = |space: &mut SortSpace, block: &Range<usize>| {
        let of = |&distance| Positives::new(queries, gallery, block.clone(), distance, space);
        distances.iter().map(of).collect()
    };
    blocks.par_iter().map_init(SortSpace::default, of_block).collect()
}

fn finish<R: Send>(
    queries: Side<'_>,
    blocks: Vec<Range<usize>>,
    positives: &[Vec<Positives>],
    visit: &(impl Fn(usize, &[QueryRanks<'_>]) -> R + Sync),
) -> Vec<Visited<R>> {
    let of_block = |(block, positives): (Range<usize>, &Vec<Positives>)| {
        let mut ranks: Vec<Vec<u32>> = vec![Vec::new(); positives.len()];
        let results = block.map(|query| {
            for (positives, ranks) in positives.iter().zip(&mut ranks) {
                positives.ranks(query, ranks);
            }
            let ranks: Vec<_> = ranks.iter().map(|ranks| QueryRanks { ranks }).collect();
            visit(queries.set.id(query) as usize, &ranks)
        });
        (results.collect(), positives.iter().map(Positives::ties).sum())
    };
    blocks.into_par_iter().zip(positives).map(of_block).collect()
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
    use crate::metric::EvalSet;
    use crate::metric::ordered::Ordered;
    use crate::prepared::{Frame, Prepared};
    use crate::rows::Rows;
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
            let set = EvalSet::new(self.rows(), &self.labels).unwrap();
            if !named {
                return set;
            }
            set.with_ids(&self.ids).unwrap().with_groups(&self.groups).unwrap()
        }

        fn rows(&self) -> Rows<'_> {
            Rows::f32(&self.values, DIM).unwrap()
        }

        fn row(&self, i: usize) -> &[f32] {
            &self.values[i * DIM..(i + 1) * DIM]
        }
    }

    /// Everything that is made of items before they are ranked.
    fn with_side<R>(items: &Items, named: bool, is_both: bool, f: impl FnOnce(Side<'_>) -> R) -> R {
        let frame = Frame::plain(&items.rows(), &items.rows()).unwrap();
        let set = Ordered::new(&items.set(named), is_both);
        let prepared = Prepared::new(items.rows(), set.items(), &frame);
        f(Side { set: &set, prepared: &prepared })
    }

    fn ranks(
        queries: &Items,
        gallery: Option<&Items>,
        named: bool,
        tiling: Tiling,
    ) -> Ranking<Vec<u32>> {
        let distances = [Distance::Cosine, Distance::Euclidean];
        let visit = |_, ranks: &[QueryRanks<'_>]| ranks[1].ranks.to_vec();
        with_side(queries, named, gallery.is_none(), |own| match gallery {
            None => rank_queries(own, None, &distances, tiling, visit),
            Some(gallery) => with_side(gallery, named, false, |other| {
                rank_queries(own, Some(other), &distances, tiling, visit)
            }),
        })
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
            for (queries, references, side, panel) in [
                (128, 1024, 512, 1 << 24),
                (1, 1, 7, 0),
                (7, 50, 64, 64 * DIM),
                (64, 17, 1, 40 * DIM),
                (230, 230, 230, 100 * DIM),
            ] {
                for pairs in [0, 700, 1 << 25] {
                    let tiling = Tiling { queries, references, side, pairs, panel };
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
        let expected = ties_by_looking(&items, squared);
        assert!(expected > 1000, "the data should tie: {expected}");
        for pairs in [0, 1 << 25] {
            let tiling = Tiling { pairs, side: 64, ..Tiling::default() };
            let distances = [Distance::Euclidean];
            let rank = |own: Side<'_>| rank_queries(own, None, &distances, tiling, |_, _| ());
            assert_eq!(with_side(&items, false, true, rank).ties, expected);
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
