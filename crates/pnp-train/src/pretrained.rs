//! Which pretrained weights a network starts from, and where they are found.

use std::fs;
use std::path::{Path, PathBuf};

use pnp_model::weights::{self, BUILTIN_BACKBONE, Fit};
use pnp_model::{ModelError, Network};

use crate::config::TrainConfig;
use crate::error::TrainError;

/// Puts the configured weights into the backbone and says where they came from.
pub(crate) fn load(network: &mut Network, config: &TrainConfig) -> Result<String, TrainError> {
    if config.not_pretrained {
        return Ok("random".into());
    }
    let backbone = network.config().backbone.clone();
    match config.weights.as_str() {
        // That it is this backbone was checked with the settings.
        "builtin" => load_builtin(network),
        "auto" if backbone == BUILTIN_BACKBONE => load_builtin(network),
        "auto" => load_file(network, &find(&backbone, &config.source_path)?, config),
        file if !Path::new(file).exists() => Err(TrainError::Setting {
            setting: "weights",
            value: file.into(),
            rule: "there is no such file: give a weight file, builtin, or auto".into(),
        }),
        file => load_file(network, Path::new(file), config),
    }
}

fn load_builtin(network: &mut Network) -> Result<String, TrainError> {
    let origin = format!("ImageNet, built in ({BUILTIN_BACKBONE})");
    weights::load(network, &weights::builtin()?, Fit::Backbone, Path::new(&origin))?;
    Ok(origin)
}

fn load_file(
    network: &mut Network,
    path: &Path,
    config: &TrainConfig,
) -> Result<String, TrainError> {
    let dict = weights::read(path)?;
    if config.partial_weights {
        let report = weights::load_partly(network, &dict, Fit::Backbone, path)?;
        let origin = path.display();
        return Ok(if report.is_clean() {
            origin.to_string()
        } else {
            format!("{origin}, {report}")
        });
    }
    weights::load(network, &dict, Fit::Backbone, path).map_err(|error| match error {
        misfit @ ModelError::Mismatch { .. } => TrainError::Pretrained(misfit),
        error => error.into(),
    })?;
    Ok(path.display().to_string())
}

/// Looks for `<backbone>.safetensors`, `<backbone>.pth` and `<backbone>-*.pth` (torchvision adds
/// a hash) in `weights/` and `<source_path>/weights/`.
fn find(backbone: &str, source_path: &Path) -> Result<PathBuf, TrainError> {
    let folders = [PathBuf::from("weights"), source_path.join("weights")];
    for folder in &folders {
        let plain = ["safetensors", "pth"].map(|kind| folder.join(format!("{backbone}.{kind}")));
        if let Some(file) = plain.into_iter().find(|file| file.is_file()) {
            return Ok(file);
        }
        if let Some(file) = hashed(folder, backbone) {
            return Ok(file);
        }
    }
    let looked_for = folders.map(|folder| {
        format!("{0}/{backbone}.safetensors, {0}/{backbone}[-*].pth", folder.display())
    });
    Err(TrainError::NoWeights { backbone: backbone.into(), looked_for: looked_for.join(", ") })
}

/// The first `<backbone>-*.pth` of a folder by name.
fn hashed(folder: &Path, backbone: &str) -> Option<PathBuf> {
    let start = format!("{backbone}-");
    let fits = |name: &str| {
        name.starts_with(&start) && Path::new(name).extension() == Some("pth".as_ref())
    };
    let entries = fs::read_dir(folder).ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| fits(name)).min().map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hashed_name_beside_the_data_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("weights");
        fs::create_dir(&weights).unwrap();
        for name in ["resnet50-bb.pth", "resnet50-aa.pth", "resnet101-aa.pth", "resnet50-a.txt"] {
            fs::write(weights.join(name), "").unwrap();
        }
        let found = find("resnet50", folder.path()).unwrap();
        assert_eq!(found, weights.join("resnet50-aa.pth"));
        fs::write(weights.join("resnet50.pth"), "").unwrap();
        assert_eq!(find("resnet50", folder.path()).unwrap(), weights.join("resnet50.pth"));
    }

    #[test]
    fn missing_weights_say_where_they_were_looked_for() {
        let error = find("resnet18", Path::new("no-such-data")).unwrap_err();
        assert!(error.is_usage());
        let text = error.to_string();
        assert!(text.contains("weights/resnet18.safetensors"), "{text}");
        assert!(text.contains("--weights FILE"), "{text}");
    }
}
