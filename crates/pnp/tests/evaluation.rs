//! `pnp eval` on files: galleries, categories, intervals, comparisons, neighbours.

mod common;

use std::fs;
use std::path::Path;

use common::{json, pnp, read_npy, stderr, write_npy};
use serde_json::Value;

/// Points on the circle by their angles.
fn write_circle(path: &Path, degrees: &[f64]) {
    let values: Vec<f32> = degrees
        .iter()
        .flat_map(|d| [d.to_radians().cos() as f32, d.to_radians().sin() as f32])
        .collect();
    write_npy(path, &[degrees.len() as u64, 2], &values);
}

fn eval(folder: &Path, args: &[&str]) -> Value {
    let output = pnp().current_dir(folder).arg("eval").args(args).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    json(&output)
}

fn text(folder: &Path, args: &[&str]) -> String {
    let output = pnp().current_dir(folder).arg("eval").args(args).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, args: &[&str], status: i32, part: &str) {
    let output = pnp().current_dir(folder).arg("eval").args(args).output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(message.contains(part) && !message.contains("panicked"), "{message}");
}

const SET: [&str; 4] = ["--embeddings", "x.npy", "--labels", "y.npy"];

/// Eight items in four classes, two of which rank wrongly.
fn write_set(folder: &Path) {
    write_circle(&folder.join("x.npy"), &[0.0, 3.0, 90.0, 93.0, 180.0, 200.0, 190.0, 213.0]);
    write_npy(&folder.join("y.npy"), &[8], &[1i64, 1, 2, 2, 3, 3, 4, 4]);
}

#[test]
fn a_gallery_is_ranked_instead_and_ids_and_groups_leave_items_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_circle(&folder.join("x.npy"), &[0.0]);
    fs::write(folder.join("y.csv"), "label\nshoe\n").unwrap();
    write_circle(&folder.join("g.npy"), &[1.0, 2.0, 3.0, 90.0]);
    fs::write(folder.join("gy.csv"), "path,label\na,shoe\nb,hat\nc,shoe\nd,shoe\n").unwrap();
    let set = ["--embeddings", "x.npy", "--labels", "y.csv", "--gallery", "g.npy"];
    let set = [&set[..], &["--gallery-labels", "gy.csv", "--metrics", "mrr"]].concat();
    assert_eq!(eval(folder, &set)["metrics"]["mrr"], 1.0);
    write_npy(&folder.join("id.npy"), &[1], &[9i64]);
    write_npy(&folder.join("gid.npy"), &[4], &[9i64, 1, 2, 3]);
    let ids = [&set[..], &["--ids", "id.npy", "--gallery-ids", "gid.npy"]].concat();
    assert_eq!(eval(folder, &ids)["metrics"]["mrr"], 0.5);
    let groups = [&set[..], &["--groups", "id.npy", "--gallery-groups", "gid.npy"]].concat();
    assert_eq!(eval(folder, &groups)["metrics"]["mrr"], 0.5);
    refused(folder, &[&set[..], &["--gallery-ids", "gid.npy"]].concat(), 2, "--ids");
    for flag in ["--ids", "--groups", "--coarse-labels"] {
        refused(folder, &[&set[..], &[flag, "id.npy"]].concat(), 2, "--gallery-");
    }
    write_npy(&folder.join("gid.npy"), &[3], &[9i64, 1, 2]);
    refused(folder, &ids, 1, "3 ids");
}

#[test]
fn categories_coarse_labels_and_the_worst_classes_stand_beside_the_scores() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    fs::write(folder.join("c.csv"), "label\n".to_owned() + &"a\n".repeat(4) + &"b\n".repeat(4))
        .unwrap();
    write_npy(&folder.join("coarse.npy"), &[8], &[1i64, 1, 2, 2, 3, 3, 3, 3]);
    let more = ["--metrics", "recall@1,mrr", "--categories", "c.csv", "--worst", "2"];
    let args = [&SET[..], &more, &["--coarse-labels", "coarse.npy"]].concat();
    let answer = eval(folder, &args);
    assert_eq!(answer["categories"]["a"]["recall@1"], 1.0);
    assert_eq!(answer["categories"]["b"]["recall@1"], 0.0);
    assert_eq!(answer["metrics"]["recall@1"], 0.5);
    assert_eq!(answer["coarse"]["recall@1"], 1.0);
    assert_eq!(answer["worst_classes"], serde_json::json!([["3", 0.0], ["4", 0.0]]));
    let shown = text(folder, &args);
    for part in ["by category", "coarse labels", "lowest recall@1"] {
        assert!(shown.contains(part), "{shown}");
    }
    let table = text(folder, &[&args[..], &["--csv"]].concat());
    assert!(table.contains("all,recall@1,0.5,,\n") && table.contains("category b,recall@1,0,,\n"));
    fs::write(folder.join("c.csv"), "label\na\n").unwrap();
    refused(folder, &args, 1, "1 categories");
}

#[test]
fn intervals_hold_the_score_and_are_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    let args = [&SET[..], &["--metrics", "recall@1,mrr", "--ci"]].concat();
    let answer = eval(folder, &args);
    assert_eq!(answer["level"], 0.95);
    let ends: Vec<f64> = answer["intervals"]["recall@1"]
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect();
    assert!(ends[0] < 0.5 && 0.5 < ends[1], "{ends:?}");
    assert_eq!(eval(folder, &args), answer);
    assert!(text(folder, &args).contains("bootstrap interval of 0.95"));
    // Metrics of the whole set have none, and take none of the others'.
    let mixed = eval(folder, &[&SET[..], &["--metrics", "nmi,recall@1", "--ci"]].concat());
    assert_eq!(mixed["intervals"]["recall@1"], answer["intervals"]["recall@1"]);
    assert_eq!(mixed["intervals"]["nmi"], Value::Null);
    refused(folder, &[&SET[..], &["--ci", "1.5"]].concat(), 2, "ci = 1.5");
    refused(folder, &[&SET[..], &["--ci", "--rounds", "3"]].concat(), 2, "rounds = 3");
}

#[test]
fn two_models_are_compared_on_the_same_queries() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    write_circle(&folder.join("b.npy"), &[0.0, 3.0, 90.0, 93.0, 180.0, 183.0, 270.0, 273.0]);
    let args = ["--compare", "x.npy", "b.npy", "--labels", "y.npy", "--metrics", "recall@1"];
    let lines = eval(folder, &args);
    let line = &lines[0];
    assert_eq!((&line["first"], &line["second"]), (&0.5.into(), &1.0.into()));
    assert_eq!((&line["queries_better"], &line["queries_worse"]), (&4.into(), &0.into()));
    let p = line["p_value"].as_f64().unwrap();
    assert!((p - 0.125).abs() < 0.05, "{p}");
    assert!(text(folder, &args).contains("paired permutation test"));
    let set = ["--compare", "x.npy", "b.npy", "--labels", "y.npy", "--metrics", "nmi"];
    refused(folder, &set, 2, "nmi has no score for each query");
    write_circle(&folder.join("b.npy"), &[0.0, 3.0]);
    refused(folder, &args, 1, "2 embeddings but 8 labels");
}

#[test]
fn neighbours_are_written_with_their_similarities_or_distances() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_circle(&folder.join("x.npy"), &[0.0, 10.0, 60.0]);
    let args = ["--embeddings", "x.npy", "--neighbours", "2", "--out", "nn.npy"];
    assert!(text(folder, &args).contains("3 x 2 neighbours"));
    assert_eq!(read_npy::<u32>(&folder.join("nn.npy")), (vec![3, 2], vec![1, 2, 0, 2, 1, 0]));
    let similarities = read_npy::<f32>(&folder.join("nn.similarities.npy")).1;
    assert!((similarities[0] - 10.0_f32.to_radians().cos()).abs() < 1e-6);
    text(folder, &[&args[..], &["--distance", "euclidean"]].concat());
    let distances = read_npy::<f32>(&folder.join("nn.distances.npy")).1;
    assert!((distances[1] - 1.0).abs() < 1e-6, "an equilateral triangle: {distances:?}");
    refused(folder, &args[..4], 2, "--out");
    refused(folder, &[&args[..], &["--labels", "x.npy"]].concat(), 2, "cannot be used with");
}

#[test]
fn clustering_and_structure_are_scored_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    let names = "nmi,f1,ami,purity,c_nmi,c_f1,dists@intra,dists@inter,rho_spectrum@-1";
    let answer = eval(folder, &[&SET[..], &["--metrics", names]].concat());
    for name in names.split(',') {
        assert!(answer["metrics"][name].as_f64().unwrap().is_finite(), "{name}");
    }
    let spectrum = [&SET[..], &["--metrics", "rho_spectrum@0,recall@1"]].concat();
    let answer = eval(folder, &spectrum);
    let shares: Vec<f64> = answer["lists"]["rho_spectrum@0"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| share.as_f64().unwrap())
        .collect();
    assert!(shares.len() == 2 && (shares[0] + shares[1] - 1.0).abs() < 1e-12, "{shares:?}");
    assert!(text(folder, &spectrum).contains("rho_spectrum@0: 2 values"));
    let csv = text(folder, &[&spectrum[..], &["--csv"]].concat());
    assert!(csv.contains("all,rho_spectrum@0[2],"), "{csv}");
    let seeded = |more: &[&str]| {
        let names = ["--metrics", "nmi,c_nmi"];
        eval(folder, &[&SET[..], &names, more].concat())["metrics"].clone()
    };
    let random = ["--clustering-start", "random", "--clustering-seed", "3"];
    assert_eq!(seeded(&random), seeded(&random));
    refused(folder, &[&SET[..], &["--clustering-start", "middle"]].concat(), 2, "random");
}

#[test]
fn labels_in_a_table_need_their_column() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    let args = ["--embeddings", "x.npy", "--labels", "y.csv"];
    fs::write(folder.join("y.csv"), "path,class\na,b\n").unwrap();
    refused(folder, &args, 1, "no column 'label': it has 'path', 'class'");
    refused(folder, &["--embeddings", "x.npy", "--labels", "y.csv:kind"], 1, "no column 'kind'");
    fs::write(folder.join("y.csv"), "path,label\na,b\nc\n").unwrap();
    refused(folder, &args, 1, "y.csv");
    fs::write(folder.join("y.csv"), "label\na\n \n").unwrap();
    refused(folder, &args, 1, "line 3 has nothing in the column 'label'");
}

#[test]
fn several_query_sets_stand_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    write_circle(&folder.join("b.npy"), &[0.0, 91.0, 1.0, 90.0]);
    write_npy(&folder.join("by.npy"), &[4], &[7i64, 8, 7, 8]);
    let files = ["--embeddings", "x.npy", "b.npy", "--labels", "y.npy", "by.npy"];
    let args = [&files[..], &["--metrics", "recall@1"]].concat();
    let answer = eval(folder, &args);
    let sets = answer["sets"].as_array().unwrap();
    assert_eq!((sets[0]["set"].as_str(), sets[1]["set"].as_str()), (Some("x"), Some("b")));
    assert_eq!(
        sets[0]["metrics"],
        eval(folder, &[&SET[..], &["--metrics", "recall@1"]].concat())["metrics"]
    );
    assert_eq!(sets[1]["metrics"]["recall@1"], 1.0);
    let table = text(folder, &args);
    assert!(table.lines().next().unwrap().split_whitespace().eq(["metric", "x", "b"]), "{table}");
    let csv = text(folder, &[&args[..], &["--csv"]].concat());
    assert!(csv.contains("b all,recall@1,1,,"), "{csv}");
    // One gallery for all of them.
    let gallery = ["--gallery", "x.npy", "--gallery-labels", "y.npy", "--metrics", "recall@1"];
    let sets = ["--embeddings", "x.npy", "x.npy", "--labels", "y.npy"];
    let answer = eval(folder, &[&sets[..], &gallery].concat());
    assert_eq!(answer["sets"][0]["metrics"], answer["sets"][1]["metrics"]);
    let three = ["--embeddings", "x.npy", "b.npy", "x.npy", "--labels", "y.npy", "by.npy"];
    refused(folder, &three, 2, "--labels has 2 files for 3 query sets");
    let table = [&files[..], &["--per-class", "c.csv"]].concat();
    refused(folder, &table, 2, "--per-class is of one query set");
}

#[test]
fn every_class_has_a_line_in_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_circle(&folder.join("x.npy"), &[0.0, 1.0, 90.0, 91.0, 45.0]);
    fs::write(folder.join("y.csv"), "label\n\"a, b\"\n\"a, b\"\nc\nd\nc\n").unwrap();
    let args = ["--embeddings", "x.npy", "--labels", "y.csv", "--metrics", "recall@1,mAP_c,nmi"];
    eval(folder, &[&args[..], &["--per-class", "c.csv"]].concat());
    let table = fs::read_to_string(folder.join("c.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "class,items,queries,recall@1,mAP_c");
    assert!(lines[1].starts_with("\"a, b\",2,2,1,"), "{table}");
    // No query of a lone class enters recall@1; it counts 0 in the old code's numbers.
    assert_eq!(lines[3], "d,1,0,,0");
}

#[test]
fn far_from_the_origin_euclidean_neighbours_are_still_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Pairs 2^-10 apart, around a place 500 away.
    let values: Vec<f32> = (0..40)
        .flat_map(|i| {
            let (pair, other) = ((i / 2) as f32, (i % 2) as f32);
            [500.0 + pair / 16.0 + other / 1024.0, 500.0 - pair / 32.0]
        })
        .collect();
    write_npy(&folder.join("x.npy"), &[40, 2], &values);
    let labels: Vec<i64> = (0..40).map(|i| i / 2).collect();
    write_npy(&folder.join("y.npy"), &[40], &labels);
    let args = [&SET[..], &["--metrics", "recall@1", "--distance", "euclidean"]].concat();
    assert_eq!(eval(folder, &args)["metrics"]["recall@1"], 1.0);
}

#[test]
fn every_metric_is_listed_and_in_the_documents() {
    let listed = json(&pnp().args(["eval", "--list", "--json"]).output().unwrap());
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|line| line["name"].as_str().unwrap()).collect();
    let page = fs::read_to_string(common::root().join("docs/evaluation/README.md")).unwrap();
    for name in &names {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/evaluation");
    }
    assert!(names.contains(&"recall@k") && names.contains(&"rho_spectrum@m"));
    assert!(text(Path::new("."), &["--list"]).contains("without --metrics: recall@1"));
}

#[test]
fn no_output_replaces_an_input() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    fs::write(folder.join("y.csv"), "label\n1\n1\n2\n2\n3\n3\n4\n4\n").unwrap();
    let set = ["--embeddings", "x.npy", "--labels", "y.csv"];
    refused(folder, &[&set[..], &["--per-class", "./y.csv"]].concat(), 2, "named twice");
    refused(folder, &[&set[..], &["--per-class", "table"]].concat(), 2, ".csv");
    refused(folder, &[&set[..], &["--per-class", "no/c.csv"]].concat(), 1, "no folder 'no'");
    let lists = ["--embeddings", "x.npy", "--neighbours", "2", "--out"];
    refused(folder, &[&lists[..], &["x.npy"]].concat(), 2, "named twice");
    refused(folder, &[&lists[..], &["x"]].concat(), 2, ".npy");
    let more = ["nn.npy", "--gallery", "x.npy", "--gallery-labels", "y.npy"];
    refused(folder, &[&lists[..], &more].concat(), 2, "cannot be used with");
}

#[test]
fn what_would_be_ignored_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    let with = |more: &[&'static str]| [&SET[..], more].concat();
    for flag in ["--ci", "--worst"] {
        refused(folder, &with(&["--metrics", "nmi", flag]), 2, "ranking metrics");
    }
    assert!(text(folder, &with(&["--worst", "1", "--csv"])).contains("\nclass "));
    refused(folder, &with(&["--source-path", "nowhere"]), 2, "--source-path is for a model");
    refused(folder, &with(&["--device", "cuda:9"]), 2, "--device is for a model");
    // A metric that is asked for twice has one line.
    let once = text(folder, &with(&["--metrics", "recall@1", "recall@01"]));
    assert_eq!(once.matches("recall@1").count(), 1, "{once}");
    write_npy(&folder.join("coarse.npy"), &[7], &[1i64; 7]);
    refused(folder, &with(&["--coarse-labels", "coarse.npy"]), 1, "8 embeddings but 7 coarse");
    write_npy(&folder.join("coarse.npy"), &[8], &[1i64, 2, 3, 4, 5, 6, 7, 8]);
    refused(folder, &with(&["--coarse-labels", "coarse.npy"]), 1, "by the coarse labels");
}

#[test]
fn two_models_are_compared_each_in_its_own_gallery() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_set(folder);
    let queries = [1.0, 92.0, 184.0, 199.0];
    // The second model turns everything by a quarter.
    let turned = |degrees: &[f64]| degrees.iter().map(|d| d + 90.0).collect::<Vec<_>>();
    let gallery = [0.0, 90.0, 180.0, 200.0];
    write_circle(&folder.join("qa.npy"), &queries);
    write_circle(&folder.join("qb.npy"), &turned(&queries));
    write_circle(&folder.join("ga.npy"), &gallery);
    write_circle(&folder.join("gb.npy"), &turned(&gallery));
    write_npy(&folder.join("qy.npy"), &[4], &[1i64, 2, 3, 4]);
    let args =
        ["--compare", "qa.npy", "qb.npy", "--labels", "qy.npy", "--gallery-labels", "qy.npy"];
    let args = [&args[..], &["--metrics", "recall@1", "--gallery"]].concat();
    let lines = eval(folder, &[&args[..], &["ga.npy", "gb.npy"]].concat());
    assert_eq!((&lines[0]["first"], &lines[0]["second"]), (&1.0.into(), &1.0.into()));
    refused(folder, &[&args[..], &["ga.npy"]].concat(), 2, "gallery of its own");
}
