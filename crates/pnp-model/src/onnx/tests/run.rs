//! A graph carried out operator by operator, each as the standard's page on it has it and no
//! faster: what the written file computes, apart from the network it was written from.

use std::collections::HashMap;

use super::super::proto::{Attribute, Graph, Node};

/// Values with their shape, row-major.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// The output of a graph.
pub(super) fn run(graph: &Graph, images: Array) -> Array {
    let initializers = graph.initializer.iter().map(|tensor| {
        let shape = tensor.dims.iter().map(|&side| usize::try_from(side).unwrap()).collect();
        let values = tensor.raw_data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        (tensor.name.clone(), Array { shape, values })
    });
    let mut known: HashMap<String, Array> = initializers.collect();
    known.insert(graph.input[0].name.clone(), images);
    for node in &graph.node {
        let inputs: Vec<&Array> = node.input.iter().map(|name| &known[name]).collect();
        let output = carry_out(node, &inputs);
        known.insert(node.output[0].clone(), output);
    }
    known.remove(&graph.output[0].name).unwrap()
}

fn carry_out(node: &Node, inputs: &[&Array]) -> Array {
    let x = inputs[0];
    match node.op_type.as_str() {
        "Conv" => convolution(node, x, inputs[1], &inputs[2].values),
        "Gemm" => product(node, x, inputs[1], &inputs[2].values),
        "MaxPool" => max_pool(node, x),
        "GlobalAveragePool" => mean_of_maps(x),
        "Flatten" => flatten(node, x),
        "Relu" => x.map(|value| value.max(0.0)),
        "Clip" => {
            let most = inputs.get(2).map_or(f32::INFINITY, |most| most.values[0]);
            x.map(|value| value.max(inputs[1].values[0]).min(most))
        }
        "Add" => {
            assert_eq!(x.shape, inputs[1].shape);
            let sums = x.values.iter().zip(&inputs[1].values).map(|(a, b)| a + b);
            Array { shape: x.shape.clone(), values: sums.collect() }
        }
        "ReduceL2" => lengths(node, x),
        "Div" => divide(x, inputs[1]),
        other => panic!("the graph has an operator '{other}' that this runner does not know"),
    }
}

impl Array {
    fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Self { shape: self.shape.clone(), values: self.values.iter().map(|&v| f(v)).collect() }
    }

    /// `[batch, channels, height, width]`.
    fn maps(&self) -> [usize; 4] {
        self.shape.as_slice().try_into().expect("an array of maps")
    }

    /// The value at a place that may lie in the padding.
    fn at(&self, n: usize, c: usize, y: isize, x: isize) -> Option<f32> {
        let [_, channels, height, width] = self.maps();
        let (y, x) = (usize::try_from(y).ok()?, usize::try_from(x).ok()?);
        let inside = y < height && x < width;
        inside.then(|| self.values[((n * channels + c) * height + y) * width + x])
    }
}

/// The attribute of a node, which must be there.
fn attribute<'a>(node: &'a Node, name: &str) -> Option<&'a Attribute> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn whole(node: &Node, name: &str) -> Option<usize> {
    attribute(node, name).map(|attribute| attribute.i.unwrap() as usize)
}

fn wholes(node: &Node, name: &str) -> Option<Vec<usize>> {
    attribute(node, name).map(|a| a.ints.iter().map(|&value| value as usize).collect())
}

/// How a node's window walks: kernel, stride, padding before and after, for rows and columns.
struct Walk {
    kernel: [usize; 2],
    stride: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl Walk {
    fn of(node: &Node, kernel: [usize; 2]) -> Self {
        let pair = |name| wholes(node, name).map_or([1, 1], |v| [v[0], v[1]]);
        let pads = wholes(node, "pads").unwrap_or(vec![0; 4]);
        let (before, after) = ([pads[0], pads[1]], [pads[2], pads[3]]);
        Self { kernel, stride: pair("strides"), before, after }
    }

    fn side(&self, axis: usize, side: usize) -> usize {
        (side + self.before[axis] + self.after[axis] - self.kernel[axis]) / self.stride[axis] + 1
    }

    /// The places of a window, with their place in the kernel.
    fn places(&self, y: usize, x: usize) -> impl Iterator<Item = (usize, isize, isize)> {
        let start =
            |axis: usize, at: usize| (at * self.stride[axis]) as isize - self.before[axis] as isize;
        let (top, left, [rows, columns]) = (start(0, y), start(1, x), self.kernel);
        (0..rows * columns)
            .map(move |k| (k, top + (k / columns) as isize, left + (k % columns) as isize))
    }
}

fn convolution(node: &Node, x: &Array, weight: &Array, bias: &[f32]) -> Array {
    let [batch, _, height, width] = x.maps();
    let [outputs, per_filter, kernel_height, kernel_width] = weight.maps();
    let walk = Walk::of(node, [kernel_height, kernel_width]);
    if let Some(stated) = wholes(node, "kernel_shape") {
        assert_eq!(stated, walk.kernel);
    }
    let per_group = outputs / whole(node, "group").unwrap_or(1);
    let (rows, columns) = (walk.side(0, height), walk.side(1, width));
    let area = kernel_height * kernel_width;
    let mut values = Vec::with_capacity(batch * outputs * rows * columns);
    for n in 0..batch {
        for (o, bias) in bias.iter().enumerate() {
            let filter = &weight.values[o * per_filter * area..][..per_filter * area];
            let first = o / per_group * per_filter;
            for place in 0..rows * columns {
                let mut sum = *bias;
                for c in 0..per_filter {
                    for (k, y, left) in walk.places(place / columns, place % columns) {
                        let value = x.at(n, first + c, y, left).unwrap_or(0.0);
                        sum += filter[c * area + k] * value;
                    }
                }
                values.push(sum);
            }
        }
    }
    Array { shape: vec![batch, outputs, rows, columns], values }
}

fn max_pool(node: &Node, x: &Array) -> Array {
    let [batch, channels, height, width] = x.maps();
    let kernel = wholes(node, "kernel_shape").unwrap();
    let walk = Walk::of(node, [kernel[0], kernel[1]]);
    let (rows, columns) = (walk.side(0, height), walk.side(1, width));
    let mut values = Vec::new();
    for n in 0..batch * channels {
        for place in 0..rows * columns {
            let shown = walk.places(place / columns, place % columns);
            let shown = shown.filter_map(|(_, y, left)| x.at(n / channels, n % channels, y, left));
            values.push(shown.fold(f32::NEG_INFINITY, f32::max));
        }
    }
    Array { shape: vec![batch, channels, rows, columns], values }
}

fn mean_of_maps(x: &Array) -> Array {
    let [batch, channels, height, width] = x.maps();
    let area = height * width;
    let means = x.values.chunks_exact(area).map(|map| map.iter().sum::<f32>() / area as f32);
    Array { shape: vec![batch, channels, 1, 1], values: means.collect() }
}

fn flatten(node: &Node, x: &Array) -> Array {
    let (before, after) = x.shape.split_at(whole(node, "axis").unwrap());
    let shape = vec![before.iter().product(), after.iter().product()];
    Array { shape, values: x.values.clone() }
}

fn product(node: &Node, x: &Array, weight: &Array, bias: &[f32]) -> Array {
    assert_eq!(whole(node, "transB"), Some(1));
    let (inputs, outputs) = (weight.shape[1], weight.shape[0]);
    let rows = x.values.chunks_exact(inputs);
    let values = rows.flat_map(|row| {
        let filters = weight.values.chunks_exact(inputs).zip(bias);
        filters.map(move |(filter, bias)| {
            bias + row.iter().zip(filter).map(|(a, b)| a * b).sum::<f32>()
        })
    });
    Array { values: values.collect(), shape: vec![x.shape[0], outputs] }
}

/// Euclidean lengths over the channels, which stay as a dimension of one.
fn lengths(node: &Node, x: &Array) -> Array {
    assert_eq!((wholes(node, "axes"), whole(node, "keepdims")), (Some(vec![1]), Some(1)));
    let (channels, area) = (x.shape[1], x.shape[2..].iter().product::<usize>());
    let values = x.values.chunks_exact(channels * area).flat_map(|image| {
        (0..area).map(move |place| {
            let squares = image.iter().skip(place).step_by(area).map(|value| value * value);
            squares.sum::<f32>().sqrt()
        })
    });
    let mut shape = x.shape.clone();
    shape[1] = 1;
    Array { values: values.collect(), shape }
}

/// Every channel of `x` divided by the one channel of `divisor`.
fn divide(x: &Array, divisor: &Array) -> Array {
    let (channels, area) = (x.shape[1], x.shape[2..].iter().product::<usize>());
    let quotient =
        |(i, value): (usize, &f32)| value / divisor.values[i / (channels * area) * area + i % area];
    Array { shape: x.shape.clone(), values: x.values.iter().enumerate().map(quotient).collect() }
}
