//! What the tests against golden values share: weights and images by formula, and comparisons.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

#[path = "../device/mod.rs"]
mod device;

use std::path::PathBuf;

use pnp_model::{Network, NetworkConfig, weights};
use serde_json::Value;

/// How closely a case must agree.
#[derive(Clone, Copy)]
pub struct Tolerance {
    /// Of the embeddings, absolutely (they have length 1).
    pub embedding: f64,
    /// Of a parameter's gradient, relative to its norm.
    pub gradient: f64,
    /// Gradients below this are rounding errors of zero.
    pub zero_gradient: f64,
}

/// A file of `golden/backbones`.
pub fn golden(file: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/backbones").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The weights that `golden/backbones/formulas.py` gives a network.
pub fn formula_weights(network: &Network) -> weights::StateDict {
    let entries = network.parameters().entries().iter();
    entries
        .map(|entry| {
            let h = f64::from(entry.key.bytes().map(u32::from).sum::<u32>() % 97);
            let count: usize = entry.shape.iter().product();
            let x = (0..count).map(|i| (0.7 * (i % 8191) as f64 + h).sin());
            let value = formula(&entry.key, &entry.shape);
            let values = x.map(|x| value(x) as f32).collect();
            (entry.key.clone(), weights::Array { shape: entry.shape.clone(), values })
        })
        .collect()
}

fn formula(key: &str, shape: &[usize]) -> Box<dyn Fn(f64) -> f64> {
    let (module, name) = key.rsplit_once('.').unwrap_or(("", key));
    let last = module.rsplit('.').next().unwrap();
    let norm = last.contains("norm") || last.contains("bn") || module.ends_with("downsample.1");
    let per_output = shape.iter().product::<usize>() as f64 / shape[0] as f64;
    match name {
        _ if key == "pool.p" => Box::new(|x| 3.0 + 0.1 * x),
        "cls_token" | "pos_embed" => Box::new(|x| 0.5 * x),
        "running_mean" => Box::new(|x| 0.1 * x),
        "running_var" => Box::new(|x| 1.0 + 0.5 * x * x),
        "weight" if norm => Box::new(|x| 1.0 + 0.1 * x),
        "bias" if norm => Box::new(|x| 0.1 * x),
        "weight" => {
            let scale = if key.starts_with("blocks.") { 0.1 } else { 1.0 };
            Box::new(move |x| scale * x * (2.0 / per_output).sqrt())
        }
        _ => Box::new(|x| 0.01 * x),
    }
}

/// Images by formula, row-major.
pub fn formula_images(shape: [usize; 4]) -> Vec<f32> {
    let value = |i: usize| (0.013 * (i % 65521) as f64 + 0.5 * (0.0007 * i as f64).sin()).sin();
    (0..shape.iter().product()).map(|i| value(i) as f32).collect()
}

/// A network with the weights that the formula gives it.
pub fn formula_network(config: &NetworkConfig) -> Network {
    let mut network = config.init(0, &device::device()).unwrap();
    let dict = formula_weights(&network);
    weights::load(&mut network, &dict, weights::Fit::Whole, "formula".as_ref()).unwrap();
    network
}

/// Compares keys, embeddings and all gradients with a case of `formulas.py`.
pub fn check_case(name: &str, config: &NetworkConfig, expected: &Value, tolerance: Tolerance) {
    let network = formula_network(config);
    check_keys(&network, expected);
    let shape: [usize; 4] = serde_json::from_value(expected["shape"].clone()).unwrap();
    let pass = network.embed_for_training(network.images(formula_images(shape), shape));
    let embeddings = pass.embeddings();
    let rows = expected["embedding"].as_array().unwrap();
    let expected_embeddings: Vec<f64> = rows.iter().flat_map(numbers).collect();
    assert_eq!(embeddings.len(), expected_embeddings.len());
    for (i, (a, b)) in embeddings.iter().zip(&expected_embeddings).enumerate() {
        assert!((f64::from(*a) - b).abs() < tolerance.embedding, "{name} value {i}: {a}, not {b}");
    }
    let weights = (0..embeddings.len()).map(|i| (0.3 * i as f64).sin() as f32).collect();
    let gradients = pass.backward(weights);
    let mut compared = 0;
    for (entry, gradient) in network.parameters().entries().iter().zip(gradients.iter()) {
        let Some(gradient) = gradient else { continue };
        let values = pnp_model::to_host(gradient.clone());
        check_vector(name, &entry.key, &values, &expected["grads"][&entry.key], tolerance);
        compared += 1;
    }
    assert_eq!(compared, expected["grads"].as_object().unwrap().len());
}

/// Compares the names and shapes of all parameters.
pub fn check_keys(network: &Network, expected: &Value) {
    let mut ours: Vec<(String, Vec<usize>)> =
        network.parameters().entries().iter().map(|e| (e.key.clone(), e.shape.clone())).collect();
    let keys = expected["keys"].as_array().unwrap().iter();
    let mut theirs: Vec<(String, Vec<usize>)> = keys
        .map(|k| (k[0].as_str().unwrap().into(), serde_json::from_value(k[1].clone()).unwrap()))
        .collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

/// Compares the norm and the first values of a tensor.
pub fn check_vector(name: &str, key: &str, values: &[f32], expected: &Value, t: Tolerance) {
    let norm = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let expected_norm = expected["l2"].as_f64().unwrap();
    let bound = t.gradient * expected_norm + t.zero_gradient;
    let difference = (norm - expected_norm).abs();
    assert!(difference <= bound, "{name} {key}: norm {norm}, not {expected_norm}");
    for (i, (a, b)) in values.iter().zip(numbers(&expected["first"])).enumerate() {
        let difference = (f64::from(*a) - b).abs();
        assert!(difference <= bound, "{name} {key}[{i}]: {a}, not {b}");
    }
}
