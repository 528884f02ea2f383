//! Matrix products on the host, cut among threads by their shapes alone.
//!
//! The summed dimension is never cut, and where the others are cut depends on nothing but the
//! shapes, so the bits do not depend on the number of threads.

use rayon::prelude::*;

/// Into how many parts a product is cut, at least where it is large enough.
pub(super) const PARTS: usize = 4;
/// Rows that a part has at most.
const ROWS: usize = 512;
/// Columns that a part has at least: a few of the processor's vectors.
const COLUMNS: usize = 32;

/// A matrix to read: its values, and the steps from one row and from one column to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    steps: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Row-major values.
    ///
    /// # Panics
    ///
    /// When there are fewer than the shape says.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that begin every `step` values.
    pub(super) fn strided(values: &'a [f32], rows: usize, columns: usize, step: usize) -> Self {
        let end = rows.saturating_sub(1) * step + columns;
        assert!(rows == 0 || end <= values.len(), "{rows} x {columns} of {}", values.len());
        Self { values, rows, columns, steps: [step, 1] }
    }

    /// The same values, rows for columns.
    pub(super) fn transposed(self) -> Self {
        let [row, column] = self.steps;
        Self { rows: self.columns, columns: self.rows, steps: [column, row], ..self }
    }

    /// Some of the rows.
    pub(super) fn rows_at(self, start: usize, rows: usize) -> Self {
        assert!(start + rows <= self.rows && rows > 0);
        Self { values: &self.values[start * self.steps[0]..], rows, ..self }
    }

    /// Some of the columns.
    pub(super) fn columns_at(self, start: usize, columns: usize) -> Self {
        assert!(start + columns <= self.columns && columns > 0);
        Self { values: &self.values[start * self.steps[1]..], columns, ..self }
    }
}

/// A block of a row-major matrix that one task alone writes.
pub(super) struct Block {
    corner: *mut f32,
    step: usize,
    rows: usize,
    columns: usize,
}

impl Block {
    /// `block = a · b`, or `block += a · b` where it is to `keep` what is there; on one thread.
    ///
    /// # Panics
    ///
    /// When the shapes do not fit together.
    pub(super) fn product(&mut self, a: Matrix, b: Matrix, keep: bool) {
        let (m, n, k) = (a.rows, b.columns, a.columns);
        assert!(
            m == self.rows && n == self.columns && k == b.rows,
            "{m} x {k} times {} x {n}",
            b.rows
        );
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        let last = |m: &Matrix| (m.rows - 1) * m.steps[0] + (m.columns - 1) * m.steps[1];
        assert!(last(&a) < a.values.len() && last(&b) < b.values.len());
        // SAFETY: the assertions keep every access that the shapes and steps describe inside the
        // slices. Whoever made the block borrowed its matrix mutably and gave out no other block
        // with a part of it, so it is written here alone and overlaps neither `a` nor `b`.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                self.corner,
                1,
                self.step as isize,
                keep,
                a.values.as_ptr(),
                a.steps[1] as isize,
                a.steps[0] as isize,
                b.values.as_ptr(),
                b.steps[1] as isize,
                b.steps[0] as isize,
                if keep { 1.0 } else { 0.0 },
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// `dst = a · b`, or `dst += a · b` where it is to `keep` what is there; row-major, on one thread.
///
/// # Panics
///
/// When the shapes do not fit together.
pub(super) fn product(dst: &mut [f32], a: Matrix, b: Matrix, keep: bool) {
    let (rows, columns) = (a.rows, b.columns);
    assert!(rows * columns <= dst.len(), "{rows} x {columns} of {}", dst.len());
    Block { corner: dst.as_mut_ptr(), step: columns, rows, columns }.product(a, b, keep);
}

/// `dst += a · b` on all threads, cut along the rows where they are many, else along the columns.
/// Whole rows of `dst` are given to `prepare` before they are added to, and to `finish` after.
pub(super) fn shared_product(
    dst: &mut [f32],
    a: Matrix,
    b: Matrix,
    prepare: impl Fn(&mut [f32]) + Sync,
    finish: impl Fn(&mut [f32]) + Sync,
) {
    let n = b.columns;
    if a.rows >= ROWS || n <= COLUMNS {
        let rows = a.rows.div_ceil(PARTS).clamp(1, ROWS);
        dst.par_chunks_mut(rows * n).enumerate().for_each(|(i, dst)| {
            prepare(dst);
            product(dst, a.rows_at(i * rows, dst.len() / n), b, true);
            finish(dst);
        });
    } else {
        prepare(dst);
        for_each_block(dst, n, &by_columns(a.rows, n), |[_, _, start, columns], block| {
            block.product(a, b.columns_at(start, columns), true);
        });
        finish(dst);
    }
}

/// `dst = aᵀ · b` on all threads, each sum in one piece: the gradient of weights from those of the
/// outputs and the inputs.
pub(super) fn summed_product(dst: &mut [f32], a: Matrix, b: Matrix) {
    let (m, n) = (a.columns, b.columns);
    let blocks = if m >= n { by_rows(m, n) } else { by_columns(m, n) };
    for_each_block(dst, n, &blocks, |[top, rows, left, columns], block| {
        let (a, b) = (a.columns_at(top, rows), b.columns_at(left, columns));
        block.product(a.transposed(), b, false);
    });
}

/// The place of a [`Block`]: first row, rows, first column, columns.
pub(super) type Place = [usize; 4];

fn by_columns(rows: usize, columns: usize) -> Vec<Place> {
    let part = columns.div_ceil(PARTS).next_multiple_of(COLUMNS);
    (0..columns).step_by(part).map(|at| [0, rows, at, part.min(columns - at)]).collect()
}

fn by_rows(rows: usize, columns: usize) -> Vec<Place> {
    let part = rows.div_ceil(PARTS).next_multiple_of(8);
    (0..rows).step_by(part).map(|at| [at, part.min(rows - at), 0, columns]).collect()
}

/// Cuts `dst` (`[_, n]`) into blocks that are worked on in parallel.
///
/// # Panics
///
/// When blocks overlap or reach beyond the matrix.
pub(super) fn for_each_block(
    dst: &mut [f32],
    n: usize,
    places: &[Place],
    work: impl Fn(Place, &mut Block) + Sync,
) {
    let inside = |p: &Place| p[2] + p[3] <= n && (p[0] + p[1]) * n <= dst.len();
    let apart = |a: &Place, b: &Place| {
        a[0] + a[1] <= b[0] || b[0] + b[1] <= a[0] || a[2] + a[3] <= b[2] || b[2] + b[3] <= a[2]
    };
    assert!(places.iter().all(inside));
    assert!((1..places.len()).all(|i| places[..i].iter().all(|p| apart(p, &places[i]))));
    let corner = Shared(dst.as_mut_ptr());
    places.par_iter().for_each(|&place| {
        let [top, rows, left, columns] = place;
        let corner = corner.at(top * n + left);
        work(place, &mut Block { corner, step: n, rows, columns });
    });
}

/// A pointer that tasks share, each for places of its own.
struct Shared(*mut f32);

// SAFETY: the pointer is used for blocks only, which lie apart.
unsafe impl Sync for Shared {}

impl Shared {
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}
