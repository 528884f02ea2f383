//! The type that a backbone's activations are kept in.

use std::fmt;

use burn::tensor::{Device, FloatDType, Tensor};

use crate::error::ModelError;

/// What a backbone computes in. Parameters, gradients and the optimiser's moments are single
/// precision in any case, as is everything from the pooled features on: the head, the embeddings
/// and the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// `f32`: single precision throughout.
    #[default]
    F32,
    /// `bf16`: activations are kept as bfloat16 (8 bits of mantissa), and products are of bfloat16
    /// values with sums in single precision. Norms, activations, sums of maps and the softmax are
    /// computed in single precision and rounded once. It needs half the memory for activations, and
    /// the range is that of single precision: no scaling of the loss is needed.
    Bf16,
}

impl Precision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// The precision of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Its type in Burn.
    pub(crate) fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// Refuses a device that does not calculate in it. Some store bfloat16 and calculate nothing:
    /// what comes out there need not be a number of the operands at all.
    pub(crate) fn check(self, device: &Device) -> Result<(), ModelError> {
        if device.supports_dtype(self.dtype()) {
            return Ok(());
        }
        let (value, rule) = (self.name().into(), "this device does not calculate in it: use f32");
        Err(ModelError::Setting { setting: "precision", value, rule })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In single precision.
pub(crate) fn widened<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(FloatDType::F32)
}

/// The precision that a tensor is kept in.
pub(crate) fn dtype<const D: usize>(x: &Tensor<D>) -> FloatDType {
    x.dtype().into()
}

/// What `f` makes of the values in single precision, rounded to the precision that they came in.
pub(crate) fn in_f32<const D: usize>(
    x: Tensor<D>,
    f: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let dtype = dtype(&x);
    f(widened(x)).cast(dtype)
}
