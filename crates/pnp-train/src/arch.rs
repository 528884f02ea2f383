//! The `--arch` strings: a backbone's name and suffixes, as the old code wrote them.

use std::fmt;
use std::str::FromStr;

use pnp_model::backbone::{self, BackboneEntry};

use crate::error::TrainError;

/// A parsed `--arch`.
#[expect(clippy::struct_excessive_bools, reason = "each is one suffix")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arch {
    /// The backbone's name in the registry.
    pub backbone: String,
    /// `_frozen`: batch norm keeps its running statistics and normalises by them. Its γ and β
    /// train all the same.
    pub frozen: bool,
    /// `_normalize`: embeddings are divided by their length.
    pub normalize: bool,
    /// `_double`: the sum of the mean and the maximum pool.
    pub double: bool,
    /// `_he`: the last layer's weights start He-normal over its outputs, its bias at 0.
    pub he: bool,
}

impl Arch {
    /// The place of a suffix.
    fn suffix(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "frozen" => Some(&mut self.frozen),
            "normalize" => Some(&mut self.normalize),
            "double" => Some(&mut self.double),
            "he" => Some(&mut self.he),
            _ => None,
        }
    }
}

impl FromStr for Arch {
    type Err = TrainError;

    /// `<backbone>[_frozen][_normalize][_double][_he]`, the suffixes in any order.
    fn from_str(text: &str) -> Result<Self, TrainError> {
        let names = backbone::BACKBONES.iter().flat_map(BackboneEntry::names);
        let fits = |name: &&'static str| {
            text.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let name = match names.filter(fits).max_by_key(|name| name.len()) {
            Some(name) => name,
            None => backbone::find(text)?.name,
        };
        let backbone = backbone::find(name)?.name.to_owned();
        let mut arch = Self { backbone, ..Self::default() };
        for suffix in text[name.len()..].split('_').filter(|s| !s.is_empty()) {
            match arch.suffix(suffix) {
                Some(given) if !*given => *given = true,
                _ => {
                    return Err(TrainError::Setting {
                        setting: "arch",
                        value: text.to_owned(),
                        rule: format!(
                            "'{suffix}' is no suffix of {name}, or given twice: there are _frozen, \
                             _normalize, _double and _he"
                        ),
                    });
                }
            }
        }
        Ok(arch)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.backbone)?;
        let suffixes = [
            ("_frozen", self.frozen),
            ("_normalize", self.normalize),
            ("_double", self.double),
            ("_he", self.he),
        ];
        suffixes.iter().filter(|(_, given)| *given).try_for_each(|(name, _)| f.write_str(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_read_in_any_order() {
        let arch: Arch = "resnet50_frozen_normalize".parse().unwrap();
        let expected =
            Arch { backbone: "resnet50".into(), frozen: true, normalize: true, ..Arch::default() };
        assert_eq!(arch, expected);
        assert_eq!("resnet50_normalize_frozen".parse::<Arch>().unwrap(), arch);
        let plain: Arch = "mobilenet_v2".parse().unwrap();
        assert_eq!(plain, Arch { backbone: "mobilenet_v2".into(), ..Arch::default() });
        let all = "resnet50_he_normalize_double".parse::<Arch>().unwrap();
        assert_eq!(all, Arch { double: true, he: true, frozen: false, ..expected });
        assert_eq!(all.to_string(), "resnet50_normalize_double_he");
    }

    #[test]
    fn the_old_names_are_read_as_those_of_the_registry() {
        let arch: Arch = "bninception_normalize_frozen".parse().unwrap();
        let expected = Arch {
            backbone: "bn_inception".into(),
            frozen: true,
            normalize: true,
            ..Arch::default()
        };
        assert_eq!(arch, expected);
        assert_eq!("bn_inception_frozen_normalize".parse::<Arch>().unwrap(), expected);
        assert_eq!("googlenet".parse::<Arch>().unwrap().backbone, "googlenet");
    }

    #[test]
    fn an_unknown_backbone_names_those_there_are() {
        let error = "resnet5_normalize".parse::<Arch>().unwrap_err().to_string();
        assert!(error.contains("resnet5_normalize") && error.contains("resnet50"), "{error}");
    }

    #[test]
    fn an_unknown_suffix_is_named() {
        let error = "resnet50_triple".parse::<Arch>().unwrap_err().to_string();
        assert!(error.contains("'triple'") && error.contains("_normalize"), "{error}");
    }
}
