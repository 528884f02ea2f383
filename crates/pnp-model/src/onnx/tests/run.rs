//! A graph carried out operator by operator, each as the standard's page on it has it and no
//! faster: what the written file computes, apart from the network it was written from.

use std::collections::HashMap;

use super::super::proto::{Attribute, FLOAT, Graph, INT64, Node};

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
        let bytes = &tensor.raw_data;
        let values = match tensor.data_type {
            FLOAT => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            INT64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f32).collect(),
            other => panic!("'{}' is of the type {other}", tensor.name),
        };
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
        "GlobalMaxPool" => reduce(x, &[2, 3], true, largest),
        "AveragePool" => average_pool(node, x),
        "Concat" => concat(node, inputs),
        "ReduceMean" => {
            reduce_by(node, x, |values| values.iter().sum::<f32>() / values.len() as f32)
        }
        "ReduceMax" => reduce_by(node, x, largest),
        "ReduceL2" => reduce_by(node, x, |v| v.iter().map(|v| v * v).sum::<f32>().sqrt()),
        "Relu" => x.map(|value| value.max(0.0)),
        "Log" => x.map(f32::ln),
        "Exp" => x.map(f32::exp),
        "Erf" => x.map(|value| erf(f64::from(value)) as f32),
        "Clip" => {
            let most = inputs.get(2).map_or(f32::INFINITY, |most| most.values[0]);
            x.map(|value| value.max(inputs[1].values[0]).min(most))
        }
        "Add" => pairs(x, inputs[1], |a, b| a + b),
        "Sub" => pairs(x, inputs[1], |a, b| a - b),
        "Mul" => pairs(x, inputs[1], |a, b| a * b),
        "Div" => pairs(x, inputs[1], |a, b| a / b),
        "MatMul" => matrices(x, inputs[1]),
        "Softmax" => rows(x, softmax),
        "LayerNormalization" => layer_norm(node, inputs),
        "Reshape" => reshape(x, inputs[1]),
        "Transpose" => transpose(x, &wholes(node, "perm").unwrap()),
        "Slice" => slice(x, inputs),
        "Pad" => pad(x, inputs[1]),
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

fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The places of an array in order, each as a place along every axis.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..shape.iter().product()).map(move |mut place: usize| {
        let mut along = vec![0; shape.len()];
        for (axis, &side) in shape.iter().enumerate().rev() {
            along[axis] = place % side;
            place /= side;
        }
        along
    })
}

impl Array {
    /// The value at a place; an array of fewer axes lacks the first ones, a side of 1 is the same
    /// at every place.
    fn broadcast(&self, place: &[usize]) -> f32 {
        let along = &place[place.len() - self.shape.len()..];
        let index = along
            .iter()
            .zip(&self.shape)
            .fold(0, |index, (&at, &side)| index * side + if side == 1 { 0 } else { at });
        self.values[index]
    }

    /// An array of a shape, each value made of its place.
    fn of(shape: Vec<usize>, value: impl Fn(&[usize]) -> f32) -> Self {
        let values = places(&shape).map(|place| value(&place)).collect();
        Self { shape, values }
    }

    /// Whole numbers that were kept as an array.
    fn wholes(&self) -> Vec<usize> {
        self.values.iter().map(|&value| value as usize).collect()
    }
}

/// `f` of two arrays, the second of which may be broadcast.
fn pairs(a: &Array, b: &Array, f: impl Fn(f32, f32) -> f32) -> Array {
    Array::of(a.shape.clone(), |place| f(a.broadcast(place), b.broadcast(place)))
}

fn reduce_by(node: &Node, x: &Array, f: impl Fn(&[f32]) -> f32) -> Array {
    reduce(x, &wholes(node, "axes").unwrap(), whole(node, "keepdims").unwrap() == 1, f)
}

/// `f` of all values along some axes.
fn reduce(x: &Array, axes: &[usize], keep: bool, f: impl Fn(&[f32]) -> f32) -> Array {
    let side = |axis: usize| if axes.contains(&axis) { 1 } else { x.shape[axis] };
    let reduced: Vec<usize> = (0..x.shape.len()).map(side).collect();
    let spread: Vec<usize> =
        reduced.iter().zip(&x.shape).map(|(&r, &side)| if r == side { 1 } else { side }).collect();
    let at = |place: &[usize]| {
        let values: Vec<f32> = places(&spread)
            .map(|other| {
                let sum: Vec<usize> = place.iter().zip(&other).map(|(a, b)| a + b).collect();
                x.broadcast(&sum)
            })
            .collect();
        f(&values)
    };
    let mut found = Array::of(reduced, at);
    if !keep {
        let kept = (0..x.shape.len()).filter(|axis| !axes.contains(axis));
        found.shape = kept.map(|axis| x.shape[axis]).collect();
    }
    found
}

fn average_pool(node: &Node, x: &Array) -> Array {
    assert_eq!(whole(node, "count_include_pad"), Some(1));
    let [batch, channels, height, width] = x.maps();
    let kernel = wholes(node, "kernel_shape").unwrap();
    let walk = Walk::of(node, [kernel[0], kernel[1]]);
    let shape = vec![batch, channels, walk.side(0, height), walk.side(1, width)];
    Array::of(shape, |place| {
        let shown = walk.places(place[2], place[3]);
        let sum: f32 = shown.filter_map(|(_, y, left)| x.at(place[0], place[1], y, left)).sum();
        sum / (kernel[0] * kernel[1]) as f32
    })
}

fn concat(node: &Node, inputs: &[&Array]) -> Array {
    assert_eq!(whole(node, "axis"), Some(1));
    let mut shape = inputs[0].shape.clone();
    shape[1] = inputs.iter().map(|part| part.shape[1]).sum();
    let values = (0..shape[0]).flat_map(|image| {
        inputs.iter().flat_map(move |part| {
            let count = part.values.len() / part.shape[0];
            part.values[image * count..][..count].iter().copied()
        })
    });
    Array { values: values.collect(), shape }
}

/// Products of the last two axes, the second array having the axes before them or none.
fn matrices(a: &Array, b: &Array) -> Array {
    let (inner, columns) = (a.shape[a.shape.len() - 1], b.shape[b.shape.len() - 1]);
    assert_eq!(b.shape[b.shape.len() - 2], inner);
    let rows = a.shape[a.shape.len() - 2];
    let mut shape = a.shape.clone();
    *shape.last_mut().unwrap() = columns;
    let mut values = vec![0.0; shape.iter().product()];
    for (r, (row, out)) in
        a.values.chunks_exact(inner).zip(values.chunks_exact_mut(columns)).enumerate()
    {
        let start = if b.shape.len() == 2 { 0 } else { r / rows * inner * columns };
        for (factor, right) in row.iter().zip(b.values[start..].chunks_exact(columns)) {
            for (out, value) in out.iter_mut().zip(right) {
                *out += factor * value;
            }
        }
    }
    Array { shape, values }
}

/// `f` of every row along the last axis.
fn rows(x: &Array, f: impl Fn(&[f32]) -> Vec<f32>) -> Array {
    let rows = x.values.chunks_exact(*x.shape.last().unwrap());
    Array { shape: x.shape.clone(), values: rows.flat_map(f).collect() }
}

fn softmax(row: &[f32]) -> Vec<f32> {
    let most = largest(row);
    let powers: Vec<f32> = row.iter().map(|value| (value - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn layer_norm(node: &Node, inputs: &[&Array]) -> Array {
    let epsilon = attribute(node, "epsilon").unwrap().f.unwrap();
    rows(inputs[0], |row| {
        let count = row.len() as f32;
        let mean = row.iter().sum::<f32>() / count;
        let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count;
        let deviation = (variance + epsilon).sqrt();
        let at = |(i, value): (usize, &f32)| {
            let bias = inputs.get(2).map_or(0.0, |bias| bias.values[i]);
            (value - mean) / deviation * inputs[1].values[i] + bias
        };
        row.iter().enumerate().map(at).collect()
    })
}

fn reshape(x: &Array, sides: &Array) -> Array {
    let sides = sides.wholes().into_iter().enumerate();
    let shape: Vec<usize> =
        sides.map(|(axis, side)| if side == 0 { x.shape[axis] } else { side }).collect();
    assert_eq!(shape.iter().product::<usize>(), x.values.len());
    Array { shape, values: x.values.clone() }
}

fn transpose(x: &Array, order: &[usize]) -> Array {
    let shape = order.iter().map(|&axis| x.shape[axis]).collect();
    Array::of(shape, |place| {
        let mut from = vec![0; place.len()];
        for (&axis, &at) in order.iter().zip(place) {
            from[axis] = at;
        }
        x.broadcast(&from)
    })
}

fn slice(x: &Array, inputs: &[&Array]) -> Array {
    let [start, end, axis] = [1, 2, 3].map(|input| inputs[input].wholes()[0]);
    let mut shape = x.shape.clone();
    shape[axis] = end.min(shape[axis]) - start;
    Array::of(shape, |place| {
        let mut from = place.to_vec();
        from[axis] += start;
        // A side of one is no broadcast here.
        let index = from.iter().zip(&x.shape).fold(0, |index, (&at, &side)| index * side + at);
        x.values[index]
    })
}

/// Zeros before and after each axis.
fn pad(x: &Array, pads: &Array) -> Array {
    let (before, after) = (pads.wholes(), pads.wholes().split_off(x.shape.len()));
    let sides = x.shape.iter().zip(&before).zip(&after);
    let shape = sides.map(|((side, before), after)| side + before + after).collect();
    Array::of(shape, |place| {
        let mut index = 0;
        for ((&at, &before), &side) in place.iter().zip(&before).zip(&x.shape) {
            match at.checked_sub(before).filter(|&at| at < side) {
                Some(at) => index = index * side + at,
                None => return 0.0,
            }
        }
        x.values[index]
    })
}

/// The error function by its series (Abramowitz and Stegun, 7.1.5), in f64: as good as f32 where
/// it is not 1 up to rounding.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}
