//! Convolution on the host: patches gathered into rows, then one matrix product per block of rows.
//!
//! `y[r, o] = act(sum_k patch[r, k] * w[o, k] + b[o])`, with `r` over (image, row, column) and `k`
//! over (kernel row, kernel column, channel). The least work is those multiply-adds, three times
//! over for a forward and backward pass; the patches are gathered block by block and gathered
//! again in the backward pass, so that none of them outlives a block.
//!
//! Work is cut into blocks by the shapes alone and partial sums are added in the order of the
//! blocks, so the bits do not depend on the number of threads.

use rayon::prelude::*;

use super::{Activation, ConvSpec};

/// Floats of gathered patches that one block may hold (1 MiB: about a core's share of cache).
const BLOCK_FLOATS: usize = 1 << 18;
/// Into how many parts a sum over the batch is cut, whatever the number of threads.
const SUM_PARTS: usize = 16;

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    /// Images.
    pub(super) batch: usize,
    /// Input rows.
    pub(super) height: usize,
    /// Input columns.
    pub(super) width: usize,
    /// Input channels.
    pub(super) channels_in: usize,
    /// Output channels.
    pub(super) channels_out: usize,
    /// Kernel rows and columns.
    pub(super) kernel: usize,
    /// Output rows.
    pub(super) height_out: usize,
    /// Output columns.
    pub(super) width_out: usize,
    /// Stride, padding, activation.
    pub(super) spec: ConvSpec,
}

impl Geometry {
    /// From the shapes of the input (`[n, h, w, c]`) and of the weight (`[o, i, k, k]`).
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], spec: ConvSpec) -> Self {
        let [batch, height, width, channels_in] = x;
        let [channels_out, inputs, kernel, kernel_w] = weight;
        assert_eq!(kernel, kernel_w, "a kernel must be square: {weight:?}");
        let expected = if spec.depthwise { 1 } else { channels_in };
        assert_eq!(inputs, expected, "input {x:?} does not fit weight {weight:?}");
        let out = |size: usize| (size + 2 * spec.padding - kernel) / spec.stride + 1;
        Self {
            batch,
            height,
            width,
            channels_in,
            channels_out,
            kernel,
            height_out: out(height),
            width_out: out(width),
            spec,
        }
    }

    /// Floats in one input image.
    pub(super) fn image_len(&self) -> usize {
        self.height * self.width * self.channels_in
    }

    /// Output positions of one image.
    pub(super) fn positions(&self) -> usize {
        self.height_out * self.width_out
    }

    /// Floats in one output image.
    pub(super) fn output_len(&self) -> usize {
        self.positions() * self.channels_out
    }

    /// Floats in one patch.
    fn patch(&self) -> usize {
        self.kernel * self.kernel * self.channels_in
    }

    /// Whether the patches are the input's own rows.
    fn pointwise(&self) -> bool {
        self.kernel == 1 && self.spec.stride == 1 && self.spec.padding == 0
    }

    /// Images that are worked on together, so that a block of patches is neither too large for the
    /// cache nor too small for a matrix product.
    fn images_per_block(&self) -> usize {
        (BLOCK_FLOATS / (self.positions() * self.patch()).max(1)).clamp(1, self.batch.max(1))
    }

    /// Images per part of a sum over the batch, a whole number of blocks.
    pub(super) fn images_per_part(&self) -> usize {
        self.batch.div_ceil(SUM_PARTS).max(1)
    }

    /// The input position that kernel offset `k` reads at output position `o`, if inside.
    #[inline]
    pub(super) fn source(&self, o: usize, k: usize, size: usize) -> Option<usize> {
        (o * self.spec.stride + k).checked_sub(self.spec.padding).filter(|&i| i < size)
    }
}

/// The forward pass: input, weight `[o, i, k, k]`, bias -> output.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], g: &Geometry) -> Vec<f32> {
    let w = weight_rows(weight, g);
    let mut y = vec![0.0; g.batch * g.output_len()];
    let images = g.images_per_block();
    let (rows_in, rows_out) = (images * g.image_len(), images * g.output_len());
    y.par_chunks_mut(rows_out.max(1)).zip(x.par_chunks(rows_in.max(1))).for_each_init(
        Vec::new,
        |patches, (y, x)| {
            let rows = y.len() / g.channels_out;
            for row in y.chunks_exact_mut(g.channels_out) {
                row.copy_from_slice(bias);
            }
            let patches = gather(x, g, patches);
            let (k, o) = (g.patch(), g.channels_out);
            product(y, [rows, o], patches, [rows, k], [k, 1], &w, [k, o], [1, k], 1.0);
            activate(y, g.spec.activation);
        },
    );
    y
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
    let w = weight_rows(weight, g);
    let per_part = g.images_per_part();
    let mut dx = vec![0.0; if wants_x { x.len() } else { 0 }];
    let part = |i: usize, dx: Option<&mut [f32]>| {
        let images = i * per_part..((i + 1) * per_part).min(g.batch);
        let (xs, ys) = (
            images.start * g.image_len()..images.end * g.image_len(),
            images.start * g.output_len()..images.end * g.output_len(),
        );
        backward_part(&x[xs], &w, &y[ys.clone()], &dy[ys], g, dx)
    };
    let parts: Vec<(Vec<f32>, Vec<f32>)> = if wants_x {
        dx.par_chunks_mut(per_part * g.image_len())
            .enumerate()
            .map(|(i, dx)| part(i, Some(dx)))
            .collect()
    } else {
        (0..g.batch.div_ceil(per_part)).into_par_iter().map(|i| part(i, None)).collect()
    };
    let (dw, db) = sum_parts(parts, w.len(), g.channels_out);
    Gradients { x: wants_x.then_some(dx), weight: weight_from_rows(&dw, g), bias: db }
}

/// One part of the batch: its gradient of the weight (as rows) and of the bias, and `dx` in place.
fn backward_part(
    x: &[f32],
    w: &[f32],
    y: &[f32],
    dy: &[f32],
    g: &Geometry,
    mut dx: Option<&mut [f32]>,
) -> (Vec<f32>, Vec<f32>) {
    let (k, o) = (g.patch(), g.channels_out);
    let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; o]);
    let images = g.images_per_block();
    let (mut patches, mut masked, mut dpatches) = (Vec::new(), Vec::new(), Vec::new());
    let blocks = x.chunks(images * g.image_len()).zip(y.chunks(images * g.output_len()));
    for (block, ((x, y), dy)) in blocks.zip(dy.chunks(images * g.output_len())).enumerate() {
        let rows = y.len() / o;
        let dy = mask(y, dy, g.spec.activation, &mut masked);
        sum_rows(dy, &mut db);
        let patches = gather(x, g, &mut patches);
        product(&mut dw, [o, k], dy, [o, rows], [1, o], patches, [rows, k], [k, 1], 1.0);
        if let Some(dx) = dx.as_deref_mut() {
            let start = block * images * g.image_len();
            let dx = &mut dx[start..start + x.len()];
            if g.pointwise() {
                product(dx, [rows, k], dy, [rows, o], [o, 1], w, [o, k], [k, 1], 0.0);
            } else {
                dpatches.resize(rows * k, 0.0);
                product(&mut dpatches, [rows, k], dy, [rows, o], [o, 1], w, [o, k], [k, 1], 0.0);
                scatter(&dpatches, g, dx);
            }
        }
    }
    (dw, db)
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

fn add(into: &mut [f32], from: &[f32]) {
    for (a, b) in into.iter_mut().zip(from) {
        *a += b;
    }
}

/// Applies an activation in place.
pub(super) fn activate(y: &mut [f32], activation: Activation) {
    match activation {
        Activation::None => {}
        Activation::Relu => y.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v }),
        Activation::Relu6 => y.iter_mut().for_each(|v| *v = v.clamp(0.0, 6.0)),
    }
}

/// The gradient before the activation, told from the activation's output `y`: zero where it was
/// cut off, as PyTorch has it.
pub(super) fn mask<'a>(
    y: &[f32],
    dy: &'a [f32],
    activation: Activation,
    scratch: &'a mut Vec<f32>,
) -> &'a [f32] {
    let high = match activation {
        Activation::None => return dy,
        Activation::Relu => f32::INFINITY,
        Activation::Relu6 => 6.0,
    };
    scratch.clear();
    scratch.extend(y.iter().zip(dy).map(|(&y, &d)| if y > 0.0 && y < high { d } else { 0.0 }));
    scratch
}

/// Adds the rows of `dy` to `sum`, whose length is that of a row.
pub(super) fn sum_rows(dy: &[f32], sum: &mut [f32]) {
    for row in dy.chunks_exact(sum.len()) {
        add(sum, row);
    }
}

/// The patches of some images as rows: the images themselves when the convolution is pointwise.
fn gather<'a>(x: &'a [f32], g: &Geometry, scratch: &'a mut Vec<f32>) -> &'a [f32] {
    if g.pointwise() {
        return x;
    }
    let images = x.len() / g.image_len();
    let c = g.channels_in;
    scratch.resize(images * g.positions() * g.patch(), 0.0);
    let mut slots = scratch.chunks_exact_mut(c);
    for image in x.chunks_exact(g.image_len()) {
        for_each_tap(g, |tap| {
            let slot = slots.next().expect("a slot for every position and tap");
            match tap {
                Some(at) => slot.copy_from_slice(&image[at * c..(at + 1) * c]),
                None => slot.fill(0.0),
            }
        });
    }
    scratch
}

/// Adds the gradient of the patches to the images they were gathered from.
fn scatter(dpatches: &[f32], g: &Geometry, dx: &mut [f32]) {
    let c = g.channels_in;
    let mut slots = dpatches.chunks_exact(c);
    for image in dx.chunks_exact_mut(g.image_len()) {
        for_each_tap(g, |tap| {
            let slot = slots.next().expect("a slot for every position and tap");
            if let Some(at) = tap {
                add(&mut image[at * c..(at + 1) * c], slot);
            }
        });
    }
}

/// Calls `visit` for every output position and kernel offset of one image, in the order of a
/// patch's slots, with the pixel that is read there (none outside the image).
fn for_each_tap(g: &Geometry, mut visit: impl FnMut(Option<usize>)) {
    for oy in 0..g.height_out {
        for ox in 0..g.width_out {
            for ky in 0..g.kernel {
                let row = g.source(oy, ky, g.height);
                for kx in 0..g.kernel {
                    let column = g.source(ox, kx, g.width);
                    visit(row.zip(column).map(|(y, x)| y * g.width + x));
                }
            }
        }
    }
}

/// `[o, i, k, k]` -> `[o, k, k, i]`: a row per output channel in the order of a patch.
fn weight_rows(weight: &[f32], g: &Geometry) -> Vec<f32> {
    let (c, taps) = (g.channels_in, g.kernel * g.kernel);
    let mut rows = vec![0.0; weight.len()];
    for (from, to) in weight.chunks_exact(c * taps).zip(rows.chunks_exact_mut(c * taps)) {
        for i in 0..c {
            for t in 0..taps {
                to[t * c + i] = from[i * taps + t];
            }
        }
    }
    rows
}

/// The inverse of [`weight_rows`].
fn weight_from_rows(rows: &[f32], g: &Geometry) -> Vec<f32> {
    let (c, taps) = (g.channels_in, g.kernel * g.kernel);
    let mut weight = vec![0.0; rows.len()];
    for (from, to) in rows.chunks_exact(c * taps).zip(weight.chunks_exact_mut(c * taps)) {
        for i in 0..c {
            for t in 0..taps {
                to[i * taps + t] = from[t * c + i];
            }
        }
    }
    weight
}

/// `dst = keep * dst + a · b` on one thread; `dst` is row-major, `a` and `b` are given with their
/// strides `[row, column]`.
#[expect(clippy::too_many_arguments, reason = "a matrix product has this many")]
pub(super) fn product(
    dst: &mut [f32],
    dst_shape: [usize; 2],
    a: &[f32],
    a_shape: [usize; 2],
    a_strides: [usize; 2],
    b: &[f32],
    b_shape: [usize; 2],
    b_strides: [usize; 2],
    keep: f32,
) {
    let last = |shape: [usize; 2], strides: [usize; 2]| {
        (shape[0].max(1) - 1) * strides[0] + (shape[1].max(1) - 1) * strides[1]
    };
    let [m, n] = dst_shape;
    let k = a_shape[1];
    assert!(a_shape[0] == m && b_shape == [k, n], "{a_shape:?} · {b_shape:?} is not {dst_shape:?}");
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(m * n <= dst.len() && last(a_shape, a_strides) < a.len());
    assert!(last(b_shape, b_strides) < b.len());
    // SAFETY: the three assertions above keep every access that the shapes and strides describe
    // inside its slice, and `dst` is borrowed mutably, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            n as isize,
            keep != 0.0,
            a.as_ptr(),
            a_strides[1] as isize,
            a_strides[0] as isize,
            b.as_ptr(),
            b_strides[1] as isize,
            b_strides[0] as isize,
            keep,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
