//! Passes over a row with partial sums side by side, so that they run on the processor's vectors
//! and have the same bits on every processor.

use crate::real::Real;

/// Partial sums that run side by side. A constant, so that the bits do not depend on how wide the
/// processor's vectors are.
pub(super) const LANES: usize = 16;

/// Terms summed in the working precision before the sum goes to f64.
pub(super) const BLOCK: usize = 1024;

/// The largest value; minus infinity if there is none.
#[inline(always)]
pub(super) fn largest<T: Real>(values: &[T]) -> T {
    let larger = |a: T, b: T| if a > b { a } else { b };
    let mut lanes = [T::NEG_INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for lane in 0..LANES {
            lanes[lane] = larger(values[lane], lanes[lane]);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(T::NEG_INFINITY, larger)
}

/// Writes `f` of each value to `out` and returns the sum.
#[inline(always)]
pub(super) fn map_and_sum<T: Real>(values: &[T], out: &mut [T], f: impl Fn(T) -> T) -> f64 {
    let mut total = 0.0;
    for (values, out) in values.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let mut sums = [T::ZERO; LANES];
        let (whole, rest) = values.as_chunks::<LANES>();
        let (whole_out, rest_out) = out.as_chunks_mut::<LANES>();
        for (values, out) in whole.iter().zip(whole_out) {
            for lane in 0..LANES {
                out[lane] = f(values[lane]);
                sums[lane] += out[lane];
            }
        }
        for (lane, (&value, out)) in rest.iter().zip(rest_out).enumerate() {
            *out = f(value);
            sums[lane] += *out;
        }
        total += sums.into_iter().map(T::wide).sum::<f64>();
    }
    total
}

/// What terms and their derivatives add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct TermSums {
    /// The sum of the terms.
    pub(super) value: f64,
    /// The sum of their derivatives.
    pub(super) slope: f64,
}

/// Adds up `f` of each value, which is a term and its derivative, and adds each derivative to
/// `slopes`.
///
/// Both sums are in f64 throughout: terms as large as the type allows do not overflow, and whole
/// numbers are counted exactly.
#[inline(always)]
pub(super) fn add_terms<T: Real>(
    values: &[T],
    slopes: &mut [T],
    f: impl Fn(T) -> (T, T),
) -> TermSums {
    let (mut value_sums, mut slope_sums) = ([0.0; LANES], [0.0; LANES]);
    let mut step = |lane: usize, value: T, to: &mut T| {
        let (term, slope) = f(value);
        value_sums[lane] += term.wide();
        slope_sums[lane] += slope.wide();
        *to += slope;
    };
    let (whole, rest) = values.as_chunks::<LANES>();
    let (whole_slopes, rest_slopes) = slopes.as_chunks_mut::<LANES>();
    for (values, slopes) in whole.iter().zip(whole_slopes) {
        for lane in 0..LANES {
            step(lane, values[lane], &mut slopes[lane]);
        }
    }
    for (lane, (&value, slope)) in rest.iter().zip(rest_slopes).enumerate() {
        step(lane, value, slope);
    }
    TermSums { value: value_sums.into_iter().sum(), slope: slope_sums.into_iter().sum() }
}

/// `to += scale · values`.
#[inline(always)]
pub(super) fn add_scaled<T: Real>(to: &mut [T], scale: T, values: &[T]) {
    for (to, &value) in to.iter_mut().zip(values) {
        *to += scale * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::noise;

    #[test]
    fn rows_of_any_length_are_taken_whole() {
        for length in [0, 1, 15, 16, 17, 1023, 1024, 1025, 3000] {
            let values: Vec<f64> = noise(length, 3);
            let mut out = vec![f64::NAN; length];
            let sum = map_and_sum(&values, &mut out, |v| 2.0 * v);
            assert!((sum - 2.0 * values.iter().sum::<f64>()).abs() < 1e-9);
            assert!(out.iter().zip(&values).all(|(&out, &v)| out == 2.0 * v));
            let expected = values.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            assert_eq!(largest(&values), expected);
        }
    }

    #[test]
    fn terms_of_any_length_are_added_up_with_their_slopes() {
        for length in [0, 1, 15, 16, 17, 1023, 1024, 1025, 3000] {
            let values: Vec<f32> = noise(length, 7);
            let mut slopes = vec![0.5; length];
            let above = |v: f32| if v > 0.1 { (v - 0.1, 1.0) } else { (0.0, 0.0) };
            let sums = add_terms(&values, &mut slopes, above);
            let expected: f64 = values.iter().map(|&v| f64::from(above(v).0)).sum();
            assert!((sums.value - expected).abs() <= 1e-12 * expected);
            assert_eq!(sums.slope, values.iter().filter(|&&v| v > 0.1).count() as f64);
            assert!(slopes.iter().zip(&values).all(|(&slope, &v)| slope == 0.5 + above(v).1));
        }
    }

    #[test]
    fn large_terms_do_not_overflow() {
        let sums = add_terms(&[f32::MAX; 100], &mut [0.0; 100], |v| (v, 0.0));
        assert!((sums.value / f64::from(f32::MAX) - 100.0).abs() < 1e-9);
    }
}
