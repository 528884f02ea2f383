//! `pnp export`: what is written, what it says, and what is refused.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{json, pnp, stderr, stdout, train, write_data};
use pnp_model::onnx::proto;
use pnp_model::weights;
use prost::Message;

const RUN: &str = "runs/manifest/first";

/// A run of two epochs in a folder.
fn write_run(folder: &Path) {
    write_data(folder);
    let output = train(folder, "first").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

fn export(folder: &Path, args: &[&str]) -> std::process::Output {
    pnp().current_dir(folder).arg("export").args(args).output().unwrap()
}

#[test]
fn a_run_is_exported_in_both_formats_with_the_facts_of_its_images() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    let expected = BTreeMap::from([
        ("antialias", "true"),
        ("backbone", "mobilenet_v2"),
        ("center_crop", "32"),
        ("channel_order", "RGB"),
        ("dataset", "manifest"),
        ("embed_dim", "16"),
        ("exif_rotation", "false"),
        ("interpolation", "bilinear"),
        ("mean", "[0.485, 0.456, 0.406]"),
        ("head", "linear"),
        ("norm_epsilon", "0.00001"),
        ("normalized", "true"),
        ("pool", "avg"),
        ("pnp_version", env!("CARGO_PKG_VERSION")),
        ("resize_shorter_side", "32"),
        ("resnet_stride", "torchvision"),
        ("run", "first"),
        ("selected_on", "test"),
        ("std", "[0.229, 0.224, 0.225]"),
        ("value_range", "[0, 1]"),
    ]);
    let expected: BTreeMap<String, String> =
        expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();

    let output = export(folder.path(), &[RUN, "--output", "m.onnx", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let answer = json(&output);
    assert_eq!(answer["format"], "onnx");
    let bytes = fs::read(folder.path().join("m.onnx")).unwrap();
    assert_eq!(answer["bytes"], bytes.len());
    let model = proto::Model::decode(bytes.as_slice()).unwrap();
    let facts = model.metadata_props.into_iter().map(|fact| (fact.key, fact.value));
    assert_eq!(facts.collect::<BTreeMap<_, _>>(), expected);
    assert!(model.doc_string.contains("trained on manifest"), "{}", model.doc_string);

    let checkpoint = format!("{RUN}/checkpoints/best");
    let output = export(folder.path(), &[&checkpoint, "--output", "m.safetensors"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("mean                 [0.485"), "{}", stdout(&output));
    let bytes = fs::read(folder.path().join("m.safetensors")).unwrap();
    let header = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1;
    let mut facts = expected;
    facts.insert("format".into(), "pt".into());
    let found = header.metadata().clone().unwrap().into_iter();
    assert_eq!(found.collect::<BTreeMap<_, _>>(), facts);
}

#[test]
fn exported_weights_are_those_of_the_checkpoint_and_start_another_run() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    let last = format!("{RUN}/checkpoints/last");
    let args = [last.as_str(), "--format", "safetensors", "--output", "weights.bin"];
    let output = export(folder.path(), &args);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = folder.path().join("weights.bin");
    let checkpoint = folder.path().join(last.as_str()).join("model.safetensors");
    assert_eq!(weights::read(&file).unwrap(), weights::read(&checkpoint).unwrap());
    let bytes = fs::read(&file).unwrap();
    assert!(export(folder.path(), &args).status.success());
    assert!(fs::read(&file).unwrap() == bytes, "the second export has other bytes");

    let output = train(folder.path(), "second")
        .args(["--weights", "weights.bin", "--n-epochs", "1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn wrong_requests_write_nothing_and_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    let in_checkpoint = format!("{RUN}/checkpoints/best/model.safetensors");
    let before = fs::read(folder.path().join(&in_checkpoint)).unwrap();
    let cases: [(&[&str], i32, &str); 6] = [
        (&[RUN, "--output", "model.bin"], 2, "--format"),
        (&[RUN, "--output", "model.bin", "--format", "keras"], 2, "keras"),
        (&["no/such/run", "--output", "m.onnx"], 2, "no/such/run"),
        (&["runs", "--output", "m.onnx"], 1, "neither a run folder"),
        (&[RUN, "--output", "no/such/m.onnx"], 1, "no folder 'no/such'"),
        (&[RUN, "--output", &in_checkpoint], 2, "checkpoint"),
    ];
    for (args, status, part) in cases {
        let output = export(folder.path(), args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: '{part}' is not in: {text}");
    }
    for file in ["model.bin", "m.onnx"] {
        assert!(!folder.path().join(file).exists(), "{file} was written");
    }
    assert!(fs::read(folder.path().join(&in_checkpoint)).unwrap() == before);

    let weights = folder.path().join(&in_checkpoint);
    fs::write(&weights, &before[..before.len() / 2]).unwrap();
    let output = export(folder.path(), &[RUN, "--output", "m.onnx"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("model.safetensors"), "{}", stderr(&output));
    assert!(!folder.path().join("m.onnx").exists());
}
