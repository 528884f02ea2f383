//! Rows of finite numbers, checked once.

use crate::error::RankingError;
use crate::real::Real;

/// The longest rows that are taken: no header of a file makes work memory larger than that.
const MAX_DIMENSION: usize = 1 << 24;

/// A batch or a data set of embeddings, `[rows, dim]`, row-major, every value finite.
///
/// ```
/// use pnp_ranking::Embeddings;
///
/// let values = [1.0_f32, 0.0, 0.6, 0.8];
/// let embeddings = Embeddings::new(&values, 2)?;
/// assert_eq!(embeddings.rows(), 2);
/// assert_eq!(embeddings.row(1), [0.6, 0.8]);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Embeddings<'a, T: Real> {
    values: &'a [T],
    dim: usize,
}

impl<'a, T: Real> Embeddings<'a, T> {
    /// Takes `rows x dim` values. No rows are fine.
    ///
    /// # Errors
    /// [`RankingError::ZeroDimension`], [`RankingError::DimensionTooLarge`], [`RankingError::Ragged`] if the values do not fill whole
    /// rows, [`RankingError::NotFinite`] with the first bad row, [`RankingError::TooManyRows`].
    pub fn new(values: &'a [T], dim: usize) -> Result<Self, RankingError> {
        Self::check_shape(values.len(), dim)?;
        if let Some(at) = values.iter().position(|v| !v.finite()) {
            let (row, column) = (at / dim, at % dim);
            return Err(RankingError::NotFinite { row, column, value: values[at].wide() });
        }
        Ok(Self { values, dim })
    }

    /// Checks that so many values are whole rows that ids can number.
    pub(crate) fn check_shape(length: usize, dim: usize) -> Result<(), RankingError> {
        if dim == 0 {
            return Err(RankingError::ZeroDimension);
        }
        if dim > MAX_DIMENSION {
            return Err(RankingError::DimensionTooLarge { dim });
        }
        if !length.is_multiple_of(dim) {
            return Err(RankingError::Ragged { length, dim });
        }
        let rows = length / dim;
        if u32::try_from(rows).is_err() {
            return Err(RankingError::TooManyRows { rows });
        }
        Ok(())
    }

    /// Whole rows of values that were checked before.
    pub(crate) fn checked(values: &'a [T], dim: usize) -> Self {
        debug_assert!(dim > 0 && values.len().is_multiple_of(dim));
        Self { values, dim }
    }

    /// How many embeddings there are.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// How many values each has.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, row by row.
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// One embedding. Panics if `i` is not below [`rows`](Self::rows).
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.values[i * self.dim..(i + 1) * self.dim]
    }

    /// The squared length of every row, summed in f64.
    ///
    /// # Errors
    /// [`RankingError::TooLarge`] if an inner product of two rows could leave the range of `T`.
    pub(crate) fn squared_norms(&self) -> Result<Vec<f64>, RankingError> {
        let rows = self.values.chunks_exact(self.dim);
        let norms = rows.map(|row| row.iter().map(|v| v.wide() * v.wide()).sum());
        let norms: Vec<f64> = norms.collect();
        for (row, &squared_norm) in norms.iter().enumerate() {
            Self::check_norm(row, squared_norm)?;
        }
        Ok(norms)
    }

    /// Checks that inner products of a row of this squared length stay in the range of `T`.
    pub(crate) fn check_norm(row: usize, squared_norm: f64) -> Result<(), RankingError> {
        // A quarter, so that the difference of two inner products is finite as well; and so that
        // their sums are, which are in f64.
        if squared_norm <= (T::LARGEST / 4.0).min(1e200) {
            Ok(())
        } else {
            Err(RankingError::TooLarge { row, squared_norm })
        }
    }

    /// Checks that there is a label for each row.
    pub(crate) fn check_labels(&self, labels: &[u32]) -> Result<(), RankingError> {
        if self.rows() == labels.len() {
            Ok(())
        } else {
            Err(RankingError::LabelCount { embeddings: self.rows(), labels: labels.len() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimension_zero_is_refused() {
        let error = Embeddings::<f32>::new(&[], 0).unwrap_err();
        assert_eq!(error, RankingError::ZeroDimension);
    }

    #[test]
    fn values_that_do_not_fill_rows_are_refused() {
        let error = Embeddings::new(&[1.0_f32; 7], 3).unwrap_err();
        assert_eq!(error, RankingError::Ragged { length: 7, dim: 3 });
    }

    #[test]
    fn the_first_row_that_is_not_finite_is_named() {
        let mut values = [0.5_f64; 12];
        values[7] = f64::INFINITY;
        values[9] = f64::NAN;
        let error = Embeddings::new(&values, 3).unwrap_err();
        assert_eq!(error, RankingError::NotFinite { row: 2, column: 1, value: f64::INFINITY });
    }

    #[test]
    fn a_row_whose_inner_products_overflow_is_named() {
        let values = [1.0_f32, 0.0, 1e19, 1e19];
        let error = Embeddings::new(&values, 2).unwrap().squared_norms().unwrap_err();
        assert!(matches!(error, RankingError::TooLarge { row: 1, .. }), "{error}");
    }

    #[test]
    fn no_rows_are_fine() {
        assert_eq!(Embeddings::<f32>::new(&[], 4).unwrap().rows(), 0);
    }
}
