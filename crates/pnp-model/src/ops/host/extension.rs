//! Makes the host kernels an operation of Burn: one that its autodiff knows how to differentiate.

use std::sync::Arc;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Tape;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::backend_extension;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, TensorMetadata};
use burn::tensor::{Shape, Tensor, TensorData};

use super::convolution::{Filters, Wanted};
use super::geometry::Geometry;
use super::panels::Panels;
use super::{convolution, depthwise};
use crate::ops::{Activation, ConvSpec};

/// A weight in the order in which the host reads it, made once for many passes without a tape.
#[derive(Debug)]
pub(crate) struct Packed {
    panels: Panels,
    /// That of the weight.
    shape: [usize; 4],
}

impl Packed {
    /// The weight of a convolution that is not depthwise, with its scales in it.
    pub(in crate::ops) fn new(weight: Tensor<4>) -> Self {
        let shape = weight.dims();
        let [_, inputs, ..] = shape;
        let spec =
            ConvSpec { stride: 1, padding: 0, depthwise: false, activation: Activation::None };
        let g = Geometry::new([1, shape[2], shape[3], inputs], shape, spec);
        let weight = crate::parameters::to_host(weight);
        Self { panels: Panels::forward(&weight, &vec![1.0; g.channels_out], &g), shape }
    }
}

/// The convolution of [`crate::ops::convolve`] by the host kernels.
pub(in crate::ops) fn convolve(
    x: Tensor<4>,
    weight: Tensor<4>,
    scale: Tensor<1>,
    bias: Tensor<1>,
    added: Option<Tensor<4>>,
    spec: ConvSpec,
) -> Tensor<4> {
    let (x, bias) = (x.into_dispatch(), bias.into_dispatch());
    let (w, scale) = (weight.into_dispatch(), scale.into_dispatch());
    Tensor::from_dispatch(match added {
        Some(added) => {
            let added = added.into_dispatch();
            <Dispatch as HostConv>::host_conv2d_add(x, w, scale, bias, added, spec)
        }
        None => <Dispatch as HostConv>::host_conv2d(x, w, scale, bias, spec),
    })
}

/// The same without a tape, by a weight in the host's order.
pub(in crate::ops) fn convolve_packed(
    x: Tensor<4>,
    packed: Arc<Packed>,
    bias: Tensor<1>,
    added: Option<Tensor<4>>,
    spec: ConvSpec,
) -> Tensor<4> {
    let (x, bias) = (x.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(match added {
        Some(added) => {
            let added = added.into_dispatch();
            <Dispatch as HostConv>::host_conv2d_packed_add(x, bias, added, packed, spec)
        }
        None => <Dispatch as HostConv>::host_conv2d_packed(x, bias, packed, spec),
    })
}

/// The forward operation, on the host backend with and without autodiff.
#[backend_extension(Flex, Autodiff)]
trait HostConv: Backend {
    /// See [`crate::ops::convolve`]; `scale` of a depthwise convolution is not looked at.
    fn host_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self>;

    /// See [`crate::ops::convolve`].
    fn host_conv2d_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        added: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self>;

    /// See [`convolve_packed`].
    fn host_conv2d_packed(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        packed: Arc<Packed>,
        spec: ConvSpec,
    ) -> FloatTensor<Self>;

    /// See [`convolve_packed`].
    fn host_conv2d_packed_add(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        added: FloatTensor<Self>,
        packed: Arc<Packed>,
        spec: ConvSpec,
    ) -> FloatTensor<Self>;
}

/// The gradients of a convolution.
struct Backwards<T> {
    /// With respect to the input, where it was asked for.
    x: Option<T>,
    weight: T,
    /// With respect to its scales, where it was asked for.
    scale: Option<T>,
    bias: T,
    /// With respect to what was added before the activation.
    added: T,
}

/// The backward operation, which only autodiff calls.
trait HostConvBackward: Backend {
    /// From the input, the weight and its scales, the output and its gradient.
    fn host_conv2d_backward(
        x: FloatTensor<Self>,
        filters: [FloatTensor<Self>; 2],
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        spec: ConvSpec,
        wanted: Wanted,
    ) -> Backwards<FloatTensor<Self>>;
}

impl HostConv for Flex {
    fn host_conv2d(
        x: FlexTensor,
        weight: FlexTensor,
        scale: FlexTensor,
        bias: FlexTensor,
        spec: ConvSpec,
    ) -> FlexTensor {
        let g = Geometry::new(x.shape().dims(), weight.shape().dims(), spec);
        let weight = weight.to_contiguous();
        if spec.depthwise {
            let (x, bias) = (x.to_contiguous(), bias.to_contiguous());
            let y = depthwise::forward(floats(&x), floats(&weight), floats(&bias), &g);
            return output(y, &g);
        }
        multiplied(&x, &packed(&weight, &scale, &g), &bias, None, &g)
    }

    fn host_conv2d_add(
        x: FlexTensor,
        weight: FlexTensor,
        scale: FlexTensor,
        bias: FlexTensor,
        added: FlexTensor,
        spec: ConvSpec,
    ) -> FlexTensor {
        assert!(!spec.depthwise, "nothing is added to a depthwise convolution");
        let g = Geometry::new(x.shape().dims(), weight.shape().dims(), spec);
        multiplied(&x, &packed(&weight, &scale, &g), &bias, Some(added), &g)
    }

    fn host_conv2d_packed(
        x: FlexTensor,
        bias: FlexTensor,
        packed: Arc<Packed>,
        spec: ConvSpec,
    ) -> FlexTensor {
        let g = Geometry::new(x.shape().dims(), packed.shape, spec);
        multiplied(&x, &packed.panels, &bias, None, &g)
    }

    fn host_conv2d_packed_add(
        x: FlexTensor,
        bias: FlexTensor,
        added: FlexTensor,
        packed: Arc<Packed>,
        spec: ConvSpec,
    ) -> FlexTensor {
        let g = Geometry::new(x.shape().dims(), packed.shape, spec);
        multiplied(&x, &packed.panels, &bias, Some(added), &g)
    }
}

fn packed(weight: &FlexTensor, scale: &FlexTensor, g: &Geometry) -> Panels {
    let (weight, scale) = (weight.to_contiguous(), scale.to_contiguous());
    assert_eq!(g.channels_out, floats(&scale).len(), "a scale for every output");
    Panels::forward(floats(&weight), floats(&scale), g)
}

fn multiplied(
    x: &FlexTensor,
    panels: &Panels,
    bias: &FlexTensor,
    added: Option<FlexTensor>,
    g: &Geometry,
) -> FlexTensor {
    let (x, bias) = (x.to_contiguous(), bias.to_contiguous());
    let added = added.map(|added| added.to_contiguous());
    let y = convolution::forward(floats(&x), panels, floats(&bias), added.as_ref().map(floats), g);
    output(y, g)
}

fn output(y: Vec<f32>, g: &Geometry) -> FlexTensor {
    tensor(y, [g.batch, g.height_out, g.width_out, g.channels_out])
}

impl HostConvBackward for Flex {
    fn host_conv2d_backward(
        x: FlexTensor,
        [weight, scale]: [FlexTensor; 2],
        y: FlexTensor,
        dy: FlexTensor,
        spec: ConvSpec,
        wanted: Wanted,
    ) -> Backwards<FlexTensor> {
        let (x_shape, w_shape) = (x.shape().dims::<4>(), weight.shape().dims::<4>());
        let g = Geometry::new(x_shape, w_shape, spec);
        let (x, weight, scale) = (x.to_contiguous(), weight.to_contiguous(), scale.to_contiguous());
        let (y, mut dy) = (y.to_contiguous(), contiguous(dy));
        let filters = Filters { weight: floats(&weight), scale: floats(&scale) };
        let found = if spec.depthwise {
            depthwise::backward(floats(&x), filters.weight, floats(&y), floats(&dy), &g)
        } else {
            let bias = if spec.activation == Activation::None {
                convolution::bias_gradient(floats(&dy), &g)
            } else {
                convolution::before_activation(floats(&y), floats_mut(&mut dy), &g)
            };
            convolution::backward(floats(&x), filters, floats(&dy), bias, &g, wanted)
        };
        Backwards {
            x: found.x.map(|dx| tensor(dx, x_shape)),
            weight: tensor(found.weight, w_shape),
            scale: found.scale.map(|ds| tensor(ds, [g.channels_out])),
            bias: tensor(found.bias, [g.channels_out]),
            added: dy,
        }
    }
}

/// The same tensor with its values in order.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// A contiguous tensor's values, to be written over. They become its own where other tensors have
/// them too.
fn floats_mut(of: &mut FlexTensor) -> &mut [f32] {
    if floats(of).len() != of.storage::<f32>().len() {
        let shape = of.shape().dims::<4>();
        *of = tensor(floats(of).to_vec(), shape);
    }
    of.storage_mut()
}

/// A contiguous tensor's values. A view keeps its storage, so it is cut to the view's part.
pub(super) fn floats(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor")
}

/// A tensor of these values, row-major.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, Shape::from(shape)))
}

impl<B: Backend + HostConv + HostConvBackward, C: CheckpointStrategy> HostConv for Autodiff<B, C> {
    fn host_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), scale.node(), bias.node()];
        let (x, bias) = (x.into_primitive(), bias.into_primitive());
        let (w, s) = (weight.into_primitive(), scale.into_primitive());
        let y = B::host_conv2d(x.clone(), w.clone(), s.clone(), bias, spec);
        match Conv2d.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Saved::<B>::new(x, [w, s], &y, spec), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn host_conv2d_add(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        added: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), scale.node(), bias.node(), added.node()];
        let (x, bias, added) = (x.into_primitive(), bias.into_primitive(), added.into_primitive());
        let (w, s) = (weight.into_primitive(), scale.into_primitive());
        let y = B::host_conv2d_add(x.clone(), w.clone(), s.clone(), bias, added, spec);
        match Conv2d.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(Saved::<B>::new(x, [w, s], &y, spec), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn host_conv2d_packed(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        packed: Arc<Packed>,
        spec: ConvSpec,
    ) -> FloatTensor<Self> {
        let (x, bias) = (x.into_primitive(), bias.into_primitive());
        Self::from_inner(B::host_conv2d_packed(x, bias, packed, spec))
    }

    fn host_conv2d_packed_add(
        x: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        added: FloatTensor<Self>,
        packed: Arc<Packed>,
        spec: ConvSpec,
    ) -> FloatTensor<Self> {
        let (x, bias) = (x.into_primitive(), bias.into_primitive());
        Self::from_inner(B::host_conv2d_packed_add(x, bias, added.into_primitive(), packed, spec))
    }
}

#[derive(Debug)]
struct Conv2d;

/// What the backward pass needs of the forward one.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    x: FloatTensor<B>,
    /// The weight and its scales.
    filters: [FloatTensor<B>; 2],
    /// The output, where the activation's gradient depends on it.
    y: Option<FloatTensor<B>>,
    spec: ConvSpec,
}

impl<B: Backend> Saved<B> {
    fn new(
        x: FloatTensor<B>,
        filters: [FloatTensor<B>; 2],
        y: &FloatTensor<B>,
        spec: ConvSpec,
    ) -> Self {
        let y = (spec.activation != Activation::None).then(|| y.clone());
        Self { x, filters, y, spec }
    }

    /// Puts the gradients of input, weight, scales, bias and what was added onto the tape, where
    /// it has a node for them.
    fn register(self, dy: FloatTensor<B>, nodes: [Option<NodeId>; 5], tape: &mut Tape)
    where
        B: HostConvBackward,
    {
        // Without an activation the output is not looked at: anything of its size will do.
        let y = self.y.unwrap_or_else(|| dy.clone());
        let wanted = Wanted { x: nodes[0].is_some(), scale: nodes[2].is_some() };
        let found = B::host_conv2d_backward(self.x, self.filters, y, dy, self.spec, wanted);
        let Backwards { x, weight, scale, bias, added } = found;
        let gradients = [x, Some(weight), scale, Some(bias), Some(added)];
        for (node, gradient) in nodes.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                tape.register::<B>(node, gradient);
            }
        }
    }
}

/// Input, weight, scales and bias.
impl<B: Backend + HostConvBackward> Backward<B, 4> for Conv2d {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 4>, tape: &mut Tape, _: &mut Checkpointer) {
        let [x, weight, scale, bias] = ops.parents.map(|node| node.map(|node| node.id));
        let dy = tape.consume::<B>(&ops.node);
        ops.state.register(dy, [x, weight, scale, bias, None], tape);
    }
}

/// The same, and what is added before the activation.
impl<B: Backend + HostConvBackward> Backward<B, 5> for Conv2d {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 5>, tape: &mut Tape, _: &mut Checkpointer) {
        let nodes = ops.parents.map(|node| node.map(|node| node.id));
        let dy = tape.consume::<B>(&ops.node);
        ops.state.register(dy, nodes, tape);
    }
}
