//! The two kinds of real numbers the crate computes in.

/// `f32` or `f64`; sealed, since the matrix products and the sigmoid know these two.
pub trait Real: number::Number {}

impl Real for f32 {}
impl Real for f64 {}

mod number {
    use std::fmt::Debug;
    use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};

    /// What the crate's kernels need of a number.
    pub trait Number:
        Copy
        + PartialOrd
        + Debug
        + Send
        + Sync
        + 'static
        + Add<Output = Self>
        + AddAssign
        + Sub<Output = Self>
        + SubAssign
        + Mul<Output = Self>
        + Div<Output = Self>
        + Neg<Output = Self>
    {
        /// 0.
        const ZERO: Self;
        /// 1.
        const ONE: Self;
        /// Less than every other number.
        const NEG_INFINITY: Self;
        /// The largest finite number.
        const LARGEST: f64;

        /// Neither NaN nor infinite.
        fn finite(self) -> bool;
        /// The same number, wide.
        fn wide(self) -> f64;
        /// The nearest number of this kind.
        fn narrow(x: f64) -> Self;
        /// |x|.
        fn magnitude(self) -> Self;
        /// √x, for `x >= 0`.
        fn root(self) -> Self;
        /// `exp(-a)` for `a >= 0`, infinity included; exactly 0 where it would leave the normal
        /// range of the type.
        fn exp_neg(self) -> Self;
    }

    impl Number for f32 {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const NEG_INFINITY: Self = f32::NEG_INFINITY;
        const LARGEST: f64 = f32::MAX as f64;

        #[inline(always)]
        fn finite(self) -> bool {
            self.is_finite()
        }

        #[inline(always)]
        fn wide(self) -> f64 {
            f64::from(self)
        }

        #[inline(always)]
        fn narrow(x: f64) -> Self {
            x as f32
        }

        #[inline(always)]
        fn magnitude(self) -> Self {
            self.abs()
        }

        #[inline(always)]
        fn root(self) -> Self {
            self.sqrt()
        }

        /// Reduces to `exp(-a) = 2^-n · exp(-r)` with `|r| <= ln(2)/2` and takes the series of
        /// `exp(-r)` to its seventh power, whose rest is below 6e-9. Only operations that a
        /// compiler turns into vector instructions, each rounded for itself: the result is the
        /// same on every processor. Relative error below 2e-7.
        #[inline(always)]
        fn exp_neg(self) -> Self {
            /// Above this the result would be subnormal.
            const LARGEST: f32 = 87.0;
            /// 1.5 · 2^23: adding it leaves a number's nearest integer in the low bits.
            const ROUND: f32 = 12_582_912.0;
            /// ln 2 in two parts, the first short enough that `n · LN_2_HIGH` is exact.
            const LN_2_HIGH: f32 = 0.693_359_4;
            const LN_2_LOW: f32 = -2.121_944_4e-4;
            // Not `min`, which would spend instructions on NaN.
            let a = if self < LARGEST { self } else { LARGEST };
            let shifted = a * std::f32::consts::LOG2_E + ROUND;
            let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
            let n = shifted - ROUND;
            let r = n * LN_2_HIGH - a + n * LN_2_LOW;
            let mut series = 1.0 / 5040.0;
            for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
                series = series * r + coefficient;
            }
            let power = f32::from_bits(127_u32.wrapping_sub(exponent) << 23);
            if self < LARGEST { series * power } else { 0.0 }
        }
    }

    impl Number for f64 {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const NEG_INFINITY: Self = f64::NEG_INFINITY;
        const LARGEST: f64 = f64::MAX;

        #[inline(always)]
        fn finite(self) -> bool {
            self.is_finite()
        }

        #[inline(always)]
        fn wide(self) -> f64 {
            self
        }

        #[inline(always)]
        fn narrow(x: f64) -> Self {
            x
        }

        #[inline(always)]
        fn magnitude(self) -> Self {
            self.abs()
        }

        #[inline(always)]
        fn root(self) -> Self {
            self.sqrt()
        }

        #[inline(always)]
        fn exp_neg(self) -> Self {
            if self < 708.0 { (-self).exp() } else { 0.0 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number::Number;

    #[test]
    fn exp_neg_of_f32_is_within_2e_7_of_the_true_value() {
        let mut a = 0.0_f32;
        while a < 87.0 {
            let (ours, truth) = (f64::from(a.exp_neg()), (-f64::from(a)).exp());
            assert!((ours / truth - 1.0).abs() < 2e-7, "exp(-{a}): {ours} for {truth}");
            a += 0.000_37;
        }
    }

    #[test]
    fn exp_neg_is_exact_at_its_ends() {
        assert_eq!(0.0_f32.exp_neg(), 1.0);
        assert_eq!(87.0_f32.exp_neg(), 0.0);
        assert_eq!(f32::INFINITY.exp_neg(), 0.0);
        assert_eq!(0.0_f64.exp_neg(), 1.0);
        assert_eq!(f64::INFINITY.exp_neg(), 0.0);
    }
}
