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
    check("loss", &["--loss", "PNP(such=1)"], 2, "no parameter 'such'");
    check("loss", &["--loss", "PNP:x"], 2, "weight");
    check("loss", &["--loss", "proxy-anchor"], 2, "proxies");
    check("loss", &["--loss", "proxy-anchor,normalised-softmax"], 2, "both train proxies");
    check("loss", &["--references", "x.npy"], 2, "--reference-labels");
    check("loss", &["--proxies", "x.npy"], 2, "has no proxies");
    check("loss", &["--loss", "proxy-anchor", "--penalties"], 2, "proxies only");
    check("loss", &["--penalties", "0"], 2, "at least one");
    check("loss", &["--anneal", "-5"], 2, "anneal = -5");
    check("loss", &["--grad", "x.npy"], 2, "named twice");
    check("loss", &["--grad", "./y.npy"], 2, "named twice");
    check("loss", &["--curves-to", "3"], 2, "cannot be used with");
    #[cfg(unix)]
    check("loss", &["--grad", "/dev/null"], 1, "it exists and is no file");
    check("loss", &["--curves", "c.svg"], 2, "cannot be used with");
    check("loss", &["--such-flag"], 2, "--such-flag");
    check("loss", &["--grad", "no/such/folder/g.npy"], 1, "no/such/folder");
    check("eval", &["--metrics", "recall@0"], 2, "recall@0");
    check("eval", &["--metrics", "accuracy"], 2, "accuracy");
    check("eval", &["--metrics", "rho_spectrum@1.5"], 2, "rho_spectrum@1.5");
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

/// Runs `pnp loss` and returns its JSON.
fn loss(folder: &Path, args: &[&str]) -> Value {
    let output = pnp().current_dir(folder).arg("loss").args(args).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    json(&output)
}

/// Points on the circle by their angles, in f32.
fn write_circle(path: &Path, degrees: &[f64]) {
    let values: Vec<f32> = degrees
        .iter()
        .flat_map(|d| [d.to_radians().cos() as f32, d.to_radians().sin() as f32])
        .collect();
    write_npy(path, &[degrees.len() as u64, 2], &values);
}

#[test]
fn references_join_the_lists_and_stale_copies_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_circle(&folder.join("x.npy"), &[0.0, 40.0, 20.0]);
    write_npy(&folder.join("y.npy"), &[3], &[7i64, 7, 9]);
    write_npy(&folder.join("id.npy"), &[3], &[100i64, 101, 102]);
    write_circle(&folder.join("r.npy"), &[5.0, 10.0, 1.0, 80.0]);
    write_npy(&folder.join("ry.npy"), &[4], &[9i64, 7, 7, 9]);
    write_npy(&folder.join("rid.npy"), &[4], &[1i64, 2, 100, 3]);
    let set = ["--embeddings", "x.npy", "--labels", "y.npy", "--ids", "id.npy"];
    let others =
        ["--references", "r.npy", "--reference-labels", "ry.npy", "--reference-ids", "rid.npy"];
    let alone = loss(folder, &set[..4]);
    let both = loss(folder, &[&set[..], &others, &["--reference-grad", "rg.npy"]].concat());
    assert_eq!(alone["counts"]["references"], 3);
    assert_eq!(both["counts"]["references"], 7);
    assert_eq!(both["counts"]["stale_copies"], 1);
    assert_eq!(both["counts"]["queries"], 3);
    assert_ne!(alone["loss"], both["loss"]);
    assert_eq!(read_npy::<f32>(&folder.join("rg.npy")).0, [4, 2]);
    let only = loss(folder, &[&set[..], &others, &["--references-only"]].concat());
    assert_eq!(only["counts"]["references"], 4);
    // Queries 0 and 1 have 1 and 2 positives among the references, query 2 has 2.
    assert_eq!(only["counts"]["positives"], 5);
}

#[test]
fn proxies_get_their_gradient() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_circle(&folder.join("x.npy"), &[0.0, 40.0, 90.0]);
    write_npy(&folder.join("y.npy"), &[3], &[0i64, 0, 2]);
    write_circle(&folder.join("p.npy"), &[10.0, 50.0, 80.0, 170.0]);
    let set = ["--embeddings", "x.npy", "--labels", "y.npy", "--proxies", "p.npy"];
    let more = ["--loss", "normalised-softmax:1,PNP-O:0.5", "--proxy-grad", "pg.npy"];
    let answer = loss(folder, &[&set[..], &more].concat());
    assert_eq!(answer["name"], "normalised-softmax(temperature=0.05):1,PNP-O(anneal=0.01):0.5");
    let (shape, gradient) = read_npy::<f32>(&folder.join("pg.npy"));
    assert_eq!(shape, [4, 2]);
    assert!(gradient.iter().any(|&g| g != 0.0));
    write_npy(&folder.join("y.npy"), &[3], &[0i64, 0, 4]);
    let output = pnp().current_dir(folder).arg("loss").args(set).args(more).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("label 4 has no proxy"), "{}", stderr(&output));
}

#[test]
fn penalties_tell_what_a_negative_stands_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_circle(&folder.join("x.npy"), &[0.0, 10.0, 5.0, 150.0]);
    write_npy(&folder.join("y.npy"), &[4], &[1i64, 1, 2, 2]);
    let set = ["--embeddings", "x.npy", "--labels", "y.npy", "--penalties", "3"];
    let answer = loss(folder, &set);
    let penalties = answer["penalties"].as_array().unwrap();
    assert_eq!(penalties.len(), 3);
    let gradients: Vec<f64> =
        penalties.iter().map(|line| line["gradient"].as_f64().unwrap()).collect();
    assert!(gradients.is_sorted_by(|a, b| a >= b) && gradients[2] > 0.0, "{gradients:?}");
    let first = penalties.iter().find(|line| line["query"] == 0).unwrap();
    assert_eq!((&first["negative"], &first["positives_behind"]), (&2.into(), &1.into()));
    let output = pnp().current_dir(folder).arg("loss").args(set).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 of 1 positives"), "{text}");
}

#[test]
fn curves_are_drawn_of_the_variants_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |more: &[&str]| {
        let mut command = pnp();
        command.current_dir(folder.path()).args(["loss", "--curves", "c.svg"]).args(more);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), stderr(&output))
    };
    let svg = || fs::read_to_string(folder.path().join("c.svg")).unwrap();
    assert_eq!(draw(&[]).0, 0);
    for name in ["PNP-O", "PNP-I_u", "PNP-I_b, b = 2", "PNP-D_s", "D_q, α = 4", "D_q, α = 8"] {
        assert!(svg().contains(name), "{name}");
    }
    assert_eq!(draw(&["--loss", "PNP-O,PNP-D_q(alpha=3)", "--curves-to", "20"]).0, 0);
    assert!(svg().contains("α = 3") && !svg().contains("PNP-I_u"));
    let (status, message) = draw(&["--loss", "proxy-anchor"]);
    assert!(status == 2 && message.contains("no variant of PNP"), "{message}");
    let (status, message) = draw(&["--curves-to", "-1"]);
    assert!(status == 2 && message.contains("curves-to"), "{message}");
}

#[test]
fn every_loss_is_listed_with_its_parameters() {
    let listed = json(&pnp().args(["loss", "--list", "--json"]).output().unwrap());
    for loss in listed.as_array().unwrap() {
        // What the list shows is read back.
        let default = loss["default"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_circle(&folder.path().join("x.npy"), &[0.0, 40.0, 90.0, 100.0]);
        write_npy(&folder.path().join("y.npy"), &[4], &[0i64, 0, 1, 1]);
        write_circle(&folder.path().join("p.npy"), &[10.0, 50.0]);
        let mut args = INPUTS.to_vec();
        args.extend(["--loss", default]);
        if loss["proxies"] == true {
            args.extend(["--proxies", "p.npy"]);
        }
        assert_eq!(self::loss(folder.path(), &args)["name"], default);
    }
    let output = pnp().args(["loss", "--list"]).output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("PNP(alpha=none, anneal=0.01, b=2, count_query=true, variant=PNP-O)")
    );
}

#[test]
fn half_precision_embeddings_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let values = [1.0, 0.0, 0.5, 0.75, 0.25, 1.0].map(half::f16::from_f32);
    write_npy(&folder.join("x.npy"), &[3, 2], &values);
    write_npy(&folder.join("y.npy"), &[3], &[1i64, 1, 2]);
    let halves = loss(folder, &INPUTS);
    write_npy(&folder.join("x.npy"), &[3, 2], &values.map(half::f16::to_f32));
    assert_eq!(halves, loss(folder, &INPUTS));
}
