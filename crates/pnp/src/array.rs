//! Embeddings and labels in NumPy's `.npy` files.
//!
//! Nothing a header says is trusted: its length is bounded, and the values it promises must be
//! in the file before memory is asked for.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder};
use pnp_run::atomic;

/// The longest header that is read, in bytes; NumPy's own are about a hundred.
const MAX_HEADER_BYTES: u64 = 1 << 12;
/// How deep its brackets may be nested: a plain array's are two deep, and a parser may take time
/// that grows exponentially with them.
const MAX_NESTING: usize = 4;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrayError {
    #[error("cannot read '{path}': {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("'{path}' is not usable: {reason}")]
    Format { path: PathBuf, reason: String },
    #[error("'{path}' holds {found}, but {expected} is needed")]
    Content { path: PathBuf, found: String, expected: &'static str },
    #[error(transparent)]
    Write(#[from] pnp_run::RunError),
}

/// A matrix of embeddings in the precision of its file.
#[derive(Debug)]
pub(crate) enum Matrix {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Embeddings `[rows, dim]` from a file of f16, f32 or f64; f16 becomes f32.
pub(crate) fn read_embeddings(path: &Path) -> Result<(Matrix, usize), ArrayError> {
    let file = open(path)?;
    let expected = "a matrix of f16, f32 or f64, one embedding a row";
    let [rows, dim] = file.shape() else {
        let found = format!("an array of shape {:?}", file.shape());
        return Err(ArrayError::Content { path: path.into(), found, expected });
    };
    let (rows, dim) = (*rows as usize, *dim as usize);
    let columns_first = file.order() == Order::Fortran;
    let matrix = match scalar(&file) {
        Some((TypeChar::Float, 2)) => {
            let halves: Vec<half::f16> = values(path, file)?;
            let wide = pnp_ranking::widen(&halves);
            Matrix::F32(row_major(wide, rows, dim, columns_first))
        }
        Some((TypeChar::Float, 4)) => {
            Matrix::F32(row_major(values(path, file)?, rows, dim, columns_first))
        }
        Some((TypeChar::Float, 8)) => {
            Matrix::F64(row_major(values(path, file)?, rows, dim, columns_first))
        }
        _ => {
            let found = format!("values of type {}", file.dtype().descr());
            return Err(ArrayError::Content { path: path.into(), found, expected });
        }
    };
    Ok((matrix, dim))
}

/// Labels from a file of whole numbers of any width.
pub(crate) fn read_labels(path: &Path) -> Result<Vec<i128>, ArrayError> {
    let file = open(path)?;
    let expected = "a list of whole numbers, one label an embedding";
    let content = |found| ArrayError::Content { path: path.into(), found, expected };
    if file.shape().iter().filter(|&&side| side != 1).count() > 1 {
        return Err(content(format!("an array of shape {:?}", file.shape())));
    }
    match scalar(&file) {
        Some((TypeChar::Int, 1)) => wide::<i8>(path, file),
        Some((TypeChar::Int, 2)) => wide::<i16>(path, file),
        Some((TypeChar::Int, 4)) => wide::<i32>(path, file),
        Some((TypeChar::Int, 8)) => wide::<i64>(path, file),
        Some((TypeChar::Uint, 1)) => wide::<u8>(path, file),
        Some((TypeChar::Uint, 2)) => wide::<u16>(path, file),
        Some((TypeChar::Uint, 4)) => wide::<u32>(path, file),
        Some((TypeChar::Uint, 8)) => wide::<u64>(path, file),
        _ => Err(content(format!("values of type {}", file.dtype().descr()))),
    }
}

/// Labels as names: whole numbers of a `.npy` file, or the column `label` of a `.csv` file, which
/// may be its only one.
pub(crate) fn read_names(path: &Path) -> Result<Vec<String>, ArrayError> {
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
        return Ok(read_labels(path)?.iter().map(i128::to_string).collect());
    }
    let format = |reason: String| ArrayError::Format { path: path.into(), reason };
    let file = File::open(path).map_err(|source| ArrayError::Io { path: path.into(), source })?;
    let mut table = csv::Reader::from_reader(BufReader::new(file));
    let head = table.headers().map_err(|e| format(e.to_string()))?.clone();
    let column = match head.iter().position(|name| name.trim() == "label") {
        Some(column) => column,
        None if head.len() == 1 => 0,
        None => return Err(format("it has no column 'label', and not just one".into())),
    };
    let names = table.records().map(|record| {
        let record = record.map_err(|e| format(e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let name = record.get(column).map(str::trim).filter(|name| !name.is_empty());
        name.map(str::to_owned).ok_or_else(|| format(format!("line {line} has no label")))
    });
    names.collect()
}

/// Whole numbers of one width in the widest.
fn wide<T: npyz::Deserialize + Into<i128>>(
    path: &Path,
    file: Npy,
) -> Result<Vec<i128>, ArrayError> {
    Ok(values::<T>(path, file)?.into_iter().map(Into::into).collect())
}

/// Writes an array, row-major, whole or not at all.
pub(crate) fn write<T: npyz::AutoSerialize + Copy>(
    path: &Path,
    shape: &[u64],
    values: &[T],
) -> Result<(), ArrayError> {
    let bytes =
        to_npy(shape, values).map_err(|source| ArrayError::Io { path: path.into(), source })?;
    Ok(atomic::write(path, &bytes)?)
}

fn to_npy<T: npyz::AutoSerialize + Copy>(shape: &[u64], values: &[T]) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    Ok(bytes)
}

type Npy = NpyFile<BufReader<File>>;

/// Opens a file and checks that it holds what its header promises.
fn open(path: &Path) -> Result<Npy, ArrayError> {
    let io = |source| ArrayError::Io { path: path.into(), source };
    let format = |reason: String| ArrayError::Format { path: path.into(), reason };
    let mut file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let header = read_header(&mut file).map_err(|e| format(e.to_string()))?;
    if nesting(&header) > MAX_NESTING {
        return Err(format("its header is not that of a plain array".into()));
    }
    // The parser multiplies the sides of the shape unchecked, so they are looked at before.
    let countable = sides_are_countable(&header);
    if !countable.ok_or_else(|| format("its header has no shape".into()))? {
        return Err(format("its header promises more values than can be counted".into()));
    }
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let npy = NpyFile::new(BufReader::new(file))
        .map_err(|_| format("its header is not that of a plain array".into()))?;
    let size = scalar(&npy).map_or(1, |(_, size)| size);
    let promised = npy.shape().iter().try_fold(size, |n, &side| n.checked_mul(side));
    let promised = promised.and_then(|n| n.checked_add(header.len() as u64));
    if promised.is_none_or(|promised| promised > length) {
        return Err(format(format!("its header promises more than the file's {length} bytes")));
    }
    Ok(npy)
}

/// The text of the header.
fn read_header(file: &mut File) -> std::io::Result<String> {
    let wrong = |reason: String| std::io::Error::new(std::io::ErrorKind::InvalidData, reason);
    let mut start = [0; 12];
    file.read_exact(&mut start[..10])?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(wrong("it does not begin as one".into()));
    }
    let mut length = u64::from(u16::from_le_bytes([start[8], start[9]]));
    if start[6] >= 2 {
        file.read_exact(&mut start[10..])?;
        let [.., a, b, c, d] = start;
        length = u64::from(u32::from_le_bytes([a, b, c, d]));
    }
    if length > MAX_HEADER_BYTES {
        return Err(wrong(format!("its header claims {length} bytes")));
    }
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    String::from_utf8(text).map_err(|_| wrong("its header is no text".into()))
}

/// The deepest nesting of brackets.
fn nesting(header: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for c in header.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether the product of a shape's sides, empty ones left aside, can be counted. `None` where the
/// header has no shape.
fn sides_are_countable(header: &str) -> Option<bool> {
    let (_, rest) = header.split_once("shape")?;
    let (_, rest) = rest.split_once('(')?;
    let (sides, _) = rest.split_once(')')?;
    let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
    let mut product = Some(1u64);
    for side in sides {
        if !side.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let side = side.parse::<u64>().ok();
        product = product.zip(side).and_then(|(product, side)| product.checked_mul(side.max(1)));
    }
    Some(product.is_some())
}

/// The kind and the size in bytes of a plain array's values.
fn scalar<R: Read>(file: &NpyFile<R>) -> Option<(TypeChar, u64)> {
    match file.dtype() {
        DType::Plain(kind) => Some((kind.type_char(), kind.size_field())),
        _ => None,
    }
}

fn values<T: npyz::Deserialize>(path: &Path, file: Npy) -> Result<Vec<T>, ArrayError> {
    let format =
        |e: std::io::Error| ArrayError::Format { path: path.into(), reason: e.to_string() };
    file.into_vec().map_err(format)
}

/// Row-major values of a matrix that a file may hold column by column.
fn row_major<T: Copy>(values: Vec<T>, rows: usize, dim: usize, columns_first: bool) -> Vec<T> {
    if !columns_first {
        return values;
    }
    (0..rows * dim).map(|i| values[i % dim * rows + i / dim]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn npy(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        let header = format!("{header}\n");
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn a_matrix_survives_a_round_trip() {
        let folder = folder();
        let path = folder.path().join("x.npy");
        write(&path, &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let (matrix, dim) = read_embeddings(&path).unwrap();
        assert_eq!(dim, 3);
        assert!(matches!(matrix, Matrix::F32(v) if v == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }

    #[test]
    fn a_matrix_kept_by_columns_is_turned() {
        let folder = folder();
        let path = folder.path().join("x.npy");
        let values: Vec<u8> =
            [1.0f64, 3.0, 2.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let header = "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }";
        std::fs::write(&path, npy(header, &values)).unwrap();
        let (matrix, _) = read_embeddings(&path).unwrap();
        assert!(matches!(matrix, Matrix::F64(v) if v == [1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn labels_of_any_width_are_read() {
        let folder = folder();
        let path = folder.path().join("y.npy");
        write(&path, &[3], &[3u8, 1, 2]).unwrap();
        assert_eq!(read_labels(&path).unwrap(), [3, 1, 2]);
        write(&path, &[2, 1], &[-3i64, 1]).unwrap();
        assert_eq!(read_labels(&path).unwrap(), [-3, 1]);
        write(&path, &[1], &[1.0f32]).unwrap();
        assert!(read_labels(&path).unwrap_err().to_string().contains("whole numbers"));
    }

    #[test]
    fn a_lying_or_broken_header_is_refused_before_memory_is_asked_for() {
        let folder = folder();
        let path = folder.path().join("x.npy");
        let shapes = [
            "(1099511627776, 512)",
            "(18446744073709551615, 2)",
            "(18446744073709551616, 2)",
            "(0, 18446744073709551615, 2)",
            "(-1, 2)",
            "(3, 2)",
            "(4,)",
        ];
        for shape in shapes {
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
            std::fs::write(&path, npy(&header, &[0; 16])).unwrap();
            let error = read_embeddings(&path).unwrap_err().to_string();
            assert!(error.contains("x.npy"), "{error}");
        }
        let deep = format!(
            "{{'descr': '<f4', 'shape': (1, 1), 'x': {}{}}}",
            "[".repeat(40),
            "]".repeat(40)
        );
        std::fs::write(&path, npy(&deep, &[0; 4])).unwrap();
        assert!(matches!(read_embeddings(&path), Err(ArrayError::Format { .. })));
        let broken: [&[u8]; 5] = [
            b"",
            b"\x93NUMPY",
            b"no array at all",
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
            &[0; 100],
        ];
        for bytes in broken {
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(read_embeddings(&path), Err(ArrayError::Format { .. })));
        }
    }
}
