//! Every operation of a network in ONNX's operators.

use super::proto::Attribute;
use super::writer::{Shape, Value, Writer, whole, wholes};
use crate::executor::{Executor, Window};
use crate::layer::{ConvNorm, Linear};
use crate::ops::Activation;
use crate::pool::Gem;
use crate::transformer::{LayerNorm, PatchConv, Tokens};

impl Executor for Writer<'_> {
    type Value = Value;

    fn conv_norm(&self, layer: &ConvNorm, x: Value) -> Value {
        let key = self.begin_layer(layer.weight);
        let Folded { weight, weight_keys, bias, bias_keys } = fold(self, layer);
        let shape = self.parameters.entry(layer.weight).shape.as_slice();
        let spec = layer.spec;
        let weight = self.weights(&key, "weight", shape, &weight, &weight_keys);
        let bias = self.weights(&key, "bias", &shape[..1], &bias, &bias_keys);
        let groups = if spec.depthwise { shape[0] } else { 1 };
        let (stride, padding) = (spec.stride, spec.padding);
        let window = Window { size: shape[2], stride, padding, ceil: false };
        let (mut attributes, sides) = walk(window, x.shape);
        attributes.push(whole("group", groups));
        let y = Shape::maps(shape[0], sides);
        let y = self.layer_node(&key, "Conv", &[&x.name, &weight, &bias], attributes, y);
        self.activation(spec.activation, y)
    }

    fn linear(&self, layer: &Linear, x: Value) -> Value {
        let key = self.begin_layer(layer.weight);
        let (weight_key, weight) = self.read(layer.weight);
        let (bias_key, bias) = self.read(layer.bias);
        let (inputs, outputs) = (weight.len() / bias.len(), bias.len());
        let bias = self.weights(&key, "bias", &[outputs], &bias, &[bias_key]);
        let kept = |shape: &[usize]| self.weights(&key, "weight", shape, &weight, &[weight_key]);
        match x.shape {
            Shape::Vector { .. } => {
                let weight = kept(&[outputs, inputs]);
                let (attributes, y) =
                    (vec![whole("transB", 1)], Shape::Vector { channels: outputs });
                self.layer_node(&key, "Gemm", &[&x.name, &weight, &bias], attributes, y)
            }
            Shape::Maps { height, width, .. } => {
                // At every position of a map it is a convolution by a kernel of one.
                let weight = kept(&[outputs, inputs, 1, 1]);
                let y = Shape::maps(outputs, [height, width]);
                self.layer_node(&key, "Conv", &[&x.name, &weight, &bias], vec![], y)
            }
            Shape::Tokens { tokens, .. } => {
                let weight = transposed(&weight, inputs);
                let weight =
                    self.weights(&key, "weight", &[inputs, outputs], &weight, &[weight_key]);
                let y = Shape::Tokens { tokens, channels: outputs };
                let y = self.layer_node(&key, "MatMul", &[&x.name, &weight], vec![], y);
                self.node("Add", &[&y.name, &bias], vec![], y.shape)
            }
        }
    }

    fn add(&self, a: Value, b: Value, activation: Activation) -> Value {
        let sum = self.node("Add", &[&a.name, &b.name], vec![], a.shape);
        self.activation(activation, sum)
    }

    fn max_pool(&self, window: Window, x: Value) -> Value {
        let (attributes, sides) = walk(window, x.shape);
        let y = Shape::maps(x.shape.channels(), sides);
        self.node("MaxPool", &[&x.name], attributes, y)
    }

    fn avg_pool(&self, window: Window, x: Value) -> Value {
        let (mut attributes, sides) = walk(window, x.shape);
        attributes.push(whole("count_include_pad", 1));
        let y = Shape::maps(x.shape.channels(), sides);
        self.node("AveragePool", &[&x.name], attributes, y)
    }

    fn concat(&self, parts: Vec<Value>) -> Value {
        let channels = parts.iter().map(|part| part.shape.channels()).sum();
        let (_, sides) = parts[0].shape.expect_maps();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        self.node("Concat", &names, vec![whole("axis", 1)], Shape::maps(channels, sides))
    }

    fn mean_pool(&self, x: Value) -> Value {
        self.pool_all("GlobalAveragePool", "ReduceMean", x)
    }

    fn global_max_pool(&self, x: Value) -> Value {
        self.pool_all("GlobalMaxPool", "ReduceMax", x)
    }

    fn gem_pool(&self, layer: &Gem, x: Value) -> Value {
        let (key, exponent) = self.read(layer.p);
        let layer = self.begin_layer(layer.p);
        let exponent = self.weights(&layer, "exponent", &[], &exponent, &[key]);
        let y = Shape::Vector { channels: x.shape.channels() };
        let axes = || {
            let positions: &[usize] =
                if matches!(x.shape, Shape::Maps { .. }) { &[2, 3] } else { &[1] };
            vec![wholes("axes", positions), whole("keepdims", 1)]
        };
        let one = |operator, inputs: &[&str]| self.node(operator, inputs, vec![], x.shape).name;
        let smallest = self.constant(Gem::SMALLEST);
        let logs = one("Log", &[&one("Clip", &[&x.name, &smallest])]);
        // Relative to the largest value no power overflows, as in the network itself.
        let largest = self.node("ReduceMax", &[&logs], axes(), x.shape).name;
        let powers = one("Exp", &[&one("Mul", &[&one("Sub", &[&logs, &largest]), &exponent])]);
        let mean = self.node("ReduceMean", &[&powers], axes(), x.shape).name;
        let root = one("Div", &[&one("Log", &[&mean]), &exponent]);
        let mean = one("Exp", &[&one("Add", &[&root, &largest])]);
        self.node("Flatten", &[&mean], vec![whole("axis", 1)], y)
    }

    fn unit_length(&self, smallest: f32, x: Value) -> Value {
        let axis = if matches!(x.shape, Shape::Tokens { .. }) { 2 } else { 1 };
        let axes = vec![wholes("axes", &[axis]), whole("keepdims", 1)];
        let norm = self.node("ReduceL2", &[&x.name], axes, x.shape);
        let smallest = self.constant(smallest);
        let divisor = self.node("Clip", &[&norm.name, &smallest], vec![], x.shape);
        self.node("Div", &[&x.name, &divisor.name], vec![], x.shape)
    }

    fn relu(&self, x: Value) -> Value {
        self.activation(Activation::Relu, x)
    }

    fn columns(&self, start: usize, end: Option<usize>, x: Value) -> Value {
        let Shape::Tokens { tokens, channels } = x.shape else {
            panic!("only a transformer's tokens are cut, not {:?}", x.shape)
        };
        let end = end.unwrap_or(tokens);
        let part = Shape::Tokens { tokens: end - start, channels };
        let [from, to, axis] = [start, end, 1].map(|place| self.whole_constant(&[place as i64]));
        let part = self.node("Slice", &[&x.name, &from, &to, &axis], vec![], part);
        if end - start > 1 {
            return part;
        }
        // One token is a vector.
        let axis = vec![whole("axis", 1)];
        self.node("Flatten", &[&part.name], axis, Shape::Vector { channels })
    }

    fn patch_conv(&self, layer: &PatchConv, x: Value) -> Value {
        let key = self.begin_layer(layer.weight);
        let (weight_key, weight) = self.read(layer.weight);
        let (bias_key, bias) = self.read(layer.bias);
        let shape = self.parameters.entry(layer.weight).shape.as_slice();
        let weight = self.weights(&key, "weight", shape, &weight, &[weight_key]);
        let bias = self.weights(&key, "bias", &shape[..1], &bias, &[bias_key]);
        let window = Window { size: layer.kernel, stride: layer.kernel, padding: 0, ceil: false };
        let (attributes, sides) = walk(window, x.shape);
        let y = Shape::maps(shape[0], sides);
        self.layer_node(&key, "Conv", &[&x.name, &weight, &bias], attributes, y)
    }

    fn tokens(&self, layer: &Tokens, x: Value) -> Value {
        self.with_class_token(layer, &x)
    }

    fn layer_norm(&self, layer: &LayerNorm, x: Value) -> Value {
        self.normalised(layer, &x)
    }

    fn gelu(&self, x: Value) -> Value {
        // In this order runtimes know it and run it as one operation.
        let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|c| self.constant(c));
        let node = |operator, inputs: &[&str]| self.node(operator, inputs, vec![], x.shape);
        let scaled = node("Div", &[&x.name, &root]);
        let erf = node("Erf", &[&scaled.name]);
        let share = node("Add", &[&erf.name, &one]);
        let product = node("Mul", &[&x.name, &share.name]);
        node("Mul", &[&product.name, &half])
    }

    fn attention(&self, heads: usize, x: Value) -> Value {
        self.attended(heads, &x)
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

    /// One value of each channel over all positions: by `operator` of maps, by `reduction` of
    /// tokens.
    fn pool_all(&self, operator: &str, reduction: &str, x: Value) -> Value {
        let y = Shape::Vector { channels: x.shape.channels() };
        match x.shape {
            Shape::Vector { .. } => x,
            Shape::Tokens { .. } => {
                let axes = vec![wholes("axes", &[1]), whole("keepdims", 0)];
                self.node(reduction, &[&x.name], axes, y)
            }
            Shape::Maps { .. } => {
                let pooled = self.node(operator, &[&x.name], vec![], x.shape);
                self.node("Flatten", &[&pooled.name], vec![whole("axis", 1)], y)
            }
        }
    }
}

/// How a window walks over a map, as attributes, and the sides of what it leaves.
///
/// Where a last window reaches beyond the map it is padded so far: `ceil_mode` is not read alike by
/// all runtimes.
fn walk(window: Window, shape: Shape) -> (Vec<Attribute>, [usize; 2]) {
    let Window { size, stride, padding, ceil } = window;
    let (_, sides) = shape.expect_maps();
    let (mut after, mut left) = ([padding; 2], [0; 2]);
    for ((side, after), left) in sides.into_iter().zip(&mut after).zip(&mut left) {
        let reach = (side + 2 * padding).saturating_sub(size);
        let mut steps = if ceil { reach.div_ceil(stride) } else { reach / stride };
        // PyTorch keeps a window that begins in the map or in the padding before it.
        if ceil && steps * stride >= side + padding {
            steps -= 1;
        }
        *after += (steps * stride + size).saturating_sub(side + 2 * padding);
        *left = steps + 1;
    }
    let attributes = vec![
        wholes("kernel_shape", &[size; 2]),
        wholes("strides", &[stride; 2]),
        wholes("pads", &[padding, padding, after[0], after[1]]),
    ];
    (attributes, left)
}

/// A convolution that has its batch norm folded in.
struct Folded<'a> {
    weight: Vec<f32>,
    weight_keys: Vec<&'a str>,
    bias: Vec<f32>,
    bias_keys: Vec<&'a str>,
}

/// `γ (w·x + b − μ)/√(σ² + ε) + β` as one weight and one bias, computed in f64.
fn fold<'a>(writer: &Writer<'a>, layer: &ConvNorm) -> Folded<'a> {
    let (weight_key, weight) = writer.read(layer.weight);
    let (gamma_key, gamma) = writer.read(layer.gamma);
    let (beta_key, beta) = writer.read(layer.beta);
    let (mean_key, mean) = writer.read(layer.mean);
    let (variance_key, variance) = writer.read(layer.variance);
    let own = layer.bias.map(|bias| writer.read(bias));
    let scales = gamma
        .iter()
        .zip(&variance)
        .map(|(&gamma, &variance)| f64::from(gamma) / (f64::from(variance) + layer.epsilon).sqrt());
    let scales: Vec<f64> = scales.collect();
    let filters = weight.chunks_exact(weight.len() / scales.len()).zip(&scales);
    let weight = filters.flat_map(|(filter, &scale)| {
        filter.iter().map(move |&value| (f64::from(value) * scale) as f32)
    });
    let bias = scales.iter().enumerate().map(|(channel, scale)| {
        let own = own.as_ref().map_or(0.0, |(_, values)| values[channel]);
        let shift = f64::from(own) - f64::from(mean[channel]);
        (f64::from(beta[channel]) + shift * scale) as f32
    });
    let keys = [beta_key, mean_key, gamma_key, variance_key].into_iter();
    Folded {
        weight: weight.collect(),
        weight_keys: vec![weight_key, gamma_key, variance_key],
        bias: bias.collect(),
        bias_keys: keys.chain(own.as_ref().map(|(key, _)| *key)).collect(),
    }
}

/// The rows of a matrix of `columns` columns as its columns.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let column = |c: usize| matrix.iter().skip(c).step_by(columns);
    (0..columns).flat_map(column).copied().collect()
}
