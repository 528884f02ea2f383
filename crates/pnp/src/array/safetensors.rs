//! `.safetensors`: a JSON header and the values.

use pnp_ranking::Precision;
use safetensors::tensor::{Dtype, SafeTensors};

use super::stored::{Contents, Element};

/// Bytes before the header.
const LENGTH_BYTES: usize = 8;

/// The tensors with their names, in the order of the file.
pub(super) fn list(file: &[u8]) -> Result<Vec<(String, Contents)>, String> {
    // It checks that the tensors are in the file and fill it.
    let (header, about) = SafeTensors::read_metadata(file).map_err(|e| e.to_string())?;
    let start = LENGTH_BYTES + header;
    let names = about.offset_keys().into_iter();
    let of = |name: String| {
        let tensor = about.info(&name)?;
        let (from, to) = tensor.data_offsets;
        let contents = Contents {
            range: start + from..start + to,
            element: element(tensor.dtype),
            shape: tensor.shape.iter().map(|&side| side as u64).collect(),
            columns_first: false,
            big_endian: false,
        };
        Some((name, contents))
    };
    Ok(names.filter_map(of).collect())
}

fn element(kind: Dtype) -> Element {
    let int = |bytes, signed| Element::Int { bytes, signed };
    match kind {
        Dtype::F16 => Element::Float(Precision::F16),
        Dtype::BF16 => Element::Float(Precision::Bf16),
        Dtype::F32 => Element::Float(Precision::F32),
        Dtype::F64 => Element::Float(Precision::F64),
        Dtype::I8 => int(1, true),
        Dtype::I16 => int(2, true),
        Dtype::I32 => int(4, true),
        Dtype::I64 => int(8, true),
        Dtype::U8 => int(1, false),
        Dtype::U16 => int(2, false),
        Dtype::U32 => int(4, false),
        Dtype::U64 => int(8, false),
        other => Element::Other { bytes: 1, name: format!("{other:?}") },
    }
}
