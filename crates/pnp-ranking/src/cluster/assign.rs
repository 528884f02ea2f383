//! The nearest centre of every row, kept up to date while the centres move.
//!
//! Plain k-means multiplies all rows with all centres in each round. Most of that decides nothing,
//! so every row carries its nearness to its own centre and a bound above its nearness to all
//! others. When the centres move, the bound rises by as much as each centre can have come nearer:
//! with `x` a row, `m` the mean of all rows and `d` the step of a centre,
//! `<x, d> <= <m, d> + |x - m| |d|`. Only a row whose own centre falls to its bound is looked at
//! again, and only the centres that can have reached it are multiplied with it: centres are sorted
//! by how much nearer they can have come, rows by what keeps them apart from the others, so that a
//! block of rows needs a run of the first centres, one matrix product. A centre that has not moved
//! is needed only where a row's own centre has fallen below its old bound. (Hamerly, "Making
//! k-means even faster", SDM 2010, for rows; the sorted runs of centres are ours.)
//!
//! The bounds include the rounding of the f32 products, so that the result has the same bits as
//! that of multiplying everything.

use rayon::prelude::*;

use super::centres::{Centres, Members};
use super::points::Points;
use crate::product::{Matrix, Update, multiply};
use crate::vectorised::vectorised;

/// Rows in a block.
const ROWS: usize = 256;
/// Columns in a tile.
const COLUMNS: usize = 1024;
/// Columns that are looked at one by one only if the largest of them matters.
const CHUNK: usize = 64;

/// A row's nearest centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Best {
    pub(super) id: u32,
    /// The nearness to it: the inner product, for the Euclidean distance less `|c|²/2`, in f32.
    pub(super) value: f32,
    /// No other centre is nearer than this.
    others: f32,
}

impl Best {
    /// Before any centre was looked at.
    pub(super) const NONE: Self =
        Self { id: u32::MAX, value: f32::NEG_INFINITY, others: f32::NEG_INFINITY };

    /// Looks at one centre, in any order of ids.
    #[inline(always)]
    fn offer(&mut self, id: u32, value: f32) {
        if id == self.id {
            return;
        }
        if value > self.value || (value == self.value && id < self.id) {
            self.others = self.value;
            self.value = value;
            self.id = id;
        } else if value > self.others {
            self.others = value;
        }
    }
}

/// Some centres, row-major, in an order of their own.
#[derive(Debug, Default)]
pub(super) struct Columns {
    values: Vec<f32>,
    ids: Vec<u32>,
    halves: Option<Vec<f32>>,
}

impl Columns {
    pub(super) fn new(centres: &Centres, ids: Vec<u32>) -> Self {
        let mut values = Vec::with_capacity(ids.len() * centres.centre(0).len());
        for &id in &ids {
            values.extend_from_slice(centres.centre(id as usize));
        }
        let halves = centres.halves();
        let halves = halves.map(|halves| ids.iter().map(|&id| halves[id as usize]).collect());
        Self { values, ids, halves }
    }

    /// The centres in their own order, under other ids.
    pub(super) fn numbered(centres: &Centres, ids: Vec<u32>) -> Self {
        let halves = centres.halves().map(<[f32]>::to_vec);
        Self { values: centres.values().to_vec(), ids, halves }
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The nearness of `count` columns from `first` on to `rows`, `[rows, count]`, into `tile`.
    fn nearness(
        &self,
        rows: Matrix<'_, f32>,
        dim: usize,
        first: usize,
        count: usize,
        tile: &mut [f32],
    ) {
        let columns = Matrix::from_rows(&self.values, dim).rows_from(first, count);
        multiply(rows, columns.transposed(), tile, Update::Set);
        if let Some(halves) = &self.halves {
            for row in tile.chunks_exact_mut(count) {
                let halves = &halves[first..first + count];
                row.iter_mut().zip(halves).for_each(|(nearness, half)| *nearness -= half);
            }
        }
    }
}

/// Memory of a thread that compares blocks.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    rows: Vec<f32>,
    tile: Vec<f32>,
}

/// Offers the first `count` columns to each of `rows`.
pub(super) fn compare(
    points: &Points<'_>,
    rows: &[u32],
    columns: &Columns,
    count: usize,
    best: &mut [Best],
    buffers: &mut Buffers,
) {
    if count == 0 {
        return;
    }
    points.gather(rows, &mut buffers.rows);
    let rows = Matrix::from_rows(&buffers.rows, points.dim());
    for first in (0..count).step_by(COLUMNS) {
        let width = COLUMNS.min(count - first);
        buffers.tile.resize(rows.rows() * width, 0.0);
        columns.nearness(rows, points.dim(), first, width, &mut buffers.tile);
        let ids = &columns.ids[first..first + width];
        for (row, best) in buffers.tile.chunks_exact(width).zip(&mut *best) {
            vectorised(|| offer_all(row, ids, best));
        }
    }
}

/// Offers a row of a tile.
#[inline(always)]
fn offer_all(row: &[f32], ids: &[u32], best: &mut Best) {
    for (values, ids) in row.chunks(CHUNK).zip(ids.chunks(CHUNK)) {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let whole = values.chunks_exact(16);
        for &value in whole.remainder() {
            lanes[0] = if value > lanes[0] { value } else { lanes[0] };
        }
        for values in whole {
            for (lane, &value) in lanes.iter_mut().zip(values) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        if lanes.iter().any(|&lane| lane >= best.others) {
            values.iter().zip(ids).for_each(|(&value, &id)| best.offer(id, value));
        }
    }
}

/// The nearest centre of every row.
pub(super) fn nearest(points: &Points<'_>, centres: &Centres) -> Vec<Best> {
    let columns = Columns::new(centres, (0..centres.len() as u32).collect());
    let mut best = vec![Best::NONE; points.rows()];
    offer_columns(points, &columns, &mut best);
    best
}

/// Offers the columns to every row.
pub(super) fn offer_columns(points: &Points<'_>, columns: &Columns, best: &mut [Best]) {
    best.par_chunks_mut(ROWS).enumerate().for_each_init(
        Buffers::default,
        |buffers, (block, best)| {
            let rows: Vec<u32> = (0..).skip(block * ROWS).take(best.len()).collect();
            compare(points, &rows, columns, columns.len(), best, buffers);
        },
    );
}

/// How much nearer a centre can have come to a row by its last step.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// For each unit of the row's distance from the mean of all rows: the length of the step.
    per_radius: f64,
    /// For each unit of the row's length: rounding.
    per_length: f64,
    /// To any row: the step along the mean of all rows, the change of `|c|²/2`, and rounding.
    always: f64,
}

impl Step {
    fn new(points: &Points<'_>, old: &Centres, new: &Centres, cluster: usize) -> Self {
        let (from, to) = (old.centre(cluster), new.centre(cluster));
        if from == to {
            return Self { per_radius: 0.0, per_length: 0.0, always: 0.0 };
        }
        let (mut square, mut along) = (0.0, 0.0);
        for ((&from, &to), mean) in from.iter().zip(to).zip(points.mean()) {
            let step = f64::from(to) - f64::from(from);
            square += step * step;
            along += step * mean;
        }
        // A sum of products in f32, in any order, is off by at most this times the product of the
        // lengths; with the rounding of |c|²/2 and of taking it off, and a margin that covers the
        // rounding of the f64 sums here.
        let rounding = (points.dim() + 8) as f64 * f64::from(f32::EPSILON);
        let (old_length, new_length) = (old.length(cluster), new.length(cluster));
        let (mut rise, mut halves) = (along, 0.0);
        if new.halves().is_some() {
            let (old_half, new_half) =
                (old_length * old_length / 2.0, new_length * new_length / 2.0);
            rise -= new_half - old_half;
            halves = old_half + new_half;
        }
        Self {
            per_radius: square.sqrt() * (1.0 + 1e-9),
            per_length: rounding * (old_length + new_length),
            // Products below the normal range are off by an absolute amount.
            always: rise + rounding * (halves + f64::from(f32::MIN_POSITIVE)),
        }
    }

    /// For rows up to this distance from the mean and up to this length.
    #[inline(always)]
    fn rise(&self, radius: f64, length: f64) -> f64 {
        self.per_radius * radius + self.per_length * length + self.always
    }
}

/// Brings `best`, right for `old`, up to date with `new`.
pub(super) fn follow(points: &Points<'_>, old: &Centres, new: &Centres, best: &mut [Best]) {
    let mut steps: Vec<(u32, Step)> = (0..new.len())
        .into_par_iter()
        .map(|cluster| (cluster as u32, Step::new(points, old, new, cluster)))
        .collect();
    own_nearness(points, old, new, best);

    // The centres that can have come nearest first, judged for the average row.
    let rows = points.rows() as f64;
    let radius = (0..points.rows()).map(|row| points.radius(row)).sum::<f64>() / rows;
    let length = (0..points.rows()).map(|row| points.length(row)).sum::<f64>() / rows;
    steps.sort_by(|(_, a), (_, b)| b.rise(radius, length).total_cmp(&a.rise(radius, length)));
    let columns = Columns::new(new, steps.iter().map(|&(cluster, _)| cluster).collect());
    let steps: Vec<Step> = steps.into_iter().map(|(_, step)| step).collect();

    // The rows that others are closest to overtake first.
    let gap = |row: usize| f64::from(best[row].value) - f64::from(best[row].others);
    let mut order: Vec<u32> = (0..points.rows() as u32).collect();
    order.sort_by(|&a, &b| gap(a as usize).total_cmp(&gap(b as usize)));
    let blocks: Vec<Vec<Best>> = order
        .par_chunks(ROWS)
        .map_init(Buffers::default, |buffers, rows| {
            let of_rows = |f: &dyn Fn(usize) -> f64| {
                rows.iter().map(|&row| f(row as usize)).fold(0.0, f64::max)
            };
            let radius = of_rows(&|row| points.radius(row));
            let length = of_rows(&|row| points.length(row));
            let least_gap = gap(rows[0] as usize);
            let reached = steps.iter().rposition(|step| step.rise(radius, length) >= least_gap);
            let count = reached.map_or(0, |last| last + 1);
            let rise = steps[count..].iter().map(|step| step.rise(radius, length));
            let rise = rise.fold(f64::NEG_INFINITY, f64::max);
            let mut block: Vec<Best> = rows.iter().map(|&row| best[row as usize]).collect();
            for best in &mut block {
                best.others = f32::NEG_INFINITY;
            }
            compare(points, rows, &columns, count, &mut block, buffers);
            for (after, &row) in block.iter_mut().zip(rows) {
                let unseen = f64::from(best[row as usize].others) + rise;
                after.others = after.others.max(rounded_up(unseen));
            }
            block
        })
        .collect();
    for (&row, after) in order.iter().zip(blocks.iter().flatten()) {
        best[row as usize] = *after;
    }
}

/// The nearness of each row to its own centre, where that has moved.
fn own_nearness(points: &Points<'_>, old: &Centres, new: &Centres, best: &mut [Best]) {
    let clusters: Vec<u32> = best.iter().map(|best| best.id).collect();
    let members = Members::new(&clusters, new.len());
    let moved: Vec<u32> = members
        .rows()
        .iter()
        .copied()
        .filter(|&row| {
            let cluster = clusters[row as usize] as usize;
            old.centre(cluster) != new.centre(cluster)
        })
        .collect();
    // Rows of a few clusters with those clusters' centres: more than is needed, but one product.
    let values: Vec<Vec<f32>> = moved
        .par_chunks(ROWS)
        .map_init(Buffers::default, |buffers, rows| {
            points.gather(rows, &mut buffers.rows);
            let mut ids: Vec<u32> = rows.iter().map(|&row| clusters[row as usize]).collect();
            ids.dedup();
            let columns = Columns::new(new, ids);
            let count = columns.len();
            buffers.tile.resize(rows.len() * count, 0.0);
            let matrix = Matrix::from_rows(&buffers.rows, points.dim());
            columns.nearness(matrix, points.dim(), 0, count, &mut buffers.tile);
            let mut place = 0;
            rows.iter()
                .zip(buffers.tile.chunks_exact(count))
                .map(|(&row, nearness)| {
                    place += usize::from(columns.ids[place] != clusters[row as usize]);
                    nearness[place]
                })
                .collect()
        })
        .collect();
    for (&row, &value) in moved.iter().zip(values.iter().flatten()) {
        best[row as usize].value = value;
    }
}

/// The nearest f32 that is not below.
fn rounded_up(value: f64) -> f32 {
    let narrow = value as f32;
    if f64::from(narrow) < value { narrow.next_up() } else { narrow }
}
