//! The network by its flags: what they resolve to, what is refused, and trainings of networks that
//! differ from the default.

mod common;

use std::fs;
use std::path::Path;

use common::{json, pnp, stderr, stdout, train, write_data};

fn resolved(args: &str) -> toml::Table {
    let mut command = pnp();
    command.args("train --source-path x --dry-run".split(' ')).args(args.split(' '));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).parse().unwrap()
}

#[test]
fn an_old_string_resolves_to_the_clear_settings() {
    let config = resolved("--arch resnet50_normalize_double_he");
    assert_eq!(config["arch"].as_str(), Some("resnet50_normalize_double_he"));
    assert_eq!(config["backbone"].as_str(), Some("resnet50"));
    assert_eq!(config["frozen_batch_norm"].as_bool(), Some(false));
    assert_eq!(config["normalize"].as_bool(), Some(true));
    assert_eq!(config["pool"].as_str(), Some("avg+max"));
    assert_eq!(config["head"].as_str(), Some("linear"));
    assert_eq!(config["head_init"].as_str(), Some("he"));
    assert_eq!(config["input_norm"].as_str(), Some("imagenet"));
}

#[test]
fn clear_settings_resolve_to_a_shorthand() {
    let config = resolved("--backbone vit_base_patch16 --normalize=false --head mlp --embed-dim 7");
    assert_eq!(config["arch"].as_str(), Some("vit_base_patch16"));
    assert_eq!(config["frozen_batch_norm"].as_bool(), Some(false));
    assert_eq!(config["pool"].as_str(), Some("cls"));
    assert_eq!(config["head"].as_str(), Some("mlp"));
    assert_eq!(config["input_norm"].as_str(), Some("half"));
    assert_eq!(config["embed_dim"].as_integer(), Some(7));
    let config = resolved("--backbone resnet18 --pool gem --input-norm caffe");
    assert_eq!(config["arch"].as_str(), Some("resnet18_frozen_normalize"));
    assert_eq!(config["input_norm"].as_str(), Some("caffe"));
}

#[test]
fn a_network_that_cannot_be_is_refused_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let cases = [
        ("--arch resnet18_double --pool gem", "arch = resnet18_double says avg+max"),
        ("--arch resnet18 --backbone resnet34", "backbone = resnet34"),
        ("--backbone vit_tiny_patch16 --frozen-batch-norm", "no batch norm to freeze"),
        ("--backbone vit_tiny_patch16 --image-size 40", "a multiple of 16"),
        ("--backbone vit_tiny_patch16 --eval-resize 40 --eval-size 40", "eval_size = 40"),
        ("--pool cls", "no class token"),
        ("--pool mean", "avg, max, avg+max, gem, cls"),
        ("--frozen-batch-norm=false --chunk 4", "--frozen-batch-norm"),
    ];
    for (args, part) in cases {
        let output = train(folder.path(), "wrong").args(args.split(' ')).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args}: {text}");
        assert!(text.contains(part), "{args}: '{part}' is not in: {text}");
        assert!(!folder.path().join("runs").exists(), "{args} wrote something");
    }
}

/// The weights of a run's last checkpoint.
fn weights(folder: &Path, run: &str) -> Vec<u8> {
    fs::read(folder.join(format!("runs/manifest/{run}/checkpoints/last/model.safetensors")))
        .unwrap()
}

fn resume(folder: &Path, run: &str, args: &[&str]) {
    let mut command = pnp();
    command.current_dir(folder).args(["train", "--resume", &format!("runs/manifest/{run}")]);
    let output = command.args(args).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_vision_transformer_trains_to_the_same_bits_on_any_threads_and_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let args = "--backbone vit_tiny_patch16 --not-pretrained --optim sgd --momentum 0";
    let run = |name: &str, threads: &str, more: &[&str]| {
        let mut command = train(folder.path(), name);
        command.args(args.split(' ')).args(more).env("RAYON_NUM_THREADS", threads);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    };
    run("one", "1", &[]);
    run("two", "2", &["--n-epochs", "1"]);
    assert!(weights(folder.path(), "one") != weights(folder.path(), "two"), "nothing was learned");
    resume(folder.path(), "two", &["--n-epochs", "2"]);
    assert!(weights(folder.path(), "one") == weights(folder.path(), "two"));
    run("chunks", "2", &["--chunk", "3"]);
}

#[test]
fn a_pool_and_a_head_of_choice_are_trained_kept_and_used() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let mut command = train(folder.path(), "");
    command.args(["--pool", "gem", "--head", "mlp", "--head-init", "he", "--n-epochs", "1"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let run = "runs/manifest/mobilenet_v2_frozen_normalize_he_gem_mlp_PNP-D_q_s1";
    let folder = folder.path();
    let summary = fs::read_to_string(folder.join(run).join("summary.txt")).unwrap();
    assert!(summary.contains("mobilenet_v2_frozen_normalize_he_gem_mlp"), "{summary}");
    let output = pnp().current_dir(folder).args(["eval", run, "--json"]).output().unwrap();
    assert!(json(&output)["metrics"]["recall@1"].is_number(), "{}", stderr(&output));
    let description = folder.join(run).join("checkpoints/last/model.json");
    let text = fs::read_to_string(&description).unwrap();
    for (good, bad, part) in [("gem", "mean", "no pool 'mean'"), ("mlp", "deep", "no head 'deep'")]
    {
        fs::write(&description, text.replace(good, bad)).unwrap();
        let checkpoint = format!("{run}/checkpoints/last");
        let output = pnp().current_dir(folder).args(["eval", &checkpoint]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}

#[test]
fn a_run_of_before_the_clear_settings_is_resumed_and_used() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let arch = ["--arch", "mobilenet_v2_frozen_normalize"];
    for (name, epochs) in [("whole", "2"), ("old", "1")] {
        let mut command = train(folder.path(), name);
        let output = command.args(arch).args(["--n-epochs", epochs]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let run = folder.path().join("runs/manifest/old");
    let new =
        ["backbone", "frozen_batch_norm", "pool", "head", "head_init", "normalize", "input_norm"];
    let config: toml::Table = fs::read_to_string(run.join("config.toml")).unwrap().parse().unwrap();
    let mut old = config.clone();
    for key in &new {
        assert!(old.remove(*key).is_some(), "{key}");
    }
    fs::write(run.join("config.toml"), old.to_string()).unwrap();
    for kind in ["best", "last"] {
        let path = run.join(format!("checkpoints/{kind}/model.json"));
        let text = fs::read_to_string(&path).unwrap();
        let mut model: serde_json::Value = serde_json::from_str(&text).unwrap();
        for key in ["pool", "head", "input"] {
            assert!(model.as_object_mut().unwrap().remove(key).is_some(), "{key}");
        }
        fs::write(&path, model.to_string()).unwrap();
    }
    resume(folder.path(), "old", &["--n-epochs", "2", "--backbone", "mobilenet_v2"]);
    assert!(weights(folder.path(), "old") == weights(folder.path(), "whole"));
    let config: toml::Table = fs::read_to_string(run.join("config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["pool"].as_str(), Some("avg"));
    let mut command = pnp();
    command.current_dir(folder.path()).args(["train", "--resume", "runs/manifest/old"]);
    let output = command.args(["--pool", "gem", "--n-epochs", "3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--pool cannot be changed"), "{}", stderr(&output));
}
