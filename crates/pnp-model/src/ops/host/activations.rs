//! Activations and their gradients, and sums over and along rows, in one pass over memory each.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use super::vectorised::vectorised;
use crate::ops::Activation;

/// Running sums side by side, a few of the processor's vectors.
const ROW_LANES: usize = 16;

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

/// [`mask`], written.
#[inline(always)]
pub(super) fn mask_into(y: &[f32], dy: &[f32], activation: Activation, to: &mut [f32]) {
    let high = if activation == Activation::Relu6 { 6.0 } else { f32::INFINITY };
    for ((to, &y), &d) in to.iter_mut().zip(y).zip(dy) {
        *to = if y > 0.0 && y < high { d } else { 0.0 };
    }
}

/// [`mask`] in place, and adds the rows to `sum`, in one pass.
#[inline(always)]
pub(super) fn mask_rows(y: &[f32], dy: &mut [f32], activation: Activation, sum: &mut [f32]) {
    let high = if activation == Activation::Relu6 { 6.0 } else { f32::INFINITY };
    let row = sum.len();
    for (dy, y) in dy.chunks_exact_mut(row).zip(y.chunks_exact(row)) {
        for ((dy, sum), &y) in dy.iter_mut().zip(sum.iter_mut()).zip(y) {
            *dy = if y > 0.0 && y < high { *dy } else { 0.0 };
            *sum += *dy;
        }
    }
}

/// Adds the rows of `dy` to `sum`, whose length is that of a row.
#[inline(always)]
pub(super) fn sum_rows(dy: &[f32], sum: &mut [f32]) {
    for row in dy.chunks_exact(sum.len()) {
        add(sum, row);
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

/// Adds values to as many others.
#[inline(always)]
pub(super) fn add(into: &mut [f32], from: &[f32]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a += b;
    }
}

/// A sum of products in lanes, in one order.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; ROW_LANES];
    let (a, a_rest) = a.as_chunks::<ROW_LANES>();
    let (b, b_rest) = b.as_chunks::<ROW_LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    lanes.into_iter().chain(rest).sum()
}
