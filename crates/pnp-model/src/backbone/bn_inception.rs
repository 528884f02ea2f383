//! BN-Inception (Ioffe and Szegedy, ICML 2015, arXiv 1502.03167), with the key names of the weights
//! that were converted from Caffe for the package `pretrainedmodels`: convolutions have a bias
//! although a batch norm follows.

use super::{Backbone, BackboneEntry, BackboneOptions, InputConvention, SideRule, Stage};
use crate::executor::{Executor, Window};
use crate::layer::{ConvNorm, ConvShape};
use crate::ops::Activation;
use crate::parameters::Builder;

pub(super) const ENTRY: BackboneEntry = BackboneEntry {
    name: "bn_inception",
    aliases: &["bninception"],
    features: 1024,
    parameters: 10_270_240,
    head_key: "last_linear",
    input: InputConvention::Caffe,
    norm_epsilon: 1e-5,
    sides: Some(SideRule {
        rule: "the maps that BN-Inception puts side by side have one size only if a side of the \
               image is from 1 below to 6 above a multiple of 32 pixels",
        // Blocks 3c and 4e halve a map by a convolution, which rounds up, and by a pool, which
        // rounds down: they need an even side, and the first of them sees an eighth of the image.
        fits: |side| (side.div_ceil(2) / 4).is_multiple_of(4),
    }),
    stages: &[
        Stage { name: "stem", keys: &["conv1_", "conv2_"] },
        Stage { name: "inception_3", keys: &["inception_3"] },
        Stage { name: "inception_4", keys: &["inception_4"] },
        Stage { name: "inception_5", keys: &["inception_5"] },
    ],
    patch: None,
    bottlenecks: false,
    build: |builder, options| Box::new(BnInception::new(builder, options)),
};

/// Halves a map.
const HALF: Window = Window { size: 3, stride: 2, padding: 0, ceil: true };
/// Keeps a map's size.
const SAME: Window = Window { size: 3, stride: 1, padding: 1, ceil: false };

/// What a block does beside its 3×3 branches.
#[derive(Debug, Clone, Copy)]
enum Sides {
    /// Outputs of the 1×1 branch and of the 1×1 convolution behind the mean.
    Mean(usize, usize),
    /// The same behind the maximum.
    Max(usize, usize),
    /// The map is halved, and the pooled map passes as it is.
    Halving,
}

/// The blocks: name, narrow and full outputs of the 3×3 branch, narrow and full outputs of the
/// branch of two 3×3 convolutions, and the rest (the paper's figure 5).
const BLOCKS: [(&str, [usize; 2], [usize; 2], Sides); 10] = [
    ("3a", [64, 64], [64, 96], Sides::Mean(64, 32)),
    ("3b", [64, 96], [64, 96], Sides::Mean(64, 64)),
    ("3c", [128, 160], [64, 96], Sides::Halving),
    ("4a", [64, 96], [96, 128], Sides::Mean(224, 128)),
    ("4b", [96, 128], [96, 128], Sides::Mean(192, 128)),
    ("4c", [128, 160], [128, 160], Sides::Mean(160, 128)),
    ("4d", [128, 192], [160, 192], Sides::Mean(96, 128)),
    ("4e", [128, 192], [192, 256], Sides::Halving),
    ("5a", [192, 320], [160, 224], Sides::Mean(352, 128)),
    ("5b", [192, 320], [192, 224], Sides::Max(352, 128)),
];

#[derive(Debug)]
struct BnInception {
    stem: [ConvNorm; 3],
    blocks: Vec<Inception>,
}

impl BnInception {
    fn new(builder: &mut Builder, options: &BackboneOptions) -> Self {
        let epsilon = options.epsilon(&ENTRY);
        let stem = [
            conv_norm(builder, "conv1_7x7_s2", ConvShape::full(3, 64, 7, 2), epsilon),
            conv_norm(builder, "conv2_3x3_reduce", ConvShape::full(64, 64, 1, 1), epsilon),
            conv_norm(builder, "conv2_3x3", ConvShape::full(64, 192, 3, 1), epsilon),
        ];
        let mut inputs = 192;
        let blocks = BLOCKS.map(|(name, single, double, sides)| {
            let sizes = Sizes { inputs, single, double, sides };
            inputs = sizes.outputs();
            Inception::new(builder, &format!("inception_{name}"), sizes, epsilon)
        });
        Self { stem, blocks: blocks.into() }
    }
}

impl Backbone for BnInception {
    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let [conv1, reduce, conv2] = &self.stem;
        let x = e.max_pool(HALF, e.conv_norm(conv1, x));
        let x = e.max_pool(HALF, e.conv_norm(conv2, e.conv_norm(reduce, x)));
        self.blocks.iter().fold(x, |x, block| block.forward(e, x))
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    inputs: usize,
    single: [usize; 2],
    double: [usize; 2],
    sides: Sides,
}

impl Sizes {
    fn outputs(&self) -> usize {
        let [[_, single], [_, double]] = [self.single, self.double];
        match self.sides {
            Sides::Mean(direct, pooled) | Sides::Max(direct, pooled) => {
                direct + single + double + pooled
            }
            Sides::Halving => single + double + self.inputs,
        }
    }
}

/// Branches over the same map, their channels side by side.
#[derive(Debug)]
struct Inception {
    sides: Sides,
    /// The 1×1 branch; none in a block that halves the map.
    direct: Option<ConvNorm>,
    single: [ConvNorm; 2],
    double: [ConvNorm; 3],
    /// Behind the pool; none in a block that halves the map.
    pooled: Option<ConvNorm>,
}

impl Inception {
    fn new(builder: &mut Builder, key: &str, sizes: Sizes, epsilon: f64) -> Self {
        let Sizes { inputs, single, double, sides } = sizes;
        let (widths, stride) = match sides {
            Sides::Mean(direct, pooled) | Sides::Max(direct, pooled) => (Some((direct, pooled)), 1),
            Sides::Halving => (None, 2),
        };
        let mut conv =
            |part: &str, shape| conv_norm(builder, &format!("{key}_{part}"), shape, epsilon);
        let pointwise = |outputs| ConvShape::full(inputs, outputs, 1, 1);
        Self {
            sides,
            direct: widths.map(|(direct, _)| conv("1x1", pointwise(direct))),
            single: [
                conv("3x3_reduce", pointwise(single[0])),
                conv("3x3", ConvShape::full(single[0], single[1], 3, stride)),
            ],
            double: [
                conv("double_3x3_reduce", pointwise(double[0])),
                conv("double_3x3_1", ConvShape::full(double[0], double[1], 3, 1)),
                conv("double_3x3_2", ConvShape::full(double[1], double[1], 3, stride)),
            ],
            pooled: widths.map(|(_, pooled)| conv("pool_proj", pointwise(pooled))),
        }
    }

    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let along =
            |branch: &[ConvNorm]| branch.iter().fold(x.clone(), |x, conv| e.conv_norm(conv, x));
        let direct = self.direct.as_ref().map(|conv| e.conv_norm(conv, x.clone()));
        let (single, double) = (along(&self.single), along(&self.double));
        let pooled = match self.sides {
            Sides::Mean(..) => e.avg_pool(SAME, x),
            Sides::Max(..) => e.max_pool(SAME, x),
            Sides::Halving => e.max_pool(HALF, x),
        };
        let pooled = match &self.pooled {
            Some(conv) => e.conv_norm(conv, pooled),
            None => pooled,
        };
        e.concat(direct.into_iter().chain([single, double, pooled]).collect())
    }
}

fn conv_norm(builder: &mut Builder, key: &str, shape: ConvShape, epsilon: f64) -> ConvNorm {
    let norm = format!("{key}_bn");
    ConvNorm::new(builder, key, &norm, shape.with_bias(), Activation::Relu, epsilon)
}
