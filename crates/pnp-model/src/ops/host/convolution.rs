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

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::activations::{add, dot, mask_rows, sum_rows};
use super::geometry::Geometry;
use super::indirect::Product;
use super::panels::Panels;
use super::patches::gathers;
use super::reads::{Lattice, Reads};
use super::shared::{filled, written};
use super::tile::panel_width;
use super::vectorised::vectorised;
use super::weight_gradient::weight_gradient;
use crate::ops::Activation;

/// The forward pass: input, weight, bias, what is added before the activation -> output.
pub(super) fn forward(
    x: &[f32],
    panels: &Panels,
    bias: &[f32],
    added: Option<&[f32]>,
    g: &Geometry,
) -> Vec<f32> {
    assert!(x.len() == g.batch * g.image_len() && bias.len() == g.channels_out);
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
fn input_gradient(filters: Filters, dy: &[f32], g: &Geometry) -> Vec<f32> {
    let panels = Panels::backward(filters.weight, filters.scale, g);
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

/// A weight `[o, i, k, k]` and what each output's part of it is multiplied by, `[o]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filters<'a> {
    pub(super) weight: &'a [f32],
    pub(super) scale: &'a [f32],
}

/// Which gradients are asked for, of those that are not always.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) x: bool,
    pub(super) scale: bool,
}

/// Gradients of the inputs of a convolution.
pub(super) struct Gradients {
    /// With respect to the input, when asked for.
    pub(super) x: Option<Vec<f32>>,
    /// With respect to the weight, `[o, i, k, k]`.
    pub(super) weight: Vec<f32>,
    /// With respect to its scales, when asked for.
    pub(super) scale: Option<Vec<f32>>,
    /// With respect to the bias.
    pub(super) bias: Vec<f32>,
}

/// The backward pass: from the input, the weight, the gradient before the activation
/// ([`before_activation`]) and that of the bias.
pub(super) fn backward(
    x: &[f32],
    filters: Filters,
    dy: &[f32],
    bias: Vec<f32>,
    g: &Geometry,
    wanted: Wanted,
) -> Gradients {
    assert!(x.len() == g.batch * g.image_len() && dy.len() == g.rows() * g.channels_out);
    let dw = weight_gradient(x, dy, g);
    let x = wanted.x.then(|| input_gradient(filters, dy, g));
    let (weight, scale) = unscaled(dw, filters, wanted.scale, g);
    Gradients { x, weight, scale, bias }
}

/// The gradient of the bias: a sum over all positions.
pub(super) fn bias_gradient(dy: &[f32], g: &Geometry) -> Vec<f32> {
    let summed = |dy: &[f32]| {
        let mut sum = vec![0.0; g.channels_out];
        vectorised(
            #[inline(always)]
            || sum_rows(dy, &mut sum),
        );
        sum
    };
    total(&dy.par_chunks(part_length(g)).map(summed).collect::<Vec<_>>(), g)
}

/// Turns the gradient of the output into that before the activation, and gives the gradient of the
/// bias.
pub(super) fn before_activation(y: &[f32], dy: &mut [f32], g: &Geometry) -> Vec<f32> {
    assert!(y.len() == dy.len());
    let summed = |y: &[f32], dy: &mut [f32]| {
        let mut sum = vec![0.0; g.channels_out];
        vectorised(
            #[inline(always)]
            || mask_rows(y, dy, g.spec.activation, &mut sum),
        );
        sum
    };
    let part = part_length(g);
    let parts = dy.par_chunks_mut(part).zip(y.par_chunks(part));
    total(&parts.map(|(dy, y)| summed(y, dy)).collect::<Vec<_>>(), g)
}

/// Floats of the output that are summed together.
fn part_length(g: &Geometry) -> usize {
    (g.rows_per_part() * g.channels_out).max(1)
}

/// The sum of vectors with a value for each output, in their order.
fn total(sums: &[Vec<f32>], g: &Geometry) -> Vec<f32> {
    let mut total = vec![0.0; g.channels_out];
    for sum in sums {
        add(&mut total, sum);
    }
    total
}

/// The gradients of the weight and of its scales, from that of their product, whose rows are in
/// the order of a patch: `[o, k, k, i]` -> `[o, i, k, k]`.
fn unscaled(
    rows: Vec<f32>,
    filters: Filters,
    wants_scale: bool,
    g: &Geometry,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let (c, taps) = (g.channels_in, g.kernel * g.kernel);
    let row = c * taps;
    assert!(rows.len() == g.channels_out * row && filters.weight.len() == rows.len());
    assert!(filters.scale.len() == g.channels_out);
    let finish = |dw: &mut [f32], weight: &[f32], scale: f32| {
        let mut ds = 0.0;
        vectorised(
            #[inline(always)]
            || {
                ds = if wants_scale { dot(weight, dw) } else { 0.0 };
                for dw in &mut *dw {
                    *dw *= scale;
                }
            },
        );
        ds
    };
    let mut ds = vec![0.0; g.channels_out];
    let of_filters = ds.par_iter_mut().zip(filters.weight.par_chunks(row).zip(filters.scale));
    let dw = if taps > 1 {
        // SAFETY: every filter is written whole: `rows` has as many values of it.
        unsafe {
            filled(rows.len(), |dw| {
                let turned = dw.par_chunks_mut(row).zip(rows.par_chunks(row));
                turned.zip(of_filters).for_each(|((dw, rows), (ds, (weight, &scale)))| {
                    *ds = finish(turn(rows, dw, c), weight, scale);
                });
            })
        }
    } else {
        let mut dw = rows;
        if wants_scale || filters.scale.iter().any(|&scale| scale != 1.0) {
            dw.par_chunks_mut(row).zip(of_filters).for_each(|(dw, (ds, (weight, &scale)))| {
                *ds = finish(dw, weight, scale);
            });
        }
        dw
    };
    (dw, wants_scale.then_some(ds))
}

/// `[k · k, c]` -> `[c, k · k]`.
fn turn<'a>(from: &[f32], to: &'a mut [MaybeUninit<f32>], c: usize) -> &'a mut [f32] {
    assert!(from.len() == to.len() && from.len().is_multiple_of(c));
    for (i, to) in to.chunks_exact_mut(from.len() / c).enumerate() {
        for (to, from) in to.iter_mut().zip(from[i..].iter().step_by(c)) {
            to.write(*from);
        }
    }
    // SAFETY: `c` times as many as there are offsets have been written: all.
    unsafe { to.assume_init_mut() }
}
