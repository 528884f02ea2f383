//! Agreement between classes and clusters against scikit-learn and the PyTorch code.

use pnp_ranking::cluster::Contingency;
use serde_json::Value;

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn of(contingency: &Contingency, score: &str) -> f64 {
    match score {
        "nmi" => contingency.nmi(),
        "ami" => contingency.ami(),
        "f1" | "pairwise_f1" => contingency.pairwise_f1(),
        "purity" => contingency.purity(),
        _ => panic!("no score {score}"),
    }
}

#[test]
fn scores_of_made_up_clusterings() {
    let text = include_str!("../../../golden/clustering/agreement.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let mut compared = 0;
    for case in golden.as_array().unwrap() {
        let (labels, assignment) = (ids(&case["labels"]), ids(&case["assignment"]));
        let contingency = Contingency::new(&labels, &assignment).unwrap();
        for (score, expected) in case["scores"].as_object().unwrap() {
            let (ours, expected) = (of(&contingency, score), expected.as_f64().unwrap());
            assert!((ours - expected).abs() < 1e-9, "{} {score}: {ours}", case["name"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 60);
}

/// The old `f1` names clusters by medoids and counts pairs: it is the F1 over pairs.
#[test]
fn scores_of_the_pytorch_code() {
    for text in [
        include_str!("../../../golden/metrics/metrics_normalized.json"),
        include_str!("../../../golden/metrics/metrics_raw.json"),
    ] {
        let golden: Value = serde_json::from_str(text).unwrap();
        let contingency =
            Contingency::new(&ids(&golden["labels"]), &ids(&golden["assignment"])).unwrap();
        for score in ["nmi", "f1", "ami"] {
            let expected = &golden["seed_reference"][format!("{score}_given_assignment")];
            let (ours, expected) = (of(&contingency, score), expected.as_f64().unwrap());
            assert!((ours - expected).abs() < 1e-9, "{score}: {ours} for {expected}");
        }
    }
}
