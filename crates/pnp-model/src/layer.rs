//! The layers every backbone is made of: a convolution with its batch norm, and a linear map.

use std::cell::RefCell;

use burn::tensor::Tensor;

use crate::folded::{Affine, FoldedLayers};
use crate::ops::{self, Activation, ConvSpec, Filters, conv2d, convolve};
use crate::parameters::{Builder, ParameterId, Parameters, Role};
use crate::precision::{Precision, dtype, widened};

/// How much of a batch's statistics goes into the running ones (PyTorch's default).
const STATISTICS_MOMENTUM: f64 = 0.1;

/// New running statistics that a pass over a batch produced.
pub(crate) type StatisticUpdates = RefCell<Vec<(ParameterId, Tensor<1>)>>;

/// One pass of a network over a batch: the parameters to use, what batch norm does, and the
/// precision.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    /// The table, tracked or not.
    pub(crate) parameters: &'a Parameters,
    /// Where batch norm notes its new running statistics when it normalises by the batch; `None`
    /// when it uses the running ones (evaluation, and training with frozen batch norm).
    pub(crate) batch_statistics: Option<&'a StatisticUpdates>,
    /// Where layers with their batch norm folded in are kept between passes; `None` when they have
    /// to be folded in every pass, as gradients go through the folding.
    pub(crate) folded: Option<&'a FoldedLayers>,
    /// What the backbone computes in.
    pub(crate) precision: Precision,
}

/// A convolution, its batch norm and an activation.
///
/// With running statistics batch norm is the affine map `γ (x − μ)/√(σ² + ε) + β`, so it is folded
/// into the convolution's weight and a bias inside the pass: the gradients of the weight, of its own
/// bias, γ and β stay exact, and no pass over the activations is spent on it.
#[derive(Debug)]
pub(crate) struct ConvNorm {
    pub(crate) weight: ParameterId,
    /// The convolution's own bias, where the network has one before the batch norm.
    pub(crate) bias: Option<ParameterId>,
    pub(crate) gamma: ParameterId,
    pub(crate) beta: ParameterId,
    pub(crate) mean: ParameterId,
    pub(crate) variance: ParameterId,
    pub(crate) epsilon: f64,
    pub(crate) spec: ConvSpec,
}

/// The sizes of a [`ConvNorm`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvShape {
    /// Input channels.
    pub(crate) inputs: usize,
    /// Output channels.
    pub(crate) outputs: usize,
    /// Rows and columns of the kernel.
    pub(crate) kernel: usize,
    /// Step between outputs.
    pub(crate) stride: usize,
    /// One filter per channel.
    pub(crate) depthwise: bool,
    /// A bias of its own before the batch norm.
    pub(crate) bias: bool,
}

impl ConvShape {
    /// A convolution over all channels.
    pub(crate) fn full(inputs: usize, outputs: usize, kernel: usize, stride: usize) -> Self {
        Self { inputs, outputs, kernel, stride, depthwise: false, bias: false }
    }

    /// A convolution of each channel by itself.
    pub(crate) fn depthwise(channels: usize, kernel: usize, stride: usize) -> Self {
        Self { depthwise: true, ..Self::full(channels, channels, kernel, stride) }
    }

    /// The same with a bias.
    pub(crate) fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }
}

impl ConvNorm {
    /// Adds the layer's parameters to the table: the convolution's under `conv`, the batch norm's
    /// under `norm`. The padding keeps the size at stride 1.
    pub(crate) fn new(
        builder: &mut Builder,
        conv: &str,
        norm: &str,
        shape: ConvShape,
        activation: Activation,
        epsilon: f64,
    ) -> Self {
        let ConvShape { inputs, outputs, kernel, stride, depthwise, bias } = shape;
        let per_filter = if depthwise { 1 } else { inputs };
        let key = |name: &str| format!("{norm}.{name}");
        Self {
            weight: builder
                .convolution(format!("{conv}.weight"), [outputs, per_filter, kernel, kernel]),
            bias: bias
                .then(|| builder.constant(format!("{conv}.bias"), outputs, Role::Backbone, 0.0)),
            gamma: builder.constant(key("weight"), outputs, Role::Backbone, 1.0),
            beta: builder.constant(key("bias"), outputs, Role::Backbone, 0.0),
            mean: builder.constant(key("running_mean"), outputs, Role::Statistic, 0.0),
            variance: builder.constant(key("running_var"), outputs, Role::Statistic, 1.0),
            epsilon,
            spec: ConvSpec { stride, padding: kernel / 2, depthwise, activation },
        }
    }

    /// `[batch, height, width, inputs]` -> `[batch, height_out, width_out, outputs]`.
    pub(crate) fn forward(&self, pass: &Pass, x: Tensor<4>) -> Tensor<4> {
        match pass.batch_statistics {
            Some(updates) if !pass.parameters.is_frozen(self.mean) => {
                self.forward_by_batch(pass.parameters, x, updates)
            }
            _ => self.forward_folded(pass, x, None, self.spec.activation),
        }
    }

    /// The layer, which has no activation of its own, with maps that are added to what comes out
    /// and an activation of the sum.
    pub(crate) fn forward_added(
        &self,
        pass: &Pass,
        x: Tensor<4>,
        added: Tensor<4>,
        activation: Activation,
    ) -> Tensor<4> {
        debug_assert_eq!(self.spec.activation, Activation::None);
        match pass.batch_statistics {
            Some(_) if !pass.parameters.is_frozen(self.mean) => {
                ops::add(self.forward(pass, x), added, activation)
            }
            _ => self.forward_folded(pass, x, Some(added), activation),
        }
    }

    fn forward_folded(
        &self,
        pass: &Pass,
        x: Tensor<4>,
        added: Option<Tensor<4>>,
        activation: Activation,
    ) -> Tensor<4> {
        let fold = || self.folded(pass.parameters);
        let (filters, bias) = match pass.folded {
            Some(layers) => layers.get(self.weight, || {
                let (filters, bias) = fold();
                (filters.kept(self.spec, pass.precision.dtype()), bias)
            }),
            None => fold(),
        };
        convolve(x, filters, bias, added, ConvSpec { activation, ..self.spec })
    }

    /// The weight and the bias of the convolution that does what the batch norm does as well.
    fn folded(&self, p: &Parameters) -> Affine {
        let deviation = p.get::<1>(self.variance).add_scalar(self.epsilon).sqrt();
        let scale = p.get::<1>(self.gamma) / deviation;
        let mut shift = -p.get::<1>(self.mean);
        if let Some(bias) = self.bias {
            shift = shift + p.get::<1>(bias);
        }
        let bias = p.get::<1>(self.beta) + shift * scale.clone();
        (Filters::Scaled(p.get(self.weight), scale), bias)
    }

    fn forward_by_batch(
        &self,
        p: &Parameters,
        x: Tensor<4>,
        updates: &StatisticUpdates,
    ) -> Tensor<4> {
        let zeros = p.get::<1>(self.beta).zeros_like();
        let linear = ConvSpec { activation: Activation::None, ..self.spec };
        // A bias moves the batch and its mean alike, so the normalised values do not have it.
        let precision = dtype(&x);
        let y = widened(conv2d(x, p.get(self.weight), zeros, linear));
        let [batch, height, width, c] = y.dims();
        let count = (batch * height * width) as f64;
        let rows = y.reshape([batch * height * width, c]);
        let mean = rows.clone().mean_dim(0);
        let centred = rows - mean.clone();
        let variance = centred.clone().square().mean_dim(0);
        self.note_statistics(p, &mean, &variance, count, updates);
        let scale =
            p.get::<1>(self.gamma).reshape([1, c]) / variance.add_scalar(self.epsilon).sqrt();
        let mut shift = p.get::<1>(self.beta);
        if let Some(bias) = self.bias {
            // Its gradient is zero, but it has one: weight decay acts on it as in PyTorch.
            shift = shift + p.get::<1>(bias).mul_scalar(0.0);
        }
        let y = centred * scale + shift.reshape([1, c]);
        self.spec.activation.forward(y.reshape([batch, height, width, c])).cast(precision)
    }

    /// Moves the running statistics towards the batch's, the variance by its unbiased estimate.
    fn note_statistics(
        &self,
        p: &Parameters,
        mean: &Tensor<2>,
        variance: &Tensor<2>,
        count: f64,
        updates: &StatisticUpdates,
    ) {
        let unbiased = count / (count - 1.0).max(1.0);
        let mut mean = mean.clone().inner().flatten::<1>(0, 1);
        if let Some(bias) = self.bias {
            mean = mean + p.get::<1>(bias).inner();
        }
        let variance = variance.clone().inner().flatten::<1>(0, 1).mul_scalar(unbiased);
        let mut updates = updates.borrow_mut();
        for (id, batch) in [(self.mean, mean), (self.variance, variance)] {
            let running = p.get::<1>(id).inner().mul_scalar(1.0 - STATISTICS_MOMENTUM);
            updates.push((id, running + batch.mul_scalar(STATISTICS_MOMENTUM)));
        }
    }
}

/// What a linear layer's random weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinearInit {
    /// Weight and bias uniform in ±1/√inputs, PyTorch's own.
    Uniform,
    /// The weight normal with deviation √(2 / outputs), the bias 0: He et al. (ICCV 2015) over the
    /// outgoing connections, the `he` of the old code.
    He,
    /// The weight normal with deviation 0.02, the bias 0: timm's of a vision transformer.
    Normal,
}

/// `x · Wᵀ + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: ParameterId,
    pub(crate) bias: ParameterId,
}

impl Linear {
    /// Adds the layer's parameters to the table under `key`; `sizes` are inputs and outputs.
    pub(crate) fn new(
        builder: &mut Builder,
        key: &str,
        sizes: [usize; 2],
        role: Role,
        init: LinearInit,
    ) -> Self {
        let [inputs, outputs] = sizes;
        let (weight, bias) = (format!("{key}.weight"), format!("{key}.bias"));
        let shape = [outputs, inputs];
        let deviation = match init {
            LinearInit::Uniform => {
                return Self {
                    weight: builder.uniform_by_inputs(weight, &shape, role, inputs),
                    bias: builder.uniform_by_inputs(bias, &[outputs], role, inputs),
                };
            }
            LinearInit::He => (2.0 / outputs as f64).sqrt(),
            LinearInit::Normal => 0.02,
        };
        Self {
            weight: builder.normal_values(weight, &shape, role, deviation),
            bias: builder.constant(bias, outputs, role, 0.0),
        }
    }

    /// `[batch, inputs]` -> `[batch, outputs]`.
    pub(crate) fn forward(&self, pass: &Pass, x: Tensor<2>) -> Tensor<2> {
        ops::linear(x, pass.parameters.get(self.weight), pass.parameters.get(self.bias))
    }
}
