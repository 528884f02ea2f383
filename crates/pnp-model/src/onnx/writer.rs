//! A graph that grows operation by operation.
//!
//! A value is the name of a tensor: of maps with the channels first, as ONNX's convolutions want
//! them, of a transformer's tokens with the channels last, as its products want them. An operation's
//! node is named after the layer's key in the state dict; one without parameters after the layer
//! before it and its operator (`layer1.0.conv3/Add`). Every weight says in its `doc_string` which
//! keys it was made of.

use std::cell::RefCell;
use std::collections::HashSet;

use super::proto::{Attribute, AttributeType, FLOAT, INT64, Node, Tensor};
use super::{INPUT, OUTPUT};
use crate::error::ModelError;
use crate::parameters::{ParameterId, Parameters, to_host};

/// A tensor of the graph.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(super) name: String,
    pub(super) shape: Shape,
}

/// The shape of a [`Value`], without the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `[batch, channels, height, width]`.
    Maps { channels: usize, height: usize, width: usize },
    /// `[batch, tokens, channels]`: the columns of a map of one row.
    Tokens { tokens: usize, channels: usize },
    /// `[batch, channels]`: a map of one position.
    Vector { channels: usize },
}

/// Writes the operations of one network down.
pub(crate) struct Writer<'a> {
    pub(super) parameters: &'a Parameters,
    state: RefCell<State>,
}

/// What was written so far.
#[derive(Default)]
struct State {
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
    /// Names of values that are taken.
    names: HashSet<String>,
    /// The layer that was written last.
    layer: String,
    /// The first layer whose weights are no numbers.
    broken: Option<String>,
}

impl<'a> Writer<'a> {
    /// An empty graph of a network with these parameters.
    pub(crate) fn new(parameters: &'a Parameters) -> Self {
        let state =
            State { names: HashSet::from([INPUT.into(), OUTPUT.into()]), ..State::default() };
        Self { parameters, state: RefCell::new(state) }
    }

    /// The graph's input: images of this side.
    pub(crate) fn images(side: usize) -> Value {
        let shape = Shape::Maps { channels: 3, height: side, width: side };
        Value { name: INPUT.into(), shape }
    }

    /// The graph, with `embeddings` as its output.
    pub(crate) fn finish(self, embeddings: &Value) -> Result<(Vec<Node>, Vec<Tensor>), ModelError> {
        let State { mut nodes, initializers, broken, .. } = self.state.into_inner();
        if let Some(layer) = broken {
            let reason = format!(
                "the weights of '{layer}' with its batch norm folded in are not finite (a running \
                 variance may be negative)"
            );
            return Err(ModelError::Export { reason });
        }
        // The last operation made them and no other takes them.
        for output in nodes.iter_mut().flat_map(|node| &mut node.output) {
            if *output == embeddings.name {
                OUTPUT.clone_into(output);
            }
        }
        Ok((nodes, initializers))
    }

    /// A tensor of the table and its key.
    pub(super) fn read(&self, id: ParameterId) -> (&'a str, Vec<f32>) {
        let entry = self.parameters.entry(id);
        (&entry.key, to_host(entry.tensor.clone()))
    }

    /// Begins a layer, named by the key of its weight.
    pub(super) fn begin_layer(&self, weight: ParameterId) -> String {
        let key = &self.parameters.entry(weight).key;
        let layer = key.strip_suffix(".weight").unwrap_or(key).to_owned();
        self.state.borrow_mut().layer.clone_from(&layer);
        layer
    }

    /// Adds weights of `layer`; `made_of` are the keys they come from.
    pub(super) fn weights(
        &self,
        layer: &str,
        name: &str,
        shape: &[usize],
        values: &[f32],
        made_of: &[&str],
    ) -> String {
        let mut state = self.state.borrow_mut();
        if state.broken.is_none() && !values.iter().all(|value| value.is_finite()) {
            state.broken = Some(layer.to_owned());
        }
        let name = state.free_name(&format!("{layer}.{name}"));
        state.initializers.push(tensor(&name, shape, values, made_of.join(", ")));
        name
    }

    /// A constant of one value.
    pub(super) fn constant(&self, value: f32) -> String {
        let name = format!("constant/{value}");
        let mut state = self.state.borrow_mut();
        if state.names.insert(name.clone()) {
            state.initializers.push(tensor(&name, &[], &[value], String::new()));
        }
        name
    }

    /// A constant of so many ones.
    pub(super) fn ones(&self, count: usize) -> String {
        let name = format!("constant/1x{count}");
        let mut state = self.state.borrow_mut();
        if state.names.insert(name.clone()) {
            state.initializers.push(tensor(&name, &[count], &vec![1.0; count], String::new()));
        }
        name
    }

    /// A constant of whole numbers, such as a shape.
    pub(super) fn whole_constant(&self, values: &[i64]) -> String {
        let name = format!("constant/{values:?}");
        let mut state = self.state.borrow_mut();
        if state.names.insert(name.clone()) {
            state.initializers.push(Tensor {
                dims: vec![values.len() as i64],
                data_type: INT64,
                name: name.clone(),
                raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                doc_string: String::new(),
            });
        }
        name
    }

    /// Adds the operation of a layer.
    pub(super) fn layer_node(
        &self,
        layer: &str,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
        shape: Shape,
    ) -> Value {
        let mut state = self.state.borrow_mut();
        let name = state.free_name(layer);
        state.nodes.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: operator.to_owned(),
            attribute: attributes,
        });
        Value { name, shape }
    }

    /// Adds an operation without parameters.
    pub(super) fn node(
        &self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
        shape: Shape,
    ) -> Value {
        let name = format!("{}/{operator}", self.state.borrow().layer);
        self.layer_node(&name, operator, inputs, attributes, shape)
    }
}

impl State {
    /// The name, or it with the first number that makes it another than those before.
    fn free_name(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1;
        while !self.names.insert(free.clone()) {
            number += 1;
            free = format!("{name}_{number}");
        }
        free
    }
}

impl Shape {
    /// Maps of these rows and columns.
    pub(super) fn maps(channels: usize, [height, width]: [usize; 2]) -> Self {
        Self::Maps { channels, height, width }
    }

    pub(super) fn channels(self) -> usize {
        match self {
            Self::Maps { channels, .. }
            | Self::Tokens { channels, .. }
            | Self::Vector { channels } => channels,
        }
    }

    /// Channels, and rows and columns, of what the backbone says are maps.
    pub(super) fn expect_maps(self) -> (usize, [usize; 2]) {
        match self {
            Self::Maps { channels, height, width } => (channels, [height, width]),
            other => panic!("maps were expected, not {other:?}"),
        }
    }
}

fn tensor(name: &str, shape: &[usize], values: &[f32], doc_string: String) -> Tensor {
    Tensor {
        dims: shape.iter().map(|&side| side as i64).collect(),
        data_type: FLOAT,
        name: name.to_owned(),
        raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        doc_string,
    }
}

pub(super) fn whole(name: &str, value: usize) -> Attribute {
    Attribute {
        name: name.to_owned(),
        i: Some(value as i64),
        r#type: AttributeType::Int.into(),
        ..Attribute::default()
    }
}

pub(super) fn real(name: &str, value: f32) -> Attribute {
    Attribute {
        name: name.to_owned(),
        f: Some(value),
        r#type: AttributeType::Float.into(),
        ..Attribute::default()
    }
}

pub(super) fn wholes(name: &str, values: &[usize]) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.iter().map(|&value| value as i64).collect(),
        r#type: AttributeType::Ints.into(),
        ..Attribute::default()
    }
}
