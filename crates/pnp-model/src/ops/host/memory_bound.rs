//! The sum of two maps with an activation, and the maximum in windows, on the host.
//!
//! Both are bound by memory. The least traffic of the sum is two reads and a write, of its gradient
//! the same; the maximum reads its input once. They run along the channels, which come last, in
//! one pass each, where separate operations would write what lies between and read it again.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use rayon::prelude::*;

use super::activations::{activate, mask_into};
use super::vectorised::vectorised;
use crate::ops::{Activation, Window};

/// Values that a task takes of a sum.
const PART: usize = 1 << 16;

/// `activation(a + b)`.
pub(super) fn add(a: &[f32], b: &[f32], activation: Activation) -> Vec<f32> {
    let mut y = vec![0.0; a.len()];
    let parts = y.par_chunks_mut(PART).zip(a.par_chunks(PART).zip(b.par_chunks(PART)));
    parts.for_each(|(y, (a, b))| {
        vectorised(
            #[inline(always)]
            || y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y = a + b),
        );
        activate(y, activation);
    });
    y
}

/// The gradient of both summands, from the output and its gradient.
pub(super) fn add_backward(y: &[f32], dy: &[f32], activation: Activation) -> Vec<f32> {
    let mut dx = vec![0.0; y.len()];
    let parts = dx.par_chunks_mut(PART).zip(y.par_chunks(PART).zip(dy.par_chunks(PART)));
    parts.for_each(|(dx, (y, dy))| {
        vectorised(
            #[inline(always)]
            || mask_into(y, dy, activation, dx),
        );
    });
    dx
}

/// The sizes of a pooling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pooling {
    height: usize,
    width: usize,
    channels: usize,
    height_out: usize,
    width_out: usize,
    window: Window,
}

impl Pooling {
    /// Of maps `[batch, height, width, channels]`.
    pub(super) fn new([_, height, width, channels]: [usize; 4], window: Window) -> Self {
        let [height_out, width_out] = [height, width].map(|side| window.outputs(side));
        Self { height, width, channels, height_out, width_out, window }
    }

    /// The shape of the output of a batch.
    pub(super) fn shape(&self, batch: usize) -> [usize; 4] {
        [batch, self.height_out, self.width_out, self.channels]
    }

    fn image_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    fn output_len(&self) -> usize {
        self.height_out * self.width_out * self.channels
    }

    /// Calls `visit` with every place of the window at an output position that lies inside the
    /// image, in order.
    #[inline(always)]
    fn for_each_place(&self, position: usize, mut visit: impl FnMut(usize)) {
        let Window { size, stride, padding, .. } = self.window;
        let span = |o: usize, side: usize| {
            let start = o * stride;
            start.saturating_sub(padding)..(start + size).saturating_sub(padding).min(side)
        };
        let columns = span(position % self.width_out, self.width);
        for row in span(position / self.width_out, self.height) {
            for column in columns.clone() {
                visit((row * self.width + column) * self.channels);
            }
        }
    }
}

/// The maximum in each window; what is no number is the maximum, as in PyTorch.
pub(super) fn max_pool(x: &[f32], p: &Pooling) -> Vec<f32> {
    let batch = x.len() / p.image_len().max(1);
    let mut y = vec![f32::NEG_INFINITY; batch * p.output_len()];
    let images = y.par_chunks_mut(p.output_len().max(1)).zip(x.par_chunks(p.image_len().max(1)));
    images.for_each(|(y, x)| {
        vectorised(
            #[inline(always)]
            || {
                for (position, y) in y.chunks_exact_mut(p.channels).enumerate() {
                    p.for_each_place(position, |at| {
                        for (y, &x) in y.iter_mut().zip(&x[at..at + p.channels]) {
                            *y = if x > *y || x.is_nan() { x } else { *y };
                        }
                    });
                }
            },
        );
    });
    y
}

/// The gradient of the input: each window's goes to the first place that holds its maximum.
pub(super) fn max_pool_backward(x: &[f32], y: &[f32], dy: &[f32], p: &Pooling) -> Vec<f32> {
    let mut dx = vec![0.0; x.len()];
    let (image, output) = (p.image_len().max(1), p.output_len().max(1));
    let inputs = dx.par_chunks_mut(image).zip(x.par_chunks(image));
    let outputs = y.par_chunks(output).zip(dy.par_chunks(output));
    inputs.zip(outputs).for_each_init(Vec::new, |left, ((dx, x), (y, dy))| {
        vectorised(
            #[inline(always)]
            || {
                let rows = y.chunks_exact(p.channels).zip(dy.chunks_exact(p.channels));
                for (position, (y, dy)) in rows.enumerate() {
                    left.clear();
                    left.extend_from_slice(dy);
                    p.for_each_place(position, |at| {
                        let places = dx[at..at + p.channels].iter_mut().zip(&x[at..]);
                        for ((dx, x), (y, left)) in places.zip(y.iter().zip(left.iter_mut())) {
                            let takes = x == y || (x.is_nan() && y.is_nan());
                            *dx += if takes { *left } else { 0.0 };
                            *left = if takes { 0.0 } else { *left };
                        }
                    });
                }
            },
        );
    });
    dx
}
