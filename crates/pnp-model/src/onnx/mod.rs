//! A network as an ONNX file, for whatever runs those.
//!
//! - [`to_onnx`] lays a network out as a graph and encodes it.
//! - `operations` is the executor that writes an operation down instead of computing it, so that no
//!   backbone is described twice; `writer` is the graph that it fills.
//! - [`proto`] holds the messages of the format, as much of them as is needed.
//!
//! What is written: input `images`, f32 `[batch, 3, side, side]` with any batch, as the network
//! wants its images (the facts say how); output `embeddings`, f32 `[batch, embed_dim]`. Operators
//! of version 17. Batch norm is folded into the convolutions. The image's side is fixed: an
//! embedding is as good as it was measured to be at the size it was measured at.

mod operations;
pub mod proto;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod transformer;
mod writer;

use std::collections::BTreeMap;

use prost::Message;

use crate::error::ModelError;
use crate::network::Network;
use proto::{Dimension, Graph, OperatorSet, Property, Shape, Size, TensorType, Type, ValueInfo};
pub(crate) use writer::{Value, Writer};

/// The name of the graph's input.
pub const INPUT: &str = "images";
/// The name of its output.
pub const OUTPUT: &str = "embeddings";
/// The version of the operators: LayerNormalization came with it, and every runtime of the last
/// years knows it.
const OPSET: i64 = 17;
/// The version of the format that goes with it.
const IR_VERSION: i64 = 8;
/// The longest message that protobuf allows, in bytes.
const LONGEST: u64 = i32::MAX as u64;

/// What a file says beside the network itself.
#[derive(Debug, Clone, Copy)]
pub struct OnnxFacts<'a> {
    /// The side of an image, in pixels.
    pub side: usize,
    /// The version of the program that writes it.
    pub version: &'a str,
    /// What the model is, for a person.
    pub summary: &'a str,
    /// How an image is made ready, and whatever else is worth knowing; kept as metadata.
    pub facts: &'a BTreeMap<String, String>,
}

/// A network as the bytes of an ONNX file.
///
/// # Errors
///
/// [`ModelError::Export`] where the file would be longer than protobuf allows, or a batch norm with
/// a negative variance leaves no number to write.
pub fn to_onnx(network: &Network, facts: &OnnxFacts) -> Result<Vec<u8>, ModelError> {
    let parameters = network.parameters();
    let bytes: u64 = parameters.entries().iter().map(|e| 4 * e.tensor.dims()[0] as u64).sum();
    refuse_too_long(bytes)?;
    let writer = Writer::new(parameters);
    let embeddings = network.write(&writer, Writer::images(facts.side));
    let (node, initializer) = writer.finish(&embeddings)?;
    let side = known(facts.side);
    let graph = Graph {
        node,
        name: network.config().backbone.clone(),
        initializer,
        doc_string: facts.summary.to_owned(),
        input: vec![ValueInfo {
            name: INPUT.into(),
            r#type: Some(of_floats(vec![batch(), known(3), side.clone(), side])),
            doc_string: "images made ready as the metadata say".into(),
        }],
        output: vec![ValueInfo {
            name: OUTPUT.into(),
            r#type: Some(of_floats(vec![batch(), known(network.config().embed_dim)])),
            doc_string: "one embedding per image".into(),
        }],
    };
    let pairs = facts.facts.iter();
    let model = proto::Model {
        ir_version: IR_VERSION,
        producer_name: "pnp".into(),
        producer_version: facts.version.to_owned(),
        doc_string: facts.summary.to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: pairs.map(|(k, v)| Property { key: k.clone(), value: v.clone() }).collect(),
    };
    refuse_too_long(model.encoded_len() as u64)?;
    Ok(model.encode_to_vec())
}

/// Refuses a message that readers would not accept.
fn refuse_too_long(bytes: u64) -> Result<(), ModelError> {
    if bytes <= LONGEST {
        return Ok(());
    }
    let reason = format!(
        "it would take {bytes} bytes, and one file holds {LONGEST} at most: export it as \
         safetensors, or train a shorter embedding"
    );
    Err(ModelError::Export { reason })
}

fn of_floats(dim: Vec<Dimension>) -> Type {
    Type { tensor_type: Some(TensorType { elem_type: proto::FLOAT, shape: Some(Shape { dim }) }) }
}

fn batch() -> Dimension {
    Dimension { value: Some(Size::DimParam("batch".into())) }
}

fn known(size: usize) -> Dimension {
    Dimension { value: Some(Size::DimValue(size as i64)) }
}
