//! State dicts in safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::float_kind::FloatKind;
use super::{Array, StateDict};
use crate::error::ModelError;

/// Reads a safetensors file.
pub(super) fn read(path: &Path) -> Result<StateDict, ModelError> {
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    parse(&std::fs::read(path).map_err(io)?, path)
}

/// Parses the bytes of a safetensors file; `path` names it in errors.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<StateDict, ModelError> {
    let format = |reason: String| ModelError::Format { path: path.to_owned(), reason };
    let file = SafeTensors::deserialize(bytes).map_err(|e| {
        format(format!("neither a PyTorch file nor a readable safetensors file ({e})"))
    })?;
    let mut dict = StateDict::new();
    for (key, view) in file.iter() {
        if let Some(values) = floats(&view) {
            dict.insert(key.to_owned(), Array { shape: view.shape().to_vec(), values });
        }
    }
    if dict.is_empty() {
        return Err(format("it holds no floating-point tensor".into()));
    }
    Ok(dict)
}

/// A view's values as f32; `None` for integers, which only count batches.
fn floats(view: &TensorView) -> Option<Vec<f32>> {
    let kind = match view.dtype() {
        Dtype::F16 => FloatKind::F16,
        Dtype::BF16 => FloatKind::Bf16,
        Dtype::F32 => FloatKind::F32,
        Dtype::F64 => FloatKind::F64,
        _ => return None,
    };
    Some(kind.decode(view.data()))
}

/// A state dict as the bytes of a safetensors file with `facts` as its metadata.
///
/// The bytes are a function of what they hold: the library would write the facts in a random order,
/// so they are put first into a header without any.
pub fn to_safetensors_with_facts(dict: &StateDict, facts: &BTreeMap<String, String>) -> Vec<u8> {
    let bare = to_safetensors(dict);
    let (length, rest) = bare.split_first_chunk::<8>().expect("a file begins with a length");
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let metadata = serde_json::to_string(facts).expect("texts always serialise");
    let comma = if dict.is_empty() { "" } else { "," };
    let mut merged = format!(r#"{{"__metadata__":{metadata}{comma}"#).into_bytes();
    merged.extend(&header[1..]);
    // Values begin at a multiple of eight bytes; a header ends in spaces.
    merged.resize(merged.len().next_multiple_of(8), b' ');
    [&(merged.len() as u64).to_le_bytes(), merged.as_slice(), values].concat()
}

/// A state dict as the bytes of a safetensors file, f32, keys in order.
pub fn to_safetensors(dict: &StateDict) -> Vec<u8> {
    let views = dict.iter().map(|(key, array)| {
        let bytes: &[u8] = bytemuck::cast_slice(&array.values);
        let view = TensorView::new(Dtype::F32, array.shape.clone(), bytes);
        (key, view.expect("an array holds as many values as its shape says"))
    });
    safetensors::serialize(views, None).expect("views of whole arrays always serialise")
}
