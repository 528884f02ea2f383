//! Convolution on the host: matrix products whose left factor is never written down.
//!
//! `y[r, o] = act(sum_k patch[r, k] * w[o, k] + b[o])`, with `r` over (image, row, column) and `k`
//! over (kernel row, kernel column, channel). The least work is those multiply-adds, three times
//! over for a forward and backward pass; the least memory is inputs and outputs once. Channels come
//! last, so what one kernel offset reads of a position is one run of memory: a product is told
//! where each row's runs begin (Dukhan, The Indirect Convolution Algorithm, 2019), and patches are
//! gathered only where the runs would be of a few values, in a network's first layer.
//!
//! - The gradient of the input is such a product as well: each position of the input takes from the
//!   outputs that read it. At larger strides there are several kinds of positions, each with its
//!   own part of the kernel.
//! - The gradient of the weight is one sum over all positions, cut along the weight.
//!
//! Each value that comes out is a sum in one order, whatever the cuts (see [`super::tile`]), so the
//! bits depend neither on the number of threads nor on the rest of the batch.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::Activation;
use super::geometry::Geometry;
use super::panels::Panels;
use super::patches::gather;
use super::tile::{
    Shared, Sources, Start, Target, by_columns, by_rows, dispatch, most_rows, panel_width, tiles,
    width, with_rows,
};
use super::vectorised::vectorised;

/// Rows of the output that a task works on together, at most.
const BLOCK_ROWS: usize = 96;
/// Steps of the summed dimension, about, between two visits of the output: that much of a panel and
/// of a block's rows stays in the caches near the processor.
const RUN: usize = 640;
/// Fewer channels than these make runs too short to be worth a pointer.
const FEW_CHANNELS: usize = 16;
/// Positions that a gradient of a weight takes at a time.
const BLOCK_POSITIONS: usize = 256;
/// Tasks for each thread, where there is work for so many: one that is late has less to catch up.
const TASKS: usize = 4;
/// Rows whose beginnings are a multiple of this apart push each other out of the nearest cache.
const CROWDED: usize = 1024;
/// Floats that set such rows apart.
const APART: usize = 16;

/// The forward pass: input, weight, bias, what is added before the activation -> output.
pub(super) fn forward(
    x: &[f32],
    panels: &Panels,
    bias: &[f32],
    added: Option<&[f32]>,
    g: &Geometry,
) -> Vec<f32> {
    assert!(added.is_none_or(|added| added.len() == g.rows() * g.channels_out));
    let mut padded = bias.to_vec();
    padded.resize(panels.count() * panel_width(), 0.0);
    let product = Product {
        x,
        zeros: &vec![0.0; g.channels_in],
        reads: Reads::forward(g),
        gathered: gathers(g).then_some(g),
        panels,
        taps: (0..g.kernel * g.kernel).collect(),
        lattice: Lattice::all([g.height_out, g.width_out]),
        bias: Some(&padded),
        added,
        activation: g.spec.activation,
    };
    // SAFETY: a product over all positions writes all of them.
    unsafe { written(g.rows() * g.channels_out, |y| product.write(y, g.batch)) }
}

/// The gradient of the input.
fn input_gradient(weight: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let panels = Panels::backward(weight, g);
    let zeros = vec![0.0; g.channels_out];
    // SAFETY: every position of the input belongs to one lattice, and each is written whole.
    unsafe {
        written(g.batch * g.image_len(), |dx| {
            for lattice in Lattice::phases([g.height, g.width], g.spec.stride) {
                let product = Product {
                    x: dy,
                    zeros: &zeros,
                    reads: Reads::backward(g),
                    gathered: None,
                    panels: &panels,
                    taps: lattice.taps(g),
                    lattice,
                    bias: None,
                    added: None,
                    activation: Activation::None,
                };
                product.write(dx, g.batch);
            }
        })
    }
}

/// Values that `write` has written, all `length` of them.
///
/// # Safety
///
/// `write` writes every one.
unsafe fn written(length: usize, write: impl FnOnce(*mut f32)) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    write(values.as_mut_ptr());
    // SAFETY: they are there, as the caller promises.
    unsafe { values.set_len(length) };
    values
}

/// Which positions of the other map a position has to do with.
#[derive(Debug, Clone, Copy)]
struct Reads {
    /// Whether the other map is the input of the convolution, or its output's gradient.
    forward: bool,
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Rows and columns of the other map.
    sides: [usize; 2],
    /// Its channels.
    channels: usize,
}

impl Reads {
    fn forward(g: &Geometry) -> Self {
        Self {
            forward: true,
            kernel: g.kernel,
            stride: g.spec.stride,
            padding: g.spec.padding,
            sides: [g.height, g.width],
            channels: g.channels_in,
        }
    }

    fn backward(g: &Geometry) -> Self {
        let (sides, channels) = ([g.height_out, g.width_out], g.channels_out);
        Self { forward: false, sides, channels, ..Self::forward(g) }
    }

    /// Along one side: the position that belongs to kernel offset `k`, if inside.
    #[inline(always)]
    fn along(&self, at: usize, k: usize, side: usize) -> Option<usize> {
        let there = if self.forward {
            (at * self.stride + k).checked_sub(self.padding)
        } else {
            (at + self.padding).checked_sub(k).map(|there| there / self.stride)
        };
        there.filter(|&there| there < side)
    }

    /// The first value of what a kernel offset reads, if inside.
    #[inline(always)]
    fn offset(&self, [image, y, x]: [usize; 3], tap: usize) -> Option<usize> {
        let [height, width] = self.sides;
        let y = self.along(y, tap / self.kernel, height)?;
        let x = self.along(x, tap % self.kernel, width)?;
        Some(((image * height + y) * width + x) * self.channels)
    }
}

/// Positions of a map at even distances.
#[derive(Debug, Clone, Copy)]
struct Lattice {
    /// Rows and columns of the map.
    map: [usize; 2],
    first: [usize; 2],
    step: usize,
}

impl Lattice {
    /// Every position.
    fn all(map: [usize; 2]) -> Self {
        Self { map, first: [0; 2], step: 1 }
    }

    /// Lattices of this step that have every position between them.
    fn phases(map: [usize; 2], step: usize) -> impl Iterator<Item = Self> {
        let firsts = (0..step).flat_map(move |y| (0..step).map(move |x| [y, x]));
        firsts.map(move |first| Self { map, first, step })
    }

    /// Rows and columns of the lattice.
    fn sides(&self) -> [usize; 2] {
        [0, 1].map(|i| self.map[i].saturating_sub(self.first[i]).div_ceil(self.step))
    }

    /// The position of this number over the images: image, row and column.
    #[inline(always)]
    fn position(&self, number: usize) -> [usize; 3] {
        let [height, width] = self.sides();
        let (image, rest) = (number / (height * width), number % (height * width));
        let [y, x] = self.first;
        [image, y + rest / width * self.step, x + rest % width * self.step]
    }

    /// The kernel offsets by which an output may have read these positions.
    fn taps(&self, g: &Geometry) -> Vec<usize> {
        let fits = |first: usize, k: usize| {
            (first + g.spec.padding + g.kernel * g.spec.stride - k).is_multiple_of(g.spec.stride)
        };
        let taps = (0..g.kernel * g.kernel).filter(|tap| {
            fits(self.first[0], tap / g.kernel) && fits(self.first[1], tap % g.kernel)
        });
        taps.collect()
    }
}

/// A product of what the positions of a lattice read with panels of weights.
struct Product<'a> {
    x: &'a [f32],
    /// What a kernel offset reads outside.
    zeros: &'a [f32],
    reads: Reads,
    /// Where patches are gathered: of this convolution.
    gathered: Option<&'a Geometry>,
    panels: &'a Panels,
    taps: Vec<usize>,
    lattice: Lattice,
    /// As many values as all panels have columns.
    bias: Option<&'a [f32]>,
    /// Like what comes out.
    added: Option<&'a [f32]>,
    activation: Activation,
}

impl Product<'_> {
    /// Writes the values of all positions of the lattice.
    ///
    /// # Safety
    ///
    /// `y` is good for the map of the lattice, `outputs` channels, in as many images.
    unsafe fn write(&self, y: *mut f32, images: usize) {
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
        let parts = (taps * channels).div_ceil(RUN).min(taps);
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
        let crowded = product.gathered.is_none() && product.reads.channels.is_multiple_of(CROWDED);
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

/// Gradients of the three inputs of a convolution.
pub(super) struct Gradients {
    /// With respect to the input, when asked for.
    pub(super) x: Option<Vec<f32>>,
    /// With respect to the weight, `[o, i, k, k]`.
    pub(super) weight: Vec<f32>,
    /// With respect to the bias.
    pub(super) bias: Vec<f32>,
    /// With respect to what is added before the activation, where that is not the output's own.
    pub(super) added: Option<Vec<f32>>,
}

/// The backward pass: from the input, the weight, the output and the output's gradient.
pub(super) fn backward(
    x: &[f32],
    weight: &[f32],
    y: &[f32],
    dy: &[f32],
    g: &Geometry,
    wants_x: bool,
) -> Gradients {
    let (dy, bias) = masked(y, dy, g);
    let dw = weight_gradient(x, &dy, g);
    let x = wants_x.then(|| input_gradient(weight, &dy, g));
    let added = match dy {
        Cow::Borrowed(_) => None,
        Cow::Owned(dy) => Some(dy),
    };
    Gradients { x, weight: weight_from_rows(dw, g), bias, added }
}

/// The gradient before the activation, and its sum over all positions.
fn masked<'a>(y: &[f32], dy: &'a [f32], g: &Geometry) -> (Cow<'a, [f32]>, Vec<f32>) {
    let (o, part) = (g.channels_out, (g.rows_per_part() * g.channels_out).max(1));
    let (dy, sums): (_, Vec<Vec<f32>>) = if g.spec.activation == Activation::None {
        let summed = |dy: &[f32]| {
            let mut sum = vec![0.0; o];
            vectorised(
                #[inline(always)]
                || sum_rows(dy, &mut sum),
            );
            sum
        };
        (Cow::Borrowed(dy), dy.par_chunks(part).map(summed).collect())
    } else {
        let mut masked = Vec::with_capacity(dy.len());
        let places = &mut masked.spare_capacity_mut()[..dy.len()];
        let parts = places.par_chunks_mut(part).zip(y.par_chunks(part).zip(dy.par_chunks(part)));
        let sums = parts.map(|(to, (y, dy))| {
            let mut sum = vec![0.0; o];
            vectorised(
                #[inline(always)]
                || mask_rows(y, dy, g.spec.activation, to, &mut sum),
            );
            sum
        });
        let sums = sums.collect();
        // SAFETY: each part has written all of its places.
        unsafe { masked.set_len(dy.len()) };
        (Cow::Owned(masked), sums)
    };
    let mut total = vec![0.0; o];
    for sum in &sums {
        add(&mut total, sum);
    }
    (dy, total)
}

/// [`mask_into`], and adds the rows to `sum`, in one pass.
#[inline(always)]
fn mask_rows(
    y: &[f32],
    dy: &[f32],
    activation: Activation,
    to: &mut [MaybeUninit<f32>],
    sum: &mut [f32],
) {
    let high = if activation == Activation::Relu6 { 6.0 } else { f32::INFINITY };
    let row = sum.len();
    assert!(y.len() == to.len() && dy.len() == to.len());
    for (to, (y, dy)) in to.chunks_exact_mut(row).zip(y.chunks_exact(row).zip(dy.chunks_exact(row)))
    {
        for ((to, sum), (&y, &d)) in to.iter_mut().zip(sum.iter_mut()).zip(y.iter().zip(dy)) {
            let masked = if y > 0.0 && y < high { d } else { 0.0 };
            to.write(masked);
            *sum += masked;
        }
    }
}

/// The gradient of the weight as rows in the order of a patch.
fn weight_gradient(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
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

/// Whether patches are gathered: fewer channels make runs too short to be worth a pointer.
fn gathers(g: &Geometry) -> bool {
    g.channels_in < FEW_CHANNELS && g.kernel > 1
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
        let apart = !g.channels_in.is_multiple_of(width) || g.channels_in.is_multiple_of(CROWDED);
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

/// Adds the parts of a sum over the batch in their order.
pub(super) fn sum_parts(
    parts: Vec<(Vec<f32>, Vec<f32>)>,
    weights: usize,
    biases: usize,
) -> (Vec<f32>, Vec<f32>) {
    let mut parts = parts.into_iter();
    let first = parts.next().unwrap_or_else(|| (vec![0.0; weights], vec![0.0; biases]));
    parts.fold(first, |mut sum, part| {
        add(&mut sum.0, &part.0);
        add(&mut sum.1, &part.1);
        sum
    })
}

#[inline(always)]
fn add(into: &mut [f32], from: &[f32]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a += b;
    }
}

/// Applies an activation in place.
pub(super) fn activate(y: &mut [f32], activation: Activation) {
    vectorised(
        #[inline(always)]
        || match activation {
            Activation::None => {}
            Activation::Relu => y.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v }),
            Activation::Relu6 => y.iter_mut().for_each(|v| *v = v.clamp(0.0, 6.0)),
        },
    );
}

/// The gradient before the activation, told from the activation's output `y`: zero where it was
/// cut off, as PyTorch has it.
pub(super) fn mask<'a>(
    y: &[f32],
    dy: &'a [f32],
    activation: Activation,
    scratch: &'a mut Vec<f32>,
) -> &'a [f32] {
    if activation == Activation::None {
        return dy;
    }
    scratch.resize(dy.len(), 0.0);
    mask_into(y, dy, activation, scratch);
    scratch
}

#[inline(always)]
pub(super) fn mask_into(y: &[f32], dy: &[f32], activation: Activation, to: &mut [f32]) {
    let high = if activation == Activation::Relu6 { 6.0 } else { f32::INFINITY };
    for ((to, &y), &d) in to.iter_mut().zip(y).zip(dy) {
        *to = if y > 0.0 && y < high { d } else { 0.0 };
    }
}

/// Adds the rows of `dy` to `sum`, whose length is that of a row.
#[inline(always)]
pub(super) fn sum_rows(dy: &[f32], sum: &mut [f32]) {
    for row in dy.chunks_exact(sum.len()) {
        add(sum, row);
    }
}

/// `[o, k, k, i]`, the order of a patch, -> `[o, i, k, k]`.
fn weight_from_rows(rows: Vec<f32>, g: &Geometry) -> Vec<f32> {
    let (c, taps) = (g.channels_in, g.kernel * g.kernel);
    if taps == 1 {
        return rows;
    }
    let mut weight = vec![0.0; rows.len()];
    weight.par_chunks_mut(c * taps).zip(rows.par_chunks(c * taps)).for_each(|(to, from)| {
        for (i, to) in to.chunks_exact_mut(taps).enumerate() {
            to.iter_mut().zip(from[i..].iter().step_by(c)).for_each(|(to, from)| *to = *from);
        }
    });
    weight
}
