//! torchvision's vision transformers; ours have timm's names.

use std::borrow::Cow;

use super::{Names, by_table};

pub(super) const NAMES: Names = Names {
    source: "torchvision",
    backbones: &["vit_base_patch16"],
    marker: "conv_proj.weight",
    rename: |key| Some(rename(key)),
};

/// Outside the blocks.
const AROUND: [(&str, &str); 3] =
    [("conv_proj", "patch_embed.proj"), ("encoder.ln", "norm"), ("heads.head", "head")];
/// Within a block. Older files number the layers of the perceptron.
const BLOCK: [(&str, &str); 7] = [
    ("ln_1", "norm1"),
    ("self_attention.out_proj", "attn.proj"),
    ("ln_2", "norm2"),
    ("mlp.linear_1", "mlp.fc1"),
    ("mlp.linear_2", "mlp.fc2"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.3", "mlp.fc2"),
];

fn rename(key: &str) -> Cow<'_, str> {
    match key {
        "class_token" => return "cls_token".into(),
        "encoder.pos_embedding" => return "pos_embed".into(),
        _ => {}
    }
    let block = key.strip_prefix("encoder.layers.encoder_layer_");
    let Some((block, rest)) = block.and_then(|rest| rest.split_once('.')) else {
        return by_table(key, &AROUND);
    };
    // The three projections are one matrix in both, in the same order.
    let rest = match rest {
        "self_attention.in_proj_weight" => "attn.qkv.weight".into(),
        "self_attention.in_proj_bias" => "attn.qkv.bias".into(),
        _ => by_table(rest, &BLOCK),
    };
    format!("blocks.{block}.{rest}").into()
}

#[cfg(test)]
mod tests {
    use super::rename;

    #[test]
    fn every_kind_of_key_has_its_place() {
        let pairs = [
            ("class_token", "cls_token"),
            ("conv_proj.weight", "patch_embed.proj.weight"),
            ("encoder.pos_embedding", "pos_embed"),
            ("encoder.layers.encoder_layer_11.ln_1.weight", "blocks.11.norm1.weight"),
            (
                "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
                "blocks.0.attn.qkv.weight",
            ),
            (
                "encoder.layers.encoder_layer_0.self_attention.in_proj_bias",
                "blocks.0.attn.qkv.bias",
            ),
            (
                "encoder.layers.encoder_layer_0.self_attention.out_proj.bias",
                "blocks.0.attn.proj.bias",
            ),
            ("encoder.layers.encoder_layer_0.ln_2.bias", "blocks.0.norm2.bias"),
            ("encoder.layers.encoder_layer_0.mlp.0.bias", "blocks.0.mlp.fc1.bias"),
            ("encoder.layers.encoder_layer_0.mlp.linear_2.weight", "blocks.0.mlp.fc2.weight"),
            ("encoder.ln.bias", "norm.bias"),
            ("heads.head.weight", "head.weight"),
        ];
        for (theirs, ours) in pairs {
            assert_eq!(rename(theirs), ours);
        }
    }
}
