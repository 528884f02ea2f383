//! State dicts in safetensors files.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::StateDict;
use super::stored::Stored;
use super::value_kind::ValueKind;

/// Bytes of the number that a file begins with, the length of its header.
const LENGTH: usize = 8;

/// A parsed file.
pub(super) struct Parsed {
    pub(super) tensors: BTreeMap<String, Stored>,
    /// The texts under `__metadata__`.
    pub(super) facts: BTreeMap<String, String>,
}

/// Whether a file begins as a safetensors file does: with a length, and the `{` of its header.
pub(super) fn is_one(file: &[u8]) -> bool {
    file.get(LENGTH) == Some(&b'{')
}

/// Parses a safetensors file.
pub(super) fn parse(file: &[u8]) -> Result<Parsed, String> {
    let broken = |e| format!("its safetensors header is broken ({e})");
    // This checks that the tensors fill the file side by side; the header alone gives their places.
    SafeTensors::deserialize(file).map_err(broken)?;
    let (header, metadata) = SafeTensors::read_metadata(file).map_err(broken)?;
    let start = LENGTH + header;
    let tensors = metadata.tensors().into_iter().map(|(key, info)| {
        let (from, to) = info.data_offsets;
        let range = start + from..start + to;
        (key, Stored::contiguous(kind(info.dtype), info.shape.clone(), range))
    });
    let facts = metadata.metadata().iter().flatten();
    Ok(Parsed {
        tensors: tensors.collect(),
        facts: facts.map(|(key, value)| (key.clone(), value.clone())).collect(),
    })
}

fn kind(dtype: Dtype) -> ValueKind {
    match dtype {
        Dtype::F16 => ValueKind::F16,
        Dtype::BF16 => ValueKind::Bf16,
        Dtype::F32 => ValueKind::F32,
        Dtype::F64 => ValueKind::F64,
        Dtype::I64 => ValueKind::Other("i64", 8),
        Dtype::I32 => ValueKind::Other("i32", 4),
        Dtype::I16 => ValueKind::Other("i16", 2),
        Dtype::I8 => ValueKind::Other("i8", 1),
        Dtype::U64 => ValueKind::Other("u64", 8),
        Dtype::U32 => ValueKind::Other("u32", 4),
        Dtype::U16 => ValueKind::Other("u16", 2),
        Dtype::U8 => ValueKind::Other("u8", 1),
        Dtype::BOOL => ValueKind::Other("bool", 1),
        // Values of less than a byte, and what comes later.
        _ => ValueKind::Other("other", 0),
    }
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
