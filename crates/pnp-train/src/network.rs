//! The network that the settings describe: the shorthand `arch` and the clear settings beside it,
//! resolved.
//!
//! `arch` stands for its backbone and for what its suffixes say. What a suffix says and what a
//! clear setting says must agree; a suffix that is not there says no, and a clear setting may say
//! otherwise. Without `arch`, batch norm is frozen and embeddings are normalised, as in the default
//! `mobilenet_v2_frozen_normalize`.

use pnp_model::backbone::{self, BackboneEntry};
use pnp_model::weights::BUILTIN_BACKBONE;
use pnp_model::{HeadInit, HeadKind, InputConvention, Pool};
use toml::{Table, Value};

use crate::arch::Arch;
use crate::config::TrainConfig;
use crate::error::TrainError;

/// The network's settings, each with its value.
#[derive(Debug, Clone, Copy)]
pub struct NetworkSettings {
    /// The backbone.
    pub backbone: &'static BackboneEntry,
    /// Whether batch norm keeps its running statistics and normalises by them.
    pub frozen: bool,
    /// The pool.
    pub pool: Pool,
    /// The head.
    pub head: HeadKind,
    /// The random weights of the head's linear layers.
    pub head_init: HeadInit,
    /// Whether embeddings are divided by their length.
    pub normalize: bool,
    /// What the backbone expects of an image's values.
    pub input: InputConvention,
}

impl NetworkSettings {
    /// Resolves the settings of a configuration.
    ///
    /// # Errors
    ///
    /// Unknown names with the known ones; a clear setting that says something else than `arch`; a
    /// choice that the backbone does not have.
    pub(crate) fn resolve(config: &TrainConfig) -> Result<Self, TrainError> {
        let arch = match config.arch.as_str() {
            "" => None,
            text => Some(text.parse::<Arch>()?),
        };
        let stated = arch.as_ref();
        let choice = Choice { arch: &config.arch };
        let name = choice.one(
            "backbone",
            stated.map(|arch| arch.backbone.clone()),
            config.backbone.clone(),
            BUILTIN_BACKBONE.into(),
        )?;
        let backbone = backbone::find(&name)?;
        let pools = Pool::ALL.map(Pool::name);
        let inits = HeadInit::ALL.map(HeadInit::name);
        let heads = HeadKind::ALL.map(HeadKind::name);
        let pool = config.pool.as_deref().map(|name| known("pool", name, &pools, Pool::parse));
        let init = config.head_init.as_deref();
        let init = init.map(|name| known("head_init", name, &inits, HeadInit::parse));
        let settings = Self {
            backbone,
            frozen: choice.flag(
                "frozen_batch_norm",
                stated.map(|arch| arch.frozen),
                config.frozen_batch_norm,
                backbone.has_batch_norm(),
            )?,
            pool: choice.one(
                "pool",
                stated.and_then(|arch| arch.double.then_some(Pool::AvgMax)),
                pool.transpose()?,
                backbone.default_pool(),
            )?,
            head: known("head", &config.head, &heads, HeadKind::parse)?,
            head_init: choice.one(
                "head_init",
                stated.and_then(|arch| arch.he.then_some(HeadInit::He)),
                init.transpose()?,
                HeadInit::Uniform,
            )?,
            normalize: choice.flag(
                "normalize",
                stated.map(|arch| arch.normalize),
                config.normalize,
                true,
            )?,
            input: match config.input_norm.as_str() {
                "auto" => backbone.input,
                name => known("input_norm", name, &input_names(), InputConvention::parse)?,
            },
        };
        settings.check()?;
        Ok(settings)
    }

    /// Refuses what the backbone does not have.
    fn check(&self) -> Result<(), TrainError> {
        let name = self.backbone.name;
        if self.frozen && !self.backbone.has_batch_norm() {
            let rule = format!("{name} has no batch norm to freeze: leave it out, and _frozen too");
            return Err(setting("frozen_batch_norm", "true", rule));
        }
        if self.pool == Pool::Cls && self.backbone.default_pool() != Pool::Cls {
            let rule = format!("{name} has no class token: only a transformer has one");
            return Err(setting("pool", "cls", rule));
        }
        Ok(())
    }

    /// Whether a pass over a part of a batch is the same as over the whole one: none of its layers
    /// normalises by the batch.
    pub(crate) fn may_be_chunked(&self) -> bool {
        self.frozen || !self.backbone.has_batch_norm()
    }

    /// The shorthand that says as much of them as one can.
    pub(crate) fn shorthand(&self) -> Arch {
        Arch {
            backbone: self.backbone.name.into(),
            frozen: self.frozen,
            normalize: self.normalize,
            double: self.pool == Pool::AvgMax,
            he: self.head_init == HeadInit::He,
        }
    }

    /// What a run is called after them: `arch`, and what no suffix can say.
    pub(crate) fn name(&self, arch: &str) -> String {
        let plain = [self.backbone.default_pool(), Pool::AvgMax].contains(&self.pool);
        let pool = if plain { String::new() } else { format!("_{}", self.pool) };
        let plain = self.head == HeadKind::Linear;
        let head = if plain { String::new() } else { format!("_{}", self.head) };
        format!("{arch}{pool}{head}")
    }
}

/// Lays the settings of a command line over those of a file, which are weaker: what one says by
/// `arch` and the other by a clear setting is no contradiction then.
#[must_use]
pub fn overlaid(mut file: Table, flags: Table) -> Table {
    let arch = |table: &Table| table.get("arch")?.as_str()?.parse::<Arch>().ok();
    if let Some(arch) = arch(&flags) {
        // The file's own clear settings give way to what the flag's suffixes say.
        for (key, _) in arch.stated().filter(|(_, value)| value.as_bool() != Some(false)) {
            file.remove(key);
        }
    } else if CLEAR.iter().any(|key| flags.contains_key(*key)) {
        // The file's shorthand is written out, so that a flag may change a part of it. What it
        // says yes to is the default without it, which another backbone need not have.
        if let Some(arch) = arch(&file) {
            file.remove("arch");
            for (key, value) in arch.stated().filter(|(_, value)| value.as_bool() != Some(true)) {
                file.entry(key).or_insert(value);
            }
        }
    }
    file.extend(flags);
    file
}

/// The clear settings that `arch` may speak of.
const CLEAR: [&str; 5] = ["backbone", "frozen_batch_norm", "normalize", "pool", "head_init"];

impl Arch {
    /// What it says, as clear settings.
    fn stated(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let double = self.double.then(|| ("pool", Value::from(Pool::AvgMax.name())));
        let he = self.he.then(|| ("head_init", Value::from(HeadInit::He.name())));
        let always = [
            ("backbone", Value::from(self.backbone.clone())),
            ("frozen_batch_norm", Value::from(self.frozen)),
            ("normalize", Value::from(self.normalize)),
        ];
        always.into_iter().chain(double).chain(he)
    }
}

/// Settles between what `arch` says of a setting and what the setting itself says.
struct Choice<'a> {
    arch: &'a str,
}

impl Choice<'_> {
    fn one<T: PartialEq + std::fmt::Display>(
        &self,
        name: &'static str,
        stated: Option<T>,
        given: Option<T>,
        default: T,
    ) -> Result<T, TrainError> {
        match (stated, given) {
            (Some(stated), Some(given)) if stated != given => {
                let rule = format!("arch = {} says {stated}: leave out one of both", self.arch);
                Err(setting(name, given, rule))
            }
            (stated, given) => Ok(given.or(stated).unwrap_or(default)),
        }
    }

    /// The same where a suffix that is not there leaves the choice open.
    fn flag(
        &self,
        name: &'static str,
        stated: Option<bool>,
        given: Option<bool>,
        default: bool,
    ) -> Result<bool, TrainError> {
        let fallback = stated.is_none() && default;
        self.one(name, stated.filter(|&stated| stated), given, fallback)
    }
}

/// The names of `input_norm`.
fn input_names() -> Vec<&'static str> {
    std::iter::once("auto").chain(InputConvention::ALL.map(InputConvention::name)).collect()
}

/// A choice by its name.
pub(crate) fn known<T>(
    setting: &'static str,
    name: &str,
    names: &[&str],
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, TrainError> {
    let rule = || format!("one of {}", names.join(", "));
    parse(name).ok_or_else(|| self::setting(setting, name, rule()))
}

fn setting(setting: &'static str, value: impl std::fmt::Display, rule: String) -> TrainError {
    TrainError::Setting { setting, value: value.to_string(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(table: &str) -> Result<NetworkSettings, String> {
        let config = TrainConfig::from_table(table.parse().unwrap()).unwrap();
        NetworkSettings::resolve(&config).map_err(|e| e.to_string())
    }

    fn refused(table: &str, parts: &[&str]) {
        let error = resolve(table).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "'{part}' is not in: {error}");
        }
    }

    #[test]
    fn an_old_string_stands_for_its_settings() {
        let settings = resolve("arch = 'resnet50_normalize_double_he'").unwrap();
        assert_eq!(settings.backbone.name, "resnet50");
        assert!(settings.normalize && !settings.frozen);
        assert_eq!((settings.pool, settings.head_init), (Pool::AvgMax, HeadInit::He));
        assert_eq!((settings.head, settings.input), (HeadKind::Linear, InputConvention::ImageNet));
    }

    #[test]
    fn without_one_batch_norm_is_frozen_and_embeddings_are_normalised() {
        let settings = resolve("").unwrap();
        assert_eq!(settings.shorthand().to_string(), "mobilenet_v2_frozen_normalize");
        let settings = resolve("backbone = 'resnet18'\npool = 'gem'\nhead = 'mlp'").unwrap();
        assert_eq!(settings.shorthand().to_string(), "resnet18_frozen_normalize");
        assert_eq!(settings.name("a"), "a_gem_mlp");
        let settings = resolve("backbone = 'vit_small_patch16'").unwrap();
        assert_eq!(settings.shorthand().to_string(), "vit_small_patch16_normalize");
        assert_eq!((settings.pool, settings.input), (Pool::Cls, InputConvention::Half));
        assert!(settings.may_be_chunked());
        assert_eq!(settings.name("a"), "a");
    }

    #[test]
    fn a_clear_setting_may_add_to_an_old_string() {
        let settings = resolve("arch = 'resnet18'\nnormalize = true\npool = 'max'").unwrap();
        assert!(settings.normalize && !settings.frozen);
        assert_eq!(settings.pool, Pool::Max);
        let settings = resolve(
            "arch = 'vit_small_patch16'\ninput_norm = 'imagenet'\nbackbone = 'vit_small_patch16'",
        );
        assert_eq!(settings.unwrap().input, InputConvention::ImageNet);
    }

    #[test]
    fn a_clear_setting_that_says_something_else_is_refused_with_both() {
        refused(
            "arch = 'resnet18'\nbackbone = 'resnet50'",
            &["backbone = resnet50", "arch = resnet18"],
        );
        refused(
            "arch = 'resnet18_normalize'\nnormalize = false",
            &["normalize = false", "says true"],
        );
        refused(
            "arch = 'resnet18_frozen'\nfrozen_batch_norm = false",
            &["frozen_batch_norm = false"],
        );
        refused("arch = 'resnet18_double'\npool = 'gem'", &["pool = gem", "says avg+max"]);
        refused("arch = 'resnet18_he'\nhead_init = 'uniform'", &["head_init = uniform", "says he"]);
    }

    #[test]
    fn what_a_backbone_does_not_have_is_refused() {
        refused("arch = 'vit_small_patch16_frozen'", &["frozen_batch_norm", "no batch norm"]);
        refused("backbone = 'resnet18'\npool = 'cls'", &["pool = cls", "no class token"]);
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        refused("pool = 'mean'", &["pool = mean", "avg, max, avg+max, gem, cls"]);
        refused("head = 'none'", &["head = none", "linear, layernorm+linear, mlp"]);
        refused("head_init = 'xavier'", &["head_init = xavier", "uniform, he"]);
        refused("input_norm = 'any'", &["input_norm = any", "auto, imagenet, caffe, half"]);
        refused("backbone = 'vgg16'", &["vgg16", "resnet50"]);
    }

    #[test]
    fn flags_are_stronger_than_the_file_whichever_way_each_says_it() {
        let over = |file: &str, flags: &str| {
            let table = overlaid(file.parse().unwrap(), flags.parse().unwrap());
            let settings = resolve(&table.to_string()).unwrap();
            settings.name(&settings.shorthand().to_string())
        };
        let file = "arch = 'resnet50_normalize_double'";
        assert_eq!(over(file, "arch = 'resnet18'"), "resnet18");
        assert_eq!(over(file, "backbone = 'resnet18'"), "resnet18_normalize_double");
        assert_eq!(over(file, "pool = 'gem'\nnormalize = false"), "resnet50_gem");
        let file = "arch = 'resnet50_frozen_normalize'";
        assert_eq!(over(file, "backbone = 'resnet18'"), "resnet18_frozen_normalize");
        let vit = "backbone = 'vit_small_patch16'";
        assert_eq!(over(file, vit), "vit_small_patch16_normalize");
        let file = "backbone = 'resnet50'\npool = 'gem'\nfrozen_batch_norm = false";
        assert_eq!(over(file, "arch = 'resnet18_frozen'"), "resnet18_frozen_gem");
        assert_eq!(over(file, "arch = 'resnet18_double'"), "resnet18_double");
    }
}
