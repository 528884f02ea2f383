//! Cadene's pretrainedmodels calls every last layer `last_linear`; the rest is torchvision's. So do
//! the checkpoints of the authors' PNP code, which builds on it.

use super::{Names, by_table};

pub(super) const NAMES: Names = Names {
    source: "pretrainedmodels",
    backbones: &["resnet18", "resnet34", "resnet50", "resnet101"],
    marker: "last_linear.weight",
    rename: |key| Some(by_table(key, &[("last_linear", "fc")])),
};
