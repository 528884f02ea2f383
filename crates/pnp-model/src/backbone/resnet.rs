//! ResNet-18, -34, -50 and -101 (He et al., CVPR 2016, arXiv 1512.03385), torchvision's key names.

use super::{Backbone, BackboneEntry, BackboneOptions, InputConvention, ResNetStride, Stage};
use crate::executor::{Executor, Window};
use crate::layer::{ConvNorm, ConvShape};
use crate::ops::Activation;
use crate::parameters::Builder;

pub(super) const RESNET18: BackboneEntry = BackboneEntry {
    name: "resnet18",
    aliases: &[],
    features: 512,
    parameters: 11_176_512,
    head_key: "fc",
    input: InputConvention::ImageNet,
    norm_epsilon: 1e-5,
    sides: None,
    stages: &[
        Stage { name: "stem", keys: &["conv1.", "bn1."] },
        Stage { name: "layer1", keys: &["layer1."] },
        Stage { name: "layer2", keys: &["layer2."] },
        Stage { name: "layer3", keys: &["layer3."] },
        Stage { name: "layer4", keys: &["layer4."] },
    ],
    patch: None,
    bottlenecks: false,
    build: |builder, options| Box::new(ResNet::new(builder, options, Kind::Basic, [2, 2, 2, 2])),
};
pub(super) const RESNET34: BackboneEntry = BackboneEntry {
    name: "resnet34",
    parameters: 21_284_672,
    build: |builder, options| Box::new(ResNet::new(builder, options, Kind::Basic, [3, 4, 6, 3])),
    ..RESNET18
};
pub(super) const RESNET50: BackboneEntry = BackboneEntry {
    name: "resnet50",
    features: 2048,
    parameters: 23_508_032,
    bottlenecks: true,
    build: |builder, options| {
        Box::new(ResNet::new(builder, options, Kind::Bottleneck, [3, 4, 6, 3]))
    },
    ..RESNET18
};
pub(super) const RESNET101: BackboneEntry = BackboneEntry {
    name: "resnet101",
    parameters: 42_500_160,
    build: |builder, options| {
        Box::new(ResNet::new(builder, options, Kind::Bottleneck, [3, 4, 23, 3]))
    },
    ..RESNET50
};

/// The two kinds of residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3, 1×1, the last four times as wide.
    Bottleneck,
}

impl Kind {
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

#[derive(Debug)]
struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Block>,
}

impl ResNet {
    fn new(
        builder: &mut Builder,
        options: &BackboneOptions,
        kind: Kind,
        depths: [usize; 4],
    ) -> Self {
        let shape = ConvShape::full(3, 64, 7, 2);
        let epsilon = options.epsilon(&RESNET18);
        let stem = ConvNorm::new(builder, "conv1", "bn1", shape, Activation::Relu, epsilon);
        let mut blocks = Vec::new();
        let mut inputs = 64;
        for (stage, depth) in depths.into_iter().enumerate() {
            for i in 0..depth {
                let stride = if i == 0 && stage > 0 { 2 } else { 1 };
                let key = format!("layer{}.{i}", stage + 1);
                blocks.push(Block::new(builder, options, &key, kind, inputs, 64 << stage, stride));
                inputs = (64 << stage) * kind.expansion();
            }
        }
        Self { stem, blocks }
    }
}

impl Backbone for ResNet {
    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let window = Window { size: 3, stride: 2, padding: 1, ceil: false };
        let x = e.max_pool(window, e.conv_norm(&self.stem, x));
        self.blocks.iter().fold(x, |x, block| block.forward(e, x))
    }
}

#[derive(Debug)]
struct Block {
    convolutions: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(
        builder: &mut Builder,
        options: &BackboneOptions,
        key: &str,
        kind: Kind,
        inputs: usize,
        width: usize,
        stride: usize,
    ) -> Self {
        let outputs = width * kind.expansion();
        let epsilon = options.epsilon(&RESNET18);
        let shapes = match kind {
            Kind::Basic => vec![
                ConvShape::full(inputs, width, 3, stride),
                ConvShape::full(width, outputs, 3, 1),
            ],
            Kind::Bottleneck => {
                let (first, second) = match options.resnet_stride {
                    ResNetStride::Torchvision => (1, stride),
                    ResNetStride::V1 => (stride, 1),
                };
                vec![
                    ConvShape::full(inputs, width, 1, first),
                    ConvShape::full(width, width, 3, second),
                    ConvShape::full(width, outputs, 1, 1),
                ]
            }
        };
        let last = shapes.len();
        let numbered = shapes.into_iter().zip(1..);
        let convolutions = numbered
            .map(|(shape, n)| {
                // The last activation comes after the sum with the shortcut.
                let activation = if n == last { Activation::None } else { Activation::Relu };
                let (conv, norm) = (format!("{key}.conv{n}"), format!("{key}.bn{n}"));
                ConvNorm::new(builder, &conv, &norm, shape, activation, epsilon)
            })
            .collect();
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let (conv, norm) = (format!("{key}.downsample.0"), format!("{key}.downsample.1"));
            let shape = ConvShape::full(inputs, outputs, 1, stride);
            ConvNorm::new(builder, &conv, &norm, shape, Activation::None, epsilon)
        });
        Self { convolutions, downsample }
    }

    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let (last, first) = self.convolutions.split_last().expect("a block has convolutions");
        let y = first.iter().fold(x.clone(), |y, conv| e.conv_norm(conv, y));
        let shortcut = match &self.downsample {
            Some(downsample) => e.conv_norm(downsample, x),
            None => x,
        };
        e.conv_norm_add(last, y, shortcut, Activation::Relu)
    }
}
