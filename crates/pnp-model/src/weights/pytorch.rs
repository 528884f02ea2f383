//! State dicts in PyTorch's own files: the zip form since 1.6, and the older stream of pickles.
//!
//! The parsing is that of the `pytorch-reader` crate, which builds no Python object and bounds
//! every length by what the file holds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};

use super::float_kind::FloatKind;
use super::{Array, StateDict};
use crate::error::ModelError;

/// Under which key training programs nest the state dict.
const NESTED: [&str; 2] = ["state_dict", "model"];
/// A zip archive, and a pickle of protocol 2 or later, begin like this.
const ZIP: &[u8] = b"PK\x03\x04";
const PICKLE: u8 = 0x80;
/// How often all tensors together may show what the file holds.
const MOST_VIEWS: u64 = 16;
/// The newest pickle protocol there is.
const LAST_PROTOCOL: u8 = 5;

/// Whether a file begins as one of PyTorch's does.
pub(super) fn looks_like(path: &Path) -> Result<bool, ModelError> {
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let mut start = Vec::new();
    File::open(path).map_err(io)?.take(9).read_to_end(&mut start).map_err(io)?;
    // A safetensors file begins with a length of 8 bytes, which may look like anything, and `{`.
    let safetensors = start.get(8) == Some(&b'{');
    let pickle =
        matches!(start[..], [PICKLE, protocol, ..] if (2..=LAST_PROTOCOL).contains(&protocol));
    Ok(!safetensors && (start.starts_with(ZIP) || pickle))
}

/// Reads all floating-point tensors of a PyTorch file.
pub(super) fn read(path: &Path) -> Result<StateDict, ModelError> {
    let format = |reason: String| ModelError::Format { path: path.to_owned(), reason };
    let reader = NESTED
        .iter()
        .find_map(|key| PytorchReader::with_top_level_key(path, key).ok())
        .map_or_else(|| PytorchReader::new(path), Ok)
        .map_err(|e| format(e.to_string()))?;
    let length = std::fs::metadata(path)
        .map_err(|source| ModelError::Io { path: path.to_owned(), source })?
        .len();
    let mut total = 0u64;
    let mut dict = StateDict::new();
    for (key, tensor) in reader.into_tensors() {
        let kind = match tensor.dtype() {
            DType::F16 => FloatKind::F16,
            DType::BF16 => FloatKind::Bf16,
            DType::F32 => FloatKind::F32,
            DType::F64 => FloatKind::F64,
            _ => continue,
        };
        // A view with a stride of 0 may claim any shape; what it claims is bounded by the file.
        let count = tensor.shape().iter().try_fold(kind.size(), |n, &side| n.checked_mul(side));
        let claimed = count.filter(|&bytes| bytes as u64 <= length);
        total = total.saturating_add(claimed.unwrap_or(usize::MAX) as u64);
        if total > length.saturating_mul(MOST_VIEWS) {
            return Err(format(format!("tensor '{key}' claims more values than the file holds")));
        }
        let bytes = tensor.read().map_err(|e| format(format!("tensor '{key}': {e}")))?;
        let (shape, values) = (tensor.shape().to_vec(), kind.decode(&bytes));
        if shape.iter().product::<usize>() != values.len() {
            return Err(format(format!(
                "tensor '{key}' has {} values, not {shape:?}",
                values.len()
            )));
        }
        dict.insert(key, Array { shape, values });
    }
    if dict.is_empty() {
        return Err(format("it holds no floating-point tensor".into()));
    }
    Ok(dict)
}
