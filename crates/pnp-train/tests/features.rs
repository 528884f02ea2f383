//! Real weights see what is in an image: the features of a network that was trained on ImageNet
//! retrieve the bundled drawings far better than their pixels do, at the sizes of objects that it
//! knows. At the drawings' own 64 pixels they are little better.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use pnp_data::transform::{EvalTransform, Normalization};
use pnp_data::{ImageSet, Loader, LoaderOptions, Pixels};
use pnp_model::weights::{self, Array, Fit, StateDict};
use pnp_ranking::metric::{EvalOptions, Metric};
use pnp_train::{EmbeddedSet, Silent, StopFlag, TrainConfig, embed_set, open_dataset, score};

/// `recall@1` and `map@r`.
type Scores = [f64; 2];

/// Settings for the bundled drawings, enlarged from 64 pixels to `side`.
fn settings(arch: &str, embed_dim: usize, side: u32) -> TrainConfig {
    TrainConfig {
        source_path: PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../data/emoji/manifest.csv"),
        arch: format!("{arch}_frozen_normalize"),
        embed_dim,
        eval_resize: side,
        eval_size: side,
        ..TrainConfig::default()
    }
}

fn test_split(config: &TrainConfig) -> Arc<ImageSet> {
    let dataset = open_dataset(config, &StopFlag::default(), &mut Silent).unwrap();
    Arc::new(dataset.split("test").unwrap())
}

fn scored(name: &str, embedded: &EmbeddedSet) -> Scores {
    let metrics = ["recall@1", "map@r"].map(|name| Metric::parse(name).unwrap());
    let evaluation = score(embedded, &metrics, &EvalOptions::default()).unwrap();
    let scores = [evaluation.scores[0].1, evaluation.scores[1].1];
    println!("{name}: recall@1 {:.4}, map@r {:.4}", scores[0], scores[1]);
    scores
}

/// The scores of the pixels themselves.
fn pixels() -> Scores {
    let config = settings("mobilenet_v2", 1, 64);
    let set = test_split(&config);
    let loader = Loader::new(Arc::clone(&set), LoaderOptions::default());
    let transform = EvalTransform { resize: 32, crop: 32, ..config.eval_transform() };
    let (mut embeddings, mut labels, mut indices) = (Vec::new(), Vec::new(), Vec::new());
    for batch in loader.eval(transform, Normalization::IMAGENET, 64) {
        let batch = batch.unwrap();
        let Pixels::Planes(planes) = batch.pixels else { panic!("a normalisation was asked for") };
        for image in planes.chunks(3 * 32 * 32) {
            let length = image.iter().map(|v| v * v).sum::<f32>().sqrt();
            embeddings.extend(image.iter().map(|v| v / length));
        }
        labels.extend(batch.labels);
        indices.extend(batch.indices);
    }
    let dim = 3 * 32 * 32;
    scored(
        "pixels",
        &EmbeddedSet { embeddings, dim, labels, indices, roles: None, skipped: vec![] },
    )
}

/// The scores of a backbone's pooled features: its head is the identity.
fn features(config: &TrainConfig, dict: &StateDict, origin: &Path) -> Scores {
    let mut network = config.network().unwrap().init(0, &Device::flex()).unwrap();
    weights::load(&mut network, dict, Fit::Backbone, origin).unwrap();
    let (head, dim) = (network.backbone().head_key, config.embed_dim);
    let mut whole = network.parameters().to_state_dict();
    let identity = (0..dim * dim).map(|i| if i / dim == i % dim { 1.0 } else { 0.0 }).collect();
    whole.insert(format!("{head}.weight"), Array { shape: vec![dim, dim], values: identity });
    whole.insert(format!("{head}.bias"), Array { shape: vec![dim], values: vec![0.0; dim] });
    weights::load(&mut network, &whole, Fit::Whole, origin).unwrap();
    let set = test_split(config);
    let (options, stop) = (LoaderOptions::default(), StopFlag::default());
    let transform = config.eval_transform();
    let embedded =
        embed_set(&network, transform, &set, &options, 64, "test", &stop, &mut Silent).unwrap();
    scored(&config.arch, &embedded.unwrap())
}

#[test]
fn mobilenets_features_retrieve_far_better_than_pixels() {
    let config = settings("mobilenet_v2", 1280, 128);
    let features = features(&config, &weights::builtin().unwrap(), Path::new("builtin"));
    let pixels = pixels();
    // Measured: recall@1 0.661 and 0.597, map@r 0.386 and 0.266.
    assert!(features[0] > pixels[0] + 0.05, "recall@1: {features:?}, {pixels:?}");
    assert!(features[1] > pixels[1] * 1.4, "map@r: {features:?}, {pixels:?}");
}

/// Run by name: `PNP_RESNET50_WEIGHTS=FILE cargo test -p pnp-train --test features -- --ignored`.
/// The file is of the original network, trained with a stride on the first convolution of a block.
#[test]
#[ignore = "needs ResNet-50's ImageNet weights: PNP_RESNET50_WEIGHTS names their file"]
fn resnet50s_features_retrieve_far_better_than_pixels() {
    let path = std::env::var_os("PNP_RESNET50_WEIGHTS").expect("PNP_RESNET50_WEIGHTS names a file");
    let path = PathBuf::from(path);
    let config = TrainConfig {
        resnet_stride: pnp_train::Stride::V1,
        norm_epsilon: Some(1e-3),
        ..settings("resnet50", 2048, 224)
    };
    let features = features(&config, &weights::read(&path).unwrap(), &path);
    let pixels = pixels();
    // Measured: recall@1 0.680 and 0.597, map@r 0.426 and 0.266.
    assert!(features[0] > pixels[0] + 0.07, "recall@1: {features:?}, {pixels:?}");
    assert!(features[1] > pixels[1] * 1.5, "map@r: {features:?}, {pixels:?}");
}
