//! Embeddings in half precision.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// f16 or bf16; sealed.
pub trait Half: half_kind::Widen {}

impl Half for f16 {}
impl Half for bf16 {}

mod half_kind {
    pub trait Widen: Sized {
        fn widen(values: &[Self]) -> Vec<f32>;
    }
}

impl half_kind::Widen for f16 {
    fn widen(values: &[Self]) -> Vec<f32> {
        values.to_f32_vec()
    }
}

impl half_kind::Widen for bf16 {
    fn widen(values: &[Self]) -> Vec<f32> {
        values.to_f32_vec()
    }
}

/// The same numbers in f32, exactly: losses and metrics compute in no less.
///
/// ```
/// use half::bf16;
/// use pnp_ranking::{Embeddings, widen};
///
/// let halves = [1.0, 0.0, 0.5, 0.25].map(bf16::from_f32);
/// let values = widen(&halves);
/// assert_eq!(Embeddings::new(&values, 2)?.row(1), [0.5, 0.25]);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
pub fn widen<H: Half>(values: &[H]) -> Vec<f32> {
    H::widen(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            for (wide, expected) in [
                (widen(&[f16::from_bits(bits)])[0], f16::from_bits(bits).to_f64()),
                (widen(&[bf16::from_bits(bits)])[0], bf16::from_bits(bits).to_f64()),
            ] {
                let same = f64::from(wide) == expected || (wide.is_nan() && expected.is_nan());
                assert!(same, "{bits:#x}");
            }
        }
    }
}
