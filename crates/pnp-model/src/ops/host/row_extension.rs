//! Makes the kernels of `rows` operations of Burn, with their gradients.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Tape;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use super::extension::{floats, tensor};
use super::rows;
use crate::ops::RowOp;

/// The operation by the host kernels.
pub(in crate::ops) fn apply(x: Tensor<4>, op: RowOp) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as HostRows>::host_rows(x.into_dispatch(), op))
}

/// The forward operation, on the host backend with and without autodiff.
#[backend_extension(Flex, Autodiff)]
trait HostRows: Backend {
    /// See [`crate::ops::rows`].
    fn host_rows(x: FloatTensor<Self>, op: RowOp) -> FloatTensor<Self>;
}

/// The backward operation, which only autodiff calls.
trait HostRowsBackward: Backend {
    /// The gradient with respect to the input, from that of the output.
    fn host_rows_backward(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        op: RowOp,
    ) -> FloatTensor<Self>;
}

impl HostRows for Flex {
    fn host_rows(x: FlexTensor, op: RowOp) -> FlexTensor {
        let shape = x.shape().dims::<4>();
        let x = x.to_contiguous();
        let [batch, height, width, channels] = shape;
        let y = rows::forward(floats(&x), shape, op);
        tensor(y, [batch, height, width, rows::channels_out(op, channels)])
    }
}

impl HostRowsBackward for Flex {
    fn host_rows_backward(x: FlexTensor, dy: FlexTensor, op: RowOp) -> FlexTensor {
        let shape = x.shape().dims::<4>();
        let (x, dy) = (x.to_contiguous(), dy.to_contiguous());
        tensor(rows::backward(floats(&x), floats(&dy), shape, op), shape)
    }
}

impl<B: Backend + HostRows + HostRowsBackward, C: CheckpointStrategy> HostRows for Autodiff<B, C> {
    fn host_rows(x: FloatTensor<Self>, op: RowOp) -> FloatTensor<Self> {
        match Rows.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish((x.clone(), op), B::host_rows(x, op))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::host_rows(x.into_primitive(), op)),
        }
    }
}

#[derive(Debug)]
struct Rows;

impl<B: Backend + HostRowsBackward> Backward<B, 1> for Rows {
    type State = (FloatTensor<B>, RowOp);

    fn backward(self, ops: Ops<Self::State, 1>, tape: &mut Tape, _: &mut Checkpointer) {
        let [x] = ops.parents;
        let dy = tape.consume::<B>(&ops.node);
        let (saved, op) = ops.state;
        if let Some(node) = x {
            tape.register::<B>(node.id, B::host_rows_backward(saved, dy, op));
        }
    }
}
