//! Values and gradients of all losses besides PNP against their formulas in float64.

use std::collections::BTreeSet;

use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Items, LOSSES, Loss, LossInput, LossOutput, PnpSettings, build};
use serde_json::Value;

use crate::checks::assert_near;

struct Case {
    loss: Box<dyn Loss>,
    /// The registry's name.
    registered: String,
    dim: usize,
    embeddings: Vec<f64>,
    labels: Vec<u32>,
    proxies: Option<Vec<f64>>,
    value: f64,
    gradient: Vec<f64>,
    proxy_gradient: Option<Vec<f64>>,
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../../../golden/losses/losses.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let case = |case: &Value| {
        let spec = case["loss"].as_str().unwrap();
        Case {
            loss: build(spec, &PnpSettings::default()).unwrap(),
            registered: spec.split('(').next().unwrap().to_owned(),
            dim: case["dim"].as_u64().unwrap() as usize,
            embeddings: numbers(&case["embeddings"]),
            labels: numbers(&case["labels"]).iter().map(|&label| label as u32).collect(),
            proxies: case.get("proxies").map(numbers),
            value: case["value"].as_f64().unwrap(),
            gradient: numbers(&case["gradient"]),
            proxy_gradient: case.get("proxy_gradient").map(numbers),
        }
    };
    golden["cases"].as_array().unwrap().iter().map(case).collect()
}

/// What a loss makes of a case.
struct Found {
    value: f64,
    gradient: Vec<f64>,
    proxy_gradient: Option<Vec<f64>>,
}

impl Case {
    fn compute_f64(&self) -> Found {
        let batch = Embeddings::new(&self.embeddings, self.dim).unwrap();
        let mut input = LossInput::batch(Items::new(batch, &self.labels).unwrap());
        if let Some(proxies) = &self.proxies {
            input = input.with_proxies(Embeddings::new(proxies, self.dim).unwrap()).unwrap();
        }
        let LossOutput { value, gradient, proxy_gradient, .. } =
            self.loss.compute_f64(&input).unwrap();
        Found { value, gradient, proxy_gradient }
    }

    fn compute_f32(&self) -> Found {
        let narrow = |values: &Vec<f64>| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        let (embeddings, proxies) = (narrow(&self.embeddings), self.proxies.as_ref().map(narrow));
        let batch = Embeddings::new(&embeddings, self.dim).unwrap();
        let mut input = LossInput::batch(Items::new(batch, &self.labels).unwrap());
        if let Some(proxies) = &proxies {
            input = input.with_proxies(Embeddings::new(proxies, self.dim).unwrap()).unwrap();
        }
        let output = self.loss.compute_f32(&input).unwrap();
        Found {
            value: output.value,
            gradient: wide(output.gradient),
            proxy_gradient: output.proxy_gradient.map(wide),
        }
    }

    /// Compares value and gradients, in units of the value and of each gradient's largest entry.
    fn check(&self, found: &Found, tolerance: f64) {
        let name = format!("{} of {} items", self.loss.name(), self.labels.len());
        let apart = found.value / self.value - 1.0;
        assert!(apart.abs() < tolerance, "{name}: the value is {apart:e} apart");
        assert_near(&found.gradient, &self.gradient, tolerance, 0.0, &name);
        assert_eq!(found.proxy_gradient.is_some(), self.proxy_gradient.is_some(), "{name}");
        if let (Some(found), Some(expected)) = (&found.proxy_gradient, &self.proxy_gradient) {
            assert_near(found, expected, tolerance, 0.0, &name);
        }
    }
}

#[test]
fn every_loss_besides_pnp_has_numbers() {
    let cases = cases();
    assert_eq!(cases.len(), 42);
    let golden: BTreeSet<&str> = cases.iter().map(|case| case.registered.as_str()).collect();
    let registered = LOSSES.iter().map(|entry| entry.name).filter(|&name| name != "PNP");
    assert_eq!(golden, registered.collect());
}

#[test]
fn f64_agrees_to_1e_10() {
    for case in cases() {
        case.check(&case.compute_f64(), 1e-10);
    }
}

#[test]
fn f32_agrees_to_1e_5() {
    for case in cases() {
        case.check(&case.compute_f32(), 1e-5);
    }
}
