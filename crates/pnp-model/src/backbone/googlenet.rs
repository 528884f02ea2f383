//! GoogLeNet (Szegedy et al., CVPR 2015, arXiv 1409.4842) as torchvision has it, with its key names:
//! every convolution has a batch norm, and the branch that the paper calls 5×5 has a kernel of 3×3,
//! as the published weights do. The two auxiliary heads of the paper are left out.

use super::{Backbone, BackboneEntry, BackboneOptions, InputConvention, Stage};
use crate::executor::{Executor, Window};
use crate::layer::{ConvNorm, ConvShape};
use crate::ops::Activation;
use crate::parameters::Builder;

pub(super) const ENTRY: BackboneEntry = BackboneEntry {
    name: "googlenet",
    aliases: &[],
    features: 1024,
    parameters: 5_599_904,
    head_key: "fc",
    input: InputConvention::Half,
    norm_epsilon: 1e-3,
    sides: None,
    stages: &[
        Stage { name: "stem", keys: &["conv1.", "conv2.", "conv3."] },
        Stage { name: "inception3", keys: &["inception3"] },
        Stage { name: "inception4", keys: &["inception4"] },
        Stage { name: "inception5", keys: &["inception5"] },
    ],
    patch: None,
    bottlenecks: false,
    build: |builder, options| Box::new(GoogLeNet::new(builder, options)),
};

/// Halves a map.
const HALF: Window = Window { size: 3, stride: 2, padding: 0, ceil: true };
/// Halves the map before the last two blocks.
const LAST_HALF: Window = Window { size: 2, ..HALF };
/// Keeps a map's size.
const SAME: Window = Window { size: 3, stride: 1, padding: 1, ceil: true };

/// The blocks (the paper's table 1), and the pool before each.
const BLOCKS: [(&str, Widths, Option<Window>); 9] = [
    ("3a", widths(64, [96, 128], [16, 32], 32), Some(HALF)),
    ("3b", widths(128, [128, 192], [32, 96], 64), None),
    ("4a", widths(192, [96, 208], [16, 48], 64), Some(HALF)),
    ("4b", widths(160, [112, 224], [24, 64], 64), None),
    ("4c", widths(128, [128, 256], [24, 64], 64), None),
    ("4d", widths(112, [144, 288], [32, 64], 64), None),
    ("4e", widths(256, [160, 320], [32, 128], 128), None),
    ("5a", widths(256, [160, 320], [32, 128], 128), Some(LAST_HALF)),
    ("5b", widths(384, [192, 384], [48, 128], 128), None),
];

/// Outputs of the branches of a block.
#[derive(Clone, Copy)]
struct Widths {
    /// Of the 1×1 branch.
    single: usize,
    /// Of the 3×3 branch, narrowed and full.
    middle: [usize; 2],
    /// Of the branch that the paper calls 5×5, narrowed and full.
    wide: [usize; 2],
    /// Behind the pool.
    pooled: usize,
}

const fn widths(single: usize, middle: [usize; 2], wide: [usize; 2], pooled: usize) -> Widths {
    Widths { single, middle, wide, pooled }
}

impl Widths {
    fn outputs(&self) -> usize {
        self.single + self.middle[1] + self.wide[1] + self.pooled
    }
}

#[derive(Debug)]
struct GoogLeNet {
    stem: [ConvNorm; 3],
    blocks: Vec<(Option<Window>, Inception)>,
}

impl GoogLeNet {
    fn new(builder: &mut Builder, options: &BackboneOptions) -> Self {
        let epsilon = options.epsilon(&ENTRY);
        let stem = [
            conv_norm(builder, "conv1", ConvShape::full(3, 64, 7, 2), epsilon),
            conv_norm(builder, "conv2", ConvShape::full(64, 64, 1, 1), epsilon),
            conv_norm(builder, "conv3", ConvShape::full(64, 192, 3, 1), epsilon),
        ];
        let mut inputs = 192;
        let blocks = BLOCKS.map(|(name, widths, pool)| {
            let key = format!("inception{name}");
            let block = Inception::new(builder, &key, inputs, widths, epsilon);
            inputs = widths.outputs();
            (pool, block)
        });
        Self { stem, blocks: blocks.into() }
    }
}

impl Backbone for GoogLeNet {
    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let [conv1, conv2, conv3] = &self.stem;
        let x = e.max_pool(HALF, e.conv_norm(conv1, x));
        let x = e.conv_norm(conv3, e.conv_norm(conv2, x));
        self.blocks.iter().fold(x, |x, (pool, block)| {
            let x = match pool {
                Some(window) => e.max_pool(*window, x),
                None => x,
            };
            block.forward(e, x)
        })
    }
}

/// Four branches over the same map, their channels side by side.
#[derive(Debug)]
struct Inception {
    single: ConvNorm,
    middle: [ConvNorm; 2],
    wide: [ConvNorm; 2],
    pooled: ConvNorm,
}

impl Inception {
    fn new(builder: &mut Builder, key: &str, inputs: usize, widths: Widths, epsilon: f64) -> Self {
        let Widths { single, middle, wide, pooled } = widths;
        let mut conv = |part: &str, from: usize, to: usize, kernel: usize| {
            let shape = ConvShape::full(from, to, kernel, 1);
            conv_norm(builder, &format!("{key}.{part}"), shape, epsilon)
        };
        let single = conv("branch1", inputs, single, 1);
        let mut narrowed = |branch: &str, [narrow, full]: [usize; 2]| {
            [
                conv(&format!("{branch}.0"), inputs, narrow, 1),
                conv(&format!("{branch}.1"), narrow, full, 3),
            ]
        };
        let (middle, wide) = (narrowed("branch2", middle), narrowed("branch3", wide));
        Self { single, middle, wide, pooled: conv("branch4.1", inputs, pooled, 1) }
    }

    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let both =
            |[first, second]: &[ConvNorm; 2]| e.conv_norm(second, e.conv_norm(first, x.clone()));
        let single = e.conv_norm(&self.single, x.clone());
        let (middle, wide) = (both(&self.middle), both(&self.wide));
        let pooled = e.conv_norm(&self.pooled, e.max_pool(SAME, x));
        e.concat(vec![single, middle, wide, pooled])
    }
}

/// torchvision's `BasicConv2d`.
fn conv_norm(builder: &mut Builder, key: &str, shape: ConvShape, epsilon: f64) -> ConvNorm {
    let (conv, norm) = (format!("{key}.conv"), format!("{key}.bn"));
    ConvNorm::new(builder, &conv, &norm, shape, Activation::Relu, epsilon)
}
