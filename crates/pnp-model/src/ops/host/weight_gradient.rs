//! The gradient of a convolution's weight: one sum over all positions, cut along the weight, or in
//! parts of the positions where the weight is small.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::activations::add;
use super::geometry::Geometry;
use super::patches::{gather, gathers};
use super::reads::{Lattice, Reads};
use super::shared::{Shared, written};
use super::tile::{
    Start, Target, by_columns, dispatch, most_rows, panel_width, tiles, width, with_rows,
};
use crate::ops::Activation;

/// Positions that a gradient of a weight takes at a time.
const BLOCK_POSITIONS: usize = 256;
/// Tasks for each thread, where there is work for so many: one that is late has less to catch up.
const TASKS: usize = 4;
/// A gradient of so few values, by so many positions, is summed in parts of the positions ...
const SMALL_WEIGHT: usize = 160 << 10;
const MANY_POSITIONS: usize = 4096;
/// ... of which there are so many, whatever the number of threads.
const SUMS: usize = 8;
/// Filters that a tile has, about.
const TILE_FILTERS: usize = 12;
/// Panels that a task takes: what a tile of filters reads of the output's gradient is read once for
/// all of them.
const GROUP_PANELS: usize = 8;

/// The gradient of the weight as rows in the order of a patch.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let (rows, k, o) = (g.rows(), g.patch(), g.channels_out);
    if rows == 0 {
        return vec![0.0; o * k];
    }
    let zeros = vec![0.0; g.channels_in];
    let width = panel_width();
    let task = |columns, filters, positions, dw, found: &mut Columns| {
        let task =
            WeightGradient { x, dy, zeros: &zeros, g, columns, filters, positions, dw, found };
        dispatch(task);
    };
    if rows >= MANY_POSITIONS && o * k <= SMALL_WEIGHT {
        // Parts of the positions have a sum each: inputs and gradients are read once.
        let all = PatchColumns::all(g, width);
        // SAFETY: a part writes all columns of all filters of its own sum.
        let sums = unsafe {
            written(SUMS * o * k, |sums| {
                let sums = Shared(sums);
                (0..SUMS).into_par_iter().for_each_init(Columns::default, |found, i| {
                    let positions = i * rows / SUMS..(i + 1) * rows / SUMS;
                    task(&all, 0..o, positions, sums.at(i * o * k), found);
                });
            })
        };
        return summed(&sums, o * k);
    }
    let groups = PatchColumns::groups(g, width);
    let wanted = TASKS * rayon::current_num_threads();
    // Few groups: a task takes some of the filters.
    let parts = wanted.div_ceil(groups.len()).clamp(1, o.div_ceil(3 * TILE_FILTERS));
    // SAFETY: all columns of all filters are written, each by one task.
    unsafe {
        written(o * k, |dw| {
            let dw = Shared(dw);
            let tasks = groups.len() * parts;
            (0..tasks).into_par_iter().for_each_init(Columns::default, |found, i| {
                let (columns, part) = (&groups[i / parts], i % parts);
                let filters = part * o / parts..(part + 1) * o / parts;
                task(columns, filters, 0..rows, dw.at(0), found);
            });
        })
    }
}

/// The sum of vectors of this length that stand one after the other, in their order.
fn summed(vectors: &[f32], length: usize) -> Vec<f32> {
    let mut total = vectors[..length].to_vec();
    let part = length.div_ceil(SUMS).max(1);
    total.par_chunks_mut(part).enumerate().for_each(|(i, total)| {
        for vector in vectors.chunks_exact(length).skip(1) {
            add(total, &vector[i * part..][..total.len()]);
        }
    });
    total
}

/// Columns of the patches that a panel holds: some channels of one kernel offset, or a part of a
/// patch of few channels.
#[derive(Debug, Clone)]
struct PatchColumns {
    tap: usize,
    channels: Range<usize>,
}

impl PatchColumns {
    /// All of them.
    fn all(g: &Geometry, width: usize) -> Vec<Self> {
        let (taps, channels) =
            if gathers(g) { (1, g.patch()) } else { (g.kernel * g.kernel, g.channels_in) };
        let panels = (0..taps).flat_map(|tap| {
            let firsts = (0..channels).step_by(width);
            firsts.map(move |c| Self { tap, channels: c..channels.min(c + width) })
        });
        panels.collect()
    }

    /// All of them, in groups for a task each.
    fn groups(g: &Geometry, width: usize) -> Vec<Vec<Self>> {
        let panels = Self::all(g, width);
        if gathers(g) {
            // Gathered once.
            return vec![panels];
        }
        let groups = panels.len().div_ceil(GROUP_PANELS);
        panels.chunks(panels.len().div_ceil(groups)).map(<[Self]>::to_vec).collect()
    }
}

/// The gradient of some filters with respect to some columns of their patches.
struct WeightGradient<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    /// What a kernel offset reads outside.
    zeros: &'a [f32],
    g: &'a Geometry,
    columns: &'a [PatchColumns],
    filters: Range<usize>,
    positions: Range<usize>,
    /// `[o, k]`.
    dw: *mut f32,
    found: &'a mut Columns,
}

/// Where a task finds the columns of some positions' patches.
#[derive(Default)]
struct Columns {
    /// The rows of all positions, for each kernel offset or for each panel.
    rows: Vec<*const f32>,
    /// Of each panel its first row, and where it begins in its rows.
    places: Vec<[usize; 2]>,
    /// Where a kernel offset reads at each position, if inside.
    offsets: Vec<Option<usize>>,
    /// Patches, or panels that are set apart.
    copies: Vec<f32>,
}

impl WeightGradient<'_> {
    fn find(&mut self, positions: Range<usize>, width: usize) {
        let (g, found) = (self.g, &mut *self.found);
        found.rows.clear();
        found.places.clear();
        if gathers(g) {
            // A last panel reads beyond the last patch.
            found.copies.resize(positions.len() * g.patch() + width, 0.0);
            let patches = &mut found.copies[..positions.len() * g.patch()];
            gather(self.x, g, positions, &(0..g.kernel), patches);
            found.rows.extend(patches.chunks_exact(g.patch()).map(<[f32]>::as_ptr));
            found.places.extend(self.columns.iter().map(|columns| [0, columns.channels.start]));
            return;
        }
        let (reads, lattice) = (Reads::forward(g), Lattice::all([g.height_out, g.width_out]));
        // Panels that are not whole, and rows that push each other out of the cache.
        let apart = !g.channels_in.is_multiple_of(width) || reads.crowded();
        if apart {
            found.copies.resize(self.columns.len() * positions.len() * width, 0.0);
        }
        let mut tap = usize::MAX;
        for (i, PatchColumns { tap: of, channels }) in self.columns.iter().enumerate() {
            if *of != tap {
                tap = *of;
                let offset = |position| reads.offset(lattice.position(position), tap);
                found.offsets.clear();
                found.offsets.extend(positions.clone().map(offset));
                let row = |offset: &Option<usize>| {
                    offset.map_or(self.zeros.as_ptr(), |offset| self.x[offset..].as_ptr())
                };
                if !apart {
                    found.rows.extend(found.offsets.iter().map(row));
                }
            }
            if !apart {
                found.places.push([found.rows.len() - positions.len(), channels.start]);
                continue;
            }
            found.places.push([found.rows.len(), 0]);
            let panel = &mut found.copies[i * positions.len() * width..];
            for (offset, to) in found.offsets.iter().zip(panel.chunks_exact_mut(width)) {
                let row = offset.map_or(self.zeros, |offset| &self.x[offset..]);
                to[..channels.len()].copy_from_slice(&row[channels.clone()]);
                found.rows.push(to.as_ptr());
            }
        }
    }
}

impl WithSimd for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (g, k, o) = (self.g, self.g.patch(), self.g.channels_out);
        for start in self.positions.clone().step_by(BLOCK_POSITIONS) {
            let positions = start..self.positions.end.min(start + BLOCK_POSITIONS);
            let number = positions.len();
            self.find(positions, width::<S>());
            for (first, filters) in tiles(self.filters.len(), most_rows::<S>()) {
                let first = self.filters.start + first;
                let row = |r: usize| self.dw.wrapping_add((first + r) * k);
                let targets: [*mut f32; TILE_FILTERS] = std::array::from_fn(row);
                let values = self.dy[start * o + first..].as_ptr();
                for (j, columns) in self.columns.iter().enumerate() {
                    let [first_row, skip] = self.found.places[j];
                    let rows = &self.found.rows[first_row..][..number];
                    let target = Target {
                        rows: targets.as_ptr(),
                        column: columns.tap * g.channels_in + columns.channels.start,
                        columns: columns.channels.len(),
                        start: if start == self.positions.start {
                            Start::Zero
                        } else {
                            Start::Kept
                        },
                        added: std::ptr::null(),
                        activation: Activation::None,
                    };
                    // SAFETY: `dy` has these filters at every position, a row a panel's width
                    // from `skip` on, the gradient these filters' columns, which no other task
                    // has.
                    unsafe {
                        with_rows!(filters, by_columns::<S>(simd, values, o, rows, skip, target));
                    }
                }
            }
        }
    }
}
