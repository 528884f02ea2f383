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
}
