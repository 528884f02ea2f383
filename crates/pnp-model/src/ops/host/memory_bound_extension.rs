//! Makes the kernels of `memory_bound` operations of Burn, with their gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Tape;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use super::extension::{floats, tensor};
use super::memory_bound::{self, Pooling};
use crate::ops::{Activation, Window};

/// [`crate::ops::add`] by the host kernels.
pub(in crate::ops) fn add(a: Tensor<4>, b: Tensor<4>, activation: Activation) -> Tensor<4> {
    let (a, b) = (a.into_dispatch(), b.into_dispatch());
    Tensor::from_dispatch(<Dispatch as HostMemoryBound>::host_add(a, b, activation))
}

/// [`crate::ops::max_pool`] by the host kernels.
pub(in crate::ops) fn max_pool(x: Tensor<4>, window: Window) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as HostMemoryBound>::host_max_pool(x.into_dispatch(), window))
}

/// [`crate::ops::scale_rows`] by the host kernels.
pub(in crate::ops) fn scale_rows(weight: Tensor<4>, scale: Tensor<1>) -> Tensor<4> {
    let (weight, scale) = (weight.into_dispatch(), scale.into_dispatch());
    Tensor::from_dispatch(<Dispatch as HostMemoryBound>::host_scale_rows(weight, scale))
}

/// The forward operations, on the host backend with and without autodiff.
#[backend_extension(Flex, Autodiff)]
trait HostMemoryBound: Backend {
    /// See [`crate::ops::add`].
    fn host_add(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// See [`crate::ops::max_pool`].
    fn host_max_pool(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self>;

    /// See [`crate::ops::scale_rows`].
    fn host_scale_rows(weight: FloatTensor<Self>, scale: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The backward operations, which only autodiff calls.
trait HostMemoryBoundBackward: Backend {
    /// The gradient with respect to each summand.
    fn host_add_backward(
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// The gradient with respect to the input.
    fn host_max_pool_backward(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        window: Window,
    ) -> FloatTensor<Self>;

    /// The gradients with respect to the weight and to the numbers.
    fn host_scale_rows_backward(
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl HostMemoryBound for Flex {
    fn host_add(a: FlexTensor, b: FlexTensor, activation: Activation) -> FlexTensor {
        let shape = a.shape().dims::<4>();
        assert_eq!(shape, b.shape().dims::<4>(), "maps that are added are alike");
        let (a, b) = (a.to_contiguous(), b.to_contiguous());
        tensor(memory_bound::add(floats(&a), floats(&b), activation), shape)
    }

    fn host_max_pool(x: FlexTensor, window: Window) -> FlexTensor {
        let shape = x.shape().dims::<4>();
        let (x, pooling) = (x.to_contiguous(), Pooling::new(shape, window));
        tensor(memory_bound::max_pool(floats(&x), &pooling), pooling.shape(shape[0]))
    }

    fn host_scale_rows(weight: FlexTensor, scale: FlexTensor) -> FlexTensor {
        let shape = weight.shape().dims::<4>();
        let (weight, scale) = (weight.to_contiguous(), scale.to_contiguous());
        assert_eq!(shape[0], floats(&scale).len(), "a number for every row");
        tensor(memory_bound::scale_rows(floats(&weight), floats(&scale)), shape)
    }
}

impl HostMemoryBoundBackward for Flex {
    fn host_add_backward(y: FlexTensor, dy: FlexTensor, activation: Activation) -> FlexTensor {
        let shape = y.shape().dims::<4>();
        let (y, dy) = (y.to_contiguous(), dy.to_contiguous());
        tensor(memory_bound::add_backward(floats(&y), floats(&dy), activation), shape)
    }

    fn host_max_pool_backward(
        x: FlexTensor,
        y: FlexTensor,
        dy: FlexTensor,
        window: Window,
    ) -> FlexTensor {
        let shape = x.shape().dims::<4>();
        let (x, y, dy) = (x.to_contiguous(), y.to_contiguous(), dy.to_contiguous());
        let pooling = Pooling::new(shape, window);
        let dx = memory_bound::max_pool_backward(floats(&x), floats(&y), floats(&dy), &pooling);
        tensor(dx, shape)
    }

    fn host_scale_rows_backward(
        weight: FlexTensor,
        scale: FlexTensor,
        dy: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        let shape = weight.shape().dims::<4>();
        let (weight, scale, dy) =
            (weight.to_contiguous(), scale.to_contiguous(), dy.to_contiguous());
        let (dw, ds) =
            memory_bound::scale_rows_backward(floats(&weight), floats(&scale), floats(&dy));
        (tensor(dw, shape), tensor(ds, [shape[0]]))
    }
}

impl<B, C> HostMemoryBound for Autodiff<B, C>
where
    B: Backend + HostMemoryBound + HostMemoryBoundBackward,
    C: CheckpointStrategy,
{
    fn host_add(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        match Add.prepare::<C>([a.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::host_add(a.into_primitive(), b.into_primitive(), activation);
                let kept = (activation != Activation::None).then(|| y.clone());
                prep.finish((kept, activation), y)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::host_add(a.into_primitive(), b.into_primitive(), activation))
            }
        }
    }

    fn host_max_pool(x: FloatTensor<Self>, window: Window) -> FloatTensor<Self> {
        match MaxPool.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                let y = B::host_max_pool(x.clone(), window);
                prep.finish((x, y.clone(), window), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::host_max_pool(x.into_primitive(), window)),
        }
    }

    fn host_scale_rows(weight: FloatTensor<Self>, scale: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [weight.node(), scale.node()];
        match ScaleRows.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (weight, scale) = (weight.into_primitive(), scale.into_primitive());
                prep.finish((weight.clone(), scale.clone()), B::host_scale_rows(weight, scale))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::host_scale_rows(weight.into_primitive(), scale.into_primitive()))
            }
        }
    }
}

#[derive(Debug)]
struct Add;

impl<B: Backend + HostMemoryBoundBackward> Backward<B, 2> for Add {
    /// The output where the activation's gradient depends on it, and the activation.
    type State = (Option<FloatTensor<B>>, Activation);

    fn backward(self, ops: Ops<Self::State, 2>, tape: &mut Tape, _: &mut Checkpointer) {
        let dy = tape.consume::<B>(&ops.node);
        let (y, activation) = ops.state;
        let dx = match y {
            Some(y) => B::host_add_backward(y, dy, activation),
            None => dy,
        };
        for node in ops.parents.into_iter().flatten() {
            tape.register::<B>(node.id, dx.clone());
        }
    }
}

#[derive(Debug)]
struct MaxPool;

impl<B: Backend + HostMemoryBoundBackward> Backward<B, 1> for MaxPool {
    type State = (FloatTensor<B>, FloatTensor<B>, Window);

    fn backward(self, ops: Ops<Self::State, 1>, tape: &mut Tape, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        let dy = tape.consume::<B>(&ops.node);
        let (x, y, window) = ops.state;
        if let Some(node) = parent {
            tape.register::<B>(node.id, B::host_max_pool_backward(x, y, dy, window));
        }
    }
}

#[derive(Debug)]
struct ScaleRows;

impl<B: Backend + HostMemoryBoundBackward> Backward<B, 2> for ScaleRows {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, tape: &mut Tape, _: &mut Checkpointer) {
        let dy = tape.consume::<B>(&ops.node);
        let (weight, scale) = ops.state;
        let (dw, ds) = B::host_scale_rows_backward(weight, scale, dy);
        for (node, gradient) in ops.parents.into_iter().zip([dw, ds]) {
            if let Some(node) = node {
                tape.register::<B>(node.id, gradient);
            }
        }
    }
}
