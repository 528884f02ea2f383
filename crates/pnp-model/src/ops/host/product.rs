//! Small matrix products on the host, each on one thread.

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
}

/// `dst = a · b`, or `dst += a · b` where it is to `keep` what is there; row-major, on one thread.
///
/// # Panics
///
/// When the shapes do not fit together.
pub(super) fn product(dst: &mut [f32], a: Matrix, b: Matrix, keep: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(k == b.rows && m * n <= dst.len(), "{m} x {k} times {} x {n}", b.rows);
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let last = |m: &Matrix| (m.rows - 1) * m.steps[0] + (m.columns - 1) * m.steps[1];
    assert!(last(&a) < a.values.len() && last(&b) < b.values.len());
    // SAFETY: the assertions keep every access that the shapes and steps describe inside the
    // slices.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            n as isize,
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
