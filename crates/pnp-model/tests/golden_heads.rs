//! Pools and heads on ResNet-18 against PyTorch's float64 values and gradients
//! (`golden/backbones`), and what no golden value can say of them.

mod common;

use burn::tensor::Device;
use common::{Tolerance, check_case, formula_network, golden};
use pnp_model::{HeadInit, HeadKind, ModelError, NetworkConfig, Pool};

/// A ReLU whose input is a rounding error away from zero changes the gradient of all earlier
/// layers; on maps of six positions that shows.
const TOLERANCE: Tolerance = Tolerance { embedding: 1e-4, gradient: 5e-3, zero_gradient: 1e-6 };

fn config(pool: Pool, head: HeadKind) -> NetworkConfig {
    NetworkConfig {
        backbone: "resnet18".into(),
        embed_dim: 64,
        pool,
        head,
        ..NetworkConfig::default()
    }
}

#[test]
fn pools_and_heads_agree_with_pytorch() {
    let golden = golden("heads.json");
    for (name, expected) in golden["cases"].as_object().unwrap() {
        let pool = Pool::parse(expected["pool"].as_str().unwrap()).unwrap();
        let head = HeadKind::parse(expected["head"].as_str().unwrap()).unwrap();
        check_case(name, &config(pool, head), expected, TOLERANCE);
    }
}

#[test]
fn he_has_pytorchs_deviation_and_no_bias() {
    let expected = golden("heads.json")["he_deviation"].as_f64().unwrap();
    let config = NetworkConfig { head_init: HeadInit::He, ..config(Pool::Avg, HeadKind::Linear) };
    let dict = config.init(5, &Device::flex()).unwrap().parameters().to_state_dict();
    let weights = &dict["fc.weight"].values;
    let square = weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
    let deviation = (square / weights.len() as f64).sqrt();
    assert!((deviation / expected - 1.0).abs() < 0.02, "{deviation}, not {expected}");
    assert!(dict["fc.bias"].values.iter().all(|&b| b == 0.0));
}

#[test]
fn gem_with_a_large_exponent_is_the_maximum_and_stays_finite() {
    let embed = |pool, exponent| {
        let mut network = formula_network(&config(pool, HeadKind::Linear));
        if pool == Pool::Gem {
            let place = network.parameters().entries().iter().position(|e| e.key == "pool.p");
            let p = network.parameters().entries()[place.unwrap()].tensor.clone();
            network.parameters_mut().set(place.unwrap(), p.full_like(exponent));
        }
        let shape = [1, 3, 64, 64];
        let images = network.images(common::formula_images(shape), shape);
        let pass = network.embed_for_training(images);
        let embeddings = pass.embeddings();
        let gradients = pass.backward(vec![1.0; embeddings.len()]);
        assert!(gradients.norm().read().is_finite());
        embeddings
    };
    let (gem, max) = (embed(Pool::Gem, 1000.0), embed(Pool::Max, 0.0));
    for (a, b) in gem.iter().zip(max) {
        assert!((a - b).abs() < 1e-2, "{a}, not {b}");
    }
}

#[test]
fn a_class_token_is_refused_where_there_is_none() {
    let error = config(Pool::Cls, HeadKind::Linear).init(0, &Device::flex()).unwrap_err();
    assert!(matches!(error, ModelError::Setting { setting: "pool", .. }), "{error}");
}
