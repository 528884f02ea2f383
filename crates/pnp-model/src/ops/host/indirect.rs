//! Products of a map with panels of weights, told by pointers where each row's values lie (Dukhan,
//! The Indirect Convolution Algorithm, 2019).
//!
//! A task takes a block of rows and some panels. It looks up once where every row reads at every
//! kernel offset, and then multiplies tile by tile, a run of the summed dimension at a time.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::Geometry;
use super::panels::Panels;
use super::patches::gather;
use super::reads::{Lattice, Reads};
use super::shared::Shared;
use super::tile::{Sources, Start, Target, by_rows, dispatch, most_rows, tiles, width, with_rows};
use crate::ops::Activation;

/// Rows of the output that a task works on together, at most.
const BLOCK_ROWS: usize = 96;
/// Steps of the summed dimension, about, between two visits of the output: that much of a panel and
/// of a block's rows stays in the caches near the processor.
const RUN: usize = 640;
/// Tasks for each thread, where there is work for so many: one that is late has less to catch up.
const TASKS: usize = 4;
/// Floats that set rows apart which push each other out of the nearest cache.
const APART: usize = 16;

/// A product of what the positions of a lattice read with panels of weights.
pub(super) struct Product<'a> {
    pub(super) x: &'a [f32],
    /// What a kernel offset reads outside.
    pub(super) zeros: &'a [f32],
    pub(super) reads: Reads,
    /// Where patches are gathered: of this convolution.
    pub(super) gathered: Option<&'a Geometry>,
    pub(super) panels: &'a Panels,
    pub(super) taps: Vec<usize>,
    pub(super) lattice: Lattice,
    /// As many values as all panels have columns.
    pub(super) bias: Option<&'a [f32]>,
    /// Like what comes out.
    pub(super) added: Option<&'a [f32]>,
    pub(super) activation: Activation,
}

impl Product<'_> {
    /// Writes the values of all positions of the lattice.
    ///
    /// # Safety
    ///
    /// `y` is good for the map of the lattice, `outputs` channels, in as many images.
    pub(super) unsafe fn write(&self, y: *mut f32, images: usize) {
        let rows = images * self.lattice.sides().iter().product::<usize>();
        if rows == 0 {
            return;
        }
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let wanted = TASKS * rayon::current_num_threads();
        // Few rows and a large weight: a task takes some of the panels.
        let parts = wanted.div_ceil(blocks).clamp(1, self.panels.count().max(1));
        let y = Shared(y);
        (0..blocks * parts).into_par_iter().for_each_init(Block::default, |block, task| {
            let (i, part) = (task / parts, task % parts);
            let rows = i * rows / blocks..(i + 1) * rows / blocks;
            let count = self.panels.count();
            let panels = part * count / parts..(part + 1) * count / parts;
            block.begin(self, rows, y.at(0));
            dispatch(Multiply { product: self, block, panels });
        });
    }

    /// The kernel offsets and channels that are multiplied between two visits of the output.
    fn chunks(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let (taps, channels) = match self.gathered {
            Some(g) => (1, g.patch()),
            None => (self.taps.len(), self.panels.inputs()),
        };
        if channels > RUN || taps == 0 {
            let parts = channels.div_ceil(RUN);
            let part = |i: usize| i * channels / parts..(i + 1) * channels / parts;
            // Without a tap zeros are written, once.
            let parts = if taps == 0 { 1 } else { parts };
            let taps = (0..taps.max(1)).map(|tap| tap..(tap + 1).min(taps));
            return taps.flat_map(|tap| (0..parts).map(move |i| (tap.clone(), part(i)))).collect();
        }
        let parts = (taps * channels).div_ceil(RUN).clamp(1, taps);
        let part = |i: usize| i * taps / parts..(i + 1) * taps / parts;
        (0..parts).map(|i| (part(i), 0..channels)).collect()
    }
}

/// Rows of the output that are worked on together, and where what they read is.
#[derive(Default)]
struct Block {
    /// Where the rows begin.
    targets: Vec<*mut f32>,
    /// Where the rows begin of what is added.
    added: Vec<*const f32>,
    positions: Vec<[usize; 3]>,
    /// `[tiles, taps, rows of the tile]`.
    sources: Vec<*const f32>,
    /// Patches, or rows set apart.
    copies: Vec<f32>,
    copied: Vec<*const f32>,
}

impl Block {
    fn begin(&mut self, product: &Product, rows: Range<usize>, y: *mut f32) {
        let ([height, width], outputs) = (product.lattice.map, product.panels.outputs());
        self.positions.clear();
        self.positions.extend(rows.clone().map(|row| product.lattice.position(row)));
        let offset = |&[image, y, x]: &[usize; 3]| ((image * height + y) * width + x) * outputs;
        self.targets.clear();
        self.targets.extend(self.positions.iter().map(|at| y.wrapping_add(offset(at))));
        self.added.clear();
        if let Some(added) = product.added {
            self.added.extend(self.positions.iter().map(|at| added[offset(at)..].as_ptr()));
        }
        if let Some(g) = product.gathered {
            self.copies.resize(rows.len() * g.patch(), 0.0);
            gather(product.x, g, rows, &(0..g.kernel), &mut self.copies);
        }
    }

    /// Tells where every row of every tile reads.
    fn find(&mut self, product: &Product, most: usize) {
        self.sources.clear();
        if let Some(g) = product.gathered {
            self.sources.extend(self.copies.chunks_exact(g.patch()).map(<[f32]>::as_ptr));
            return;
        }
        for (first, count) in tiles(self.positions.len(), most) {
            for &tap in &product.taps {
                let positions = &self.positions[first..first + count];
                self.sources.extend(positions.iter().map(|&position| {
                    match product.reads.offset(position, tap) {
                        Some(offset) => product.x[offset..].as_ptr(),
                        None => product.zeros.as_ptr(),
                    }
                }));
            }
        }
    }

    /// Copies what one kernel offset reads, some channels of it, and sets the rows apart.
    fn set_apart(&mut self, tap: usize, taps: usize, channels: &Range<usize>, most: usize) {
        let step = channels.len() + APART;
        let rows = self.positions.len();
        self.copies.resize(rows * step, 0.0);
        self.copied.clear();
        for (first, count) in tiles(rows, most) {
            let sources = &self.sources[first * taps + tap * count..][..count];
            for (i, source) in sources.iter().enumerate() {
                let to = &mut self.copies[(first + i) * step..][..channels.len()];
                // SAFETY: a source has all channels.
                let from = unsafe {
                    std::slice::from_raw_parts(source.add(channels.start), channels.len())
                };
                to.copy_from_slice(from);
                self.copied.push(to.as_ptr());
            }
        }
    }
}

/// The products of a block's rows with some panels.
struct Multiply<'a, 'b> {
    product: &'a Product<'b>,
    block: &'a mut Block,
    panels: Range<usize>,
}

impl WithSimd for Multiply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { product, block, panels } = self;
        let (most, rows) = (most_rows::<S>(), block.positions.len());
        block.find(product, most);
        let taps = if product.gathered.is_some() { 1 } else { product.taps.len() };
        let crowded = product.gathered.is_none() && product.reads.crowded();
        let chunks = product.chunks();
        for (i, (chunk, channels)) in chunks.iter().enumerate() {
            let apart = crowded && chunk.len() == 1;
            if apart {
                block.set_apart(chunk.start, taps, channels, most);
            }
            let skip = channels.start * width::<S>();
            let place = |tap: usize| {
                skip + product.taps.get(tap).map_or(0, |&tap| product.panels.place(tap))
            };
            let places: Vec<usize> = chunk.clone().map(place).collect();
            let last = i + 1 == chunks.len();
            for j in panels.clone() {
                let panel = product.panels.panel(j).as_ptr();
                let column = j * width::<S>();
                let start = match product.bias {
                    _ if i > 0 => Start::Kept,
                    Some(bias) => Start::Bias(bias[column..].as_ptr()),
                    None => Start::Zero,
                };
                for (first, count) in tiles(rows, most) {
                    let pointers = if apart {
                        block.copied[first..].as_ptr()
                    } else {
                        block.sources[first * taps..].as_ptr().wrapping_add(chunk.start * count)
                    };
                    let sources = Sources {
                        pointers,
                        panels: &places,
                        skip: if apart { 0 } else { channels.start },
                        run: channels.len(),
                    };
                    let target = Target {
                        rows: block.targets[first..].as_ptr(),
                        column,
                        columns: width::<S>().min(product.panels.outputs() - column),
                        start,
                        added: match product.added {
                            Some(_) if last => block.added[first..].as_ptr(),
                            _ => std::ptr::null(),
                        },
                        activation: if last { product.activation } else { Activation::None },
                    };
                    // SAFETY: every source has all channels, a panel all rows, a target all
                    // columns; no other task has these rows and columns.
                    unsafe { with_rows!(count, by_rows::<S>(simd, sources, panel, target)) };
                }
            }
        }
    }
}
