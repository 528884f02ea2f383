//! Depthwise convolution on the host: one filter per channel, vectorised along the channels.
//!
//! There is nothing to multiply as matrices here: each output value takes `kernel²` multiply-adds
//! and the pass is bound by memory, so it reads each input row once per kernel row and keeps the
//! bias and activation in the same pass.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use rayon::prelude::*;

use super::activations::{activate, mask, sum_parts, sum_rows};
use super::convolution::Gradients;
use super::geometry::Geometry;
use super::vectorised::vectorised;

/// The forward pass: input, weight `[c, 1, k, k]`, bias -> output.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], g: &Geometry) -> Vec<f32> {
    let w = taps_first(weight, g);
    let mut y = vec![0.0; g.batch * g.output_len()];
    y.par_chunks_mut(g.output_len()).zip(x.par_chunks(g.image_len())).for_each(|(y, x)| {
        vectorised(
            #[inline(always)]
            || forward_image(x, &w, bias, y, g),
        );
        activate(y, g.spec.activation);
    });
    y
}

#[inline(always)]
fn forward_image(x: &[f32], w: &[f32], bias: &[f32], y: &mut [f32], g: &Geometry) {
    let c = g.channels_out;
    for (position, y) in y.chunks_exact_mut(c).enumerate() {
        y.copy_from_slice(bias);
        for_each_tap(position, g, |tap, at| {
            multiply_add(y, &x[at * c..(at + 1) * c], &w[tap * c..(tap + 1) * c]);
        });
    }
}

/// The backward pass: from the input, the weight, the output and the output's gradient.
pub(super) fn backward(
    x: &[f32],
    weight: &[f32],
    y: &[f32],
    dy: &[f32],
    g: &Geometry,
) -> Gradients {
    let w = taps_first(weight, g);
    let per_part = g.images_per_part();
    let (ins, outs) = (per_part * g.image_len(), per_part * g.output_len());
    let mut dx = vec![0.0; x.len()];
    let parts: Vec<_> = dx
        .par_chunks_mut(ins)
        .zip(x.par_chunks(ins))
        .zip(y.par_chunks(outs).zip(dy.par_chunks(outs)))
        .map(|((dx, x), (y, dy))| {
            vectorised(
                #[inline(always)]
                || backward_part(x, &w, y, dy, dx, g),
            )
        })
        .collect();
    let (dw, db) = sum_parts(parts, w.len(), g.channels_out);
    Gradients { x: Some(dx), weight: channels_first(&dw, g), scale: None, bias: db }
}

#[inline(always)]
fn backward_part(
    x: &[f32],
    w: &[f32],
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    g: &Geometry,
) -> (Vec<f32>, Vec<f32>) {
    let c = g.channels_out;
    let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; c]);
    let mut masked = Vec::new();
    let images = x.chunks_exact(g.image_len()).zip(dx.chunks_exact_mut(g.image_len()));
    let outputs = y.chunks_exact(g.output_len()).zip(dy.chunks_exact(g.output_len()));
    for ((x, dx), (y, dy)) in images.zip(outputs) {
        let dy = mask(y, dy, g.spec.activation, &mut masked);
        sum_rows(dy, &mut db);
        for (position, dy) in dy.chunks_exact(c).enumerate() {
            for_each_tap(position, g, |tap, at| {
                let (pixel, taps) = (at * c..(at + 1) * c, tap * c..(tap + 1) * c);
                multiply_add(&mut dx[pixel.clone()], dy, &w[taps.clone()]);
                multiply_add(&mut dw[taps], dy, &x[pixel]);
            });
        }
    }
    (dw, db)
}

/// Calls `visit(tap, pixel)` for every kernel offset that reads inside the image.
#[inline(always)]
fn for_each_tap(position: usize, g: &Geometry, mut visit: impl FnMut(usize, usize)) {
    let (oy, ox) = (position / g.width_out, position % g.width_out);
    for ky in 0..g.kernel {
        let Some(row) = g.source(oy, ky, g.height) else { continue };
        for kx in 0..g.kernel {
            let Some(column) = g.source(ox, kx, g.width) else { continue };
            visit(ky * g.kernel + kx, row * g.width + column);
        }
    }
}

#[inline(always)]
fn multiply_add(into: &mut [f32], a: &[f32], b: &[f32]) {
    for ((y, a), b) in into.iter_mut().zip(a).zip(b) {
        *y += a * b;
    }
}

/// `[c, 1, k, k]` -> `[k·k, c]`.
fn taps_first(weight: &[f32], g: &Geometry) -> Vec<f32> {
    transpose(weight, g.channels_out, g.kernel * g.kernel)
}

/// `[k·k, c]` -> `[c, 1, k, k]`.
fn channels_first(rows: &[f32], g: &Geometry) -> Vec<f32> {
    transpose(rows, g.kernel * g.kernel, g.channels_out)
}

fn transpose(from: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut to = vec![0.0; from.len()];
    for r in 0..rows {
        for c in 0..columns {
            to[c * rows + r] = from[r * columns + c];
        }
    }
    to
}
