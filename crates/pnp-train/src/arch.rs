//! The `--arch` strings: a backbone's name and suffixes, as the old code wrote them.

use std::str::FromStr;

use pnp_model::backbone::{self, BackboneEntry};

use crate::error::TrainError;

/// A parsed `--arch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arch {
    /// The backbone's name in the registry.
    pub backbone: String,
    /// `_frozen`: batch norm keeps its running statistics and normalises by them. Its γ and β
    /// train all the same.
    pub frozen: bool,
    /// `_normalize`: embeddings are divided by their length.
    pub normalize: bool,
}

impl FromStr for Arch {
    type Err = TrainError;

    /// `<backbone>[_frozen][_normalize]`, the suffixes in any order.
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
        let mut arch = Self { backbone, frozen: false, normalize: false };
        for suffix in text[name.len()..].split('_').filter(|s| !s.is_empty()) {
            match suffix {
                "frozen" if !arch.frozen => arch.frozen = true,
                "normalize" if !arch.normalize => arch.normalize = true,
                _ => {
                    return Err(TrainError::Setting {
                        setting: "arch",
                        value: text.to_owned(),
                        rule: format!(
                            "'{suffix}' is no suffix of {name}, or given twice: there are _frozen and \
                             _normalize"
                        ),
                    });
                }
            }
        }
        Ok(arch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_read_in_any_order() {
        let arch: Arch = "resnet50_frozen_normalize".parse().unwrap();
        assert_eq!(arch, Arch { backbone: "resnet50".into(), frozen: true, normalize: true });
        assert_eq!("resnet50_normalize_frozen".parse::<Arch>().unwrap(), arch);
        let plain: Arch = "mobilenet_v2".parse().unwrap();
        assert_eq!(
            plain,
            Arch { backbone: "mobilenet_v2".into(), frozen: false, normalize: false }
        );
    }

    #[test]
    fn the_old_names_are_read_as_those_of_the_registry() {
        let arch: Arch = "bninception_normalize_frozen".parse().unwrap();
        let expected = Arch { backbone: "bn_inception".into(), frozen: true, normalize: true };
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
        let error = "resnet50_double".parse::<Arch>().unwrap_err().to_string();
        assert!(error.contains("'double'") && error.contains("_normalize"), "{error}");
    }
}
