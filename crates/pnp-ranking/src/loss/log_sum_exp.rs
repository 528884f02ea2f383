//! `log(1 + Σ exp(x))`, the smooth form of "the largest x, if it is positive", and its slopes.

use super::lanes::{add_scaled, largest, map_and_sum};
use crate::real::Real;

/// A soft maximum over similarities.
#[derive(Debug, Clone, Copy)]
pub(super) struct SoftMaximum {
    /// What a similarity is multiplied with, to either side, but not 0.
    pub(super) scale: f64,
    /// What is taken from it before.
    pub(super) shift: f64,
}

/// Its value and the sum of its slopes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct SoftValue {
    /// `log(1 + Σ exp(scale · (s - shift)))`.
    pub(super) value: f64,
    /// How it changes with the shift, negated: the sum of all slopes.
    pub(super) slope: f64,
}

impl SoftMaximum {
    /// The value; its derivative with respect to each similarity, times `weight`, is added to
    /// `slopes`. With a positive scale a similarity of minus infinity adds nothing.
    ///
    /// Everything goes through differences from the largest term, so that nothing overflows.
    #[inline(always)]
    pub(super) fn add<T: Real>(
        self,
        similarities: &[T],
        weight: f64,
        slopes: &mut [T],
        terms: &mut [T],
    ) -> SoftValue {
        let all = if self.scale > 0.0 { T::NEG_INFINITY } else { -T::NEG_INFINITY };
        self.add_beyond(all, similarities, weight, slopes, terms)
    }

    /// The same over only those similarities that are beyond `limit`: above it if the scale is
    /// positive, below it if the scale is negative.
    #[inline(always)]
    pub(super) fn add_beyond<T: Real>(
        self,
        limit: T,
        similarities: &[T],
        weight: f64,
        slopes: &mut [T],
        terms: &mut [T],
    ) -> SoftValue {
        let sign = if self.scale > 0.0 { T::ONE } else { -T::ONE };
        let limit = sign * limit;
        map_and_sum(similarities, terms, |s| sign * s);
        // The largest of all is beyond the limit if any is.
        let top = largest(terms);
        if top <= limit {
            return SoftValue::default();
        }
        let steepness = T::narrow(self.scale.abs());
        let sum = map_and_sum(similarities, terms, |s| {
            let term = ((top - sign * s) * steepness).exp_neg();
            if sign * s > limit { term } else { T::ZERO }
        });
        let exponent = self.scale.abs() * top.wide() - self.scale * self.shift;
        let value = softplus(exponent + sum.ln());
        // Each term's share of 1 + Σ, through its share of the largest.
        let slope = self.scale * (exponent - value).exp();
        add_scaled(slopes, T::narrow(weight * slope), terms);
        SoftValue { value, slope: slope * sum }
    }
}

/// `log(1 + exp(x))`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(similarities: &[f64], scale: f64, shift: f64) -> (SoftValue, Vec<f64>) {
        let mut slopes = vec![0.0; similarities.len()];
        let mut terms = slopes.clone();
        let soft = SoftMaximum { scale, shift };
        (soft.add(similarities, 1.0, &mut slopes, &mut terms), slopes)
    }

    #[test]
    fn value_and_slopes_are_those_of_the_formula() {
        let similarities = [0.3, -0.2, 0.9, f64::NEG_INFINITY, 0.5];
        for (scale, shift, s) in [(50.0, 0.5, &similarities[..]), (-2.0, 0.1, &similarities[..3])] {
            let total = 1.0 + s.iter().map(|s| (scale * (s - shift)).exp()).sum::<f64>();
            let (found, slopes) = soft(s, scale, shift);
            assert!((found.value - total.ln()).abs() < 1e-12);
            for (s, slope) in s.iter().zip(&slopes) {
                let expected = scale * (scale * (s - shift)).exp() / total;
                assert!((slope - expected).abs() < 1e-12, "{scale}: {slope} for {expected}");
            }
            assert!((found.slope - slopes.iter().sum::<f64>()).abs() < 1e-12);
        }
    }

    #[test]
    fn what_is_not_beyond_the_limit_has_no_part() {
        let similarities = [0.3, -0.2, 0.9, 0.5];
        for (scale, limit, kept) in
            [(50.0, 0.3, &[0.9, 0.5][..]), (-2.0, 0.5, &[0.3, -0.2]), (-2.0, -0.2, &[])]
        {
            let soft_maximum = SoftMaximum { scale, shift: 0.4 };
            let (mut slopes, mut terms) = ([0.0; 4], [0.0; 4]);
            let found = soft_maximum.add_beyond(limit, &similarities, 1.0, &mut slopes, &mut terms);
            let (expected, kept_slopes) = soft(kept, scale, 0.4);
            assert_eq!(found, expected);
            for (s, slope) in similarities.iter().zip(slopes) {
                let place = kept.iter().position(|other| other == s);
                assert_eq!(slope, place.map_or(0.0, |place| kept_slopes[place]));
            }
        }
    }

    #[test]
    fn nothing_costs_nothing() {
        assert_eq!(soft(&[], 2.0, 0.5).0, SoftValue::default());
        assert_eq!(soft(&[f64::NEG_INFINITY; 3], 2.0, 0.5).0, SoftValue::default());
    }

    #[test]
    fn steep_scales_do_not_overflow() {
        for (s, shift) in [(1.0, -1.0), (-1.0, 1.0)] {
            let (found, slopes) = soft(&[s, s], 1e6, shift);
            assert!(found.value.is_finite() && slopes.iter().all(|slope| slope.is_finite()));
            assert!((found.value - (1e6 * (s - shift)).max(0.0)).abs() < 1.0);
        }
    }
}
