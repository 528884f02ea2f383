//! Loops compiled for the processor's vectors.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use pulp::{Arch, Simd, WithSimd};

/// Runs `f` compiled for the widest vectors of the processor at hand, as far as it and what it
/// calls are `#[inline(always)]`. No operation is fused or reordered: the bits stay the same.
#[inline(always)]
pub(super) fn vectorised<R>(f: impl FnMut() -> R) -> R {
    Arch::new().dispatch(Vectorised(f))
}

/// A closure that is called by reference. Called by value, as `dispatch` does with a closure
/// itself, it would go through a shim of the compiler's that is not inlined, and so be compiled
/// without vectors.
struct Vectorised<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Vectorised<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}
