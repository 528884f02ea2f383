//! Weight files: both of PyTorch's formats, safetensors, and every way a file can be wrong.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use pnp_model::weights::{self, Array, Fit, StateDict};
use pnp_model::{BackboneOptions, ModelError, Network, NetworkConfig};
use serde_json::Value;

fn golden(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/weights").join(file)
}

fn expected() -> StateDict {
    let text = std::fs::read_to_string(golden("values.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let array = |v: &Value| Array {
        shape: serde_json::from_value(v["shape"].clone()).unwrap(),
        values: serde_json::from_value(v["values"].clone()).unwrap(),
    };
    json.as_object().unwrap().iter().map(|(k, v)| (k.clone(), array(v))).collect()
}

fn network(backbone: &str) -> Network {
    let config = NetworkConfig {
        backbone: backbone.into(),
        options: BackboneOptions::default(),
        embed_dim: 8,
        frozen: true,
        normalize: true,
        ..NetworkConfig::default()
    };
    config.init(1, &Device::flex()).unwrap()
}

#[test]
fn the_zip_format_is_read_with_views_and_half_precision() {
    assert_eq!(weights::read(&golden("zip.pth")).unwrap(), expected());
}

#[test]
fn the_older_format_is_read_too() {
    assert_eq!(weights::read(&golden("older.pth")).unwrap(), expected());
}

#[test]
fn a_state_dict_inside_a_training_checkpoint_is_found() {
    assert_eq!(weights::read(&golden("nested.pth")).unwrap(), expected());
}

#[test]
fn safetensors_survive_a_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, weights::to_safetensors(&expected())).unwrap();
    assert_eq!(weights::read(&path).unwrap(), expected());
}

#[test]
fn a_truncated_file_of_any_format_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let safetensors = weights::to_safetensors(&expected());
    let files = [
        ("zip.pth", std::fs::read(golden("zip.pth")).unwrap()),
        ("older.pth", std::fs::read(golden("older.pth")).unwrap()),
        ("model.safetensors", safetensors),
    ];
    for (name, bytes) in files {
        let path = folder.path().join(name);
        for part in 0..16 {
            std::fs::write(&path, &bytes[..bytes.len() * part / 16]).unwrap();
            let error = weights::read(&path).expect_err(&format!("{name}, {part}/16 of it"));
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

#[test]
fn a_file_that_is_no_weight_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.pth");
    for bytes in [&b"hello"[..], b"PK\x03\x04 no archive", b"\x80\x02}q\x00.", &[0xff; 64]] {
        std::fs::write(&path, bytes).unwrap();
        let error = weights::read(&path).unwrap_err();
        assert!(matches!(error, ModelError::Format { .. }), "{error}");
    }
}

#[test]
fn a_header_that_asks_for_more_than_the_file_holds_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lying.safetensors");
    let header =
        br#"{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(weights::read(&path), Err(ModelError::Format { .. })));
    std::fs::write(&path, [u64::MAX.to_le_bytes(), [0; 8]].concat()).unwrap();
    assert!(matches!(weights::read(&path), Err(ModelError::Format { .. })));
}

#[test]
fn a_missing_file_is_an_io_error() {
    let error = weights::read(Path::new("no/such/weights.pth")).unwrap_err();
    assert!(error.to_string().contains("no/such/weights.pth"), "{error}");
}

#[test]
fn the_built_in_weights_fit_the_built_in_backbone() {
    let mut network = network(weights::BUILTIN_BACKBONE);
    let dict = weights::builtin().unwrap();
    weights::load(&mut network, &dict, Fit::Backbone, "builtin".as_ref()).unwrap();
    let loaded = network.parameters().to_state_dict();
    assert_eq!(loaded["features.0.0.weight"], dict["features.0.0.weight"]);
}

#[test]
fn weights_of_another_network_are_refused_and_change_nothing() {
    let mut network = network("resnet18");
    let before = network.parameters().to_state_dict();
    let dict = weights::builtin().unwrap();
    let error =
        weights::load(&mut network, &dict, Fit::Backbone, "other.pth".as_ref()).unwrap_err();
    let text = error.to_string();
    for part in ["other.pth", "resnet18", "missing: bn1.bias", "unexpected: features."] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    assert_eq!(network.parameters().to_state_dict(), before);
}

#[test]
fn a_misshapen_key_is_reported_with_both_shapes() {
    let mut network = network("resnet18");
    let mut dict = network.parameters().to_state_dict();
    dict.insert("bn1.bias".into(), Array { shape: vec![3], values: vec![0.0; 3] });
    let error = weights::load(&mut network, &dict, Fit::Whole, "a.pth".as_ref()).unwrap_err();
    assert!(error.to_string().contains("bn1.bias (expected [64], found [3])"), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_refused_by_name() {
    let mut network = network("resnet18");
    let mut dict = network.parameters().to_state_dict();
    dict.get_mut("bn1.bias").unwrap().values[7] = f32::NAN;
    let error = weights::load(&mut network, &dict, Fit::Whole, "a.pth".as_ref()).unwrap_err();
    assert!(error.to_string().contains("'bn1.bias' holds the value NaN"), "{error}");
}

#[test]
fn safetensors_whose_header_length_looks_like_another_format_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for length in [0x4b50usize, 0x0280, 0x0480] {
        let mut header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned();
        header += &" ".repeat(length - header.len());
        let mut bytes = (length as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(1.5f32.to_le_bytes());
        let path = folder.path().join("w.safetensors");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(weights::read(&path).unwrap()["w"].values, [1.5]);
    }
}

#[test]
fn pretrained_weights_may_bring_their_own_last_layer() {
    let mut network = network("resnet18");
    let mut dict = network.parameters().to_state_dict();
    dict.insert("fc.weight".into(), Array { shape: vec![1000, 512], values: vec![0.0; 512_000] });
    weights::load(&mut network, &dict, Fit::Backbone, "a.pth".as_ref()).unwrap();
    let error = weights::load(&mut network, &dict, Fit::Whole, "a.pth".as_ref()).unwrap_err();
    assert!(matches!(error, ModelError::Mismatch { .. }));
}
