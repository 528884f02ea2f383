//! Rows of numbers in the precision in which they are stored.
//!
//! Evaluation reads rows as f32, some at a time: a set in half or double precision is never copied
//! as a whole, and one that lies in a memory-mapped file need not fit into memory.

use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::embeddings::Embeddings;
use crate::error::RankingError;

/// Embeddings `[rows, dim]`, row-major, in any precision; every value is finite in f32, in which
/// they are ranked.
///
/// An [`Embeddings<f32>`] is one as it is: whatever takes `impl Into<Rows>` takes it.
///
/// ```
/// use half::f16;
/// use pnp_ranking::Rows;
///
/// let halves = [1.0, 0.0, 0.5, 0.25].map(f16::from_f32);
/// let rows = Rows::f16(&halves, 2)?;
/// assert_eq!((rows.rows(), rows.dim()), (2, 2));
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    values: Values<'a>,
    dim: usize,
}

#[derive(Debug, Clone, Copy)]
enum Values<'a> {
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    /// Little-endian bytes at any address.
    Bytes(&'a [u8], Precision),
}

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl Precision {
    /// How many bytes a number takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl<'a> Rows<'a> {
    /// Rows of f32.
    ///
    /// # Errors
    /// Those of [`Embeddings::new`], as for the other precisions.
    pub fn f32(values: &'a [f32], dim: usize) -> Result<Self, RankingError> {
        Self::checked(Values::F32(values), values.len(), dim)
    }

    /// Rows of f64, read as f32.
    ///
    /// # Errors
    /// Also where a value leaves the range of f32.
    pub fn f64(values: &'a [f64], dim: usize) -> Result<Self, RankingError> {
        Self::checked(Values::F64(values), values.len(), dim)
    }

    /// Rows of IEEE half precision.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn f16(values: &'a [f16], dim: usize) -> Result<Self, RankingError> {
        Self::checked(Values::F16(values), values.len(), dim)
    }

    /// Rows of bfloat16.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn bf16(values: &'a [bf16], dim: usize) -> Result<Self, RankingError> {
        Self::checked(Values::Bf16(values), values.len(), dim)
    }

    /// Rows in the little-endian bytes of a file, which may stand at any address: those of a
    /// memory-mapped file as they are. Every byte is read once here, for the check.
    ///
    /// ```
    /// use pnp_ranking::{Precision, Rows};
    ///
    /// let bytes = [0.5_f32, -1.0].map(f32::to_le_bytes).concat();
    /// let rows = Rows::from_le_bytes(&bytes, Precision::F32, 2)?;
    /// let mut row = [0.0; 2];
    /// rows.read(0, &mut row);
    /// assert_eq!(row, [0.5, -1.0]);
    /// # Ok::<(), pnp_ranking::RankingError>(())
    /// ```
    ///
    /// # Errors
    /// As [`f32`](Self::f32) and [`f64`](Self::f64); bytes that are no whole number of values are
    /// left aside.
    pub fn from_le_bytes(
        bytes: &'a [u8],
        precision: Precision,
        dim: usize,
    ) -> Result<Self, RankingError> {
        let length = bytes.len() / precision.bytes();
        let bytes = &bytes[..length * precision.bytes()];
        Self::checked(Values::Bytes(bytes, precision), length, dim)
    }

    /// Whole rows of finite numbers, or the first one that is none.
    fn checked(values: Values<'a>, length: usize, dim: usize) -> Result<Self, RankingError> {
        Embeddings::<f32>::check_shape(length, dim)?;
        let rows = Self { values, dim };
        if length == 0 {
            return Ok(rows);
        }
        let bad = (0..rows.rows()).into_par_iter().map_init(
            || vec![0.0; dim],
            |row, i| {
                rows.read(i, row);
                if let Some(column) = row.iter().position(|value| !value.is_finite()) {
                    let value = rows.wide(i, column);
                    return Some(RankingError::NotFinite { row: i, column, value });
                }
                Embeddings::<f32>::check_norm(i, squared_length(row)).err()
            },
        );
        match bad.find_first(Option::is_some).flatten() {
            Some(error) => Err(error),
            None => Ok(rows),
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        let length = match self.values {
            Values::F16(values) => values.len(),
            Values::Bf16(values) => values.len(),
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::Bytes(bytes, precision) => bytes.len() / precision.bytes(),
        };
        length / self.dim
    }

    /// How many values each has.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Copies one row into `out`, which is as long as a row. Panics if there is no such row.
    pub fn read(&self, row: usize, out: &mut [f32]) {
        self.read_columns(row, 0..self.dim, out);
    }

    /// The same for some of its columns.
    pub(crate) fn read_columns(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        let range = row * self.dim + columns.start..row * self.dim + columns.end;
        match self.values {
            Values::F16(values) => values[range].convert_to_f32_slice(out),
            Values::Bf16(values) => values[range].convert_to_f32_slice(out),
            Values::F32(values) => out.copy_from_slice(&values[range]),
            Values::F64(values) => {
                for (out, &value) in out.iter_mut().zip(&values[range]) {
                    *out = value as f32;
                }
            }
            Values::Bytes(bytes, precision) => {
                let size = precision.bytes();
                read_bytes(&bytes[range.start * size..range.end * size], precision, out);
            }
        }
    }

    /// One row, if it need not be converted.
    pub(crate) fn as_f32(&self, row: usize) -> Option<&'a [f32]> {
        match self.values {
            Values::F32(values) => Some(&values[row * self.dim..(row + 1) * self.dim]),
            _ => None,
        }
    }

    /// A value that f32 may not hold.
    fn wide(&self, row: usize, column: usize) -> f64 {
        let at = row * self.dim + column;
        match self.values {
            Values::F16(values) => values[at].to_f64(),
            Values::Bf16(values) => values[at].to_f64(),
            Values::F32(values) => values[at].into(),
            Values::F64(values) => values[at],
            Values::Bytes(bytes, Precision::F64) => {
                bytes.as_chunks().0.get(at).map_or(f64::NAN, |&bytes| f64::from_le_bytes(bytes))
            }
            Values::Bytes(..) => {
                let mut values = vec![0.0; self.dim];
                self.read(row, &mut values);
                values[column].into()
            }
        }
    }

    /// A hash of the bits of a row as stored.
    pub(crate) fn hash(&self, row: usize) -> u64 {
        let mut hash = DefaultHasher::new();
        let range = row * self.dim..(row + 1) * self.dim;
        match self.values {
            Values::F16(v) => v[range].iter().for_each(|v| hash.write_u16(v.to_bits())),
            Values::Bf16(v) => v[range].iter().for_each(|v| hash.write_u16(v.to_bits())),
            Values::F32(v) => v[range].iter().for_each(|v| hash.write_u32(v.to_bits())),
            Values::F64(v) => v[range].iter().for_each(|v| hash.write_u64(v.to_bits())),
            Values::Bytes(v, precision) => {
                let size = precision.bytes();
                hash.write(&v[range.start * size..range.end * size]);
            }
        }
        hash.finish()
    }

    /// Whether two rows have the same bits as stored.
    pub(crate) fn same_bits(&self, a: usize, b: usize) -> bool {
        let range = |row: usize| row * self.dim..(row + 1) * self.dim;
        let (a, b) = (range(a), range(b));
        match self.values {
            Values::F16(v) => v[a].iter().zip(&v[b]).all(|(a, b)| a.to_bits() == b.to_bits()),
            Values::Bf16(v) => v[a].iter().zip(&v[b]).all(|(a, b)| a.to_bits() == b.to_bits()),
            Values::F32(v) => v[a].iter().zip(&v[b]).all(|(a, b)| a.to_bits() == b.to_bits()),
            Values::F64(v) => v[a].iter().zip(&v[b]).all(|(a, b)| a.to_bits() == b.to_bits()),
            Values::Bytes(v, precision) => {
                let size = precision.bytes();
                v[a.start * size..a.end * size] == v[b.start * size..b.end * size]
            }
        }
    }

    /// The squared length of every row, summed in f64.
    ///
    /// # Errors
    /// [`RankingError::TooLarge`] if an inner product of two rows could leave the range of f32.
    pub(crate) fn squared_norms(&self) -> Result<Vec<f64>, RankingError> {
        if self.rows() == 0 {
            return Ok(Vec::new());
        }
        let norms: Vec<f64> = (0..self.rows())
            .into_par_iter()
            .map_init(
                || vec![0.0; self.dim],
                |row, i| {
                    self.read(i, row);
                    squared_length(row)
                },
            )
            .collect();
        for (row, &squared_norm) in norms.iter().enumerate() {
            Embeddings::<f32>::check_norm(row, squared_norm)?;
        }
        Ok(norms)
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

impl<'a> From<Embeddings<'a, f32>> for Rows<'a> {
    fn from(embeddings: Embeddings<'a, f32>) -> Self {
        Self { values: Values::F32(embeddings.values()), dim: embeddings.dim() }
    }
}

impl<'a> From<&Embeddings<'a, f32>> for Rows<'a> {
    fn from(embeddings: &Embeddings<'a, f32>) -> Self {
        (*embeddings).into()
    }
}

impl<'a> From<&Rows<'a>> for Rows<'a> {
    fn from(rows: &Rows<'a>) -> Self {
        *rows
    }
}

fn squared_length(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

fn read_bytes(bytes: &[u8], precision: Precision, out: &mut [f32]) {
    match precision {
        Precision::F16 => read_halves(bytes, f16::from_le_bytes, out),
        Precision::Bf16 => read_halves(bytes, bf16::from_le_bytes, out),
        Precision::F32 => {
            let values = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
            out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
        }
        Precision::F64 => {
            let values = bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b));
            out.iter_mut().zip(values).for_each(|(out, value)| *out = value as f32);
        }
    }
}

/// Some at a time, since the processor widens many at once.
fn read_halves<H: Copy + Default>(bytes: &[u8], value: fn([u8; 2]) -> H, out: &mut [f32])
where
    [H]: HalfFloatSliceExt,
{
    const SOME: usize = 64;
    let mut halves = [H::default(); SOME];
    for (bytes, out) in bytes.chunks(2 * SOME).zip(out.chunks_mut(SOME)) {
        for (half, &bytes) in halves.iter_mut().zip(bytes.as_chunks().0) {
            *half = value(bytes);
        }
        halves[..out.len()].convert_to_f32_slice(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_alike_in_every_precision() {
        let values = [1.0_f32, -0.5, 0.25, 2.0, 0.0, -3.0];
        let (wide, half) = (values.map(f64::from), values.map(f16::from_f32));
        let brain = values.map(bf16::from_f32);
        let mut bytes = vec![0];
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let wide_bytes: Vec<u8> = wide.iter().flat_map(|v| v.to_le_bytes()).collect();
        let half_bytes: Vec<u8> = half.iter().flat_map(|v| v.to_le_bytes()).collect();
        let brain_bytes: Vec<u8> = brain.iter().flat_map(|v| v.to_le_bytes()).collect();
        for rows in [
            // At an odd address.
            Rows::from_le_bytes(&bytes[1..], Precision::F32, 3).unwrap(),
            Rows::from_le_bytes(&wide_bytes, Precision::F64, 3).unwrap(),
            Rows::from_le_bytes(&half_bytes, Precision::F16, 3).unwrap(),
            Rows::from_le_bytes(&brain_bytes, Precision::Bf16, 3).unwrap(),
            Rows::f32(&values, 3).unwrap(),
            Rows::f64(&wide, 3).unwrap(),
            Rows::f16(&half, 3).unwrap(),
            Rows::bf16(&brain, 3).unwrap(),
        ] {
            let mut out = [0.0; 3];
            rows.read(1, &mut out);
            assert_eq!(out, values[3..]);
            assert_eq!((rows.rows(), rows.dim()), (2, 3));
            assert_eq!(rows.squared_norms().unwrap(), [1.3125, 13.0]);
            assert!(rows.same_bits(1, 1) && !rows.same_bits(0, 1));
            assert_ne!(rows.hash(0), rows.hash(1));
        }
    }

    #[test]
    fn what_is_no_row_of_finite_values_is_refused_in_every_precision() {
        let not_finite = |row, column| move |e: &RankingError| matches!(e, RankingError::NotFinite { row: r, column: c, .. } if (*r, *c) == (row, column));
        let error = Rows::f16(&[f16::ONE, f16::INFINITY], 1).unwrap_err();
        assert!(not_finite(1, 0)(&error), "{error}");
        let error = Rows::bf16(&[bf16::ONE, bf16::NAN], 2).unwrap_err();
        assert!(not_finite(0, 1)(&error), "{error}");
        let error = Rows::f64(&[0.0, 1.0, 1e39, 0.0], 2).unwrap_err();
        assert!(not_finite(1, 0)(&error), "{error}");
        let bytes: Vec<u8> =
            [0.0, 1.0, 0.5, 1e39].iter().flat_map(|v: &f64| v.to_le_bytes()).collect();
        let error = Rows::from_le_bytes(&bytes, Precision::F64, 2).unwrap_err();
        assert_eq!(error, RankingError::NotFinite { row: 1, column: 1, value: 1e39 });
        assert_eq!(Rows::f64(&[], 0).unwrap_err(), RankingError::ZeroDimension);
        let error = Rows::f16(&[f16::ONE; 3], 2).unwrap_err();
        assert_eq!(error, RankingError::Ragged { length: 3, dim: 2 });
        let rows = [1.0_f32, 0.0, 1e19, 1e19];
        let error = Rows::f32(&rows, 2).unwrap_err();
        assert!(matches!(error, RankingError::TooLarge { row: 1, .. }), "{error}");
        let error = Rows::f32(&[], 1 << 40).unwrap_err();
        assert_eq!(error, RankingError::DimensionTooLarge { dim: 1 << 40 });
    }
}
