//! Convolution on the host: patches gathered into rows, and matrix products.
//!
//! `y[r, o] = act(sum_k patch[r, k] * w[o, k] + b[o])`, with `r` over (image, row, column) and `k`
//! over (kernel row, kernel column, channel). The least work is those multiply-adds, three times
//! over for a forward and backward pass. A pointwise convolution's patches are its input; others
//! are gathered block by block, and again in the backward pass, so that none outlives a block.
//!
//! - The gradient of the input at stride 1 is a convolution of the output's gradient by the filters
//!   turned about; at larger strides patches of gradients are scattered.
//! - The gradient of the weight is one sum over all positions, cut along the weight: no part of it
//!   is summed apart, so none needs memory of its own.
//!
//! Work is cut by the shapes alone, and what is added is added in one order, so the bits do not
//! depend on the number of threads.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use std::borrow::Cow;

use rayon::prelude::*;

use super::Activation;
use super::geometry::Geometry;
use super::patches::{gather, scatter};
use super::product::{
    Matrix, PARTS, Place, for_each_block, product, shared_product, summed_product,
};
use super::vectorised::vectorised;

/// Floats of gathered patches that one block may hold (2 MiB) ...
const BLOCK_FLOATS: usize = 1 << 19;
/// ... unless it would have fewer rows than make the weight worth reading.
const BLOCK_ROWS: usize = 128;

/// Rows of patches of `columns` floats that are worked on together.
fn block_rows(columns: usize) -> usize {
    (BLOCK_FLOATS / columns.max(1)).max(BLOCK_ROWS)
}

/// The forward pass: input, weight `[o, i, k, k]`, bias -> output.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], g: &Geometry) -> Vec<f32> {
    convolve(x, &weight_rows(weight, g), Some(bias), g)
}

/// A convolution by rows of weights, `[o, k·k·i]` in the order of a patch.
fn convolve(x: &[f32], w: &[f32], bias: Option<&[f32]>, g: &Geometry) -> Vec<f32> {
    let (rows, k, o) = (g.rows(), g.patch(), g.channels_out);
    let mut y = vec![0.0; rows * o];
    let w = Matrix::new(w, o, k).transposed();
    let prepare = |y: &mut [f32]| {
        if let Some(bias) = bias {
            y.chunks_exact_mut(o).for_each(|row| row.copy_from_slice(bias));
        }
    };
    let finish = |y: &mut [f32]| activate(y, g.spec.activation);
    if g.pointwise() {
        shared_product(&mut y, Matrix::new(x, rows, k), w, prepare, finish);
        return y;
    }
    let block = block_rows(k);
    if rows < PARTS * BLOCK_ROWS {
        // Few rows and a large weight: every thread takes some of its columns.
        let patches = gathered(x, g);
        shared_product(&mut y, Matrix::new(&patches, rows, k), w, prepare, finish);
        return y;
    }
    let block = block.min(rows.div_ceil(PARTS));
    y.par_chunks_mut(block * o).enumerate().for_each_init(Vec::new, |patches, (i, y)| {
        let rows = y.len() / o;
        patches.resize(rows * k, 0.0);
        gather(x, g, i * block..i * block + rows, &(0..g.kernel), patches);
        prepare(y);
        product(y, Matrix::new(patches, rows, k), w, true);
        finish(y);
    });
    y
}

/// All patches.
fn gathered(x: &[f32], g: &Geometry) -> Vec<f32> {
    let (rows, k) = (g.rows(), g.patch());
    let mut patches = vec![0.0; rows * k];
    let part = rows.div_ceil(PARTS).max(1);
    patches.par_chunks_mut((part * k).max(1)).enumerate().for_each(|(i, patches)| {
        let rows = patches.len() / k;
        gather(x, g, i * part..i * part + rows, &(0..g.kernel), patches);
    });
    patches
}

/// Gradients of the three inputs of a convolution.
pub(super) struct Gradients {
    /// With respect to the input, when asked for.
    pub(super) x: Option<Vec<f32>>,
    /// With respect to the weight, `[o, i, k, k]`.
    pub(super) weight: Vec<f32>,
    /// With respect to the bias.
    pub(super) bias: Vec<f32>,
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
    Gradients { x, weight: weight_from_rows(dw, g), bias }
}

/// The gradient before the activation, and its sum over all positions.
fn masked<'a>(y: &[f32], dy: &'a [f32], g: &Geometry) -> (Cow<'a, [f32]>, Vec<f32>) {
    let (o, part) = (g.channels_out, (g.rows_per_part() * g.channels_out).max(1));
    let summed = |dy: &[f32]| {
        let mut sum = vec![0.0; o];
        vectorised(
            #[inline(always)]
            || sum_rows(dy, &mut sum),
        );
        sum
    };
    let (dy, sums): (_, Vec<Vec<f32>>) = if g.spec.activation == Activation::None {
        (Cow::Borrowed(dy), dy.par_chunks(part).map(summed).collect())
    } else {
        let mut masked = vec![0.0; dy.len()];
        let parts = masked.par_chunks_mut(part).zip(y.par_chunks(part).zip(dy.par_chunks(part)));
        let sums = parts.map(|(to, (y, dy))| {
            vectorised(
                #[inline(always)]
                || mask_into(y, dy, g.spec.activation, to),
            );
            summed(to)
        });
        let sums = sums.collect();
        (Cow::Owned(masked), sums)
    };
    let mut total = vec![0.0; o];
    for sum in &sums {
        add(&mut total, sum);
    }
    (dy, total)
}

/// The gradient of the weight as rows in the order of a patch.
fn weight_gradient(x: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let (rows, k, o) = (g.rows(), g.patch(), g.channels_out);
    let mut dw = vec![0.0; o * k];
    if dw.is_empty() || rows == 0 {
        return dw;
    }
    let dy = Matrix::new(dy, rows, o);
    if g.pointwise() {
        summed_product(&mut dw, dy, Matrix::new(x, rows, k));
        return dw;
    }
    // A task takes one kernel row and half of the output channels, and gathers what it needs.
    let run = g.kernel * g.channels_in;
    let half = o.div_ceil(2);
    let places: Vec<Place> = (0..g.kernel)
        .flat_map(|ky| [[0, half, ky * run, run], [half, o - half, ky * run, run]])
        .filter(|place| place[1] > 0)
        .collect();
    let block = block_rows(run);
    for_each_block(&mut dw, k, &places, |[top, outputs, left, _], dw| {
        let ky = left / run;
        let mut patches = vec![0.0; block.min(rows) * run];
        for start in (0..rows).step_by(block) {
            let count = block.min(rows - start);
            let patches = &mut patches[..count * run];
            gather(x, g, start..start + count, &(ky..ky + 1), patches);
            let dy = dy.rows_at(start, count).columns_at(top, outputs);
            dw.product(dy.transposed(), Matrix::new(patches, count, run), true);
        }
    });
    dw
}

/// The gradient of the input.
fn input_gradient(weight: &[f32], dy: &[f32], g: &Geometry) -> Vec<f32> {
    let (rows, k, o) = (g.rows(), g.patch(), g.channels_out);
    if g.pointwise() {
        let mut dx = vec![0.0; rows * k];
        let (dy, w) = (Matrix::new(dy, rows, o), Matrix::new(weight, o, k));
        shared_product(&mut dx, dy, w, |_| (), |_| ());
        return dx;
    }
    if let Some(transposed) = g.transposed() {
        return convolve(dy, &weight_turned(weight, g), None, &transposed);
    }
    let w = weight_rows(weight, g);
    let mut dx = vec![0.0; g.batch * g.image_len()];
    let images = BLOCK_ROWS.div_ceil(g.positions().max(1));
    if g.batch < PARTS * images {
        let mut dpatches = vec![0.0; rows * k];
        let (dy, w) = (Matrix::new(dy, rows, o), Matrix::new(&w, o, k));
        shared_product(&mut dpatches, dy, w, |_| (), |_| ());
        let patches = dpatches.par_chunks(g.positions() * k);
        dx.par_chunks_mut(g.image_len()).zip(patches).for_each(|(dx, patches)| {
            scatter(patches, g, dx);
        });
        return dx;
    }
    let dys = dy.par_chunks(images * g.output_len());
    dx.par_chunks_mut(images * g.image_len()).zip(dys).for_each_init(
        Vec::new,
        |dpatches, (dx, dy)| {
            let rows = dy.len() / o;
            dpatches.resize(rows * k, 0.0);
            product(dpatches, Matrix::new(dy, rows, o), Matrix::new(&w, o, k), false);
            scatter(dpatches, g, dx);
        },
    );
    dx
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

/// `[o, i, k, k]` -> `[o, k, k, i]`: a row per output channel in the order of a patch.
fn weight_rows<'a>(weight: &'a [f32], g: &Geometry) -> Cow<'a, [f32]> {
    let (c, taps) = (g.channels_in, g.kernel * g.kernel);
    if taps == 1 {
        return Cow::Borrowed(weight);
    }
    let mut rows = vec![0.0; weight.len()];
    rows.par_chunks_mut(c * taps).zip(weight.par_chunks(c * taps)).for_each(|(to, from)| {
        for (t, to) in to.chunks_exact_mut(c).enumerate() {
            to.iter_mut().zip(from[t..].iter().step_by(taps)).for_each(|(to, from)| *to = *from);
        }
    });
    Cow::Owned(rows)
}

/// The inverse of [`weight_rows`].
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

/// `[o, i, k, k]` -> `[i, k, k, o]` with the kernel turned about: the rows of the convolution that
/// is the gradient of the input.
fn weight_turned(weight: &[f32], g: &Geometry) -> Vec<f32> {
    let (c, o, taps) = (g.channels_in, g.channels_out, g.kernel * g.kernel);
    let mut turned = vec![0.0; weight.len()];
    turned.par_chunks_mut((taps * o).max(1)).enumerate().for_each(|(i, to)| {
        for (f, from) in weight.chunks_exact(c * taps).enumerate() {
            let from = &from[i * taps..(i + 1) * taps];
            for (t, value) in from.iter().rev().enumerate() {
                to[t * o + f] = *value;
            }
        }
    });
    turned
}
