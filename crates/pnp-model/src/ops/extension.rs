//! Makes the host kernels an operation of Burn: one that its autodiff knows how to differentiate.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Tape;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor, TensorData};

use super::geometry::Geometry;
use super::host::Gradients;
use super::{Activation, ConvSpec, depthwise, host};

/// The convolution of [`super::conv2d`] by the host kernels.
pub(super) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    spec: ConvSpec,
) -> Tensor<4> {
    let y = <Dispatch as HostConv>::host_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        spec,
    );
    Tensor::from_dispatch(y)
}

/// The forward operation, on the host backend with and without autodiff.
#[backend_extension(Flex, Autodiff)]
trait HostConv: Backend {
    /// See [`super::conv2d`].
    fn host_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self>;
}

/// The backward operation, which only autodiff calls.
trait HostConvBackward: Backend {
    /// The gradients with respect to input (when `wants_x`), weight and bias.
    fn host_conv2d_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        spec: ConvSpec,
        wants_x: bool,
    ) -> (Option<FloatTensor<Self>>, FloatTensor<Self>, FloatTensor<Self>);
}

impl HostConv for Flex {
    fn host_conv2d(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        spec: ConvSpec,
    ) -> FlexTensor {
        let g = Geometry::new(x.shape().dims(), weight.shape().dims(), spec);
        let (x, weight, bias) = (x.to_contiguous(), weight.to_contiguous(), bias.to_contiguous());
        let kernel = if spec.depthwise { depthwise::forward } else { host::forward };
        let y = kernel(floats(&x), floats(&weight), floats(&bias), &g);
        tensor(y, [g.batch, g.height_out, g.width_out, g.channels_out])
    }
}

impl HostConvBackward for Flex {
    fn host_conv2d_backward(
        x: FlexTensor,
        weight: FlexTensor,
        y: FlexTensor,
        dy: FlexTensor,
        spec: ConvSpec,
        wants_x: bool,
    ) -> (Option<FlexTensor>, FlexTensor, FlexTensor) {
        let (x_shape, w_shape) = (x.shape().dims::<4>(), weight.shape().dims::<4>());
        let g = Geometry::new(x_shape, w_shape, spec);
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let (y, dy) = (y.to_contiguous(), dy.to_contiguous());
        let (xs, ws, ys, dys) = (floats(&x), floats(&weight), floats(&y), floats(&dy));
        let Gradients { x: dx, weight: dw, bias: db } = if spec.depthwise {
            depthwise::backward(xs, ws, ys, dys, &g)
        } else {
            host::backward(xs, ws, ys, dys, &g, wants_x)
        };
        (dx.map(|dx| tensor(dx, x_shape)), tensor(dw, w_shape), tensor(db, [g.channels_out]))
    }
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
        bias: FloatTensor<Self>,
        spec: ConvSpec,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        match Conv2d.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x, weight) = (x.into_primitive(), weight.into_primitive());
                let y = B::host_conv2d(x.clone(), weight.clone(), bias.into_primitive(), spec);
                let kept = (spec.activation != Activation::None).then(|| y.clone());
                let state = Saved::<B> { x, weight, y: kept, spec };
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::host_conv2d(
                x.into_primitive(),
                weight.into_primitive(),
                bias.into_primitive(),
                spec,
            )),
        }
    }
}

#[derive(Debug)]
struct Conv2d;

/// What the backward pass needs of the forward one.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    /// The output, where the activation's gradient depends on it.
    y: Option<FloatTensor<B>>,
    spec: ConvSpec,
}

impl<B: Backend + HostConvBackward> Backward<B, 3> for Conv2d {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 3>, tape: &mut Tape, _: &mut Checkpointer) {
        let [x, weight, bias] = ops.parents;
        let dy = tape.consume::<B>(&ops.node);
        let saved = ops.state;
        // Without an activation the output is not looked at: anything of its size will do.
        let y = saved.y.unwrap_or_else(|| dy.clone());
        let (dx, dw, db) =
            B::host_conv2d_backward(saved.x, saved.weight, y, dy, saved.spec, x.is_some());
        if let (Some(node), Some(dx)) = (x, dx) {
            tape.register::<B>(node.id, dx);
        }
        if let Some(node) = weight {
            tape.register::<B>(node.id, dw);
        }
        if let Some(node) = bias {
            tape.register::<B>(node.id, db);
        }
    }
}
