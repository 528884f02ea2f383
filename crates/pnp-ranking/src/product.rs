//! Matrix products whose bits do not depend on how the work was cut.
//!
//! Every element of a product here is the sum over the depth in ascending order, in blocks of
//! [`DEPTH_BLOCK`], whatever the shape of the tile it is computed in and wherever it stands in it.
//! So a similarity has the same bits in any tiling, equal embeddings get equal similarities, and
//! `s(i, j)` equals `s(j, i)`.
//!
//! The `gemm` crate sums in that order within a block, except on the separate paths it has for
//! small results; results are padded beyond those. `the_bits_do_not_depend_on_the_tile` tests it.

use gemm::{Parallelism, gemm};

use crate::real::Real;

/// How much of the depth one call sums up; `gemm` would cut no later than that by itself.
pub(crate) const DEPTH_BLOCK: usize = 512;

/// The fewest rows and columns of a result that go to `gemm` as they are: below `16 · 16` elements,
/// and for single rows and columns, it sums in another order.
const MIN_SIDE: usize = 17;

/// A matrix in a slice: element `(i, j)` stands at `i * row_stride + j * column_stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// Whole rows of `columns` values.
    pub(crate) fn from_rows(values: &'a [T], columns: usize) -> Self {
        let rows = values.len() / columns.max(1);
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `first..first + rows`.
    pub(crate) fn rows_from(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows {first}..+{rows} of {}", self.rows);
        let values = self.values.get(first * self.row_stride..).unwrap_or_default();
        Self { values, rows, ..self }
    }

    /// Columns `first..first + columns`.
    pub(crate) fn columns_from(self, first: usize, columns: usize) -> Self {
        self.transposed().rows_from(first, columns).transposed()
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// How many values of the slice the matrix spans.
    fn span(&self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }

    /// A copy with zero rows added below, row-major.
    fn padded_rows(&self, rows: usize) -> Vec<T> {
        let mut copy = vec![T::ZERO; rows * self.columns];
        for (i, row) in copy.chunks_exact_mut(self.columns).take(self.rows).enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = self.values[i * self.row_stride + j * self.column_stride];
            }
        }
        copy
    }
}

/// What becomes of the values that the result already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// They are overwritten.
    Set,
    /// The product is added to them.
    Add,
}

/// `out = a · b` or `out += a · b`, with `out` row-major, `[a.rows, b.columns]`. One thread.
///
/// Panics if the shapes do not fit, which is a bug of this crate.
pub(crate) fn multiply<T: Real>(a: Matrix<'_, T>, b: Matrix<'_, T>, out: &mut [T], update: Update) {
    let (m, n) = (a.rows, b.columns);
    assert_eq!(out.len(), m * n, "{} values for {m} x {n}", out.len());
    multiply_into(a, b, out, n, update);
}

/// The same where the rows of `out` stand `row_stride` apart: `out` begins with the first element
/// of the result and ends no earlier than its last.
pub(crate) fn multiply_into<T: Real>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [T],
    row_stride: usize,
    update: Update,
) {
    let (m, n, depth) = (a.rows, b.columns, a.columns);
    assert_eq!(depth, b.rows, "{depth} columns against {} rows", b.rows);
    if m == 0 || n == 0 {
        return;
    }
    if depth == 0 {
        if update == Update::Set {
            out.chunks_mut(row_stride).take(m).for_each(|row| row[..n].fill(T::ZERO));
        }
        return;
    }
    assert!(row_stride >= n && out.len() >= (m - 1) * row_stride + n, "a result of another size");
    if m >= MIN_SIDE && n >= MIN_SIDE {
        multiply_blocks(a, b, out, row_stride, update);
    } else {
        multiply_padded(a, b, out, row_stride, update);
    }
}

/// The product of a small matrix, with rows and columns of zeros added to reach [`MIN_SIDE`].
fn multiply_padded<T: Real>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [T],
    row_stride: usize,
    update: Update,
) {
    let (depth, n) = (a.columns, b.columns);
    let rows = a.rows;
    let (wide_m, wide_n) = (rows.max(MIN_SIDE), n.max(MIN_SIDE));
    let a = a.padded_rows(wide_m);
    let b = b.transposed().padded_rows(wide_n);
    let mut wide = vec![T::ZERO; wide_m * wide_n];
    if update == Update::Add {
        for (wide, narrow) in wide.chunks_exact_mut(wide_n).zip(out.chunks(row_stride)).take(rows) {
            wide[..n].copy_from_slice(&narrow[..n]);
        }
    }
    let (wide_a, b) = (Matrix::from_rows(&a, depth), Matrix::from_rows(&b, depth).transposed());
    multiply_blocks(wide_a, b, &mut wide, wide_n, update);
    for (wide, narrow) in wide.chunks_exact(wide_n).zip(out.chunks_mut(row_stride)).take(rows) {
        narrow[..n].copy_from_slice(&wide[..n]);
    }
}

/// Adds up the depth in blocks.
fn multiply_blocks<T: Real>(
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [T],
    row_stride: usize,
    update: Update,
) {
    // The pointers below stay inside these slices: the safety of the call rests on it.
    assert!(a.values.len() >= a.span() && b.values.len() >= b.span(), "a matrix ends early");
    let out_span = (a.rows - 1) * row_stride + b.columns;
    assert!(row_stride >= b.columns && out.len() >= out_span, "a result of another size");
    for start in (0..a.columns).step_by(DEPTH_BLOCK) {
        let depth = DEPTH_BLOCK.min(a.columns - start);
        let add = update == Update::Add || start > 0;
        // SAFETY: element (i, j) of a block stands at most at its matrix's `span() - 1`, which
        // lies inside its slice as asserted above; that of `out` at most at `out_span - 1`, and
        // `out` is borrowed mutably, so that it overlaps neither matrix. Strides are below the length of
        // a slice, hence below `isize::MAX`.
        unsafe {
            gemm(
                a.rows,
                b.columns,
                depth,
                out.as_mut_ptr(),
                1,
                row_stride as isize,
                add,
                a.values.as_ptr().add(start * a.column_stride),
                a.column_stride as isize,
                a.row_stride as isize,
                b.values.as_ptr().add(start * b.row_stride),
                b.column_stride as isize,
                b.row_stride as isize,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::noise;

    fn similarities<T: Real>(a: &[T], b: &[T], dim: usize) -> Vec<T> {
        let mut out = vec![T::ZERO; a.len() / dim * (b.len() / dim)];
        let (a, b) = (Matrix::from_rows(a, dim), Matrix::from_rows(b, dim));
        multiply(a, b.transposed(), &mut out, Update::Set);
        out
    }

    #[test]
    fn the_bits_do_not_depend_on_the_tile() {
        for dim in [1, 2, 3, 7, 64, 511, 512, 513, 1300] {
            let (rows, columns) = (67, 331);
            let a: Vec<f32> = noise(rows * dim, 1);
            let b: Vec<f32> = noise(columns * dim, 2);
            let whole = similarities(&a, &b, dim);
            for (tile_rows, tile_columns) in [(1, 1), (1, 331), (16, 16), (17, 40), (64, 128)] {
                for i in (0..rows).step_by(tile_rows) {
                    for j in (0..columns).step_by(tile_columns) {
                        let (i_end, j_end) =
                            ((i + tile_rows).min(rows), (j + tile_columns).min(columns));
                        let tile =
                            similarities(&a[i * dim..i_end * dim], &b[j * dim..j_end * dim], dim);
                        for (row, tile) in (i..i_end).zip(tile.chunks_exact(j_end - j)) {
                            let expected = &whole[row * columns + j..row * columns + j_end];
                            assert_eq!(tile, expected, "dim {dim}, {tile_rows} x {tile_columns}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn similarity_is_symmetric_and_equal_for_equal_rows() {
        let dim = 130;
        let mut a: Vec<f32> = noise(90 * dim, 3);
        a.copy_within(5 * dim..6 * dim, 88 * dim);
        let s = similarities(&a, &a, dim);
        for i in 0..90 {
            assert_eq!(s[i * 90 + 5], s[i * 90 + 88]);
            for j in 0..90 {
                assert_eq!(s[i * 90 + j], s[j * 90 + i]);
            }
        }
    }

    #[test]
    fn products_equal_the_plain_sums() {
        for (m, n, depth) in [(1, 1, 1), (3, 20, 5), (20, 18, 700), (40, 3, 2)] {
            let a: Vec<f64> = noise(m * depth, 4);
            let b: Vec<f64> = noise(depth * n, 5);
            let mut out: Vec<f64> = noise(m * n, 6);
            let before = out.clone();
            let (a, b) = (Matrix::from_rows(&a, depth), Matrix::from_rows(&b, n));
            multiply(a, b, &mut out, Update::Add);
            let mut turned = vec![0.0; n * m];
            multiply(b.transposed(), a.transposed(), &mut turned, Update::Set);
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let sum: f64 =
                    (0..depth).map(|k| a.values[i * depth + k] * b.values[k * n + j]).sum();
                assert!((out[i * n + j] - before[i * n + j] - sum).abs() < 1e-11);
                assert!((turned[j * m + i] - sum).abs() < 1e-11);
            }
        }
    }

    #[test]
    fn a_result_may_stand_in_a_wider_one() {
        for (m, n, depth) in [(3, 4, 5), (20, 30, 7), (2, 3, 0)] {
            let a: Vec<f64> = noise(m * depth, 4);
            let b: Vec<f64> = noise(depth * n, 5);
            let a =
                Matrix { values: &a, rows: m, columns: depth, row_stride: depth, column_stride: 1 };
            let b = Matrix { values: &b, rows: depth, columns: n, row_stride: n, column_stride: 1 };
            let mut narrow = vec![f64::NAN; m * n];
            multiply(a, b, &mut narrow, Update::Set);
            let mut wide = vec![7.0; m * (n + 2)];
            multiply_into(a, b, &mut wide[2..], n + 2, Update::Set);
            for (narrow, wide) in narrow.chunks_exact(n).zip(wide.chunks_exact(n + 2)) {
                assert_eq!(&wide[..2], [7.0, 7.0]);
                assert_eq!(&wide[2..], narrow);
            }
        }
    }

    #[test]
    #[should_panic(expected = "3 columns against 2 rows")]
    fn shapes_that_do_not_fit_are_a_bug() {
        let a = [0.0_f32; 6];
        multiply(Matrix::from_rows(&a, 3), Matrix::from_rows(&a, 3), &mut [0.0; 6], Update::Set);
    }
}
