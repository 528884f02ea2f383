//! The layers that a vision transformer adds: patches, tokens with their positions, and layer norm.

use burn::tensor::{Tensor, TensorData};

use crate::ops::{Activation, ConvSpec, RowOp, conv2d, rows};
use crate::parameters::{Builder, ParameterId, Parameters, Role};
use crate::resample;

/// A convolution that cuts a map into patches of `kernel` rows and columns, with a bias and
/// nothing after it.
#[derive(Debug)]
pub(crate) struct PatchConv {
    pub(crate) weight: ParameterId,
    pub(crate) bias: ParameterId,
    /// Rows and columns of a patch, and the step between patches.
    pub(crate) kernel: usize,
}

impl PatchConv {
    /// Adds the layer's parameters to the table under `key`; `sizes` are inputs and outputs.
    pub(crate) fn new(
        builder: &mut Builder,
        key: &str,
        sizes: [usize; 2],
        kernel: usize,
        role: Role,
    ) -> Self {
        let [inputs, outputs] = sizes;
        let fan_in = inputs * kernel * kernel;
        let shape = [outputs, inputs, kernel, kernel];
        let (weight, bias) = (format!("{key}.weight"), format!("{key}.bias"));
        Self {
            weight: builder.uniform_by_inputs(weight, &shape, role, fan_in),
            bias: builder.uniform_by_inputs(bias, &[outputs], role, fan_in),
            kernel,
        }
    }

    /// `[batch, height, width, inputs]` -> `[batch, height / kernel, width / kernel, outputs]`;
    /// pixels beyond the last whole patch are left out.
    pub(crate) fn forward(&self, p: &Parameters, x: Tensor<4>) -> Tensor<4> {
        let spec = ConvSpec {
            stride: self.kernel,
            padding: 0,
            depthwise: false,
            activation: Activation::None,
        };
        conv2d(x, p.get(self.weight), p.get(self.bias), spec)
    }
}

/// A class token in front of the patches, and a trained position added to each.
///
/// Positions are trained on one grid of patches. On another they are resampled, each channel as an
/// image: cubic with antialiasing, as timm's `resample_abs_pos_embed` does. (DINO's own code
/// resamples without antialiasing and with a sharper cubic: features differ slightly.)
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) class: ParameterId,
    pub(crate) positions: ParameterId,
    /// Rows and columns of the grid that the positions are trained on.
    grid: usize,
    width: usize,
}

impl Tokens {
    /// Adds `cls_token` and `pos_embed` to the table.
    pub(crate) fn new(builder: &mut Builder, grid: usize, width: usize) -> Self {
        let shape = [1, 1 + grid * grid, width];
        Self {
            class: builder.normal_values("cls_token".into(), &[1, 1, width], Role::Backbone, 1e-6),
            positions: builder.normal_values("pos_embed".into(), &shape, Role::Backbone, 0.02),
            grid,
            width,
        }
    }

    /// The class token: `[1, 1, 1, width]`.
    pub(crate) fn class(&self, p: &Parameters) -> Tensor<4> {
        p.get::<3>(self.class).reshape([1, 1, 1, self.width])
    }

    /// What is added to the class token and to the patches of a grid of these rows and columns, in
    /// order: `[1, 1, 1 + rows * columns, width]`.
    pub(crate) fn positions(&self, p: &Parameters, [rows, columns]: [usize; 2]) -> Tensor<4> {
        let (trained, width) = (p.get::<3>(self.positions), self.width);
        let tokens = 1 + rows * columns;
        if [rows, columns] == [self.grid; 2] {
            return trained.reshape([1, 1, tokens, width]);
        }
        let class = trained.clone().narrow(1, 0, 1);
        let patches = trained.narrow(1, 1, self.grid * self.grid);
        // Rows and columns are resampled one after the other, each by a product with a matrix.
        let weights = |to: usize| {
            let data = TensorData::new(resample::cubic(self.grid, to), [to, self.grid]);
            Tensor::<2>::from_data(data, &class.device())
        };
        let by_rows = weights(rows).matmul(patches.reshape([self.grid, self.grid * width]));
        let by_columns =
            weights(columns).unsqueeze::<3>().matmul(by_rows.reshape([rows, self.grid, width]));
        let patches = by_columns.reshape([1, rows * columns, width]);
        Tensor::cat(vec![class, patches], 1).reshape([1, 1, tokens, width])
    }

    /// `[batch, rows, columns, width]` -> `[batch, 1, 1 + rows * columns, width]`.
    pub(crate) fn forward(&self, p: &Parameters, x: Tensor<4>) -> Tensor<4> {
        let [batch, rows, columns, width] = x.dims();
        let class = self.class(p).repeat_dim(0, batch);
        let patches = x.reshape([batch, 1, rows * columns, width]);
        Tensor::cat(vec![class, patches], 2) + self.positions(p, [rows, columns])
    }
}

/// Layer norm (Ba et al., 2016) over the channels of each position, `(x − mean)/√(variance + ε)`,
/// times a weight plus a bias where it is trained.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    /// Weight and bias.
    pub(crate) affine: Option<[ParameterId; 2]>,
    /// The ε.
    pub(crate) epsilon: f64,
}

impl LayerNorm {
    /// One of a backbone, whose weight and bias are added to the table under `key`.
    pub(crate) fn trained(builder: &mut Builder, key: &str, width: usize, epsilon: f64) -> Self {
        let mut constant = |name: &str, value| {
            builder.constant(format!("{key}.{name}"), width, Role::Backbone, value)
        };
        Self { affine: Some([constant("weight", 1.0), constant("bias", 0.0)]), epsilon }
    }

    /// One without parameters.
    pub(crate) fn plain(epsilon: f64) -> Self {
        Self { affine: None, epsilon }
    }

    /// `[batch, height, width, channels]`, the same shape out.
    pub(crate) fn forward(&self, p: &Parameters, x: Tensor<4>) -> Tensor<4> {
        let x = rows(x, RowOp::Normalize { epsilon: self.epsilon });
        match self.affine {
            Some([weight, bias]) => {
                let row = |id| p.get::<1>(id).unsqueeze::<4>();
                x * row(weight) + row(bias)
            }
            None => x,
        }
    }
}
