//! Points of a curve: gaps where a value is missing, fewer points than steps, a smoothed curve.

/// A point; a `y` of NaN is a gap.
pub(super) type Point = (f64, f64);

/// Keeps the least and the greatest value in each of `buckets` stretches of equally many points,
/// so that a long noisy curve looks the same with fewer points. A stretch without any value stays
/// a gap.
pub(super) fn thin(points: &[Point], buckets: usize) -> Vec<Point> {
    if points.len() <= 2 * buckets {
        return points.to_vec();
    }
    (0..buckets).flat_map(|i| extremes(stretch(points, i, buckets))).collect()
}

/// The `i`-th of `count` stretches.
fn stretch(points: &[Point], i: usize, count: usize) -> &[Point] {
    let end = |i: usize| points.len() * i / count;
    points.get(end(i)..end(i + 1)).unwrap_or_default()
}

/// The least and the greatest point in the order in which they come; a gap where there is none.
fn extremes(points: &[Point]) -> Vec<Point> {
    let known = || points.iter().filter(|(_, y)| !y.is_nan());
    let least = known().min_by(|a, b| a.1.total_cmp(&b.1));
    let greatest = known().max_by(|a, b| a.1.total_cmp(&b.1));
    match (least, greatest) {
        (Some(&a), Some(&b)) if a == b => vec![a],
        (Some(&a), Some(&b)) if a.0 < b.0 => vec![a, b],
        (Some(&a), Some(&b)) => vec![b, a],
        _ => points.first().map(|&(x, _)| (x, f64::NAN)).into_iter().collect(),
    }
}

/// How many points the smoothed curve averages: a fortieth of them, odd; 1 where there are too few
/// to smooth.
pub(super) fn window(points: usize) -> usize {
    if points < 20 { 1 } else { (points / 40).max(2) | 1 }
}

/// The mean of the `window` points around each of at most `samples` points, cut off at the ends.
/// Gaps are left out of the means.
pub(super) fn smooth(points: &[Point], window: usize, samples: usize) -> Vec<Point> {
    let (count, half) = (points.len().min(samples), window / 2);
    // The first and the last point are among those sampled.
    let centre = |i: usize| if count < 2 { 0 } else { i * (points.len() - 1) / (count - 1) };
    let mean = |i: usize| {
        let (x, _) = *points.get(i)?;
        let around = points.get(i.saturating_sub(half)..points.len().min(i + half + 1))?;
        let known = around.iter().map(|(_, y)| *y).filter(|y| !y.is_nan());
        let (sum, n) = known.fold((0.0, 0_u32), |(sum, n), y| (sum + y, n + 1));
        Some((x, sum / f64::from(n)))
    };
    (0..count).filter_map(|i| mean(centre(i))).collect()
}

/// The stretches without gaps.
pub(super) fn unbroken(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.split(|(_, y)| y.is_nan()).filter(|stretch| !stretch.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_extremes_and_the_order() {
        let points: Vec<Point> =
            (0..10_000).map(|i| (f64::from(i), f64::from(i * 7_919 % 10_000))).collect();
        let thinned = thin(&points, 100);
        assert!(thinned.len() <= 200);
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(thinned.iter().any(|p| p.1 == 0.0) && thinned.iter().any(|p| p.1 == 9_999.0));
        assert_eq!(thin(&points[..200], 100), points[..200]);
    }

    #[test]
    fn a_stretch_without_values_stays_a_gap() {
        let value = |i: i32| if (400..600).contains(&i) { f64::NAN } else { 1.0 };
        let points: Vec<Point> = (0..1_000).map(|i| (f64::from(i), value(i))).collect();
        assert_eq!(unbroken(&thin(&points, 100)).count(), 2);
        assert_eq!(unbroken(&points).map(<[_]>::len).collect::<Vec<_>>(), [400, 400]);
    }

    #[test]
    fn smoothing_averages_what_is_known() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0), (3.0, 5.0)];
        assert_eq!(smooth(&points, 3, 100), [(0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (3.0, 4.0)]);
        assert_eq!(smooth(&points, 3, 2), [(0.0, 1.0), (3.0, 4.0)]);
        assert_eq!(smooth(&[], 3, 2), []);
    }

    #[test]
    fn windows_are_odd() {
        assert_eq!([1, 19, 20, 400, 100_000].map(window), [1, 1, 3, 11, 2_501]);
    }
}
