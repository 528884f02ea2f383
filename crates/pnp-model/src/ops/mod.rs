//! The operations that a backbone spends its time in, on whatever device the tensors are: two kinds
//! of convolution, and what a transformer does between its products.
//!
//! Activations are kept channels-last, `[batch, height, width, channels]`: a 1×1 convolution is
//! then one plain matrix product, and a depthwise convolution runs along contiguous channels. On
//! the host (`Flex`) device the work is done by the kernels of `host`, forward and backward; on
//! any other device it is handed to Burn's own convolution, which is also what the tests compare
//! the host kernels with.
//!
//! Activations are kept in the precision of the pass ([`crate::Precision`]), which an operation
//! tells from its input. Products are of values in that precision; everything else is computed in
//! single precision and rounded once.

#[cfg(feature = "flex")]
mod depthwise;
#[cfg(feature = "flex")]
mod extension;
#[cfg(feature = "flex")]
mod geometry;
#[cfg(feature = "flex")]
mod host;
#[cfg(feature = "flex")]
mod memory_bound;
#[cfg(feature = "flex")]
mod memory_bound_extension;
#[cfg(feature = "flex")]
mod panels;
#[cfg(feature = "flex")]
mod patches;
#[cfg(feature = "flex")]
mod product;
#[cfg(feature = "flex")]
mod row_extension;
#[cfg(feature = "flex")]
mod rows;
#[cfg(feature = "flex")]
mod tile;
#[cfg(feature = "flex")]
mod vectorised;

#[cfg(feature = "flex")]
use std::sync::Arc;

use burn::tensor::activation::{relu, softmax};
use burn::tensor::module::{conv2d as burn_conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, FloatDType, Tensor};

use crate::precision::{dtype, in_f32, widened};

/// Whether a device is the host, whose kernels these are.
#[cfg(feature = "flex")]
pub(crate) fn is_host(device: &Device) -> bool {
    *device == Device::flex()
}

/// A build without the host's backend has other devices only.
#[cfg(not(feature = "flex"))]
pub(crate) fn is_host(_: &Device) -> bool {
    false
}

/// What follows the affine part of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// `max(0, x)`.
    Relu,
    /// `min(max(0, x), 6)`, the activation of the MobileNets.
    Relu6,
}

impl Activation {
    /// Applies the activation.
    pub(crate) fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::None => x,
            Self::Relu => relu(x),
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }
}

/// How a convolution walks over its input. The kernel's size is the weight's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvSpec {
    /// Step between output positions, the same for height and width.
    pub(crate) stride: usize,
    /// Zeros added on each side, the same for height and width.
    pub(crate) padding: usize,
    /// One filter per channel (as many groups as channels) instead of one group.
    pub(crate) depthwise: bool,
    /// Applied to the output.
    pub(crate) activation: Activation,
}

/// How a pooling window walks over a map; the same for rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Rows and columns of the window.
    pub(crate) size: usize,
    /// Step between windows.
    pub(crate) stride: usize,
    /// Positions added on each side: no maximum sees them, a mean counts them as zeros.
    pub(crate) padding: usize,
    /// Whether a last window that reaches beyond the padded map is kept, cut to what is there
    /// (PyTorch's `ceil_mode`).
    pub(crate) ceil: bool,
}

impl Window {
    /// Windows along a side of a map (PyTorch's rule: one that is kept by `ceil` begins inside the
    /// map or in the padding before it).
    #[cfg(feature = "flex")]
    fn outputs(self, side: usize) -> usize {
        let Self { size, stride, padding, ceil } = self;
        // A window that is larger than the map is cut to it.
        let steps = (side + 2 * padding).saturating_sub(size);
        let outputs = if ceil { steps.div_ceil(stride) } else { steps / stride } + 1;
        outputs - usize::from((outputs - 1) * stride >= side + padding)
    }
}

/// A two-dimensional convolution with bias and activation.
///
/// # Shapes
///
/// - `x`: `[batch, height, width, channels_in]`
/// - `weight`: `[channels_out, channels_in, kernel, kernel]` as PyTorch keeps it;
///   `[channels, 1, kernel, kernel]` when depthwise
/// - `bias`: `[channels_out]`
/// - output: `[batch, height_out, width_out, channels_out]`
///
/// The output has the input's precision, to which the weight is rounded as well. A depthwise
/// convolution is no matrix product: it is computed in single precision, by its weight as it is.
///
/// # Panics
///
/// When the shapes do not fit together: the layers make them.
pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    spec: ConvSpec,
) -> Tensor<4> {
    convolve(x, Filters::Given(weight), bias, None, spec)
}

/// The weight of a convolution.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "flex", expect(clippy::large_enum_variant, reason = "one a layer and pass"))]
pub(crate) enum Filters {
    /// As a layer has it.
    Given(Tensor<4>),
    /// In the order of the host's kernels; no gradient goes through it.
    #[cfg(feature = "flex")]
    Packed(Arc<extension::Packed>),
}

impl Filters {
    /// A weight that is used in many passes without a tape, of a convolution in this precision.
    pub(crate) fn kept(weight: Tensor<4>, spec: ConvSpec, precision: FloatDType) -> Self {
        if spec.depthwise {
            return Self::Given(weight);
        }
        let weight = weight.cast(precision);
        #[cfg(feature = "flex")]
        if is_host(&weight.device()) {
            return Self::Packed(Arc::new(extension::Packed::new(widened(weight))));
        }
        Self::Given(weight)
    }
}

/// [`conv2d`] with maps that are added to its output before the activation.
pub(crate) fn convolve(
    x: Tensor<4>,
    filters: Filters,
    bias: Tensor<1>,
    added: Option<Tensor<4>>,
    spec: ConvSpec,
) -> Tensor<4> {
    let precision = dtype(&x);
    let weight = match filters {
        Filters::Given(weight) if spec.depthwise => weight,
        Filters::Given(weight) => weight.cast(precision),
        #[cfg(feature = "flex")]
        Filters::Packed(packed) => {
            let added = added.map(widened);
            return in_f32(x, |x| extension::convolve_packed(x, packed, bias, added, spec));
        }
    };
    #[cfg(feature = "flex")]
    if is_host(&x.device()) {
        let added = added.map(widened);
        return in_f32(x, |x| extension::convolve(x, widened(weight), bias, added, spec));
    }
    match added {
        Some(added) => {
            let linear = ConvSpec { activation: Activation::None, ..spec };
            add(conv2d_on_device(x, weight, bias, linear), added, spec.activation)
        }
        None => conv2d_on_device(x, weight, bias, spec),
    }
}

/// By Burn's own operations, in the precision of the input.
fn conv2d_on_device(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, spec: ConvSpec) -> Tensor<4> {
    let precision = dtype(&x);
    if precision == FloatDType::F32 {
        conv2d_by_burn(x, weight, bias, spec)
    } else if spec.depthwise {
        in_f32(x, |x| conv2d_by_burn(x, weight, bias, spec))
    } else {
        // The product comes out rounded; what follows it is one pass over it.
        let y = widened(conv2d_alone(x, weight, None, spec)) + bias.unsqueeze::<4>();
        spec.activation.forward(y).cast(precision)
    }
}

/// The same by Burn's own operations, on any device, in one precision.
fn conv2d_by_burn(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, spec: ConvSpec) -> Tensor<4> {
    spec.activation.forward(conv2d_alone(x, weight, Some(bias), spec))
}

/// Without the activation.
fn conv2d_alone(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    spec: ConvSpec,
) -> Tensor<4> {
    let groups = if spec.depthwise { weight.dims()[0] } else { 1 };
    let options = ConvOptions::new([spec.stride; 2], [spec.padding; 2], [1; 2], groups);
    burn_conv2d(x.permute([0, 3, 1, 2]), weight, bias, options).permute([0, 2, 3, 1])
}

/// `x · weightᵀ + bias`: `[rows, inputs]`, `[outputs, inputs]`, `[outputs]` ->
/// `[rows, outputs]`, in the input's precision, to which the weight is rounded as well.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let precision = dtype(&x);
    let ([rows, inputs], [outputs, _]) = (x.dims(), weight.dims());
    // A length of 0 means another to a reshape, and a batch may be empty.
    if is_host(&x.device()) && rows > 0 {
        // A pointwise convolution over one row of positions.
        let spec =
            ConvSpec { stride: 1, padding: 0, depthwise: false, activation: Activation::None };
        let x = x.reshape([1, 1, rows, inputs]);
        let weight = weight.reshape([outputs, inputs, 1, 1]);
        return conv2d(x, weight, bias, spec).reshape([rows, outputs]);
    }
    let y = widened(x.matmul(weight.cast(precision).transpose()));
    (y + bias.unsqueeze()).cast(precision)
}

/// `activation(a + b)` of maps that are alike, in the higher of their precisions.
pub(crate) fn add(a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
    let precision = if dtype(&a) == dtype(&b) { dtype(&a) } else { FloatDType::F32 };
    let (a, b) = (widened(a), widened(b));
    #[cfg(feature = "flex")]
    if is_host(&a.device()) {
        return memory_bound_extension::add(a, b, activation).cast(precision);
    }
    add_by_burn(a, b, activation).cast(precision)
}

fn add_by_burn(a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
    activation.forward(a + b)
}

/// A weight `[outputs, ..]` with every output's part times a number of its own, `[outputs]`.
pub(crate) fn scale_rows(weight: Tensor<4>, scale: Tensor<1>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if is_host(&weight.device()) {
        return memory_bound_extension::scale_rows(weight, scale);
    }
    scale_rows_by_burn(weight, scale)
}

fn scale_rows_by_burn(weight: Tensor<4>, scale: Tensor<1>) -> Tensor<4> {
    let outputs = scale.dims()[0];
    weight * scale.reshape([outputs, 1, 1, 1])
}

/// The maximum in each window: `[batch, height, width, channels]` ->
/// `[batch, height_out, width_out, channels]`.
pub(crate) fn max_pool(x: Tensor<4>, window: Window) -> Tensor<4> {
    in_f32(x, |x| {
        #[cfg(feature = "flex")]
        if is_host(&x.device()) {
            return memory_bound_extension::max_pool(x, window);
        }
        max_pool_by_burn(x, window)
    })
}

fn max_pool_by_burn(x: Tensor<4>, window: Window) -> Tensor<4> {
    let options = MaxPoolOptions::new([window.size; 2])
        .with_stride([window.stride; 2])
        .with_padding([window.padding; 2])
        .with_ceil_mode(window.ceil);
    max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
}

/// An operation on `[batch, height, width, channels]` that has no parameters and takes each row of
/// channels by itself, or of attention each image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RowOp {
    /// `x · (1 + erf(x / √2)) / 2` (Hendrycks and Gimpel, 2016).
    Gelu,
    /// `(x − mean)/√(variance + ε)` over the channels (Ba et al., 2016).
    Normalize {
        /// The ε.
        epsilon: f64,
    },
    /// `softmax(q · kᵀ / √d) · v` of each head among all positions of an image (Vaswani et al.,
    /// NeurIPS 2017). The channels are the queries of all heads, their keys and their values; a
    /// third as many come out. The image must be of height 1.
    Attention {
        /// How many heads there are.
        heads: usize,
    },
}

/// Applies an operation on rows; the output has the input's precision.
pub(crate) fn rows(x: Tensor<4>, op: RowOp) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if is_host(&x.device()) {
        return in_f32(x, |x| row_extension::apply(x, op));
    }
    rows_by_burn(x, op)
}

/// The same by Burn's own operations, on any device.
fn rows_by_burn(x: Tensor<4>, op: RowOp) -> Tensor<4> {
    match op {
        RowOp::Gelu => in_f32(x, |x| {
            // Burn's own has the gradient of another function, the one by the hyperbolic tangent,
            // on some devices.
            let share = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf();
            x.mul_scalar(0.5) * share.add_scalar(1.0)
        }),
        RowOp::Normalize { epsilon } => in_f32(x, |x| {
            let centred = x.clone() - x.mean_dim(3);
            let variance = centred.clone().square().mean_dim(3);
            centred / variance.add_scalar(epsilon).sqrt()
        }),
        RowOp::Attention { heads } => {
            let [batch, _, tokens, channels] = x.dims();
            let width = channels / 3;
            let size = width / heads;
            let parts = x.reshape([batch, tokens, 3, heads, size]).permute([2, 0, 3, 1, 4]);
            let part = |i: usize| parts.clone().narrow(0, i, 1).squeeze_dim::<4>(0);
            let (q, k, v) = (part(0), part(1), part(2));
            let scores = widened(q.matmul(k.transpose())).mul_scalar((size as f64).powf(-0.5));
            let mixed = softmax(scores, 3).cast(dtype(&v)).matmul(v);
            mixed.permute([0, 2, 1, 3]).reshape([batch, 1, tokens, width])
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::parameters::to_host;

    fn wave<const D: usize>(shape: [usize; D], phase: f64) -> Tensor<D> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|i| (phase + 0.37 * (i % 1009) as f64).sin() as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex()).autodiff().require_grad()
    }

    /// The output and the gradients of the three inputs.
    fn values_and_gradients(
        conv: fn(Tensor<4>, Tensor<4>, Tensor<1>, ConvSpec) -> Tensor<4>,
        kernel: usize,
        spec: ConvSpec,
    ) -> [Vec<f32>; 4] {
        let (inputs, outputs) = if spec.depthwise { (6, 6) } else { (6, 5) };
        let per_filter = if spec.depthwise { 1 } else { inputs };
        let x = wave([3, 9, 8, inputs], 0.1);
        let weight = wave([outputs, per_filter, kernel, kernel], 0.7);
        let bias = wave([outputs], 0.3);
        let y = conv(x.clone(), weight.clone(), bias.clone(), spec);
        let dy = wave(y.dims(), 1.3).inner();
        let tape = (y.clone() * Tensor::from_inner(dy)).sum().backward();
        let gradient = |t: Tensor<4>| to_host(t.grad(&tape).unwrap());
        [to_host(y.inner()), gradient(x), gradient(weight), to_host(bias.grad(&tape).unwrap())]
    }

    /// Compares two lists of values, output first, then gradients.
    fn assert_alike(ours: &[Vec<f32>], burns: &[Vec<f32>], case: &str) {
        for (i, (ours, burns)) in ours.iter().zip(burns).enumerate() {
            assert_eq!(ours.len(), burns.len(), "{case}");
            let largest = burns.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            for (a, b) in ours.iter().zip(burns) {
                assert!((a - b).abs() < 1e-5 * largest, "{case}, value {i}: {a}, {b}");
            }
        }
    }

    #[test]
    fn sums_agree_with_burn_in_values_and_gradients() {
        let run = |add: fn(Tensor<4>, Tensor<4>, Activation) -> Tensor<4>, activation| {
            let (a, b) = (wave([2, 5, 7, 9], 0.1), wave([2, 5, 7, 9], 0.8));
            let y = add(a.clone(), b.clone(), activation);
            let tape =
                (y.clone() * Tensor::from_inner(wave(y.dims(), 1.3).inner())).sum().backward();
            let gradient = |t: Tensor<4>| to_host(t.grad(&tape).unwrap());
            [to_host(y.inner()), gradient(a), gradient(b)]
        };
        for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
            let case = format!("{activation:?}");
            assert_alike(&run(add, activation), &run(add_by_burn, activation), &case);
        }
    }

    #[test]
    fn scaled_rows_agree_with_burn_in_values_and_gradients() {
        let run = |scale_rows: fn(Tensor<4>, Tensor<1>) -> Tensor<4>| {
            let (weight, scale) = (wave([7, 5, 3, 3], 0.1), wave([7], 0.8));
            let y = scale_rows(weight.clone(), scale.clone());
            let tape =
                (y.clone() * Tensor::from_inner(wave(y.dims(), 1.3).inner())).sum().backward();
            let dw = to_host(weight.grad(&tape).unwrap());
            [to_host(y.inner()), dw, to_host(scale.grad(&tape).unwrap())]
        };
        assert_alike(&run(scale_rows), &run(scale_rows_by_burn), "rows");
    }

    #[test]
    fn maxima_agree_with_burn_in_values_and_gradients() {
        let run = |pool: fn(Tensor<4>, Window) -> Tensor<4>, window, side| {
            let x = wave([2, side, side + 3, 5], 0.1);
            let y = pool(x.clone(), window);
            let tape =
                (y.clone() * Tensor::from_inner(wave(y.dims(), 1.3).inner())).sum().backward();
            let shape = y.dims().iter().map(|&side| side as f32).collect();
            [shape, to_host(y.inner()), to_host(x.grad(&tape).unwrap())]
        };
        for (size, stride, padding) in [(3, 2, 1), (3, 1, 1), (3, 2, 0), (2, 2, 0), (5, 3, 2)] {
            for (ceil, side) in [(false, 9), (false, 12), (true, 9), (true, 12)] {
                let window = Window { size, stride, padding, ceil };
                let (ours, burns) =
                    (run(max_pool, window, side), run(max_pool_by_burn, window, side));
                assert_alike(&ours, &burns, &format!("{window:?} at {side}"));
            }
        }
    }

    #[test]
    fn the_first_of_equal_values_has_the_gradient_of_their_maximum_and_nan_is_one() {
        let x = Tensor::<4>::ones([1, 2, 2, 1], &Device::flex()).autodiff().require_grad();
        let window = Window { size: 2, stride: 2, padding: 0, ceil: false };
        let tape = max_pool(x.clone(), window).sum().backward();
        assert_eq!(to_host(x.grad(&tape).unwrap()), [1.0, 0.0, 0.0, 0.0]);
        let values = TensorData::new(vec![1.0, f32::NAN, 2.0, 0.0], [1, 2, 2, 1]);
        let x = Tensor::<4>::from_data(values, &Device::flex()).autodiff().require_grad();
        let y = max_pool(x.clone(), window);
        assert!(to_host(y.clone().inner())[0].is_nan());
        assert_eq!(to_host(x.grad(&y.sum().backward()).unwrap()), [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_bits_of_the_host_kernels_do_not_depend_on_the_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)].map(|(kernel, stride)| {
                    let activation = Activation::Relu;
                    let spec =
                        ConvSpec { stride, padding: kernel / 2, depthwise: false, activation };
                    // Enough rows to be cut along them, and few enough to be cut along columns.
                    [19, 5].map(|side| {
                        let x = wave([5, side, side, 40], 0.1);
                        let weight = wave([72, 40, kernel, kernel], 0.7);
                        let bias = wave([72], 0.3);
                        let y = conv2d(x.clone(), weight.clone(), bias.clone(), spec);
                        let tape = y.clone().square().sum().backward();
                        let dx = to_host(x.grad(&tape).unwrap());
                        let dw = to_host(weight.grad(&tape).unwrap());
                        let db = to_host(bias.grad(&tape).unwrap());
                        [to_host(y.inner()), dx, dw, db]
                    })
                })
            })
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3));
    }

    #[test]
    fn the_host_kernels_agree_with_burn_on_maps_that_are_cut() {
        for (side, kernel, stride) in [(19, 1, 1), (19, 3, 1), (19, 3, 2), (5, 3, 1), (5, 5, 2)] {
            let spec = ConvSpec {
                stride,
                padding: kernel / 2,
                depthwise: false,
                activation: Activation::Relu,
            };
            let run = |conv: fn(Tensor<4>, Tensor<4>, Tensor<1>, ConvSpec) -> Tensor<4>| {
                let x = wave([5, side, side + 1, 24], 0.1);
                let weight = wave([72, 24, kernel, kernel], 0.7);
                let bias = wave([72], 0.3);
                let y = conv(x.clone(), weight.clone(), bias.clone(), spec);
                let dy = wave(y.dims(), 1.3).inner();
                let tape = (y.clone() * Tensor::from_inner(dy)).sum().backward();
                let gradient = |t: Tensor<4>| to_host(t.grad(&tape).unwrap());
                let db = to_host(bias.grad(&tape).unwrap());
                [to_host(y.inner()), gradient(x), gradient(weight), db]
            };
            assert_alike(&run(conv2d), &run(conv2d_by_burn), &format!("{side} {spec:?} {kernel}"));
        }
    }

    /// Batch, side, inputs, outputs, kernel, stride: runs longer than a chunk, rows that are set
    /// apart, panels that are not whole, gathered patches, gradients of weights by parts of the
    /// positions, positions that no output reads.
    const SHAPES: [[usize; 6]; 9] = [
        [2, 3, 1024, 40, 1, 1],
        [2, 4, 1024, 33, 3, 2],
        [3, 5, 700, 70, 1, 1],
        [3, 5, 130, 31, 3, 1],
        [2, 14, 3, 40, 7, 2],
        [1, 9, 3, 5, 4, 4],
        [5, 30, 24, 72, 1, 1],
        [5, 30, 32, 64, 3, 1],
        [2, 61, 5, 13, 1, 2],
    ];

    fn made<const D: usize>(shape: [usize; D], phase: f64, scale: f64) -> Tensor<D> {
        let tensor = wave(shape, phase).inner().mul_scalar(scale);
        tensor.autodiff().require_grad()
    }

    /// Output and gradients of one of the shapes.
    fn on_shape(
        conv: fn(Tensor<4>, Tensor<4>, Tensor<1>, ConvSpec) -> Tensor<4>,
        [batch, side, inputs, outputs, kernel, stride]: [usize; 6],
    ) -> [Vec<f32>; 4] {
        let padding = if kernel == stride { 0 } else { kernel / 2 };
        let spec = ConvSpec { stride, padding, depthwise: false, activation: Activation::Relu };
        let x = made([batch, side, side + 1, inputs], 0.1, 1.0);
        let scale = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
        let weight = made([outputs, inputs, kernel, kernel], 0.7, scale);
        let bias = made([outputs], 0.3, 0.1);
        let y = conv(x.clone(), weight.clone(), bias.clone(), spec);
        let dy = wave(y.dims(), 1.3).inner();
        let tape = (y.clone() * Tensor::from_inner(dy)).sum().backward();
        let gradient = |t: Tensor<4>| to_host(t.grad(&tape).unwrap());
        let db = to_host(bias.grad(&tape).unwrap());
        [to_host(y.inner()), gradient(x), gradient(weight), db]
    }

    #[test]
    fn the_host_kernels_agree_with_burn_on_shapes_of_every_kind() {
        for shape in SHAPES {
            let (ours, burns) = (on_shape(conv2d, shape), on_shape(conv2d_by_burn, shape));
            assert_alike(&ours, &burns, &format!("{shape:?}"));
        }
    }

    /// Values and gradients of all shapes on threads that take these vectors.
    fn by_vectors(vectors: tile::Vectors) -> Vec<[Vec<f32>; 4]> {
        let start = move |_| tile::VECTORS_OF_THREAD.set(vectors);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(start).build();
        pool.unwrap().install(|| SHAPES.map(|shape| on_shape(conv2d, shape)).to_vec())
    }

    #[test]
    fn narrower_vectors_give_the_same_bits_and_none_the_same_values() {
        let widest = by_vectors(tile::Vectors::Widest);
        #[cfg(target_arch = "x86_64")]
        assert!(by_vectors(tile::Vectors::Avx2) == widest);
        for ((scalar, widest), shape) in
            by_vectors(tile::Vectors::None).iter().zip(&widest).zip(SHAPES)
        {
            assert_alike(scalar, widest, &format!("{shape:?}"));
        }
    }

    #[test]
    fn maps_are_added_before_the_activation_with_their_gradient() {
        for (outputs, activation) in
            [(40, Activation::Relu), (5, Activation::None), (5, Activation::Relu6)]
        {
            let linear =
                ConvSpec { stride: 1, padding: 1, depthwise: false, activation: Activation::None };
            let run = |fused: bool| {
                let x = wave([3, 9, 8, 6], 0.1);
                let weight = wave([outputs, 6, 3, 3], 0.7);
                let bias = wave([outputs], 0.3);
                let added = wave([3, 9, 8, outputs], 0.9);
                let y = if fused {
                    let filters = Filters::Given(weight.clone());
                    let spec = ConvSpec { activation, ..linear };
                    convolve(x.clone(), filters, bias.clone(), Some(added.clone()), spec)
                } else {
                    let y = conv2d_by_burn(x.clone(), weight.clone(), bias.clone(), linear);
                    add_by_burn(y, added.clone(), activation)
                };
                let dy = wave(y.dims(), 1.3).inner();
                let tape = (y.clone() * Tensor::from_inner(dy)).sum().backward();
                let gradient = |t: Tensor<4>| to_host(t.grad(&tape).unwrap());
                let db = to_host(bias.grad(&tape).unwrap());
                let y = to_host(y.inner());
                [y, gradient(x), gradient(weight), gradient(added), db]
            };
            assert_alike(&run(true), &run(false), &format!("{outputs} {activation:?}"));
        }
    }

    #[test]
    fn a_kept_weight_gives_the_same_bits() {
        let spec =
            ConvSpec { stride: 2, padding: 1, depthwise: false, activation: Activation::Relu };
        let (x, weight) = (wave([3, 9, 8, 6], 0.1).inner(), wave([40, 6, 3, 3], 0.7).inner());
        let (bias, added) = (wave([40], 0.3).inner(), wave([3, 5, 4, 40], 0.9).inner());
        for added in [None, Some(added)] {
            let by = |filters| {
                let (x, bias) = (x.clone(), bias.clone());
                to_host(convolve(x, filters, bias, added.clone(), spec))
            };
            let kept = Filters::kept(weight.clone(), spec, FloatDType::F32);
            assert!(matches!(kept, Filters::Packed(_)));
            assert_eq!(by(kept), by(Filters::Given(weight.clone())));
        }
    }

    #[test]
    fn the_host_kernels_agree_with_burn_in_values_and_gradients() {
        let names = ["output", "gradient of x", "gradient of the weight", "gradient of the bias"];
        for (kernel, depthwise) in [(1, false), (3, false), (7, false), (3, true)] {
            for stride in [1, 2] {
                for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
                    let spec = ConvSpec { stride, padding: kernel / 2, depthwise, activation };
                    let ours = values_and_gradients(conv2d, kernel, spec);
                    let burns = values_and_gradients(conv2d_by_burn, kernel, spec);
                    for ((ours, burns), name) in ours.iter().zip(&burns).zip(names) {
                        assert_eq!(ours.len(), burns.len());
                        let largest = burns.iter().fold(1.0f32, |m, v| m.max(v.abs()));
                        for (a, b) in ours.iter().zip(burns) {
                            assert!((a - b).abs() < 1e-5 * largest, "{spec:?} {name}: {a}, {b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn operations_on_rows_agree_with_burn_in_values_and_gradients() {
        let values_and_gradient = |f: fn(Tensor<4>, RowOp) -> Tensor<4>, op| {
            // 37 tokens of 2 heads of 6 channels; values from -4 to 4.
            let x = wave([3, 1, 37, 36], 0.1);
            let y = f(x.clone().mul_scalar(4.0), op);
            let dy = wave(y.dims(), 1.3).inner();
            let tape = (y.clone() * Tensor::from_inner(dy)).sum().backward();
            [to_host(y.inner()), to_host(x.grad(&tape).unwrap())]
        };
        let ops = [RowOp::Gelu, RowOp::Normalize { epsilon: 1e-6 }, RowOp::Attention { heads: 2 }];
        for op in ops {
            let ours = values_and_gradient(rows, op);
            let burns = values_and_gradient(rows_by_burn, op);
            for (ours, burns) in ours.iter().zip(&burns) {
                assert_eq!(ours.len(), burns.len());
                let largest = burns.iter().fold(1.0f32, |m, v| m.max(v.abs()));
                for (a, b) in ours.iter().zip(burns) {
                    assert!((a - b).abs() < 2e-6 * largest, "{op:?}: {a}, {b}");
                }
            }
        }
    }

    #[test]
    fn gelu_and_attention_hold_far_out() {
        let device = Device::flex();
        let x = Tensor::<4>::from_data([[[[-1e4f32, -6.0, 6.0, 1e4]]]], &device);
        let y = to_host(rows(x, RowOp::Gelu));
        assert_eq!(y.iter().map(|y| y.abs()).collect::<Vec<_>>(), [0.0, 0.0, 6.0, 1e4]);
        // One token, and scores of 1e8: the softmax is on one key.
        let data = [[[[1e4f32, 1e4, 3.0], [0.0, -1e4, 5.0]]]];
        let y = to_host(rows(Tensor::<4>::from_data(data, &device), RowOp::Attention { heads: 1 }));
        assert_eq!(y, [3.0, 4.0]);
    }
}
