//! What a backbone is written against: the operations of a network, apart from who carries them
//! out.
//!
//! A backbone's `forward` names its layers in order and says nothing of tensors. One executor
//! computes ([`Pass`], on whatever device the parameters are); another may write the same
//! operations down, for a file format. So a network is described once, and an operation that is new
//! to it is one method here and one line in every executor.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::layer::{ConvNorm, Linear, Pass};
pub(crate) use crate::ops::Window;
use crate::ops::{self, Activation, ConvSpec, RowOp, conv2d, rows};
use crate::pool::Gem;
use crate::precision::{in_f32, widened};
use crate::transformer::{LayerNorm, PatchConv, Tokens};

/// Carries out the operations of a network.
///
/// A value is a batch of maps, `[batch, height, width, channels]` in the words of this trait; an
/// executor may keep it in another order.
pub(crate) trait Executor {
    /// A batch of maps.
    type Value: Clone;

    /// A convolution, its batch norm and its activation.
    fn conv_norm(&self, layer: &ConvNorm, x: Self::Value) -> Self::Value;

    /// A convolution and its batch norm, without an activation of its own; maps that are added to
    /// what comes out, and an activation of the sum.
    fn conv_norm_add(
        &self,
        layer: &ConvNorm,
        x: Self::Value,
        added: Self::Value,
        activation: Activation,
    ) -> Self::Value {
        self.add(self.conv_norm(layer, x), added, activation)
    }

    /// A linear map of the channels at every position.
    fn linear(&self, layer: &Linear, x: Self::Value) -> Self::Value;

    /// `activation(a + b)`.
    fn add(&self, a: Self::Value, b: Self::Value, activation: Activation) -> Self::Value;

    /// The maximum in each window.
    fn max_pool(&self, window: Window, x: Self::Value) -> Self::Value;

    /// The mean in each window: its sum over `size²`, the padding counting as zeros (PyTorch's
    /// `count_include_pad`). No window reaches beyond the padded map.
    fn avg_pool(&self, window: Window, x: Self::Value) -> Self::Value;

    /// Maps of one size beside each other: the channels of the first, then of the second, and so
    /// on.
    fn concat(&self, parts: Vec<Self::Value>) -> Self::Value;

    /// The mean over all positions: `[batch, 1, 1, channels]`.
    fn mean_pool(&self, x: Self::Value) -> Self::Value;

    /// The maximum over all positions: `[batch, 1, 1, channels]`.
    fn global_max_pool(&self, x: Self::Value) -> Self::Value;

    /// `mean(max(x, ε)^p)^(1/p)` over all positions, ε being [`Gem::SMALLEST`]:
    /// `[batch, 1, 1, channels]`.
    fn gem_pool(&self, layer: &Gem, x: Self::Value) -> Self::Value;

    /// Each position's channels divided by their Euclidean length, or by `smallest` where that is
    /// less.
    fn unit_length(&self, smallest: f32, x: Self::Value) -> Self::Value;

    /// `max(0, x)`.
    fn relu(&self, x: Self::Value) -> Self::Value;

    /// `a + b`.
    fn sum(&self, a: Self::Value, b: Self::Value) -> Self::Value {
        self.add(a, b, Activation::None)
    }

    /// The columns of every map from `start` up to `end`; `None`: to the last. A transformer's
    /// tokens are the columns of a map of one row.
    fn columns(&self, start: usize, end: Option<usize>, x: Self::Value) -> Self::Value;

    /// A convolution with a bias whose step is its kernel's size, without padding:
    /// `[batch, height / kernel, width / kernel, outputs]`.
    fn patch_conv(&self, layer: &PatchConv, x: Self::Value) -> Self::Value;

    /// A class token before the positions of a map, row by row, and a trained vector added to each:
    /// `[batch, 1, 1 + height * width, channels]`. [`Tokens::positions`] gives what is added for a
    /// map's size.
    fn tokens(&self, layer: &Tokens, x: Self::Value) -> Self::Value;

    /// Each position's channels less their mean, over their deviation, with an affine map where
    /// the layer has one.
    fn layer_norm(&self, layer: &LayerNorm, x: Self::Value) -> Self::Value;

    /// `x · (1 + erf(x / √2)) / 2`.
    fn gelu(&self, x: Self::Value) -> Self::Value;

    /// `softmax(q · kᵀ / √d) · v` of each head among the columns of a map of one row, the channels
    /// being the queries of all heads, their keys and their values:
    /// `[batch, 1, tokens, 3 * width]` -> `[batch, 1, tokens, width]`, d being `width / heads`.
    fn attention(&self, heads: usize, x: Self::Value) -> Self::Value;
}

impl Executor for Pass<'_> {
    type Value = Tensor<4>;

    fn conv_norm(&self, layer: &ConvNorm, x: Tensor<4>) -> Tensor<4> {
        layer.forward(self, x)
    }

    fn conv_norm_add(
        &self,
        layer: &ConvNorm,
        x: Tensor<4>,
        added: Tensor<4>,
        activation: Activation,
    ) -> Tensor<4> {
        layer.forward_added(self, x, added, activation)
    }

    fn linear(&self, layer: &Linear, x: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = x.dims();
        let rows = layer.forward(self, x.reshape([batch * height * width, channels]));
        let outputs = rows.dims()[1];
        rows.reshape([batch, height, width, outputs])
    }

    fn add(&self, a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
        ops::add(a, b, activation)
    }

    fn max_pool(&self, window: Window, x: Tensor<4>) -> Tensor<4> {
        ops::max_pool(x, window)
    }

    fn avg_pool(&self, window: Window, x: Tensor<4>) -> Tensor<4> {
        debug_assert!(!window.ceil, "the mean of a window that is cut has another divisor");
        // A depthwise convolution by one value throughout: it runs along the channels and needs no
        // other order of them.
        let Window { size, stride, padding, .. } = window;
        let channels = x.dims()[3];
        let device = x.device();
        let share = 1.0 / (size * size) as f64;
        let weight = Tensor::full([channels, 1, size, size], share, &device);
        let spec = ConvSpec { stride, padding, depthwise: true, activation: Activation::None };
        conv2d(x, weight, Tensor::zeros([channels], &device), spec)
    }

    fn concat(&self, parts: Vec<Tensor<4>>) -> Tensor<4> {
        Tensor::cat(parts, 3)
    }

    fn mean_pool(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = x.dims();
        x.reshape([batch, height * width, channels]).mean_dim(1).reshape([batch, 1, 1, channels])
    }

    fn unit_length(&self, smallest: f32, x: Tensor<4>) -> Tensor<4> {
        let length = x.clone().square().sum_dim(3).sqrt().clamp_min(smallest);
        x / length
    }

    fn global_max_pool(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = x.dims();
        x.reshape([batch, height * width, channels]).max_dim(1).reshape([batch, 1, 1, channels])
    }

    fn gem_pool(&self, layer: &Gem, x: Tensor<4>) -> Tensor<4> {
        layer.forward(self.parameters, x)
    }

    fn relu(&self, x: Tensor<4>) -> Tensor<4> {
        in_f32(x, relu)
    }

    fn columns(&self, start: usize, end: Option<usize>, x: Tensor<4>) -> Tensor<4> {
        let end = end.unwrap_or(x.dims()[2]);
        x.narrow(2, start, end - start)
    }

    fn patch_conv(&self, layer: &PatchConv, x: Tensor<4>) -> Tensor<4> {
        layer.forward(self.parameters, x)
    }

    fn tokens(&self, layer: &Tokens, x: Tensor<4>) -> Tensor<4> {
        // What all blocks of a transformer add to stays in single precision.
        layer.forward(self.parameters, widened(x))
    }

    fn layer_norm(&self, layer: &LayerNorm, x: Tensor<4>) -> Tensor<4> {
        layer.forward(self.parameters, widened(x)).cast(self.precision.dtype())
    }

    fn gelu(&self, x: Tensor<4>) -> Tensor<4> {
        rows(x, RowOp::Gelu)
    }

    fn attention(&self, heads: usize, x: Tensor<4>) -> Tensor<4> {
        rows(x, RowOp::Attention { heads })
    }
}
