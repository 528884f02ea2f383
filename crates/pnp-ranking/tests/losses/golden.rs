//! Values and gradients of the PNP loss against the authors' formula in float64.

use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Loss, PnpLoss, PnpSettings};
use serde_json::Value;

use crate::checks::{assert_near, wide_of};

struct Case {
    name: String,
    loss: PnpLoss,
    dim: usize,
    embeddings: Vec<f64>,
    labels: Vec<u32>,
    value: f64,
    gradient: Vec<f64>,
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../../../golden/loss/pnp_loss.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let case = |case: &Value| {
        let number = |key: &str| case[key].as_f64().unwrap();
        let settings = PnpSettings {
            variant: case["variant"].as_str().unwrap().parse().unwrap(),
            alpha: Some(number("alpha")),
            b: number("b"),
            anneal: number("anneal"),
            count_query: true,
        };
        let loss = PnpLoss::new(&settings).unwrap();
        Case {
            name: format!("{} of {} items", loss.name(), case["batch"]),
            loss,
            dim: number("dim") as usize,
            embeddings: numbers(&case["embeddings"]),
            labels: numbers(&case["labels"]).iter().map(|&label| label as u32).collect(),
            value: number("loss"),
            gradient: numbers(&case["grad"]),
        }
    };
    golden["cases"].as_array().unwrap().iter().map(case).collect()
}

#[test]
fn f64_agrees_to_1e_10() {
    let cases = cases();
    assert_eq!(cases.len(), 28);
    for case in cases {
        let embeddings = Embeddings::new(&case.embeddings, case.dim).unwrap();
        let output = case.loss.forward_f64(&embeddings, &case.labels).unwrap();
        assert!((output.value / case.value - 1.0).abs() < 1e-10, "{}", case.name);
        assert_near(&output.gradient, &case.gradient, 1e-10, 0.0, &case.name);
    }
}

#[test]
fn f32_agrees_to_1e_5() {
    for case in cases() {
        let values: Vec<f32> = case.embeddings.iter().map(|&x| x as f32).collect();
        let embeddings = Embeddings::new(&values, case.dim).unwrap();
        let output = case.loss.forward_f32(&embeddings, &case.labels).unwrap();
        assert!((output.value / case.value - 1.0).abs() < 1e-5, "{}", case.name);
        assert_near(&wide_of(&output.gradient), &case.gradient, 1e-5, 0.0, &case.name);
    }
}
