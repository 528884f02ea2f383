//! Key names of other sources, translated to ours. One file each, one line in [`NAMES`].
//!
//! Most sources need none: timm's ResNets, pretrainedmodels' and DINO's carry the names that our
//! backbones have.

mod pretrainedmodels;
mod timm_mobilenet_v2;
mod torchvision_googlenet;
mod torchvision_vit;

use std::borrow::Cow;

/// The names of a source for some backbones.
pub(super) struct Names {
    /// The source, as it is told to people.
    pub(super) source: &'static str,
    /// Whose names they are.
    pub(super) backbones: &'static [&'static str],
    /// A key that only this source has.
    marker: &'static str,
    /// A key in our names; `None`: a layer that these backbones do not have and do not need.
    rename: fn(&str) -> Option<Cow<'_, str>>,
}

/// All sources.
const NAMES: &[Names] = &[
    pretrainedmodels::NAMES,
    timm_mobilenet_v2::NAMES,
    torchvision_googlenet::NAMES,
    torchvision_vit::NAMES,
];

/// The names of a state dict, seen as weights of a backbone.
pub(super) struct Translation<'a> {
    /// Of which source they are; `None`: they are ours.
    pub(super) source: Option<&'static str>,
    /// Our key and the state dict's, in its order.
    pub(super) keys: Vec<(Cow<'a, str>, &'a str)>,
}

/// Translates the keys of a state dict for a backbone.
pub(super) fn translate<'a>(
    backbone: &str,
    keys: impl Iterator<Item = &'a str> + Clone,
) -> Translation<'a> {
    let suits = |names: &&Names| {
        names.backbones.contains(&backbone) && keys.clone().any(|key| key == names.marker)
    };
    let names = NAMES.iter().find(suits);
    let rename = |key: &'a str| match names {
        Some(names) => (names.rename)(key),
        None => Some(Cow::Borrowed(key)),
    };
    Translation {
        source: names.map(|names| names.source),
        keys: keys.filter_map(|key| Some((rename(key)?, key))).collect(),
    }
}

/// Replaces the start of a key by the first row that fits: `from.` becomes `to.`.
fn by_table<'a>(key: &'a str, table: &[(&str, &str)]) -> Cow<'a, str> {
    let replaced = table.iter().find_map(|(from, to)| {
        let rest = key.strip_prefix(from).filter(|rest| rest.starts_with('.'))?;
        Some(format!("{to}{rest}"))
    });
    replaced.map_or(Cow::Borrowed(key), Cow::Owned)
}
