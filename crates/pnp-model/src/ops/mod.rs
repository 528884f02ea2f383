//! The two operations that a convolutional backbone spends its time in, on whatever device the
//! tensors are.
//!
//! Activations are kept channels-last, `[batch, height, width, channels]`: a 1×1 convolution is
//! then one plain matrix product, and a depthwise convolution runs along contiguous channels. On
//! the host (`Flex`) device the work is done by the kernels of `host`, forward and backward; on
//! any other device it is handed to Burn's own convolution, which is also what the tests compare
//! the host kernels with.

#[cfg(feature = "flex")]
mod depthwise;
#[cfg(feature = "flex")]
mod extension;
#[cfg(feature = "flex")]
mod host;

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d as burn_conv2d;
use burn::tensor::ops::ConvOptions;

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
/// # Panics
///
/// When the shapes do not fit together: the layers make them.
pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    spec: ConvSpec,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if x.device() == burn::tensor::Device::flex() {
        return extension::conv2d(x, weight, bias, spec);
    }
    conv2d_by_burn(x, weight, bias, spec)
}

/// The same by Burn's own operations, on any device.
fn conv2d_by_burn(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, spec: ConvSpec) -> Tensor<4> {
    let groups = if spec.depthwise { weight.dims()[0] } else { 1 };
    let options = ConvOptions::new([spec.stride; 2], [spec.padding; 2], [1; 2], groups);
    let y = burn_conv2d(x.permute([0, 3, 1, 2]), weight, Some(bias), options);
    spec.activation.forward(y.permute([0, 2, 3, 1]))
}
