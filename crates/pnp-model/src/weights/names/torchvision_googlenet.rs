//! torchvision's GoogLeNet comes with the two auxiliary classifiers that it was trained with.

use std::borrow::Cow;

use super::Names;

pub(super) const NAMES: Names = Names {
    source: "torchvision, with auxiliary classifiers",
    backbones: &["googlenet"],
    marker: "aux1.conv.conv.weight",
    rename: |key| {
        let auxiliary = ["aux1.", "aux2."].iter().any(|start| key.starts_with(start));
        (!auxiliary).then_some(Cow::Borrowed(key))
    },
};
