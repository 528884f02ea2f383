//! The eigenvalues of a symmetric matrix.
//!
//! Householder reflections make the matrix tridiagonal; the eigenvalues of that are found by
//! bisection, counting by Sturm's theorem how many lie below a number (Golub and Van Loan, Matrix
//! Computations, 8.3 and 8.4). No step can fail to converge. Both parts are parallel over what does
//! not depend on each other, and each sum has one order: the bits do not depend on the threads.

use rayon::prelude::*;

use super::inner;
use crate::vectorised::vectorised;

/// Rows that are worth a task of their own, for the elements that a row has.
fn rows_per_task(columns: usize) -> usize {
    32_768_usize.div_ceil(columns.max(1))
}

/// All eigenvalues of a symmetric matrix of finite values, `[side, side]`, ascending. The matrix is
/// used up. Each is exact to some units in the last place of the largest magnitude.
pub(super) fn eigenvalues(matrix: &mut [f64], side: usize) -> Vec<f64> {
    assert_eq!(matrix.len(), side * side, "{} values for {side} x {side}", matrix.len());
    tridiagonal(matrix, side).eigenvalues()
}

/// A symmetric matrix with values on the diagonal and beside it only.
#[derive(Debug)]
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// The squares of the values beside it, one less.
    beside: Vec<f64>,
}

/// Reflects away what stands farther from the diagonal, column by column.
fn tridiagonal(matrix: &mut [f64], side: usize) -> Tridiagonal {
    let (mut diagonal, mut beside) = (Vec::with_capacity(side), Vec::with_capacity(side));
    for k in 0..side {
        let (done, rest) = matrix.split_at_mut((k + 1) * side);
        let (value, v) = (done[k * side + k], &mut done[k * side + k + 1..]);
        diagonal.push(value);
        if v.is_empty() {
            break;
        }
        beside.push(inner(v, v));
        if let Some(scale) = reflector(v) {
            reflect(rest, side, v, scale);
        }
    }
    Tridiagonal { diagonal, beside }
}

/// Makes of `x` the `v` for which `(I - scale · v vᵀ) x` has zeros below its first element.
/// Nothing if it has them already.
fn reflector(x: &mut [f64]) -> Option<f64> {
    let (first, below) = x.split_first_mut()?;
    let squares = inner(below, below);
    if squares == 0.0 {
        return None;
    }
    // Away from zero, so that nothing cancels.
    *first += (*first * *first + squares).sqrt().copysign(*first);
    Some(2.0 / (*first * *first + squares))
}

/// `A = H A H` with `H = I - scale · v vᵀ`, for the last columns of `rows`, as many as `v` has:
/// with `p = scale · A v` and `w = p - scale/2 · (p, v) v`, that is `A - v wᵀ - w vᵀ`.
fn reflect(rows: &mut [f64], side: usize, v: &[f64], scale: f64) {
    let (first, tasks) = (side - v.len(), rows_per_task(v.len()));
    let products = rows.par_chunks_exact(side).with_min_len(tasks);
    let mut w: Vec<f64> = products.map(|row| scale * inner(&row[first..], v)).collect();
    let half = scale / 2.0 * inner(&w, v);
    w.iter_mut().zip(v).for_each(|(w, v)| *w -= half * v);
    let rows = rows.par_chunks_exact_mut(side).with_min_len(tasks);
    rows.zip(v.par_iter().zip(&w)).for_each(|(row, (&vi, &wi))| {
        let row = &mut row[first..];
        vectorised(
            #[inline(always)]
            || {
                // Symmetric to the last bit: the sum is the same with i and j exchanged.
                for (value, (&vj, &wj)) in row.iter_mut().zip(v.iter().zip(&w)) {
                    *value -= vi * wj + wi * vj;
                }
            },
        );
    });
}

/// Eigenvalues that are looked for together.
const LANES: usize = 8;

impl Tridiagonal {
    fn eigenvalues(&self) -> Vec<f64> {
        let side = self.diagonal.len();
        let bounds = self.bounds();
        let tasks = rows_per_task(64 * side).div_ceil(LANES);
        let lanes = (0..side.div_ceil(LANES)).into_par_iter().with_min_len(tasks);
        let found: Vec<[f64; LANES]> = lanes.map(|i| self.bisect(i * LANES, bounds)).collect();
        found.into_iter().flatten().take(side).collect()
    }

    /// What no eigenvalue lies outside of (Gershgorin).
    fn bounds(&self) -> [f64; 2] {
        let [mut low, mut high] = [f64::INFINITY, f64::NEG_INFINITY];
        for (i, &value) in self.diagonal.iter().enumerate() {
            let beside = |i: usize| self.beside.get(i).map_or(0.0, |square| square.sqrt());
            let radius = beside(i) + if i > 0 { beside(i - 1) } else { 0.0 };
            low = low.min(value - radius);
            high = high.max(value + radius);
        }
        let margin = 1e-14 * low.abs().max(high.abs());
        [low - margin, high + margin]
    }

    /// The eigenvalues from the `first`-th on, to the precision of the bounds.
    fn bisect(&self, first: usize, [low, high]: [f64; 2]) -> [f64; LANES] {
        let precision = f64::EPSILON * low.abs().max(high.abs()).max(f64::MIN_POSITIVE);
        // So small that it moves no eigenvalue, so large that dividing by it stays finite.
        let largest = self.beside.iter().fold(1.0, |a: f64, &b| a.max(b));
        let smallest_pivot = f64::MIN_POSITIVE * largest;
        let (mut low, mut high) = ([low; LANES], [high; LANES]);
        while high.iter().zip(low).any(|(high, low)| high - low > 2.0 * precision) {
            let middle: [f64; LANES] = std::array::from_fn(|i| f64::midpoint(low[i], high[i]));
            let below = self.count_below(middle, smallest_pivot);
            for lane in 0..LANES {
                if below[lane] > (first + lane) as f64 {
                    high[lane] = middle[lane];
                } else {
                    low[lane] = middle[lane];
                }
            }
        }
        std::array::from_fn(|i| f64::midpoint(low[i], high[i]))
    }

    /// How many eigenvalues lie below each `x`: the negative pivots of the matrix less `x`.
    /// A pivot below `smallest` is taken for that.
    fn count_below(&self, x: [f64; LANES], smallest: f64) -> [f64; LANES] {
        vectorised(
            #[inline(always)]
            || {
                let (mut count, mut pivot) = ([0.0; LANES], [1.0; LANES]);
                let beside = std::iter::once(&0.0).chain(&self.beside);
                for (&value, &square) in self.diagonal.iter().zip(beside) {
                    for lane in 0..LANES {
                        let next = value - x[lane] - square / pivot[lane];
                        pivot[lane] = if next.abs() < smallest { -smallest } else { next };
                        count[lane] += if pivot[lane] < 0.0 { 1.0 } else { 0.0 };
                    }
                }
                count
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::noise;

    fn symmetric(side: usize, seed: u64) -> Vec<f64> {
        let mut matrix: Vec<f64> = noise(side * side, seed);
        for i in 0..side {
            for j in 0..i {
                matrix[i * side + j] = matrix[j * side + i];
            }
        }
        matrix
    }

    /// Jacobi's rotations until nothing is left beside the diagonal.
    fn by_rotations(mut a: Vec<f64>, n: usize) -> Vec<f64> {
        for _ in 0..30 {
            for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
                let angle = 0.5 * (2.0 * a[p * n + q]).atan2(a[q * n + q] - a[p * n + p]);
                let (s, c) = angle.sin_cos();
                for i in 0..n {
                    let (x, y) = (a[i * n + p], a[i * n + q]);
                    (a[i * n + p], a[i * n + q]) = (c * x - s * y, s * x + c * y);
                }
                for i in 0..n {
                    let (x, y) = (a[p * n + i], a[q * n + i]);
                    (a[p * n + i], a[q * n + i]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
        let mut values: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{found} for {expected}");
        }
    }

    #[test]
    fn eigenvalues_equal_those_of_jacobi_rotations() {
        for side in [1, 2, 3, 8, 9, 30, 70] {
            let matrix = symmetric(side, side as u64);
            let expected = by_rotations(matrix.clone(), side);
            assert_near(&eigenvalues(&mut matrix.clone(), side), &expected, 1e-13 * side as f64);
        }
    }

    #[test]
    fn eigenvalues_that_are_known() {
        // 2 on the diagonal and -1 beside it: 2 - 2 cos(k π / (n + 1)).
        let side = 50;
        let mut matrix = vec![0.0; side * side];
        for i in 0..side {
            matrix[i * side + i] = 2.0;
            for j in [i.wrapping_sub(1), i + 1].into_iter().filter(|&j| j < side) {
                matrix[i * side + j] = -1.0;
            }
        }
        let angle = |k: usize| k as f64 * std::f64::consts::PI / (side + 1) as f64;
        let expected: Vec<f64> = (1..=side).map(|k| 2.0 - 2.0 * angle(k).cos()).collect();
        assert_near(&eigenvalues(&mut matrix, side), &expected, 1e-14);
    }

    #[test]
    fn zeros_repeated_values_and_extreme_scales() {
        assert_eq!(eigenvalues(&mut [], 0), []);
        assert_eq!(eigenvalues(&mut [0.0; 9], 3), [0.0; 3]);
        for scale in [1e-90, 1.0, 1e90] {
            // All ones: 4, and three times 0.
            let found = eigenvalues(&mut [scale; 16], 4);
            assert_near(&found, &[0.0, 0.0, 0.0, 4.0 * scale], 1e-14 * scale);
            let found = eigenvalues(&mut [scale, 0.0, 0.0, -scale], 2);
            assert_near(&found, &[-scale, scale], 1e-14 * scale);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_threads() {
        let side = 300;
        let matrix = symmetric(side, 5);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| eigenvalues(&mut matrix.clone(), side))
        };
        assert_eq!(on(1), on(3));
    }
}
