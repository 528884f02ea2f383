//! An array as it lies in a file, and what is read of it.

use std::borrow::Cow;
use std::ops::Range;

use pnp_ranking::{Precision, RankingError, Rows};

use super::bytes::Bytes;
use super::place::Role;

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Element {
    Float(Precision),
    Int {
        bytes: u64,
        signed: bool,
    },
    /// Bytes, filled up with zeros.
    ByteText {
        bytes: u64,
    },
    /// Code points of four bytes, filled up with zeros.
    Text {
        characters: u64,
    },
    Other {
        bytes: u64,
        name: String,
    },
}

impl Element {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Float(precision) => precision.bytes() as u64,
            Self::Int { bytes, .. } | Self::ByteText { bytes } | Self::Other { bytes, .. } => {
                *bytes
            }
            Self::Text { characters } => characters.saturating_mul(4),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Float(precision) => format!("{precision:?}").to_lowercase(),
            Self::Int { bytes, signed } => {
                format!("{}{}", if *signed { "int" } else { "uint" }, 8 * bytes)
            }
            Self::ByteText { .. } | Self::Text { .. } => "text".to_owned(),
            Self::Other { name, .. } => name.clone(),
        }
    }
}

/// What an array is, and where in its file.
#[derive(Debug, Clone)]
pub(super) struct Contents {
    pub(super) range: Range<usize>,
    pub(super) element: Element,
    pub(super) shape: Vec<u64>,
    /// Whether a matrix is kept column by column.
    pub(super) columns_first: bool,
    pub(super) big_endian: bool,
}

impl Contents {
    /// Whether this may be what a role asks for.
    pub(super) fn suits(&self, role: Role) -> bool {
        let is_float = matches!(self.element, Element::Float(_));
        if role.is_matrix { is_float && self.shape.len() == 2 } else { !is_float && self.is_list() }
    }

    fn is_list(&self) -> bool {
        self.shape.iter().filter(|&&side| side != 1).count() <= 1
    }

    /// Puts it together with the bytes of its file.
    pub(super) fn stored(&self, bytes: Bytes) -> Stored {
        Stored { bytes, contents: self.clone() }
    }
}

/// An array whose values are all in the file. What is no use is told in words.
#[derive(Debug)]
pub(super) struct Stored {
    bytes: Bytes,
    contents: Contents,
}

impl Stored {
    /// It as embeddings.
    pub(super) fn matrix(self) -> Result<Matrix, String> {
        let Contents { element, shape, columns_first, big_endian, range } = self.contents;
        let &[rows, dim] = &shape[..] else {
            return Err(format!("an array of shape {shape:?}"));
        };
        let Element::Float(precision) = element else {
            return Err(format!("values of type {}", element.name()));
        };
        let (rows, dim) = (rows as usize, dim as usize);
        if !columns_first && !big_endian {
            return Ok(Matrix { bytes: self.bytes, range, precision, dim });
        }
        let turned =
            in_order(&self.bytes[range], precision.bytes(), [rows, dim], columns_first, big_endian);
        let range = 0..turned.len();
        Ok(Matrix { bytes: Bytes::Held(turned), range, precision, dim })
    }

    /// It as whole numbers.
    pub(super) fn integers(&self) -> Result<Vec<i128>, String> {
        self.check_list()?;
        let Element::Int { bytes, signed } = self.contents.element else {
            return Err(format!("values of type {}", self.contents.element.name()));
        };
        Ok(self.values(bytes).map(|value| integer(&value, signed)).collect())
    }

    /// It as names.
    pub(super) fn names(&self) -> Result<Vec<String>, String> {
        match self.contents.element {
            Element::ByteText { bytes } => {
                self.check_list()?;
                let text = |value: Cow<'_, [u8]>| {
                    let end = value.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
                    String::from_utf8(value[..end].to_vec()).map_err(|_| "bytes that are no text")
                };
                let big_endian = false;
                let names = values(self.bytes(), bytes, big_endian).map(text);
                Ok(names.collect::<Result<_, _>>()?)
            }
            Element::Text { characters } => {
                self.check_list()?;
                let all: Vec<Option<char>> =
                    self.values(4).map(|v| char::from_u32(integer(&v, false) as u32)).collect();
                let text = |value: &[Option<char>]| -> Option<String> {
                    let end = value.iter().rposition(|&c| c != Some('\0')).map_or(0, |l| l + 1);
                    value[..end].iter().copied().collect()
                };
                let rows = all.chunks_exact((characters as usize).max(1));
                let names: Option<Vec<String>> = rows.map(text).collect();
                names.ok_or_else(|| "characters that are none".to_owned())
            }
            _ => Ok(self.integers()?.iter().map(i128::to_string).collect()),
        }
    }

    fn check_list(&self) -> Result<(), String> {
        if self.contents.is_list() {
            return Ok(());
        }
        Err(format!("an array of shape {:?}", self.contents.shape))
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.contents.range.clone()]
    }

    /// The values, little-endian.
    fn values(&self, size: u64) -> impl Iterator<Item = Cow<'_, [u8]>> {
        values(self.bytes(), size, self.contents.big_endian)
    }
}

fn values(bytes: &[u8], size: u64, big_endian: bool) -> impl Iterator<Item = Cow<'_, [u8]>> {
    bytes.chunks_exact((size as usize).max(1)).map(move |value| {
        if big_endian {
            Cow::Owned(value.iter().rev().copied().collect())
        } else {
            Cow::Borrowed(value)
        }
    })
}

/// A whole number of up to eight bytes.
fn integer(bytes: &[u8], signed: bool) -> i128 {
    let negative = signed && bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    for (wide, &byte) in wide.iter_mut().zip(bytes) {
        *wide = byte;
    }
    i128::from_le_bytes(wide)
}

/// Row by row, little-endian.
fn in_order(
    bytes: &[u8],
    size: usize,
    [rows, dim]: [usize; 2],
    columns_first: bool,
    big_endian: bool,
) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    for (place, value) in out.chunks_exact_mut(size).enumerate() {
        let from = if columns_first { place % dim * rows + place / dim } else { place };
        value.copy_from_slice(&bytes[from * size..(from + 1) * size]);
        if big_endian {
            value.reverse();
        }
    }
    out
}

/// Embeddings of a file, one a row.
#[derive(Debug)]
pub(crate) struct Matrix {
    bytes: Bytes,
    range: Range<usize>,
    precision: Precision,
    dim: usize,
}

impl Matrix {
    /// The rows, checked; the file may be mapped.
    pub(crate) fn rows(&self) -> Result<Rows<'_>, RankingError> {
        let bytes = self.values();
        if cfg!(target_endian = "little")
            && self.precision == Precision::F32
            && let Ok(values) = bytemuck::try_cast_slice(bytes)
        {
            return Rows::f32(values, self.dim);
        }
        Rows::from_le_bytes(bytes, self.precision, self.dim)
    }

    /// How many values a row has.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// How many rows there are; nobody knows where they have no values.
    pub(crate) fn row_count(&self) -> Option<usize> {
        (self.range.len() / self.precision.bytes()).checked_div(self.dim)
    }

    /// Whether f32 does not hold its values.
    pub(crate) fn is_wide(&self) -> bool {
        self.precision == Precision::F64
    }

    /// All values in single precision, also those that are not finite.
    pub(crate) fn to_f32(&self) -> Vec<f32> {
        self.to_f64().into_iter().map(|value| value as f32).collect()
    }

    /// All values in double precision.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        let bytes = self.values();
        match self.precision {
            Precision::F16 => {
                let values = bytes.as_chunks().0.iter();
                values.map(|&bytes| half::f16::from_le_bytes(bytes).to_f64()).collect()
            }
            Precision::Bf16 => {
                let values = bytes.as_chunks().0.iter();
                values.map(|&bytes| half::bf16::from_le_bytes(bytes).to_f64()).collect()
            }
            Precision::F32 => {
                let values = bytes.as_chunks().0.iter();
                values.map(|&bytes| f32::from_le_bytes(bytes).into()).collect()
            }
            Precision::F64 => {
                bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
            }
        }
    }

    fn values(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}
