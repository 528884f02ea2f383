//! The operations that a backbone spends its time in, on whatever device the tensors are: two kinds
//! of convolution, and what a transformer does between its products.
//!
//! Activations are kept channels-last, `[batch, height, width, channels]`: a 1×1 convolution is
//! then one plain matrix product, and a depthwise convolution runs along contiguous channels. On
//! the host (`Flex`) device the work is done by the kernels of `host/`, forward and backward; on
//! any other device it is handed to Burn's own convolution, which is also what the tests compare
//! the host kernels with.
//!
//! Activations are kept in the precision of the pass ([`crate::Precision`]), which an operation
//! tells from its input. Products are of values in that precision; everything else is computed in
//! single precision and rounded once.

#[cfg(feature = "flex")]
mod host;
#[cfg(all(test, feature = "flex"))]
mod tests;

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
#[expect(clippy::large_enum_variant, reason = "one a layer and pass")]
pub(crate) enum Filters {
    /// As a layer has it.
    Given(Tensor<4>),
    /// With every output's part of it times a number of its own, `[outputs]`.
    Scaled(Tensor<4>, Tensor<1>),
    /// In the order of the host's kernels; no gradient goes through it.
    #[cfg(feature = "flex")]
    Packed(Arc<host::Packed>),
}

impl Filters {
    /// The same to be used in many passes without a tape, of a convolution in this precision.
    pub(crate) fn kept(self, spec: ConvSpec, precision: FloatDType) -> Self {
        let weight = match self {
            Self::Given(weight) => weight,
            Self::Scaled(weight, scale) => scale_rows(weight, scale),
            #[cfg(feature = "flex")]
            Self::Packed(_) => return self,
        };
        if spec.depthwise {
            return Self::Given(weight);
        }
        let weight = weight.cast(precision);
        #[cfg(feature = "flex")]
        if is_host(&weight.device()) {
            return Self::Packed(Arc::new(host::Packed::new(widened(weight))));
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
    #[cfg(feature = "flex")]
    let added = if is_host(&x.device()) { added.map(widened) } else { added };
    let weight = match filters {
        #[cfg(feature = "flex")]
        Filters::Packed(packed) => {
            return in_f32(x, |x| host::convolve_packed(x, packed, bias, added, spec));
        }
        // A weight that is not rounded is multiplied while it is put in order.
        #[cfg(feature = "flex")]
        Filters::Scaled(weight, scale)
            if is_host(&x.device()) && !spec.depthwise && precision == FloatDType::F32 =>
        {
            return host::convolve(x, weight, scale, bias, added, spec);
        }
        Filters::Scaled(weight, scale) => scale_rows(weight, scale),
        Filters::Given(weight) => weight,
    };
    let weight = if spec.depthwise { weight } else { weight.cast(precision) };
    #[cfg(feature = "flex")]
    if is_host(&x.device()) {
        let scale = Tensor::ones([weight.dims()[0]], &x.device());
        return in_f32(x, |x| host::convolve(x, widened(weight), scale, bias, added, spec));
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
        return host::add(a, b, activation).cast(precision);
    }
    add_by_burn(a, b, activation).cast(precision)
}

fn add_by_burn(a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
    activation.forward(a + b)
}

/// A weight `[outputs, ..]` with every output's part times a number of its own, `[outputs]`.
fn scale_rows(weight: Tensor<4>, scale: Tensor<1>) -> Tensor<4> {
    let outputs = scale.dims()[0];
    weight * scale.reshape([outputs, 1, 1, 1])
}

/// The maximum in each window: `[batch, height, width, channels]` ->
/// `[batch, height_out, width_out, channels]`.
pub(crate) fn max_pool(x: Tensor<4>, window: Window) -> Tensor<4> {
    in_f32(x, |x| {
        #[cfg(feature = "flex")]
        if is_host(&x.device()) {
            return host::max_pool(x, window);
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
        return in_f32(x, |x| host::rows(x, op));
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
