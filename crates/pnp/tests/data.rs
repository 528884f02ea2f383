//! `pnp data`, and models on data sets with roles and several test splits.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use common::{json, pnp, stderr, stdout, train, write_data};
use serde_json::Value;

/// The small data set with queries, a gallery and a second test split.
fn write_roles(folder: &Path) {
    let plain = fs::read_to_string(write_data(folder)).unwrap();
    let mut text = String::from("path,label,split,category,is_query,is_gallery,x1,y1,x2,y2\n");
    for (place, line) in plain.lines().skip(1).enumerate() {
        let kind = if place % 16 < 8 { "mug" } else { "cup" };
        if line.ends_with("train") {
            writeln!(text, "{line},{kind},,,,,,").unwrap();
            continue;
        }
        let roles = if place % 4 == 0 { "True,False" } else { "False,True" };
        writeln!(text, "{line},{kind},{roles},4,4,36,36").unwrap();
        writeln!(text, "{line}-all,{kind},True,True,,,,").unwrap();
    }
    fs::write(folder.join("manifest.csv"), text).unwrap();
}

fn succeed(folder: &Path, args: &[&str]) -> Value {
    let output = pnp().current_dir(folder).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    json(&output)
}

fn refused(folder: &Path, args: &[&str], status: i32, part: &str) {
    let output = pnp().current_dir(folder).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {}", stderr(&output));
    assert!(stderr(&output).contains(part), "{args:?}: {}", stderr(&output));
}

#[test]
fn the_list_names_every_reader_with_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let listed = succeed(folder.path(), &["data", "list", "--json"]);
    let names: Vec<_> = listed["datasets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["name"].as_str().unwrap())
        .collect();
    let output = pnp().args(["data", "list"]).output().unwrap();
    for name in ["online_products", "cub200", "cars196", "in_shop", "inaturalist", "vehicle_id"] {
        assert!(names.contains(&name));
        assert!(stdout(&output).contains(name));
    }
    assert!(stdout(&output).contains("cars_annos.mat beside car_ims/"));
}

#[test]
fn a_data_set_is_counted_split_by_split() {
    let folder = tempfile::tempdir().unwrap();
    write_roles(folder.path());
    let found = succeed(folder.path(), &["data", "inspect", "manifest.csv", "--json"]);
    assert_eq!(found["dataset"], "manifest");
    let splits = found["splits"].as_array().unwrap();
    let names: Vec<_> = splits.iter().map(|split| split["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["train", "test", "test-all"]);
    for (field, expected) in [
        ("images", [24, 24, 24]),
        ("classes", [6, 6, 6]),
        ("super_classes", [2, 2, 2]),
        ("categories", [2, 2, 2]),
        ("queries", [24, 6, 24]),
        ("gallery", [24, 18, 24]),
        ("lone_queries", [0, 0, 0]),
        ("boxes", [0, 24, 0]),
    ] {
        for (split, expected) in splits.iter().zip(expected) {
            assert_eq!(split[field], expected, "{field}");
        }
    }
    assert_eq!(splits[0]["images_per_class"], serde_json::json!([4, 4, 4]));
    assert!(splits[0]["class_images"].is_null());
    let found = succeed(folder.path(), &["data", "inspect", ".", "--json", "--classes"]);
    assert_eq!(found["splits"][1]["class_images"][5], serde_json::json!(["class 9", 4]));
    let classes = ["data", "inspect", ".", "--classes"];
    let output = pnp().current_dir(folder.path()).args(classes).output().unwrap();
    let listed = "\nimages of each class of test-all\n       4  class 1\n";
    assert!(stdout(&output).contains(listed), "{}", stdout(&output));
    let output = pnp().current_dir(folder.path()).args(["data", "audit", "."]).output().unwrap();
    assert!(stdout(&output).contains("  test-all         24 images, 6 classes\n"));
    let folds = ["data", "inspect", "manifest.csv", "--json", "--folds", "3", "--boxes", "ignore"];
    let found = succeed(folder.path(), &folds);
    assert_eq!(found["splits"][1]["name"], "val");
    assert_eq!(found["splits"][1]["classes"], 2);
    assert_eq!(found["splits"][2]["boxes"], 0);
    let output = pnp().current_dir(folder.path()).args(["data", "inspect", "."]).output().unwrap();
    let text = stdout(&output);
    for part in ["super-classes", "6 / 18", "test-all", "4 / 4 / 4", "digest "] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

#[test]
fn a_data_set_becomes_a_manifest_that_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    write_roles(folder.path());
    fs::create_dir(folder.path().join("lists")).unwrap();
    let convert =
        ["data", "convert", "manifest.csv", "--out", "lists/copy.csv", "--folds", "2", "--json"];
    let answer = succeed(folder.path(), &convert);
    assert_eq!((&answer["images"], &answer["dataset"]), (&72.into(), &"manifest".into()));
    let copy = fs::read_to_string(folder.path().join("lists/copy.csv")).unwrap();
    assert!(copy.contains("\n../0_0.png,class 0,"), "{copy}");
    let inspect = |args: &[&str]| {
        let mut found = succeed(folder.path(), &[&["data", "inspect", "--json"], args].concat());
        found["splits"].take()
    };
    assert_eq!(inspect(&["lists/copy.csv"]), inspect(&["manifest.csv", "--folds", "2"]));
    // A data set with a validation split of its own is not divided again.
    let again = ["data", "inspect", "lists/copy.csv", "--folds", "2"];
    refused(folder.path(), &again, 2, "a validation split of its own");
}

#[test]
fn wrong_requests_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let folder = folder.path();
    refused(folder, &["data"], 2, "Usage");
    refused(folder, &["data", "inspect"], 2, "SOURCE");
    refused(folder, &["data", "inspect", "nothing"], 1, "cannot read 'nothing'");
    refused(folder, &["data", "inspect", ".", "--dataset", "cars"], 2, "unknown data set 'cars'");
    refused(folder, &["data", "inspect", ".", "--dataset", "cub200"], 1, "classes.txt");
    refused(folder, &["data", "inspect", ".", "--boxes", "yes"], 2, "boxes = yes");
    refused(folder, &["data", "inspect", ".", "--boxes", "use"], 2, "has no boxes");
    refused(folder, &["data", "inspect", ".", "--folds", "1"], 2, "folds = 1");
    refused(folder, &["data", "convert", "."], 2, "--out");
    let nowhere = ["data", "convert", ".", "--out", "nowhere/a.csv"];
    refused(folder, &nowhere, 2, "there is no folder 'nowhere'");
}

#[test]
fn a_model_is_measured_on_any_split_by_its_roles() {
    let folder = tempfile::tempdir().unwrap();
    write_roles(folder.path());
    let output = train(folder.path(), "roles").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let run = "runs/manifest/roles";
    let eval = |split: &str| {
        let args = ["eval", run, "--json", "--split", split, "--metrics", "recall@1", "map@r"];
        succeed(folder.path(), &args)
    };
    let (test, all) = (eval("test"), eval("test-all"));
    assert_eq!((&test["counts"]["items"], &test["counts"]["gallery"]), (&6.into(), &18.into()));
    assert_eq!(all["counts"]["items"], 24);
    assert!(all["counts"]["gallery"].is_null());
    assert_eq!(test["categories"].as_object().unwrap().len(), 2);
    // The run recorded the same numbers.
    let recorded = fs::read_to_string(folder.path().join(run).join("events.jsonl")).unwrap();
    for scores in [&test, &all] {
        let map = scores["metrics"]["map@r"].as_f64().unwrap();
        assert!(recorded.contains(&format!("{map}")), "{map} was not recorded");
    }
    refused(folder.path(), &["eval", run, "--split", "test-2"], 2, "train, test, test-all");
    refused(folder.path(), &["eval", run, "--split", "val"], 2, "no validation split");
    succeed(folder.path(), &["embed", run, "--out", "embedded", "--json"]);
    let items = fs::read_to_string(folder.path().join("embedded/items.csv")).unwrap();
    assert!(items.starts_with("row,path,label,class,role\n0,1_0.png,0,class 1,query\n"), "{items}");
}

/// Standard error of a model that was scored.
fn scored(folder: &Path, args: &[&str]) -> String {
    let output = pnp().current_dir(folder).args(["eval", "runs/manifest/run"]).args(args).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn settings_of_the_run_s_data_set_stay_out_of_another_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let folder = folder.path();
    let folds = ["--folds", "3", "--fold", "2", "--boxes", "ignore"];
    assert!(train(folder, "run").args(folds).output().unwrap().status.success());
    // One that has a validation split of its own, which cannot be divided once more.
    let text = fs::read_to_string(folder.join("manifest.csv")).unwrap();
    let text = text.replace(",class 0,train", ",class 0,val");
    fs::write(folder.join("other.csv"), &text).unwrap();
    let other = ["--source-path", "other.csv", "--split", "val"];
    let said = scored(folder, &other);
    for part in ["'other.csv' is not the data set of the run", "folds = 3, fold = 2, boxes = "] {
        assert!(said.contains(part), "'{part}' is not in: {said}");
    }
    // Given as flags, they hold.
    let flags = [&["eval", "runs/manifest/run"], &other[..], &["--folds", "3"]].concat();
    refused(folder, &flags, 2, "a validation split of its own");
    // Of the run's own data set, however it is spelled, they stay.
    for source in ["manifest.csv", "./manifest.csv"] {
        let said = scored(folder, &["--source-path", source, "--split", "val"]);
        assert!(!said.contains("note:"), "{said}");
    }
    let off = ["eval", "runs/manifest/run", "--split", "val", "--folds", "0"];
    refused(folder, &off, 2, "no validation split");
    // And where it was moved to.
    fs::create_dir(folder.join("moved")).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::rename(&path, folder.join("moved").join(path.file_name().unwrap())).unwrap();
        }
    }
    let said = scored(folder, &["--source-path", "moved/manifest.csv", "--split", "val"]);
    assert!(!said.contains("note:"), "{said}");
}

#[test]
fn the_run_s_pack_stays_with_its_data_set() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let folder = folder.path();
    let pack = ["--pack", "images.pnp-pack", "--rebuild-pack"];
    assert!(train(folder, "run").args(pack).output().unwrap().status.success());
    let text = fs::read_to_string(folder.join("manifest.csv")).unwrap();
    fs::write(folder.join("other.csv"), text.replace("11_3.png,class 11,test\n", "")).unwrap();
    let said = scored(folder, &["--source-path", "other.csv"]);
    assert!(said.contains("pack = \"images.pnp-pack\" stay out"), "{said}");
    assert!(!scored(folder, &["--source-path", "./manifest.csv"]).contains("note:"));
    // It is read: without it nothing can be.
    fs::remove_file(folder.join("images.pnp-pack")).unwrap();
    let same = ["eval", "runs/manifest/run", "--source-path", "./manifest.csv"];
    refused(folder, &same, 1, "images.pnp-pack");
    scored(folder, &["--source-path", "other.csv"]);
}
