//! The smooth count of what stands before a positive, and its slope.

use super::lanes::{BLOCK, LANES, add_scaled};
use super::list::{RankedList, Scratch, Slopes};
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
    count_terms(negatives, slopes, |s| sigmoid((s - positive) * inverse_anneal))
}

/// The same with any other `term` than the sigmoid: value and slope at a similarity, both zero at
/// minus infinity, and the slope in whatever unit `SmoothCount::slope` is to have.
#[inline(always)]
pub(super) fn count_terms<T: Real>(
    negatives: &[T],
    slopes: &mut [T],
    term: impl Fn(T) -> (T, T),
) -> SmoothCount {
    let mut total = SmoothCount::default();
    for (negatives, slopes) in negatives.chunks(BLOCK).zip(slopes.chunks_mut(BLOCK)) {
        let (mut counts, mut slope_sums) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        let (whole, rest) = negatives.as_chunks::<LANES>();
        let (whole_slopes, rest_slopes) = slopes.as_chunks_mut::<LANES>();
        for (s, slopes) in whole.iter().zip(whole_slopes) {
            for lane in 0..LANES {
                let (value, slope) = term(s[lane]);
                counts[lane] += value;
                slope_sums[lane] += slope;
                slopes[lane] = slope;
            }
        }
        for (lane, (&s, out)) in rest.iter().zip(rest_slopes).enumerate() {
            let (value, slope) = term(s);
            counts[lane] += value;
            slope_sums[lane] += slope;
            *out = slope;
        }
        for lane in 0..LANES {
            total.count += counts[lane].wide();
            total.slope += slope_sums[lane].wide();
        }
    }
    total
}

/// The smooth counts of what stands before one positive of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmoothRank {
    /// The positive's place among the positives.
    place: usize,
    /// The other positives before it; equal ones count half.
    pub(super) positives: SmoothCount,
    /// The negatives before it; equal ones count half.
    pub(super) negatives: SmoothCount,
}

impl SmoothRank {
    /// Counts, and leaves each one's slope in `scratch` for [`add_slopes`](Self::add_slopes).
    #[inline(always)]
    pub(super) fn of<T: Real>(
        list: &RankedList<'_, T>,
        place: usize,
        inverse_anneal: T,
        scratch: &mut Scratch<T>,
    ) -> Self {
        let similarity = list.positives[place];
        // The positive does not stand before itself.
        let others = &mut scratch.positives;
        others.copy_from_slice(list.positives);
        others[place] = T::NEG_INFINITY;
        let slopes = &mut scratch.positive_slopes;
        Self {
            place,
            positives: smooth_count(others, similarity, inverse_anneal, slopes),
            negatives: smooth_count(
                list.negatives,
                similarity,
                inverse_anneal,
                &mut scratch.slopes,
            ),
        }
    }

    /// Adds the derivatives of a cost that grows by `positives_pull` and `negatives_pull` per unit
    /// of the two counts; both pulls divided by the anneal.
    ///
    /// `scratch` is as [`of`](Self::of) left it.
    #[inline(always)]
    pub(super) fn add_slopes<T: Real>(
        &self,
        positives_pull: f64,
        negatives_pull: f64,
        slopes: &mut Slopes<'_, T>,
        scratch: &Scratch<T>,
    ) {
        // A slope of zero says that every sigmoid is saturated: nothing pulls.
        let by_positives = positives_pull * self.positives.slope;
        if by_positives != 0.0 {
            add_scaled(slopes.positives, T::narrow(positives_pull), &scratch.positive_slopes);
        }
        let by_negatives = negatives_pull * self.negatives.slope;
        if by_negatives != 0.0 {
            add_scaled(slopes.negatives, T::narrow(negatives_pull), &scratch.slopes);
        }
        slopes.positives[self.place] -= T::narrow(by_positives + by_negatives);
    }
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

    #[test]
    fn a_positive_does_not_stand_before_itself() {
        let (positives, negatives) = ([0.3, 0.5, 0.5], [0.5, f64::NEG_INFINITY, 0.4]);
        let list = RankedList {
            positives: &positives,
            query: None,
            negatives: &negatives,
            negative_count: 2,
        };
        let mut scratch = Scratch::new(3);
        scratch.fit(3);
        let rank = SmoothRank::of(&list, 1, 1e4, &mut scratch);
        // One equal positive and one equal negative, half each; all others are far.
        assert_eq!((rank.positives.count, rank.negatives.count), (0.5, 0.5));
        let (mut positive_slopes, mut negative_slopes) = ([0.0; 3], [0.0; 3]);
        let mut slopes =
            Slopes { positives: &mut positive_slopes, negatives: &mut negative_slopes };
        rank.add_slopes(2.0, 3.0, &mut slopes, &scratch);
        assert_eq!(positive_slopes, [0.0, -1.25, 0.5]);
        assert_eq!(negative_slopes, [0.75, 0.0, 0.0]);
    }
}
