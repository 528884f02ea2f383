//! The executor that writes operations down.
//!
//! A value is the name of a tensor, channels first, as ONNX's convolutions want it. An operation's
//! node is named after the layer's key in the state dict; one without parameters after the layer
//! before it and its operator (`layer1.0.conv3/Add`). Every weight says in its `doc_string` which
//! keys it was made of.

use std::cell::RefCell;
use std::collections::HashSet;

use super::proto::{Attribute, AttributeType, FLOAT, Node, Tensor};
use super::{INPUT, OUTPUT};
use crate::error::ModelError;
use crate::executor::{Executor, Window};
use crate::layer::{ConvNorm, Linear};
use crate::ops::Activation;
use crate::parameters::{ParameterId, Parameters, to_host};

/// A tensor of the graph.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    name: String,
    shape: Shape,
}

/// The shape of a [`Value`], without the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `[batch, channels, height, width]`.
    Maps { channels: usize, height: usize, width: usize },
    /// `[batch, channels]`: a map of one position.
    Vector { channels: usize },
}

/// Writes the operations of one network down.
pub(crate) struct Writer<'a> {
    parameters: &'a Parameters,
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
    fn read(&self, id: ParameterId) -> (&'a str, Vec<f32>) {
        let entry = self.parameters.entry(id);
        (&entry.key, to_host(entry.tensor.clone()))
    }

    /// Begins a layer, named by the key of its weight.
    fn begin_layer(&self, weight: ParameterId) -> String {
        let key = &self.parameters.entry(weight).key;
        let layer = key.strip_suffix(".weight").unwrap_or(key).to_owned();
        self.state.borrow_mut().layer.clone_from(&layer);
        layer
    }

    /// Adds weights of `layer`; `made_of` are the keys they come from.
    fn weights(
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
    fn constant(&self, value: f32) -> String {
        let name = format!("constant/{value}");
        let mut state = self.state.borrow_mut();
        if state.names.insert(name.clone()) {
            state.initializers.push(tensor(&name, &[], &[value], String::new()));
        }
        name
    }

    /// Adds the operation of a layer.
    fn layer_node(
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
    fn node(
        &self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
        shape: Shape,
    ) -> Value {
        let name = format!("{}/{operator}", self.state.borrow().layer);
        self.layer_node(&name, operator, inputs, attributes, shape)
    }

    fn activation(&self, activation: Activation, x: Value) -> Value {
        match activation {
            Activation::None => x,
            Activation::Relu => self.node("Relu", &[&x.name], vec![], x.shape),
            Activation::Relu6 => {
                let (least, most) = (self.constant(0.0), self.constant(6.0));
                self.node("Clip", &[&x.name, &least, &most], vec![], x.shape)
            }
        }
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

impl Executor for Writer<'_> {
    type Value = Value;

    fn conv_norm(&self, layer: &ConvNorm, x: Value) -> Value {
        let key = self.begin_layer(layer.weight);
        let folded = fold(self, layer);
        let [outputs, _, kernel, _] = folded.shape[..] else {
            panic!("a convolution's weight has four dimensions, '{key}' has {:?}", folded.shape)
        };
        let spec = layer.spec;
        let weight =
            self.weights(&key, "weight", &folded.shape, &folded.weight, &folded.weight_keys);
        let bias = self.weights(&key, "bias", &[outputs], &folded.bias, &folded.bias_keys);
        let groups = if spec.depthwise { outputs } else { 1 };
        let window = Window { size: kernel, stride: spec.stride, padding: spec.padding };
        let mut attributes = window_attributes(window);
        attributes.push(whole("group", groups));
        let shape = walked(x.shape, window, outputs);
        let y = self.layer_node(&key, "Conv", &[&x.name, &weight, &bias], attributes, shape);
        self.activation(spec.activation, y)
    }

    fn linear(&self, layer: &Linear, x: Value) -> Value {
        let key = self.begin_layer(layer.weight);
        let ((weight_key, weight), (bias_key, bias)) =
            (self.read(layer.weight), self.read(layer.bias));
        let (inputs, outputs) = (weight.len() / bias.len(), bias.len());
        // At every position of a map it is a convolution by a kernel of one.
        let kernel: &[usize] = match x.shape {
            Shape::Vector { .. } => &[outputs, inputs],
            Shape::Maps { .. } => &[outputs, inputs, 1, 1],
        };
        let weight = self.weights(&key, "weight", kernel, &weight, &[weight_key]);
        let bias = self.weights(&key, "bias", &[outputs], &bias, &[bias_key]);
        let inputs = [x.name.as_str(), &weight, &bias];
        match x.shape {
            Shape::Vector { .. } => {
                let shape = Shape::Vector { channels: outputs };
                self.layer_node(&key, "Gemm", &inputs, vec![whole("transB", 1)], shape)
            }
            Shape::Maps { height, width, .. } => {
                let shape = Shape::Maps { channels: outputs, height, width };
                self.layer_node(&key, "Conv", &inputs, vec![], shape)
            }
        }
    }

    fn add(&self, a: Value, b: Value, activation: Activation) -> Value {
        let sum = self.node("Add", &[&a.name, &b.name], vec![], a.shape);
        self.activation(activation, sum)
    }

    fn max_pool(&self, window: Window, x: Value) -> Value {
        let shape = walked(x.shape, window, x.shape.channels());
        self.node("MaxPool", &[&x.name], window_attributes(window), shape)
    }

    fn mean_pool(&self, x: Value) -> Value {
        let Shape::Maps { channels, .. } = x.shape else { return x };
        let one = Shape::Maps { channels, height: 1, width: 1 };
        let mean = self.node("GlobalAveragePool", &[&x.name], vec![], one);
        self.node("Flatten", &[&mean.name], vec![whole("axis", 1)], Shape::Vector { channels })
    }

    fn unit_length(&self, smallest: f32, x: Value) -> Value {
        let length = match x.shape {
            Shape::Vector { .. } => Shape::Vector { channels: 1 },
            Shape::Maps { height, width, .. } => Shape::Maps { channels: 1, height, width },
        };
        let axes = vec![wholes("axes", &[1]), whole("keepdims", 1)];
        let norm = self.node("ReduceL2", &[&x.name], axes, length);
        let smallest = self.constant(smallest);
        let divisor = self.node("Clip", &[&norm.name, &smallest], vec![], length);
        self.node("Div", &[&x.name, &divisor.name], vec![], x.shape)
    }
}

impl Shape {
    fn channels(self) -> usize {
        match self {
            Self::Maps { channels, .. } | Self::Vector { channels } => channels,
        }
    }
}

/// The shape that a window leaves of a map.
fn walked(shape: Shape, window: Window, channels: usize) -> Shape {
    let Shape::Maps { height, width, .. } = shape else {
        panic!("a window walks over a map, not over {shape:?}")
    };
    let side =
        |side: usize| (side + 2 * window.padding).saturating_sub(window.size) / window.stride + 1;
    Shape::Maps { channels, height: side(height), width: side(width) }
}

/// A convolution that has its batch norm folded in.
struct Folded<'a> {
    shape: Vec<usize>,
    weight: Vec<f32>,
    weight_keys: [&'a str; 3],
    bias: Vec<f32>,
    bias_keys: [&'a str; 4],
}

/// `γ (w·x − μ)/√(σ² + ε) + β` as one weight and one bias, computed in f64.
fn fold<'a>(writer: &Writer<'a>, layer: &ConvNorm) -> Folded<'a> {
    let (weight_key, weight) = writer.read(layer.weight);
    let (gamma_key, gamma) = writer.read(layer.gamma);
    let (beta_key, beta) = writer.read(layer.beta);
    let (mean_key, mean) = writer.read(layer.mean);
    let (variance_key, variance) = writer.read(layer.variance);
    let scales = gamma
        .iter()
        .zip(&variance)
        .map(|(&gamma, &variance)| f64::from(gamma) / (f64::from(variance) + layer.epsilon).sqrt());
    let scales: Vec<f64> = scales.collect();
    let filters = weight.chunks_exact(weight.len() / scales.len()).zip(&scales);
    let weight = filters.flat_map(|(filter, &scale)| {
        filter.iter().map(move |&value| (f64::from(value) * scale) as f32)
    });
    let shifts = beta.iter().zip(&mean).zip(&scales);
    let bias =
        shifts.map(|((&beta, &mean), scale)| (f64::from(beta) - f64::from(mean) * scale) as f32);
    Folded {
        shape: writer.parameters.entry(layer.weight).shape.clone(),
        weight: weight.collect(),
        weight_keys: [weight_key, gamma_key, variance_key],
        bias: bias.collect(),
        bias_keys: [beta_key, mean_key, gamma_key, variance_key],
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

fn window_attributes(window: Window) -> Vec<Attribute> {
    vec![
        wholes("kernel_shape", &[window.size; 2]),
        wholes("strides", &[window.stride; 2]),
        wholes("pads", &[window.padding; 4]),
    ]
}

fn whole(name: &str, value: usize) -> Attribute {
    Attribute {
        name: name.to_owned(),
        i: Some(value as i64),
        r#type: AttributeType::Int.into(),
        ..Attribute::default()
    }
}

fn wholes(name: &str, values: &[usize]) -> Attribute {
    Attribute {
        name: name.to_owned(),
        ints: values.iter().map(|&value| value as i64).collect(),
        r#type: AttributeType::Ints.into(),
        ..Attribute::default()
    }
}
