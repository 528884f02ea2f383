//! Every operation of a network in ONNX's operators.

use super::proto::Attribute;
use super::writer::{Shape, Value, Writer, whole, wholes};
use crate::executor::{Executor, Window};
use crate::layer::{ConvNorm, Linear};
use crate::ops::Activation;

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

impl Writer<'_> {
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

fn window_attributes(window: Window) -> Vec<Attribute> {
    vec![
        wholes("kernel_shape", &[window.size; 2]),
        wholes("strides", &[window.stride; 2]),
        wholes("pads", &[window.padding; 4]),
    ]
}
