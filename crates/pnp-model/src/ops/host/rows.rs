//! What a transformer does between its products, on the host: GELU, the normalisation of layer
//! norm, and attention, each forward and backward in one pass over its input.
//!
//! Attention makes the scores of one head of one image at a time, in the cache, and makes them
//! again in the backward pass: no map of tokens by tokens is kept. Work is cut by the shapes alone,
//! so the bits do not depend on the number of threads.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use rayon::prelude::*;

use super::product::{Matrix, product};
use super::vectorised::vectorised;
use crate::ops::RowOp;

/// Values that a thread takes at once of an operation on single values.
const PIECE: usize = 1 << 14;
/// Rows that a thread takes at once.
const ROWS: usize = 32;
/// Partial sums that are kept of a row, so that they can be vectors.
const LANES: usize = 16;

/// The output's channels for the input's.
pub(super) fn channels_out(op: RowOp, channels: usize) -> usize {
    if matches!(op, RowOp::Attention { .. }) { channels / 3 } else { channels }
}

/// The forward pass of `x`, `[batch, height, width, channels]`.
pub(super) fn forward(x: &[f32], shape: [usize; 4], op: RowOp) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / shape[3].max(1) * channels_out(op, shape[3])];
    match op {
        RowOp::Gelu => pieces(
            &mut y,
            x,
            x,
            PIECE,
            #[inline(always)]
            |y, x, _| {
                y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * gaussian(x));
            },
        ),
        RowOp::Normalize { epsilon } => {
            let c = shape[3];
            pieces(
                &mut y,
                x,
                x,
                ROWS * c,
                #[inline(always)]
                |y, x, _| {
                    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        let (mean, scale) = moments(x, epsilon);
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * scale);
                    }
                },
            );
        }
        RowOp::Attention { heads } => attend(x, &Attention::new(shape, heads), &mut y),
    }
    y
}

/// The backward pass: from the input and the output's gradient.
pub(super) fn backward(x: &[f32], dy: &[f32], shape: [usize; 4], op: RowOp) -> Vec<f32> {
    let mut dx = vec![0.0; x.len()];
    match op {
        RowOp::Gelu => pieces(
            &mut dx,
            x,
            dy,
            PIECE,
            #[inline(always)]
            |dx, x, dy| {
                for ((dx, &x), dy) in dx.iter_mut().zip(x).zip(dy) {
                    let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
                    *dx = dy * (gaussian(x) + x * density);
                }
            },
        ),
        RowOp::Normalize { epsilon } => {
            let c = shape[3];
            pieces(
                &mut dx,
                x,
                dy,
                ROWS * c,
                #[inline(always)]
                |dx, x, dy| {
                    let rows =
                        dx.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(dy.chunks_exact(c));
                    rows.for_each(|((dx, x), dy)| normalize_backward(dx, x, dy, epsilon));
                },
            );
        }
        RowOp::Attention { heads } => {
            attend_backward(x, dy, &Attention::new(shape, heads), &mut dx);
        }
    }
    dx
}

/// Runs `f` on pieces of three slices of equal length, in parallel and with the widest vectors.
fn pieces(
    out: &mut [f32],
    a: &[f32],
    b: &[f32],
    length: usize,
    f: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
) {
    let length = length.max(1);
    out.par_chunks_mut(length).zip(a.par_chunks(length)).zip(b.par_chunks(length)).for_each(
        |((out, a), b)| {
            vectorised(
                #[inline(always)]
                || f(out, a, b),
            );
        },
    );
}

/// The share of a standard normal that is below `x`: `(1 + erf(x / √2)) / 2`.
#[inline(always)]
fn gaussian(x: f32) -> f32 {
    0.5 + 0.5 * erf(x * FRAC_1_SQRT_2)
}

/// The error function to 5e-7, as a quotient of two polynomials (the coefficients are Eigen's).
/// Beyond what f32 tells from 1 it is 1, so that a large input is not multiplied by an error.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const ABOVE: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] =
        [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329_2e-3, -1.426_473_9e-2];
    const ONE_FROM: f32 = 3.9;
    let near = x.clamp(-ONE_FROM, ONE_FROM);
    let square = near * near;
    let polynomial = |terms: &[f32]| terms.iter().fold(0.0, |sum, term| sum * square + term);
    let erf = (near * polynomial(&ABOVE) / polynomial(&BELOW)).clamp(-1.0, 1.0);
    if x.abs() > ONE_FROM { x.signum() } else { erf }
}

/// The sum of what `f` makes of the pairs of two rows of equal length.
#[inline(always)]
fn sum(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    let rest = rest_a.iter().zip(rest_b).map(|(a, b)| f(*a, *b)).sum::<f32>();
    lanes.iter().sum::<f32>() + rest
}

/// The mean of a row and one over its deviation.
#[inline(always)]
fn moments(x: &[f32], epsilon: f64) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum(x, x, |x, _| x) / count;
    let variance = sum(x, x, |x, _| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (variance + epsilon as f32).sqrt())
}

/// `dx = (dy − mean(dy) − x̂ · mean(dy · x̂)) / deviation`.
#[inline(always)]
fn normalize_backward(dx: &mut [f32], x: &[f32], dy: &[f32], epsilon: f64) {
    let (mean, scale) = moments(x, epsilon);
    let count = x.len() as f32;
    let shift = sum(dy, dy, |dy, _| dy) / count;
    let along = sum(dy, x, |dy, x| dy * (x - mean)) * scale / count;
    for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
        *dx = scale * (dy - shift - (x - mean) * scale * along);
    }
}

/// The sizes of an attention.
#[derive(Debug, Clone, Copy)]
struct Attention {
    tokens: usize,
    heads: usize,
    /// Channels of the output, all heads together.
    width: usize,
    /// Channels of a head.
    size: usize,
}

impl Attention {
    fn new([_, _, tokens, channels]: [usize; 4], heads: usize) -> Self {
        let width = channels / 3;
        assert!(
            channels == 3 * heads * (width / heads.max(1)),
            "{channels} channels are not queries, keys and values of {heads} heads"
        );
        Self { tokens, heads, width, size: width / heads }
    }

    /// Floats of an image's input.
    fn image_len(&self) -> usize {
        self.tokens * 3 * self.width
    }

    /// One over the root of a head's channels.
    fn scale(&self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    /// An image's queries (0), keys (1) or values (2) of one head, `[tokens, size]` in rows of
    /// `3 · width`.
    fn part<'a>(&self, image: &'a [f32], part: usize, head: usize) -> &'a [f32] {
        &image[part * self.width + head * self.size..]
    }

    /// `[tokens, tokens]`: the softmax of a head's scores, row by row.
    fn shares(&self, image: &[f32], head: usize, shares: &mut Vec<f32>) {
        let (t, d, row) = (self.tokens, self.size, 3 * self.width);
        shares.resize(t * t, 0.0);
        let (q, k) = (self.part(image, 0, head), self.part(image, 1, head));
        let (q, k) = (Matrix::strided(q, t, d, row), Matrix::strided(k, t, d, row));
        product(shares, q, k.transposed(), false);
        let scale = self.scale();
        vectorised(
            #[inline(always)]
            || shares.chunks_exact_mut(t).for_each(|row| softmax(row, scale)),
        );
    }
}

/// The softmax of `scale · row`, in place; the largest is taken off first, so nothing overflows.
#[inline(always)]
fn softmax(row: &mut [f32], scale: f32) {
    let largest = row.iter().fold(f32::NEG_INFINITY, |largest, &x| largest.max(x));
    for x in row.iter_mut() {
        *x = (scale * (*x - largest)).exp();
    }
    let over = 1.0 / sum(row, row, |x, _| x);
    for x in row {
        *x *= over;
    }
}

fn attend(x: &[f32], h: &Attention, y: &mut [f32]) {
    let (t, d, row) = (h.tokens, h.size, 3 * h.width);
    if y.is_empty() {
        return;
    }
    let images = x.par_chunks(h.image_len());
    let mixed: Vec<Vec<f32>> = images
        .flat_map(|image| (0..h.heads).into_par_iter().map(move |head| (image, head)))
        .map_init(Vec::new, |shares, (image, head)| {
            h.shares(image, head, shares);
            let mut mixed = vec![0.0; t * d];
            let v = h.part(image, 2, head);
            let (shares, v) = (Matrix::new(shares, t, t), Matrix::strided(v, t, d, row));
            product(&mut mixed, shares, v, false);
            mixed
        })
        .collect();
    y.par_chunks_mut(t * h.width).zip(mixed.par_chunks(h.heads)).for_each(|(y, heads)| {
        for (head, mixed) in heads.iter().enumerate() {
            spread(mixed, y, h.width, head * d, d);
        }
    });
}

fn attend_backward(x: &[f32], dy: &[f32], h: &Attention, dx: &mut [f32]) {
    if dx.is_empty() {
        return;
    }
    let images = x.par_chunks(h.image_len()).zip(dy.par_chunks(h.tokens * h.width));
    let parts: Vec<[Vec<f32>; 3]> = images
        .flat_map(|(x, dy)| (0..h.heads).into_par_iter().map(move |head| (x, dy, head)))
        .map_init(Default::default, |scratch, (x, dy, head)| head_backward(x, dy, h, head, scratch))
        .collect();
    dx.par_chunks_mut(h.image_len()).zip(parts.par_chunks(h.heads)).for_each(|(dx, heads)| {
        for (head, parts) in heads.iter().enumerate() {
            for (part, gradient) in parts.iter().enumerate() {
                let offset = part * h.width + head * h.size;
                spread(gradient, dx, 3 * h.width, offset, h.size);
            }
        }
    });
}

/// The gradients of one head's queries, keys and values, `[tokens, size]` each.
fn head_backward(
    x: &[f32],
    dy: &[f32],
    h: &Attention,
    head: usize,
    (shares, scores): &mut (Vec<f32>, Vec<f32>),
) -> [Vec<f32>; 3] {
    let (t, d, row, out) = (h.tokens, h.size, 3 * h.width, h.width);
    h.shares(x, head, shares);
    let dy = &dy[head * d..];
    let [q, k, v] = [0, 1, 2].map(|part| Matrix::strided(h.part(x, part, head), t, d, row));
    let gradient = || vec![0.0; t * d];
    let (mut dq, mut dk, mut dv) = (gradient(), gradient(), gradient());
    let dy = Matrix::strided(dy, t, d, out);
    product(&mut dv, Matrix::new(shares, t, t).transposed(), dy, false);
    scores.resize(t * t, 0.0);
    product(scores, dy, v.transposed(), false);
    let scale = h.scale();
    vectorised(
        #[inline(always)]
        || {
            // The gradient of a row's scores: share · (gradient − their mean by share).
            for (scores, shares) in scores.chunks_exact_mut(t).zip(shares.chunks_exact(t)) {
                let mean = sum(scores, shares, |score, share| score * share);
                let both = scores.iter_mut().zip(shares);
                both.for_each(|(score, share)| *score = scale * share * (*score - mean));
            }
        },
    );
    let scores = Matrix::new(scores, t, t);
    product(&mut dq, scores, k, false);
    product(&mut dk, scores.transposed(), q, false);
    [dq, dk, dv]
}

/// Copies rows of `size` values into longer rows, from a column on.
fn spread(from: &[f32], to: &mut [f32], row: usize, column: usize, size: usize) {
    for (from, to) in from.chunks_exact(size).zip(to.chunks_exact_mut(row)) {
        to[column..column + size].copy_from_slice(from);
    }
}
