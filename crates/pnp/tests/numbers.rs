//! `pnp loss` and `pnp eval --embeddings` on the golden inputs, and on broken ones.

mod common;

use std::fs;
use std::path::Path;

use common::{golden, json, numbers, pnp, read_npy, stderr, write_npy};
use serde_json::Value;

/// Writes a golden set's embeddings and labels, in the precision asked for.
fn write_set(folder: &Path, set: &Value, single: bool) {
    let values = numbers(&set["embeddings"]);
    let labels: Vec<i64> = numbers(&set["labels"]).into_iter().map(|v| v as i64).collect();
    let shape = [labels.len() as u64, (values.len() / labels.len()) as u64];
    if single {
        let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
        write_npy(&folder.join("x.npy"), &shape, &values);
    } else {
        write_npy(&folder.join("x.npy"), &shape, &values);
    }
    write_npy(&folder.join("y.npy"), &[labels.len() as u64], &labels);
}

const INPUTS: [&str; 4] = ["--embeddings", "x.npy", "--labels", "y.npy"];

#[test]
fn the_loss_and_its_gradient_agree_with_the_golden_values_in_both_precisions() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden("loss/pnp_loss.json");
    for case in golden["cases"].as_array().unwrap() {
        for (single, tolerance) in [(false, 1e-10), (true, 1e-5)] {
            write_set(folder.path(), case, single);
            let output = pnp()
                .current_dir(folder.path())
                .arg("loss")
                .args(INPUTS)
                .args(["--grad", "g.npy", "--json", "--variant", case["variant"].as_str().unwrap()])
                .args(["--alpha", &case["alpha"].to_string(), "--b", &case["b"].to_string()])
                .args(["--anneal", &case["anneal"].to_string()])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            let (found, expected) = (json(&output)["loss"].as_f64().unwrap(), &case["loss"]);
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() <= tolerance * expected.abs(), "{found}, {expected}");
            let gradient: Vec<f64> = if single {
                let values = read_npy::<f32>(&folder.path().join("g.npy")).1;
                values.into_iter().map(f64::from).collect()
            } else {
                read_npy::<f64>(&folder.path().join("g.npy")).1
            };
            let expected = numbers(&case["grad"]);
            let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            assert_eq!(gradient.len(), expected.len());
            for (a, b) in gradient.iter().zip(&expected) {
                assert!((a - b).abs() <= tolerance * largest, "{a}, {b} of {largest}");
            }
        }
    }
}

#[test]
fn scores_agree_with_the_golden_values() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["metrics/metrics_normalized.json", "metrics/metrics_raw.json"] {
        let set = golden(file);
        write_set(folder.path(), &set, false);
        let old = set["seed_reference"].as_object().unwrap().iter();
        let old = old.filter(|(name, _)| !name.contains("given") && !name.contains("dists"));
        let new = [
            ("map@r", "map_at_r"),
            ("r-precision", "r_precision"),
            ("precision@1", "precision_at_1"),
            ("map", "map_full"),
            ("mrr", "mrr_full"),
        ];
        let new = new.map(|(name, key)| (name.to_owned(), &set["corrected"][key]));
        let expected: Vec<(String, &Value)> =
            old.map(|(name, value)| (name.clone(), value)).chain(new).collect();
        let output = pnp()
            .current_dir(folder.path())
            .arg("eval")
            .args(INPUTS)
            .args(["--json", "--distance", "euclidean", "--metrics"])
            .args(expected.iter().map(|(name, _)| name))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let answer = json(&output);
        for (name, expected) in expected {
            let found = answer["metrics"][&name].as_f64().unwrap();
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() < 1e-6, "{file} {name}: {found}, not {expected}");
        }
        assert_eq!(answer["counts"]["items"], set["n"]);
        assert_eq!(answer["counts"]["classes"], set["classes"]);
    }
}

/// Runs a command on the inputs and returns its status and message.
fn failure(folder: &Path, command: &str, more: &[&str]) -> (i32, String) {
    let output = pnp().current_dir(folder).arg(command).args(INPUTS).args(more).output().unwrap();
    (output.status.code().unwrap(), stderr(&output))
}

#[test]
fn wrong_requests_end_with_status_2_and_broken_files_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let set = &golden("loss/pnp_loss.json")["cases"][0];
    write_set(folder, set, true);
    let check = |command: &str, more: &[&str], status: i32, part: &str| {
        let (found, text) = failure(folder, command, more);
        assert!(found == status && text.contains(part), "{status} '{part}' is not: {found} {text}");
        assert!(!text.contains("panicked"), "{text}");
    };
    check("loss", &["--variant", "PNP-Z"], 2, "PNP-Z");
    check("loss", &["--variant", "PNP-D_q"], 2, "alpha");
    check("loss", &["--anneal", "0"], 2, "anneal");
    check("loss", &["--loss", "nothing"], 2, "nothing");
    check("loss", &["--such-flag"], 2, "--such-flag");
    check("loss", &["--grad", "no/such/folder/g.npy"], 1, "no/such/folder");
    check("eval", &["--metrics", "recall@0"], 2, "recall@0");
    check("eval", &["--metrics", "accuracy"], 2, "accuracy");
    check("eval", &["--metrics", "nmi"], 2, "nmi");
    check("eval", &["--distance", "taxi"], 2, "taxi");
    write_npy(&folder.join("y.npy"), &[3], &[1i64, 2, 3]);
    check("loss", &[], 1, "3 labels");
    check("eval", &[], 1, "3 labels");
    let rows = numbers(&set["labels"]).len();
    let lone: Vec<i64> = (0..rows as i64).collect();
    write_npy(&folder.join("y.npy"), &[rows as u64], &lone);
    check("eval", &[], 1, "shares its class");
    let mut values = vec![0.5f32; rows * 2];
    values[2 * 3 + 1] = f32::NAN;
    write_npy(&folder.join("x.npy"), &[rows as u64, 2], &values);
    check("loss", &[], 1, "embedding 3");
    check("eval", &[], 1, "embedding 3");
    write_npy(&folder.join("x.npy"), &[rows as u64, 0], &[0f32; 0]);
    check("eval", &[], 1, "dimension 0");
    write_npy(&folder.join("x.npy"), &[rows as u64], &vec![0f32; rows]);
    check("eval", &[], 1, "matrix");
    fs::write(folder.join("x.npy"), b"\x93NUMPY\x01\x00\xff\xff{").unwrap();
    check("eval", &[], 1, "x.npy");
    fs::remove_file(folder.join("x.npy")).unwrap();
    check("eval", &[], 1, "x.npy");
}

#[test]
fn a_batch_without_positives_has_loss_zero_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    write_npy(&folder.path().join("x.npy"), &[3, 2], &[1.0f32, 0.0, 0.0, 1.0, 0.6, 0.8]);
    write_npy(&folder.path().join("y.npy"), &[3], &[1i64, 2, 3]);
    let output =
        pnp().current_dir(folder.path()).arg("loss").args(INPUTS).arg("--json").output().unwrap();
    let answer = json(&output);
    assert_eq!(answer["loss"], 0.0);
    assert_eq!(answer["counts"]["lone_queries"], 3);
}
