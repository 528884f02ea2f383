//! The host kernels beside the same operations by Burn, and the promises of their bits.

use burn::tensor::{Gradients, TensorData};

use super::*;
use crate::parameters::to_host;

fn wave<const D: usize>(shape: [usize; D], phase: f64) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> =
        (0..count).map(|i| (phase + 0.37 * (i % 1009) as f64).sin() as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex()).autodiff().require_grad()
}

type Conv = fn(Tensor<4>, Tensor<4>, Tensor<1>, ConvSpec) -> Tensor<4>;

/// The gradients of `sum(y · w)`, where `w` is another wave.
fn tape_of(y: &Tensor<4>) -> Gradients {
    let w = Tensor::from_inner(wave(y.dims(), 1.3).inner());
    (y.clone() * w).sum().backward()
}

fn gradient<const D: usize>(of: &Tensor<D>, tape: &Gradients) -> Vec<f32> {
    to_host(of.grad(tape).unwrap())
}

/// The output of a convolution and the gradients of its three inputs.
fn convolved(
    conv: Conv,
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: &Tensor<1>,
    spec: ConvSpec,
) -> [Vec<f32>; 4] {
    let y = conv(x.clone(), weight.clone(), bias.clone(), spec);
    let tape = tape_of(&y);
    let [dx, dw] = [x, weight].map(|t| gradient(t, &tape));
    [to_host(y.inner()), dx, dw, gradient(bias, &tape)]
}

/// The same of small maps.
fn values_and_gradients(conv: Conv, kernel: usize, spec: ConvSpec) -> [Vec<f32>; 4] {
    let (inputs, outputs) = if spec.depthwise { (6, 6) } else { (6, 5) };
    let per_filter = if spec.depthwise { 1 } else { inputs };
    let x = wave([3, 9, 8, inputs], 0.1);
    let weight = wave([outputs, per_filter, kernel, kernel], 0.7);
    let bias = wave([outputs], 0.3);
    convolved(conv, &x, &weight, &bias, spec)
}

/// Compares two lists of values, output first, then gradients.
fn assert_alike(ours: &[Vec<f32>], burns: &[Vec<f32>], case: &str) {
    for (i, (ours, burns)) in ours.iter().zip(burns).enumerate() {
        assert_eq!(ours.len(), burns.len(), "{case}");
        let largest = burns.iter().fold(1.0f32, |m, v| m.max(v.abs()));
        for (a, b) in ours.iter().zip(burns) {
            assert!((a - b).abs() < 1e-5 * largest, "{case}, value {i}: {a}, {b}");
        }
    }
}

#[test]
fn sums_agree_with_burn_in_values_and_gradients() {
    let run = |add: fn(Tensor<4>, Tensor<4>, Activation) -> Tensor<4>, activation| {
        let (a, b) = (wave([2, 5, 7, 9], 0.1), wave([2, 5, 7, 9], 0.8));
        let y = add(a.clone(), b.clone(), activation);
        let tape = tape_of(&y);
        [to_host(y.inner()), gradient(&a, &tape), gradient(&b, &tape)]
    };
    for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
        let case = format!("{activation:?}");
        assert_alike(&run(add, activation), &run(add_by_burn, activation), &case);
    }
}

#[test]
fn scaled_weights_agree_with_burn_in_values_and_gradients() {
    let cases = [(1, 1, false), (3, 1, false), (3, 2, false), (1, 1, true), (3, 1, true)];
    for (kernel, stride, adds) in cases {
        let activation = Activation::Relu;
        let spec = ConvSpec { stride, padding: kernel / 2, depthwise: false, activation };
        let run = |by_burn: bool| {
            let (x, weight) = (wave([3, 9, 8, 6], 0.1), wave([40, 6, kernel, kernel], 0.7));
            let (scale, bias) = (wave([40], 0.8), wave([40], 0.3));
            let added = adds.then(|| wave([3, 9, 8, 40], 0.9));
            let y = if by_burn {
                let weight = scale_rows(weight.clone(), scale.clone());
                let linear = ConvSpec { activation: Activation::None, ..spec };
                let y = conv2d_by_burn(x.clone(), weight, bias.clone(), linear);
                activation.forward(added.iter().fold(y, |y, added| y + added.clone()))
            } else {
                let filters = Filters::Scaled(weight.clone(), scale.clone());
                convolve(x.clone(), filters, bias.clone(), added.clone(), spec)
            };
            let tape = tape_of(&y);
            let maps = [&x, &weight].into_iter().chain(&added).map(|t| gradient(t, &tape));
            let vectors = [&scale, &bias].into_iter().map(|t| gradient(t, &tape));
            [to_host(y.clone().inner())].into_iter().chain(maps).chain(vectors).collect::<Vec<_>>()
        };
        assert_alike(&run(false), &run(true), &format!("{kernel} {stride} {adds}"));
    }
}

#[test]
fn scales_without_a_gradient_and_weights_that_cannot_be_scaled_on_the_way_agree_with_burn() {
    for (depthwise, precision) in
        [(false, FloatDType::F32), (true, FloatDType::F32), (false, FloatDType::BF16)]
    {
        let spec = ConvSpec { stride: 1, padding: 1, depthwise, activation: Activation::None };
        let run = |scaled_before: bool| {
            let x = wave([2, 5, 7, 6], 0.1);
            let weight = wave([6, if depthwise { 1 } else { 6 }, 3, 3], 0.7);
            let scale = Tensor::from_inner(wave([6], 0.8).inner());
            let filters = if scaled_before {
                Filters::Given(scale_rows(weight.clone(), scale))
            } else {
                Filters::Scaled(weight.clone(), scale)
            };
            let y = convolve(x.clone().cast(precision), filters, wave([6], 0.3), None, spec);
            let y = widened(y);
            let tape = tape_of(&y);
            [to_host(y.inner()), gradient(&x, &tape), gradient(&weight, &tape)]
        };
        assert_alike(&run(false), &run(true), &format!("{depthwise} {precision:?}"));
    }
}

#[test]
fn a_gradient_that_others_have_as_well_is_not_written_over() {
    let spec = ConvSpec { stride: 1, padding: 1, depthwise: false, activation: Activation::Relu };
    let run = |conv: Conv, images: usize| {
        let (x, weight) = (wave([3, 9, 8, 6], 0.1), wave([5, 6, 3, 3], 0.7));
        let (bias, z) = (wave([5], 0.3), wave([images, 9, 8, 5], 0.5));
        let y = conv(x.clone(), weight.clone(), bias.clone(), spec);
        // The sum gives its gradient to both, the slice a part of a larger map to the convolution.
        let sum = y.clone().narrow(0, 0, images) + z.clone();
        let tape = tape_of(&sum);
        let maps = [&x, &weight, &z].map(|t| gradient(t, &tape));
        let w = to_host(Tensor::<4>::from_inner(wave(sum.dims(), 1.3).inner()));
        assert_eq!(maps[2], w, "all of it, where the activation was cut off too");
        maps
    };
    for images in [2, 3] {
        let (ours, burns) = (run(conv2d, images), run(conv2d_by_burn, images));
        assert_alike(&ours, &burns, &format!("{images}"));
    }
    // A batch that was put together: each part gets a view of the gradient.
    let run = |conv: Conv| {
        let (x, weight, bias) = (wave([3, 9, 8, 6], 0.1), wave([5, 6, 3, 3], 0.7), wave([5], 0.3));
        let both = [0.2, 0.9]
            .map(|phase| conv(wave([2, 9, 8, 6], phase), weight.clone(), bias.clone(), spec));
        let y = Tensor::cat(
            [conv(x.clone(), weight.clone(), bias.clone(), spec)].into_iter().chain(both).collect(),
            0,
        );
        let tape = tape_of(&y);
        let [dx, dw] = [&x, &weight].map(|t| gradient(t, &tape));
        [to_host(y.inner()), dx, dw, gradient(&bias, &tape)]
    };
    assert_alike(&run(conv2d), &run(conv2d_by_burn), "parts");
}

#[test]
fn a_weight_that_is_scaled_on_the_way_gives_the_bits_of_one_that_is_kept() {
    for kernel in [1, 3] {
        let (padding, activation) = (kernel / 2, Activation::Relu);
        let spec = ConvSpec { stride: 1, padding, depthwise: false, activation };
        let x = wave([3, 9, 8, 6], 0.1).inner();
        let (weight, scale) = (wave([40, 6, kernel, kernel], 0.7).inner(), wave([40], 0.8).inner());
        let scaled = Filters::Scaled(weight, scale);
        let [a, b] = [scaled.clone().kept(spec, FloatDType::F32), scaled].map(|filters| {
            to_host(convolve(x.clone(), filters, wave([40], 0.3).inner(), None, spec))
        });
        assert_eq!(a, b);
    }
}

#[test]
fn maxima_agree_with_burn_in_values_and_gradients() {
    let run = |pool: fn(Tensor<4>, Window) -> Tensor<4>, window, side| {
        let x = wave([2, side, side + 3, 5], 0.1);
        let y = pool(x.clone(), window);
        let tape = tape_of(&y);
        let shape = y.dims().iter().map(|&side| side as f32).collect();
        [shape, to_host(y.inner()), gradient(&x, &tape)]
    };
    for (size, stride, padding) in [(3, 2, 1), (3, 1, 1), (3, 2, 0), (2, 2, 0), (5, 3, 2)] {
        for (ceil, side) in [(false, 9), (false, 12), (true, 9), (true, 12)] {
            let window = Window { size, stride, padding, ceil };
            let (ours, burns) = (run(max_pool, window, side), run(max_pool_by_burn, window, side));
            assert_alike(&ours, &burns, &format!("{window:?} at {side}"));
        }
    }
}

#[test]
fn the_first_of_equal_values_has_the_gradient_of_their_maximum_and_nan_is_one() {
    let x = Tensor::<4>::ones([1, 2, 2, 1], &Device::flex()).autodiff().require_grad();
    let window = Window { size: 2, stride: 2, padding: 0, ceil: false };
    let tape = max_pool(x.clone(), window).sum().backward();
    assert_eq!(to_host(x.grad(&tape).unwrap()), [1.0, 0.0, 0.0, 0.0]);
    let values = TensorData::new(vec![1.0, f32::NAN, 2.0, 0.0], [1, 2, 2, 1]);
    let x = Tensor::<4>::from_data(values, &Device::flex()).autodiff().require_grad();
    let y = max_pool(x.clone(), window);
    assert!(to_host(y.clone().inner())[0].is_nan());
    assert_eq!(to_host(x.grad(&y.sum().backward()).unwrap()), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn the_bits_of_the_host_kernels_do_not_depend_on_the_threads() {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)].map(|(kernel, stride)| {
                let activation = Activation::Relu;
                let spec = ConvSpec { stride, padding: kernel / 2, depthwise: false, activation };
                // Enough rows to be cut along them, and few enough to be cut along columns.
                [19, 5].map(|side| {
                    let x = wave([5, side, side, 40], 0.1);
                    let weight = wave([72, 40, kernel, kernel], 0.7);
                    let bias = wave([72], 0.3);
                    convolved(conv2d, &x, &weight, &bias, spec)
                })
            })
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn the_host_kernels_agree_with_burn_on_maps_that_are_cut() {
    for (side, kernel, stride) in [(19, 1, 1), (19, 3, 1), (19, 3, 2), (5, 3, 1), (5, 5, 2)] {
        let spec = ConvSpec {
            stride,
            padding: kernel / 2,
            depthwise: false,
            activation: Activation::Relu,
        };
        let run = |conv: Conv| {
            let x = wave([5, side, side + 1, 24], 0.1);
            let weight = wave([72, 24, kernel, kernel], 0.7);
            let bias = wave([72], 0.3);
            convolved(conv, &x, &weight, &bias, spec)
        };
        assert_alike(&run(conv2d), &run(conv2d_by_burn), &format!("{side} {spec:?} {kernel}"));
    }
}

/// Batch, side, inputs, outputs, kernel, stride: runs longer than a chunk, rows that are set
/// apart, panels that are not whole, gathered patches, gradients of weights by parts of the
/// positions, positions that no output reads.
const SHAPES: [[usize; 6]; 9] = [
    [2, 3, 1024, 40, 1, 1],
    [2, 4, 1024, 33, 3, 2],
    [3, 5, 700, 70, 1, 1],
    [3, 5, 130, 31, 3, 1],
    [2, 14, 3, 40, 7, 2],
    [1, 9, 3, 5, 4, 4],
    [5, 30, 24, 72, 1, 1],
    [5, 30, 32, 64, 3, 1],
    [2, 61, 5, 13, 1, 2],
];

fn made<const D: usize>(shape: [usize; D], phase: f64, scale: f64) -> Tensor<D> {
    let tensor = wave(shape, phase).inner().mul_scalar(scale);
    tensor.autodiff().require_grad()
}

/// Output and gradients of one of the shapes.
fn on_shape(
    conv: Conv,
    [batch, side, inputs, outputs, kernel, stride]: [usize; 6],
) -> [Vec<f32>; 4] {
    let padding = if kernel == stride { 0 } else { kernel / 2 };
    let spec = ConvSpec { stride, padding, depthwise: false, activation: Activation::Relu };
    let x = made([batch, side, side + 1, inputs], 0.1, 1.0);
    let scale = 1.0 / ((inputs * kernel * kernel) as f64).sqrt();
    let weight = made([outputs, inputs, kernel, kernel], 0.7, scale);
    let bias = made([outputs], 0.3, 0.1);
    convolved(conv, &x, &weight, &bias, spec)
}

#[test]
fn the_host_kernels_agree_with_burn_on_shapes_of_every_kind() {
    for shape in SHAPES {
        let (ours, burns) = (on_shape(conv2d, shape), on_shape(conv2d_by_burn, shape));
        assert_alike(&ours, &burns, &format!("{shape:?}"));
    }
}

/// Values and gradients of all shapes on threads that take these vectors.
fn by_vectors(vectors: host::Vectors) -> Vec<[Vec<f32>; 4]> {
    let start = move |_| host::VECTORS_OF_THREAD.set(vectors);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(start).build();
    pool.unwrap().install(|| SHAPES.map(|shape| on_shape(conv2d, shape)).to_vec())
}

#[test]
fn narrower_vectors_give_the_same_bits_and_none_the_same_values() {
    let widest = by_vectors(host::Vectors::Widest);
    #[cfg(target_arch = "x86_64")]
    assert!(by_vectors(host::Vectors::Avx2) == widest);
    for ((scalar, widest), shape) in by_vectors(host::Vectors::None).iter().zip(&widest).zip(SHAPES)
    {
        assert_alike(scalar, widest, &format!("{shape:?}"));
    }
}

#[test]
fn maps_are_added_before_the_activation_with_their_gradient() {
    for (outputs, activation) in
        [(40, Activation::Relu), (5, Activation::None), (5, Activation::Relu6)]
    {
        let linear =
            ConvSpec { stride: 1, padding: 1, depthwise: false, activation: Activation::None };
        let run = |fused: bool| {
            let x = wave([3, 9, 8, 6], 0.1);
            let weight = wave([outputs, 6, 3, 3], 0.7);
            let bias = wave([outputs], 0.3);
            let added = wave([3, 9, 8, outputs], 0.9);
            let y = if fused {
                let filters = Filters::Given(weight.clone());
                let spec = ConvSpec { activation, ..linear };
                convolve(x.clone(), filters, bias.clone(), Some(added.clone()), spec)
            } else {
                let y = conv2d_by_burn(x.clone(), weight.clone(), bias.clone(), linear);
                add_by_burn(y, added.clone(), activation)
            };
            let tape = tape_of(&y);
            let [dx, dw, da] = [&x, &weight, &added].map(|t| gradient(t, &tape));
            [to_host(y.inner()), dx, dw, da, gradient(&bias, &tape)]
        };
        assert_alike(&run(true), &run(false), &format!("{outputs} {activation:?}"));
    }
}

#[test]
fn a_kept_weight_gives_the_same_bits() {
    let spec = ConvSpec { stride: 2, padding: 1, depthwise: false, activation: Activation::Relu };
    let (x, weight) = (wave([3, 9, 8, 6], 0.1).inner(), wave([40, 6, 3, 3], 0.7).inner());
    let (bias, added) = (wave([40], 0.3).inner(), wave([3, 5, 4, 40], 0.9).inner());
    for added in [None, Some(added)] {
        let by = |filters| {
            let (x, bias) = (x.clone(), bias.clone());
            to_host(convolve(x, filters, bias, added.clone(), spec))
        };
        let kept = Filters::Given(weight.clone()).kept(spec, FloatDType::F32);
        assert!(matches!(kept, Filters::Packed(_)));
        assert_eq!(by(kept), by(Filters::Given(weight.clone())));
    }
}

#[test]
fn the_host_kernels_agree_with_burn_in_values_and_gradients() {
    let names = ["output", "gradient of x", "gradient of the weight", "gradient of the bias"];
    for (kernel, depthwise) in [(1, false), (3, false), (7, false), (3, true)] {
        for stride in [1, 2] {
            for activation in [Activation::None, Activation::Relu, Activation::Relu6] {
                let spec = ConvSpec { stride, padding: kernel / 2, depthwise, activation };
                let ours = values_and_gradients(conv2d, kernel, spec);
                let burns = values_and_gradients(conv2d_by_burn, kernel, spec);
                for ((ours, burns), name) in ours.iter().zip(&burns).zip(names) {
                    assert_eq!(ours.len(), burns.len());
                    let largest = burns.iter().fold(1.0f32, |m, v| m.max(v.abs()));
                    for (a, b) in ours.iter().zip(burns) {
                        assert!((a - b).abs() < 1e-5 * largest, "{spec:?} {name}: {a}, {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn operations_on_rows_agree_with_burn_in_values_and_gradients() {
    let values_and_gradient = |f: fn(Tensor<4>, RowOp) -> Tensor<4>, op| {
        // 37 tokens of 2 heads of 6 channels; values from -4 to 4.
        let x = wave([3, 1, 37, 36], 0.1);
        let y = f(x.clone().mul_scalar(4.0), op);
        let tape = tape_of(&y);
        [to_host(y.inner()), gradient(&x, &tape)]
    };
    let ops = [RowOp::Gelu, RowOp::Normalize { epsilon: 1e-6 }, RowOp::Attention { heads: 2 }];
    for op in ops {
        let ours = values_and_gradient(rows, op);
        let burns = values_and_gradient(rows_by_burn, op);
        for (ours, burns) in ours.iter().zip(&burns) {
            assert_eq!(ours.len(), burns.len());
            let largest = burns.iter().fold(1.0f32, |m, v| m.max(v.abs()));
            for (a, b) in ours.iter().zip(burns) {
                assert!((a - b).abs() < 2e-6 * largest, "{op:?}: {a}, {b}");
            }
        }
    }
}

#[test]
fn gelu_and_attention_hold_far_out() {
    let device = Device::flex();
    let x = Tensor::<4>::from_data([[[[-1e4f32, -6.0, 6.0, 1e4]]]], &device);
    let y = to_host(rows(x, RowOp::Gelu));
    assert_eq!(y.iter().map(|y| y.abs()).collect::<Vec<_>>(), [0.0, 0.0, 6.0, 1e4]);
    // One token, and scores of 1e8: the softmax is on one key.
    let data = [[[[1e4f32, 1e4, 3.0], [0.0, -1e4, 5.0]]]];
    let y = to_host(rows(Tensor::<4>::from_data(data, &device), RowOp::Attention { heads: 1 }));
    assert_eq!(y, [3.0, 4.0]);
}
