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
