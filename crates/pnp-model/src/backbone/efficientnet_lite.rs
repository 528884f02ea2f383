//! EfficientNet-Lite0: the smallest EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) without
//! squeeze-and-excitation and with ReLU6, as it was published for mobile devices. timm's key names.
//!
//! This is timm's `efficientnet_lite0`, with symmetric padding. Its `tf_efficientnet_lite0` has the
//! same keys, but pads one side more at a stride of 2 and normalises its input otherwise: weights of
//! that one load and give other features.

use super::{Backbone, BackboneEntry, BackboneOptions, InputConvention, Stage};
use crate::executor::Executor;
use crate::layer::{ConvNorm, ConvShape};
use crate::ops::Activation;
use crate::parameters::Builder;

pub(super) const LITE0: BackboneEntry = BackboneEntry {
    name: "efficientnet_lite0",
    aliases: &[],
    features: 1280,
    parameters: 3_371_008,
    head_key: "classifier",
    input: InputConvention::ImageNet,
    norm_epsilon: 1e-5,
    sides: None,
    stages: &[
        Stage { name: "stem", keys: &["conv_stem.", "bn1."] },
        Stage { name: "blocks0", keys: &["blocks.0."] },
        Stage { name: "blocks1", keys: &["blocks.1."] },
        Stage { name: "blocks2", keys: &["blocks.2."] },
        Stage { name: "blocks3", keys: &["blocks.3."] },
        Stage { name: "blocks4", keys: &["blocks.4."] },
        Stage { name: "blocks5", keys: &["blocks.5."] },
        Stage { name: "blocks6", keys: &["blocks.6."] },
        Stage { name: "last", keys: &["conv_head.", "bn2."] },
    ],
    patch: None,
    bottlenecks: false,
    build: |builder, options| Box::new(EfficientNetLite::new(builder, options)),
};

/// Expansion, output channels, blocks, first stride and kernel of each stage (the paper's table 1).
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
];
const STEM: usize = 32;

#[derive(Debug)]
struct EfficientNetLite {
    stem: ConvNorm,
    blocks: Vec<Block>,
    last: ConvNorm,
}

impl EfficientNetLite {
    fn new(builder: &mut Builder, options: &BackboneOptions) -> Self {
        let epsilon = options.epsilon(&LITE0);
        let relu6 = Activation::Relu6;
        let shape = ConvShape::full(3, STEM, 3, 2);
        let stem = ConvNorm::new(builder, "conv_stem", "bn1", shape, relu6, epsilon);
        let mut blocks = Vec::new();
        let mut inputs = STEM;
        for (stage, (expansion, outputs, count, stride, kernel)) in STAGES.into_iter().enumerate() {
            for i in 0..count {
                let key = format!("blocks.{stage}.{i}");
                let stride = if i == 0 { stride } else { 1 };
                let sizes = Sizes { inputs, outputs, expansion, stride, kernel };
                blocks.push(Block::new(builder, &key, sizes, epsilon));
                inputs = outputs;
            }
        }
        let shape = ConvShape::full(inputs, LITE0.features, 1, 1);
        let last = ConvNorm::new(builder, "conv_head", "bn2", shape, relu6, epsilon);
        Self { stem, blocks, last }
    }
}

impl Backbone for EfficientNetLite {
    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let x = e.conv_norm(&self.stem, x);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(e, x));
        e.conv_norm(&self.last, x)
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    inputs: usize,
    outputs: usize,
    expansion: usize,
    stride: usize,
    kernel: usize,
}

/// An inverted residual; without expansion, a depthwise separable convolution.
#[derive(Debug)]
struct Block {
    convolutions: Vec<ConvNorm>,
    residual: bool,
}

impl Block {
    /// timm numbers the batch norms of a block in order and names the convolutions by their place:
    /// the last is `conv_pwl` after an expansion, which is `conv_pw`, and `conv_pw` without one.
    fn new(builder: &mut Builder, key: &str, sizes: Sizes, epsilon: f64) -> Self {
        let Sizes { inputs, outputs, expansion, stride, kernel } = sizes;
        let hidden = inputs * expansion;
        let depthwise = ("conv_dw", ConvShape::depthwise(hidden, kernel, stride));
        let narrow = ConvShape::full(hidden, outputs, 1, 1);
        let parts = if expansion == 1 {
            vec![depthwise, ("conv_pw", narrow)]
        } else {
            vec![
                ("conv_pw", ConvShape::full(inputs, hidden, 1, 1)),
                depthwise,
                ("conv_pwl", narrow),
            ]
        };
        let last = parts.len();
        let numbered = parts.into_iter().zip(1..);
        let convolutions = numbered.map(|((name, shape), n)| {
            let activation = if n == last { Activation::None } else { Activation::Relu6 };
            let (conv, norm) = (format!("{key}.{name}"), format!("{key}.bn{n}"));
            ConvNorm::new(builder, &conv, &norm, shape, activation, epsilon)
        });
        let residual = stride == 1 && inputs == outputs;
        Self { convolutions: convolutions.collect(), residual }
    }

    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let (last, first) = self.convolutions.split_last().expect("a block has convolutions");
        let y = first.iter().fold(x.clone(), |y, conv| e.conv_norm(conv, y));
        if self.residual {
            e.conv_norm_add(last, y, x, Activation::None)
        } else {
            e.conv_norm(last, y)
        }
    }
}
