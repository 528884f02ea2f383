//! What an exported file says of its model: all that it takes to make an image ready, and where the
//! model comes from. `docs/export/README.md` lists the facts.

use std::collections::BTreeMap;
use std::path::Path;

use pnp_model::ResNetStride;
use pnp_run::{RunFolder, RunInfo};
use pnp_train::{Model, TrainError};

use crate::failure::Failure;

/// The facts of a model at `path`; `run` is the run folder that it is in, if any.
pub(super) fn of(model: &Model, run: Option<&Path>) -> Result<BTreeMap<String, String>, Failure> {
    let mut facts: Vec<(&str, String)> = vec![("pnp_version", env!("CARGO_PKG_VERSION").into())];
    facts.extend(of_images(model));
    facts.extend(of_network(model));
    if let Some(run) = run {
        let info = RunFolder::open(run).map_err(TrainError::from)?.info().clone();
        facts.extend(of_run(run, info));
    }
    Ok(facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// From an image file to the network's input.
fn of_images(model: &Model) -> Vec<(&'static str, String)> {
    let (transform, values) = (model.transform, model.normalization());
    // The lists are in the order of the planes.
    let of_planes = |mut of_rgb: [f32; 3]| {
        if values.bgr {
            of_rgb.reverse();
        }
        let [first, second, third] = of_rgb;
        format!("[{first}, {second}, {third}]")
    };
    vec![
        ("exif_rotation", transform.exif_rotation.to_string()),
        ("resize_shorter_side", transform.resize.to_string()),
        ("interpolation", "bilinear".into()),
        ("antialias", "true".into()),
        ("center_crop", transform.crop.to_string()),
        ("channel_order", if values.bgr { "BGR" } else { "RGB" }.into()),
        ("value_range", format!("[0, {}]", values.largest)),
        ("mean", of_planes(values.mean)),
        ("std", of_planes(values.std)),
    ]
}

fn of_network(model: &Model) -> Vec<(&'static str, String)> {
    let config = model.network.config();
    let stride = match config.options.resnet_stride {
        ResNetStride::Torchvision => "torchvision",
        ResNetStride::V1 => "v1",
    };
    vec![
        ("backbone", config.backbone.clone()),
        ("resnet_stride", stride.into()),
        ("norm_epsilon", model.network.norm_epsilon().to_string()),
        ("embed_dim", config.embed_dim.to_string()),
        ("pool", config.pool.name().into()),
        ("head", config.head.name().into()),
        ("normalized", config.normalize.to_string()),
    ]
}

fn of_run(run: &Path, info: RunInfo) -> Vec<(&'static str, String)> {
    // A run that is named by `.` still has a name.
    let name = run
        .canonicalize()
        .ok()
        .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
    let mut facts = vec![("dataset", info.dataset), ("selected_on", info.selected_on)];
    facts.extend(name.map(|name| ("run", name)));
    facts
}
