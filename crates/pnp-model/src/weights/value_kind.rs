//! The types of values that weight files hold, and the floating-point ones decoded to f32.

use half::{bf16, f16};

/// The type of a stored value, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Half precision.
    F16,
    /// The upper half of a single precision.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Anything else, such as the integers that count batches: its name, and its bytes (0 where
    /// a value is a part of a byte).
    Other(&'static str, usize),
}

impl ValueKind {
    /// Bytes of one value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Other(_, size) => size,
        }
    }

    /// Whether it is floating-point, as weights are.
    pub fn is_float(self) -> bool {
        !matches!(self, Self::Other(..))
    }

    /// Its name, such as `f16` or `i64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Other(name, _) => name,
        }
    }

    /// The values of some bytes; a last incomplete value is left out. `None` of a type that is not
    /// floating-point.
    pub(super) fn decode(self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match self {
            Self::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::Other(..) => return None,
        })
    }
}

fn each<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| decode(chunk)).collect()
}
