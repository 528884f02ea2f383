//! The smooth count of the negatives before a positive, and its slope.

use super::lanes::{BLOCK, LANES};
use crate::real::Real;

/// `R = Σ σ(x_n)` and `Σ σ'(x_n)` over `x_n = (s_n - s_p) · inverse_anneal`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SmoothCount {
    /// The smooth number of negatives before the positive.
    pub(super) count: f64,
    /// How fast it grows when all negatives rise together, per unit of x.
    pub(super) slope: f64,
}

/// σ(x) and σ'(x) through `exp(-|x|)`: no overflow, no cancellation, and exactly 0 or 1 with
/// slope 0 where the exponential leaves the type's range, so also at ±infinity.
#[inline(always)]
pub(super) fn sigmoid<T: Real>(x: T) -> (T, T) {
    let small = x.magnitude().exp_neg();
    let large = T::ONE / (T::ONE + small);
    let tail = small * large;
    (if x < T::ZERO { tail } else { large }, tail * large)
}

/// Sums the sigmoids of all negatives and writes each one's slope beside it.
///
/// A negative at minus infinity adds nothing: that is how references are masked.
#[inline(always)]
pub(super) fn smooth_count<T: Real>(
    negatives: &[T],
    positive: T,
    inverse_anneal: T,
    slopes: &mut [T],
) -> SmoothCount {
    let mut total = SmoothCount::default();
    for (negatives, slopes) in negatives.chunks(BLOCK).zip(slopes.chunks_mut(BLOCK)) {
        let (mut counts, mut slope_sums) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        let mut step = |s: &[T; LANES], slopes: &mut [T; LANES]| {
            for lane in 0..LANES {
                let (value, slope) = sigmoid((s[lane] - positive) * inverse_anneal);
                counts[lane] += value;
                slope_sums[lane] += slope;
                slopes[lane] = slope;
            }
        };
        let (whole, rest) = negatives.as_chunks::<LANES>();
        let (whole_slopes, rest_slopes) = slopes.as_chunks_mut::<LANES>();
        for (s, slopes) in whole.iter().zip(whole_slopes) {
            step(s, slopes);
        }
        if !rest.is_empty() {
            let (mut s, mut slopes) = ([T::NEG_INFINITY; LANES], [T::ZERO; LANES]);
            s[..rest.len()].copy_from_slice(rest);
            step(&s, &mut slopes);
            rest_slopes.copy_from_slice(&slopes[..rest.len()]);
        }
        for lane in 0..LANES {
            total.count += counts[lane].wide();
            total.slope += slope_sums[lane].wide();
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::noise;

    #[test]
    fn sigmoid_of_f32_is_within_1e_7_of_the_true_value() {
        let mut x = -100.0_f32;
        while x < 100.0 {
            let (value, slope) = sigmoid(x);
            let truth = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(value) - truth).abs() < 1e-7, "sigmoid({x}) = {value}");
            assert!((f64::from(slope) - truth * (1.0 - truth)).abs() < 1e-7, "slope at {x}");
            x += 0.001_3;
        }
    }

    #[test]
    fn sigmoid_is_exact_where_it_saturates() {
        assert_eq!(sigmoid(0.0_f32), (0.5, 0.25));
        assert_eq!(sigmoid(100.0_f32), (1.0, 0.0));
        assert_eq!(sigmoid(-100.0_f32), (0.0, 0.0));
        assert_eq!(sigmoid(f32::NEG_INFINITY), (0.0, 0.0));
        assert_eq!(sigmoid(f64::INFINITY), (1.0, 0.0));
        assert_eq!(sigmoid(-800.0_f64), (0.0, 0.0));
    }

    #[test]
    fn counts_of_any_length_equal_the_plain_sums() {
        for length in [0, 1, 15, 16, 17, 1023, 1024, 1025, 3000] {
            let negatives: Vec<f32> = noise(length, 11);
            let mut slopes = vec![f32::NAN; length];
            let sums = smooth_count(&negatives, 0.25, 8.0, &mut slopes);
            let terms = negatives.iter().map(|&s| (f64::from(s) - 0.25) * 8.0);
            let (mut count, mut slope) = (0.0, 0.0);
            for (x, &ours) in terms.zip(&slopes) {
                let value = 1.0 / (1.0 + (-x).exp());
                count += value;
                slope += value * (1.0 - value);
                assert!((f64::from(ours) - value * (1.0 - value)).abs() < 1e-6);
            }
            assert!((sums.count - count).abs() <= 1e-6 * count, "{length}");
            assert!((sums.slope - slope).abs() <= 1e-6 * slope, "{length}");
        }
    }
}
