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
const ZIP: &[u8] = b"PK";
const PICKLE: u8 = 0x80;
/// The widest pickle protocol there is; a safetensors header's length never begins like this.
const LAST_PROTOCOL: u8 = 5;

/// Whether a file begins as one of PyTorch's does.
pub(super) fn looks_like(path: &Path) -> Result<bool, ModelError> {
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let mut start = [0; 2];
    let mut file = File::open(path).map_err(io)?;
    let length = file.read(&mut start).map_err(io)?;
    let pickle = length == 2 && start[0] == PICKLE && (2..=LAST_PROTOCOL).contains(&start[1]);
    // A safetensors file of 640 to 1,408 bytes of header could begin like a pickle, but its third
    // to eighth bytes are then zero.
    let mut rest = [0; 6];
    let zeros = file.read_exact(&mut rest).is_ok() && rest == [0; 6];
    Ok(start == ZIP || (pickle && !zeros))
}

/// Reads all floating-point tensors of a PyTorch file.
pub(super) fn read(path: &Path) -> Result<StateDict, ModelError> {
    let format = |reason: String| ModelError::Format { path: path.to_owned(), reason };
    let reader = NESTED
        .iter()
        .find_map(|key| PytorchReader::with_top_level_key(path, key).ok())
        .map_or_else(|| PytorchReader::new(path), Ok)
        .map_err(|e| format(e.to_string()))?;
    let mut dict = StateDict::new();
    for (key, tensor) in reader.into_tensors() {
        let kind = match tensor.dtype() {
            DType::F16 => FloatKind::F16,
            DType::BF16 => FloatKind::Bf16,
            DType::F32 => FloatKind::F32,
            DType::F64 => FloatKind::F64,
            _ => continue,
        };
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
