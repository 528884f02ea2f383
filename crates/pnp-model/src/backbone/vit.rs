//! ViT-Ti/16, -S/16 and -B/16 (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929; the smaller two of
//! DeiT, Touvron et al., ICML 2021, arXiv 2012.12877), timm's key names, which DINO's files have.
//!
//! An image is cut into patches of 16 pixels; a class token and the patches, with their positions,
//! go through 12 blocks of attention and a two-layer network, each after a layer norm and added to
//! what it came from. The features are all tokens after a last layer norm, the class token first.

use super::{Backbone, BackboneEntry, InputConvention, SideRule, Stage};
use crate::executor::Executor;
use crate::layer::{Linear, LinearInit};
use crate::parameters::{Builder, Role};
use crate::transformer::{LayerNorm, PatchConv, Tokens};

pub(super) const VIT_TINY: BackboneEntry = BackboneEntry {
    name: "vit_tiny_patch16",
    aliases: &["vit_tiny_patch16_224"],
    features: 192,
    parameters: 5_524_416,
    head_key: "head",
    input: InputConvention::Half,
    norm_epsilon: NORM_EPSILON,
    sides: Some(SideRule {
        rule: "a transformer cuts images into patches of 16 pixels: a multiple of 16",
        fits: |side| side > 0 && (side as usize).is_multiple_of(PATCH),
    }),
    stages: &[
        Stage { name: "patch_embed", keys: &["patch_embed.", "cls_token", "pos_embed"] },
        Stage { name: "blocks.0", keys: &["blocks.0."] },
        Stage { name: "blocks.1", keys: &["blocks.1."] },
        Stage { name: "blocks.2", keys: &["blocks.2."] },
        Stage { name: "blocks.3", keys: &["blocks.3."] },
        Stage { name: "blocks.4", keys: &["blocks.4."] },
        Stage { name: "blocks.5", keys: &["blocks.5."] },
        Stage { name: "blocks.6", keys: &["blocks.6."] },
        Stage { name: "blocks.7", keys: &["blocks.7."] },
        Stage { name: "blocks.8", keys: &["blocks.8."] },
        Stage { name: "blocks.9", keys: &["blocks.9."] },
        Stage { name: "blocks.10", keys: &["blocks.10."] },
        Stage { name: "blocks.11", keys: &["blocks.11."] },
        Stage { name: "norm", keys: &["norm."] },
    ],
    patch: Some(PATCH),
    bottlenecks: false,
    build: |builder, _| Box::new(ViT::new(builder, 192, 3)),
};
pub(super) const VIT_SMALL: BackboneEntry = BackboneEntry {
    name: "vit_small_patch16",
    aliases: &["vit_small_patch16_224"],
    features: 384,
    parameters: 21_665_664,
    build: |builder, _| Box::new(ViT::new(builder, 384, 6)),
    ..VIT_TINY
};
pub(super) const VIT_BASE: BackboneEntry = BackboneEntry {
    name: "vit_base_patch16",
    aliases: &["vit_base_patch16_224"],
    features: 768,
    parameters: 85_798_656,
    build: |builder, _| Box::new(ViT::new(builder, 768, 12)),
    ..VIT_TINY
};

/// Rows and columns of a patch.
const PATCH: usize = 16;
/// Rows and columns of patches in the 224 pixels that positions are trained on.
const GRID: usize = 14;
const BLOCKS: usize = 12;
/// How much wider than a token the hidden layer of a block is.
const EXPANSION: usize = 4;
/// The ε of layer norm in all of timm's and DINO's.
const NORM_EPSILON: f64 = 1e-6;

#[derive(Debug)]
struct ViT {
    patches: PatchConv,
    tokens: Tokens,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl ViT {
    fn new(builder: &mut Builder, width: usize, heads: usize) -> Self {
        let tokens = Tokens::new(builder, GRID, width);
        let key = "patch_embed.proj";
        let patches = PatchConv::new(builder, key, [3, width], PATCH, Role::Backbone);
        let block = |i| Block::new(builder, &format!("blocks.{i}"), width, heads);
        let blocks = (0..BLOCKS).map(block).collect();
        let norm = LayerNorm::trained(builder, "norm", width, NORM_EPSILON);
        Self { patches, tokens, blocks, norm }
    }
}

impl Backbone for ViT {
    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let x = e.tokens(&self.tokens, e.patch_conv(&self.patches, x));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(e, x));
        e.layer_norm(&self.norm, x)
    }
}

#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    heads: usize,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(builder: &mut Builder, key: &str, width: usize, heads: usize) -> Self {
        let hidden = EXPANSION * width;
        let norm = |builder: &mut Builder, name: &str| {
            LayerNorm::trained(builder, &format!("{key}.{name}"), width, NORM_EPSILON)
        };
        let linear = |builder: &mut Builder, name: &str, sizes| {
            let key = format!("{key}.{name}");
            Linear::new(builder, &key, sizes, Role::Backbone, LinearInit::Normal)
        };
        Self {
            norm1: norm(builder, "norm1"),
            qkv: linear(builder, "attn.qkv", [width, 3 * width]),
            heads,
            proj: linear(builder, "attn.proj", [width, width]),
            norm2: norm(builder, "norm2"),
            fc1: linear(builder, "mlp.fc1", [width, hidden]),
            fc2: linear(builder, "mlp.fc2", [hidden, width]),
        }
    }

    fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let y = e.linear(&self.qkv, e.layer_norm(&self.norm1, x.clone()));
        let x = e.sum(x, e.linear(&self.proj, e.attention(self.heads, y)));
        let y = e.gelu(e.linear(&self.fc1, e.layer_norm(&self.norm2, x.clone())));
        e.sum(x, e.linear(&self.fc2, y))
    }
}
