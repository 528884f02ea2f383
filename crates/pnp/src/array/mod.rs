//! Embeddings and labels in files: NumPy's `.npy` and `.npz`, `.safetensors`, and columns of `.csv`.
//!
//! Large files are mapped into memory and read where they are needed. Nothing a header says is
//! trusted: its length is bounded, and the values it promises must be in the file before memory is
//! asked for.
//!
//! `FILE:NAME` names one of several arrays of a file, or one of the columns of a table.

mod bytes;
mod npy;
mod npz;
mod place;
mod safetensors;
mod stored;
mod table;

use std::path::{Path, PathBuf};

use npyz::WriterBuilder;
use pnp_run::atomic;

use self::place::Place;
pub(crate) use self::place::Role;
pub(crate) use self::stored::Matrix;
use self::stored::{Contents, Stored};

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArrayError {
    #[error("cannot read '{path}': {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("'{path}' is not usable: {reason}")]
    Format { path: PathBuf, reason: String },
    #[error("'{path}' holds {found}, but {expected} is needed")]
    Content { path: PathBuf, found: String, expected: &'static str },
    #[error("'{path}' has no {kind} '{name}': it has {known}; write FILE:NAME to name another")]
    NoSuch { path: PathBuf, kind: &'static str, name: String, known: String },
    #[error("'{path}' has several {kind}s, {known}: write FILE:NAME to say which")]
    Which { path: PathBuf, kind: &'static str, known: String },
    #[error(transparent)]
    Write(#[from] pnp_run::RunError),
}

/// Embeddings `[rows, dim]` of f16, bf16, f32 or f64.
pub(crate) fn read_embeddings(path: &Path) -> Result<Matrix, ArrayError> {
    let place = Place::of(path);
    open(&place, Role::EMBEDDINGS)?.matrix().map_err(|found| ArrayError::Content {
        path: path.into(),
        found,
        expected: "a matrix of f16, bf16, f32 or f64, one embedding a row",
    })
}

/// Whole numbers of any width, one an item.
pub(crate) fn read_labels(path: &Path, role: Role) -> Result<Vec<i128>, ArrayError> {
    let place = Place::of(path);
    open(&place, role)?.integers().map_err(|found| ArrayError::Content {
        path: path.into(),
        found,
        expected: "a list of whole numbers, one an item,",
    })
}

/// Names, one an item: a column of a table, or an array of whole numbers or strings.
pub(crate) fn read_names(path: &Path, role: Role) -> Result<Vec<String>, ArrayError> {
    let place = Place::of(path);
    if place.has_extension("csv") {
        return table::column(&place, role);
    }
    open(&place, role)?.names().map_err(|found| ArrayError::Content {
        path: path.into(),
        found,
        expected: "a list of whole numbers or of strings, one an item,",
    })
}

/// The file that `FILE` or `FILE:NAME` names.
pub(crate) fn file_of(path: &Path) -> PathBuf {
    Place::of(path).file
}

/// Opens the array that is meant.
fn open(place: &Place, role: Role) -> Result<Stored, ArrayError> {
    let io = |source| ArrayError::Io { path: place.file.clone(), source };
    let bytes = bytes::Bytes::open(&place.file).map_err(io)?;
    let format = |reason: String| ArrayError::Format { path: place.file.clone(), reason };
    if place.has_extension("safetensors") {
        let arrays = safetensors::list(&bytes).map_err(format)?;
        let tensor = place.choose(role, &arrays, Contents::suits)?;
        return Ok(tensor.stored(bytes));
    }
    if bytes.starts_with(npz::SIGNATURE) {
        let arrays = npz::list(&bytes).map_err(format)?;
        let entry = place.choose(role, &arrays, npz::Entry::suits)?;
        return npz::read(bytes, entry).map_err(format);
    }
    if let Some(name) = &place.name {
        let (path, name) = (place.file.clone(), name.clone());
        let known = "one array without a name".to_owned();
        return Err(ArrayError::NoSuch { path, kind: "array", name, known });
    }
    let contents = npy::contents(&bytes).map_err(format)?;
    Ok(contents.stored(bytes))
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

#[cfg(test)]
mod tests;
