//! timm's `mobilenetv2_100`, which names a block's layers; torchvision, whose names are ours,
//! numbers them.

use std::borrow::Cow;

use super::{Names, by_table};

pub(super) const NAMES: Names = Names {
    source: "timm",
    backbones: &["mobilenet_v2"],
    marker: "conv_stem.weight",
    rename: |key| Some(rename(key)),
};

/// Blocks of each stage.
const DEPTHS: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];
/// Outside the blocks.
const AROUND: [(&str, &str); 5] = [
    ("conv_stem", "features.0.0"),
    ("bn1", "features.0.1"),
    ("conv_head", "features.18.0"),
    ("bn2", "features.18.1"),
    ("classifier", "classifier.1"),
];
/// Within the first block, which does not widen its input.
const FIRST: [(&str, &str); 4] =
    [("conv_dw", "conv.0.0"), ("bn1", "conv.0.1"), ("conv_pw", "conv.1"), ("bn2", "conv.2")];
/// Within the others.
const OTHERS: [(&str, &str); 6] = [
    ("conv_pw", "conv.0.0"),
    ("bn1", "conv.0.1"),
    ("conv_dw", "conv.1.0"),
    ("bn2", "conv.1.1"),
    ("conv_pwl", "conv.2"),
    ("bn3", "conv.3"),
];

fn rename(key: &str) -> Cow<'_, str> {
    match block(key) {
        Some((1, rest)) => format!("features.1.{}", by_table(rest, &FIRST)).into(),
        Some((number, rest)) => format!("features.{number}.{}", by_table(rest, &OTHERS)).into(),
        None => by_table(key, &AROUND),
    }
}

/// The number of a block among all layers, from `blocks.<stage>.<block>.`, and the rest of the key.
fn block(key: &str) -> Option<(usize, &str)> {
    let (stage, rest) = key.strip_prefix("blocks.")?.split_once('.')?;
    let (block, rest) = rest.split_once('.')?;
    let (stage, block): (usize, usize) = (stage.parse().ok()?, block.parse().ok()?);
    let before: usize = DEPTHS.get(..stage)?.iter().sum();
    (block < *DEPTHS.get(stage)?).then_some((1 + before + block, rest))
}

#[cfg(test)]
mod tests {
    use super::rename;

    #[test]
    fn every_kind_of_key_has_its_place() {
        let pairs = [
            ("conv_stem.weight", "features.0.0.weight"),
            ("bn1.running_mean", "features.0.1.running_mean"),
            ("blocks.0.0.conv_dw.weight", "features.1.conv.0.0.weight"),
            ("blocks.0.0.bn2.bias", "features.1.conv.2.bias"),
            ("blocks.1.0.conv_pw.weight", "features.2.conv.0.0.weight"),
            ("blocks.1.1.bn2.weight", "features.3.conv.1.1.weight"),
            ("blocks.2.0.conv_pwl.weight", "features.4.conv.2.weight"),
            ("blocks.6.0.bn3.weight", "features.17.conv.3.weight"),
            ("conv_head.weight", "features.18.0.weight"),
            ("bn2.bias", "features.18.1.bias"),
            ("classifier.weight", "classifier.1.weight"),
        ];
        for (theirs, ours) in pairs {
            assert_eq!(rename(theirs), ours);
        }
    }

    #[test]
    fn a_block_that_does_not_exist_keeps_its_name() {
        for key in ["blocks.7.0.bn1.bias", "blocks.1.2.bn1.bias", "blocks.x.0.bn1.bias"] {
            assert_eq!(rename(key), key);
        }
    }
}
