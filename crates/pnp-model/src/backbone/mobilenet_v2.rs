//! MobileNetV2 (Sandler et al., CVPR 2018, arXiv 1801.04381) at width 1, torchvision's key names.
//!
//! An inverted residual widens its input by a 1×1 convolution, filters each channel by a 3×3
//! depthwise one, and narrows it by a 1×1 one without activation.

use super::{Backbone, BackboneEntry, BackboneOptions, InputConvention, Stage};
use crate::executor::Executor;
use crate::layer::{ConvNorm, ConvShape};
use crate::ops::Activation;
use crate::parameters::Builder;

pub(super) const ENTRY: BackboneEntry = BackboneEntry {
    name: "mobilenet_v2",
    aliases: &[],
    features: 1280,
    parameters: 2_223_872,
    head_key: "classifier.1",
    input: InputConvention::ImageNet,
    norm_epsilon: 1e-5,
    sides: None,
    stages: &[
        Stage { name: "stem", keys: &["features.0."] },
        Stage { name: "stage1", keys: &["features.1."] },
        Stage { name: "stage2", keys: &["features.2.", "features.3."] },
        Stage { name: "stage3", keys: &["features.4.", "features.5.", "features.6."] },
        Stage {
            name: "stage4",
            keys: &["features.7.", "features.8.", "features.9.", "features.10."],
        },
        Stage { name: "stage5", keys: &["features.11.", "features.12.", "features.13."] },
        Stage { name: "stage6", keys: &["features.14.", "features.15.", "features.16."] },
        Stage { name: "stage7", keys: &["features.17."] },
        Stage { name: "last", keys: &["features.18."] },
    ],
    patch: None,
    bottlenecks: false,
    build: |builder, options| Box::new(MobileNetV2::new(builder, options)),
};

/// Expansion, output channels, blocks and first stride of each stage (the paper's table 2).
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];
const STEM: usize = 32;

#[derive(Debug)]
struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
}

impl MobileNetV2 {
    fn new(builder: &mut Builder, options: &BackboneOptions) -> Self {
        let epsilon = options.epsilon(&ENTRY);
        let mut conv = |index: usize, shape| {
            let (conv, norm) = (format!("features.{index}.0"), format!("features.{index}.1"));
            ConvNorm::new(builder, &conv, &norm, shape, Activation::Relu6, epsilon)
        };
        let stem = conv(0, ConvShape::full(3, STEM, 3, 2));
        let mut blocks = Vec::new();
        let mut inputs = STEM;
        for (expansion, outputs, count, first_stride) in STAGES {
            for i in 0..count {
                let stride = if i == 0 { first_stride } else { 1 };
                let key = format!("features.{}.conv", blocks.len() + 1);
                let sizes = BlockSizes { inputs, outputs, expansion, stride };
                blocks.push(InvertedResidual::new(builder, &key, sizes, epsilon));
                inputs = outputs;
            }
        }
        let (conv, norm) = (
            format!("features.{}.0", blocks.len() + 1),
            format!("features.{}.1", blocks.len() + 1),
        );
        let shape = ConvShape::full(inputs, ENTRY.features, 1, 1);
        let last = ConvNorm::new(builder, &conv, &norm, shape, Activation::Relu6, epsilon);
        Self { stem, blocks, last }
    }
}

impl Backbone for MobileNetV2 {
    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let x = e.conv_norm(&self.stem, x);
        let x = self.blocks.iter().fold(x, |x, block| block.forward(e, x));
        e.conv_norm(&self.last, x)
    }
}

#[derive(Clone, Copy)]
struct BlockSizes {
    inputs: usize,
    outputs: usize,
    expansion: usize,
    stride: usize,
}

#[derive(Debug)]
struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    residual: bool,
}

impl InvertedResidual {
    /// torchvision numbers the parts within the block: a part with an activation is a sub-module
    /// of its own (`conv.0.0`, `conv.0.1`), the last convolution and its norm are not.
    fn new(builder: &mut Builder, key: &str, sizes: BlockSizes, epsilon: f64) -> Self {
        let BlockSizes { inputs, outputs, expansion, stride } = sizes;
        let hidden = inputs * expansion;
        let mut part = 0;
        let mut activated = |builder: &mut Builder, shape| {
            let (conv, norm) = (format!("{key}.{part}.0"), format!("{key}.{part}.1"));
            part += 1;
            ConvNorm::new(builder, &conv, &norm, shape, Activation::Relu6, epsilon)
        };
        let expand =
            (expansion != 1).then(|| activated(builder, ConvShape::full(inputs, hidden, 1, 1)));
        let depthwise = activated(builder, ConvShape::depthwise(hidden, 3, stride));
        let (conv, norm) = (format!("{key}.{part}"), format!("{key}.{}", part + 1));
        let shape = ConvShape::full(hidden, outputs, 1, 1);
        let project = ConvNorm::new(builder, &conv, &norm, shape, Activation::None, epsilon);
        Self { expand, depthwise, project, residual: stride == 1 && inputs == outputs }
    }

    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let y = match &self.expand {
            Some(expand) => e.conv_norm(expand, x.clone()),
            None => x.clone(),
        };
        let y = e.conv_norm(&self.depthwise, y);
        if self.residual {
            e.conv_norm_add(&self.project, y, x, Activation::None)
        } else {
            e.conv_norm(&self.project, y)
        }
    }
}
