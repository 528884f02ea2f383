//! How many references rank before each positive: the counts that every ranking metric follows
//! from.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use super::ordered::Side;
use crate::distance::Distance;
use crate::prepared::Panel;
use crate::vectorised::vectorised;

/// The positives of some queries by one distance, each query's nearest first, with counts that
/// rise as negatives go by. Whole numbers, so that the order in which tiles come does not matter.
#[derive(Debug)]
pub(super) struct Positives {
    distance: Distance,
    /// The place of the first query.
    first: usize,
    /// Where each query's positives end.
    ends: Vec<usize>,
    nearness: Vec<f32>,
    ids: Vec<u32>,
    /// Negatives that rank before each. With more than [`FEW`] positives: those between the one
    /// before it and itself.
    before: Vec<AtomicU32>,
    /// Whether another item is exactly as near.
    tied: Vec<AtomicBool>,
}

/// With more positives than this, each negative looks for its place among them instead of each
/// positive counting the negatives before it.
pub(super) const FEW: usize = 32;

/// Space for the positives of some queries.
#[derive(Debug, Default)]
pub(super) struct SortSpace {
    own: Panel,
    others: Panel,
    tile: Vec<f32>,
    nearness: Vec<f32>,
    /// Each query's positives with their ids.
    lists: Vec<Vec<(f32, u32)>>,
}

impl SortSpace {
    /// Lists the positives of queries of one class, some columns at a time.
    fn list(
        &mut self,
        queries: Side<'_>,
        gallery: Side<'_>,
        places: Range<usize>,
        distance: Distance,
    ) {
        const COLUMNS: usize = 2048;
        let Self { own, others, tile, nearness, lists } = self;
        lists.resize_with(lists.len().max(places.len()), Vec::new);
        lists.iter_mut().for_each(Vec::clear);
        queries.prepared.fill(places.clone(), own);
        let class = gallery.set.places_of(queries.set.class_at(places.start));
        for start in class.clone().step_by(COLUMNS) {
            let columns = start..(start + COLUMNS).min(class.end);
            gallery.prepared.fill(columns.clone(), others);
            own.products(places.clone(), others, columns.clone(), tile);
            nearness.resize(columns.len(), 0.0);
            let rows = tile.chunks_exact(columns.len()).zip(&mut *lists);
            for (query, (products, list)) in places.clone().zip(rows) {
                let (from, to) = (queries.prepared, gallery.prepared);
                from.nearness(query, to, columns.clone(), distance, products, nearness);
                let counted =
                    columns.clone().filter(|&at| queries.set.may_rank(query, gallery.set, at));
                list.extend(counted.map(|at| (nearness[at - start], gallery.set.id(at))));
            }
        }
    }
}

/// Space for one row.
#[derive(Debug, Default)]
pub(super) struct RowSpace {
    nearness: Vec<f32>,
    counts: Vec<u32>,
}

impl Positives {
    /// Sorts the positives of the queries at these places.
    pub(super) fn new(
        queries: Side<'_>,
        gallery: Side<'_>,
        places: Range<usize>,
        distance: Distance,
        space: &mut SortSpace,
    ) -> Self {
        let most = places.clone().map(|place| queries.set.positives(place, gallery.set)).sum();
        let mut all = Self {
            distance,
            first: places.start,
            ends: Vec::with_capacity(places.len()),
            nearness: Vec::with_capacity(most),
            ids: Vec::with_capacity(most),
            before: Vec::with_capacity(most),
            tied: Vec::with_capacity(most),
        };
        let mut start = places.start;
        // Queries of one class have the same columns.
        while start < places.end {
            let end = places.end.min(queries.set.class_end(start));
            space.list(queries, gallery, start..end, distance);
            for list in &mut space.lists[..end - start] {
                all.push(list);
            }
            start = end;
        }
        all
    }

    /// Takes one query's positives in.
    fn push(&mut self, list: &mut [(f32, u32)]) {
        list.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        for (i, &(nearness, id)) in list.iter().enumerate() {
            let same = |j: usize| list.get(j).is_some_and(|other| other.0 == nearness);
            self.nearness.push(nearness);
            self.ids.push(id);
            self.before.push(AtomicU32::new(0));
            self.tied.push(AtomicBool::new(same(i.wrapping_sub(1)) || same(i + 1)));
        }
        self.ends.push(self.nearness.len());
    }

    /// The places in the arrays of one query's positives.
    fn of(&self, query: usize) -> Range<usize> {
        let i = query - self.first;
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        start..self.ends[i]
    }

    /// Counts a query's negatives among references that stand in these places of the gallery,
    /// given the products of scaled rows.
    pub(super) fn count(
        &self,
        queries: Side<'_>,
        query: usize,
        gallery: Side<'_>,
        places: &Range<usize>,
        products: &[f32],
        space: &mut RowSpace,
    ) {
        let own = self.of(query);
        if own.is_empty() {
            return;
        }
        let RowSpace { nearness, counts } = space;
        nearness.resize(places.len(), 0.0);
        vectorised(
            #[inline(always)]
            || {
                let (from, to) = (queries.prepared, gallery.prepared);
                from.nearness(query, to, places.clone(), self.distance, products, nearness);
            },
        );
        queries.set.mask(query, gallery.set, places, nearness);
        counts.clear();
        counts.resize(own.len(), 0);
        let ids = gallery.set.ids_in(places.clone());
        let list = List {
            nearness: &self.nearness[own.clone()],
            ids: &self.ids[own.clone()],
            tied: &self.tied[own.clone()],
        };
        if own.len() > FEW {
            list.look_up_places(nearness, ids, counts);
        } else {
            list.count_before(nearness, ids, counts);
        }
        for (before, &count) in self.before[own].iter().zip(&*counts) {
            if count > 0 {
                before.fetch_add(count, Relaxed);
            }
        }
    }

    /// The ranks of one query's positives, from 1, ascending.
    pub(super) fn ranks(&self, query: usize, ranks: &mut Vec<u32>) {
        ranks.clear();
        let own = self.of(query);
        let running = own.len() > FEW;
        let mut sum = 0;
        for (place, before) in (1..).zip(&self.before[own]) {
            let before = before.load(Relaxed);
            sum = if running { sum + before } else { before };
            ranks.push(place + sum);
        }
    }

    /// Pairs of a query and a positive that another item of the list is exactly as near as.
    pub(super) fn ties(&self) -> usize {
        self.tied.iter().filter(|tied| tied.load(Relaxed)).count()
    }
}

/// One query's positives while a row goes by.
struct List<'a> {
    nearness: &'a [f32],
    ids: &'a [u32],
    tied: &'a [AtomicBool],
}

impl List<'_> {
    /// Each positive counts the negatives of the row that rank before it: a vector comparison per
    /// element, which wins while there are few positives.
    fn count_before(&self, row: &[f32], ids: &[u32], counts: &mut [u32]) {
        for (i, (&nearness, count)) in self.nearness.iter().zip(counts).enumerate() {
            let (nearer, equal) = vectorised(
                #[inline(always)]
                || {
                    let (mut nearer, mut equal) = (0_u32, 0_u32);
                    for &other in row {
                        nearer += u32::from(other > nearness);
                        equal += u32::from(other == nearness);
                    }
                    (nearer, equal)
                },
            );
            *count += nearer;
            if equal > 0 {
                self.tied[i].store(true, Relaxed);
                let same = row.iter().zip(ids);
                let lower = same.filter(|&(&s, &id)| s == nearness && id < self.ids[i]);
                *count += lower.count() as u32;
            }
        }
    }

    /// Each negative finds the first positive that ranks after it: a bisection per element that is
    /// nearer than the last positive.
    fn look_up_places(&self, row: &[f32], ids: &[u32], counts: &mut [u32]) {
        let Some(&last) = self.nearness.last() else { return };
        for (&nearness, &id) in row.iter().zip(ids) {
            if nearness < last {
                continue;
            }
            let nearer = self.nearness.partition_point(|&p| p > nearness);
            let equal = self.nearness[nearer..].partition_point(|&p| p >= nearness);
            let lower = self.ids[nearer..nearer + equal].partition_point(|&p| p < id);
            if let Some(count) = counts.get_mut(nearer + lower) {
                *count += 1;
            }
            if equal == 1 {
                // More of them were tied with each other before.
                self.tied[nearer].store(true, Relaxed);
            }
        }
    }
}
