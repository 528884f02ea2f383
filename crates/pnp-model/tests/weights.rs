//! Weight files: both of PyTorch's formats, safetensors, and every way a file can be wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use pnp_model::weights::{self, Array, Fit, Format, StateDict, WeightFile};
use pnp_model::{BackboneOptions, ModelError, Network, NetworkConfig, Role};
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
fn a_whole_training_checkpoint_gives_its_network_and_names_the_rest() {
    let file = WeightFile::open(&golden("training.pth.tar")).unwrap();
    assert_eq!(file.state_dict().unwrap(), expected());
    assert_eq!(file.nested_in(), ["model_state_dict", "module"]);
    assert_eq!(file.format(), Format::PytorchZip);
    let moment = "optimizer_state_dict.state.0.exp_avg".to_owned();
    assert!(file.beside().contains(&moment), "{:?}", file.beside());
    assert_eq!(file.tensors()["counter"].kind().name(), "i64");
}

#[test]
fn of_dinos_two_networks_the_teachers_backbone_is_read() {
    let file = WeightFile::open(&golden("dino.pth")).unwrap();
    assert_eq!(file.state_dict().unwrap(), expected());
    assert_eq!(file.nested_in(), ["teacher", "backbone"]);
    assert!(file.beside().contains(&"teacher.head.mlp.0.bias".to_owned()));
}

#[test]
fn parameters_and_repeated_values_are_read() {
    let dict = weights::read(&golden("parameters.pth")).unwrap();
    assert_eq!(dict["weight"], expected()["whole"]);
    assert_eq!(dict["repeated"], Array { shape: vec![3, 4], values: vec![2.5; 12] });
}

#[test]
fn a_whole_module_has_the_names_of_its_state_dict() {
    let dict = weights::read(&golden("module.pth")).unwrap();
    let keys: Vec<&str> = dict.keys().map(String::as_str).collect();
    let norm = ["norm.bias", "norm.running_mean", "norm.running_var", "norm.weight"];
    assert_eq!(keys, [&["fc.bias", "fc.weight"][..], &norm].concat());
    assert_eq!(dict["fc.weight"].values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn the_names_of_other_libraries_fit_whole_and_best() {
    let text = std::fs::read_to_string(golden("names.json")).unwrap();
    let names: BTreeMap<String, BTreeMap<String, Vec<usize>>> =
        serde_json::from_str(&text).unwrap();
    for (backbone, tensors) in &names {
        let shapes = tensors.iter().map(|(key, shape)| (key.as_str(), shape.as_slice())).collect();
        let best = &weights::fits(&shapes)[0];
        assert_eq!(best.backbone.name, backbone);
        assert!(
            best.matched == best.wanted && best.report.is_clean(),
            "{backbone}: {}",
            best.report
        );
    }
}

#[test]
fn weights_with_timms_names_load_into_torchvisions() {
    let text = std::fs::read_to_string(golden("names.json")).unwrap();
    let names: BTreeMap<String, BTreeMap<String, Vec<usize>>> =
        serde_json::from_str(&text).unwrap();
    let tensors = names["mobilenet_v2"].iter();
    let value = |key: &str| if key == "blocks.6.0.bn3.weight" { 0.25 } else { 0.5 };
    let dict: StateDict = tensors
        .map(|(key, shape)| {
            let values = vec![value(key); shape.iter().product()];
            (key.clone(), Array { shape: shape.clone(), values })
        })
        .collect();
    let mut network = network("mobilenet_v2");
    weights::load(&mut network, &dict, Fit::Backbone, "timm.safetensors".as_ref()).unwrap();
    let loaded = network.parameters().to_state_dict();
    assert_eq!(loaded["features.17.conv.3.weight"].values, [0.25; 320]);
    assert_eq!(loaded["features.17.conv.3.bias"].values, [0.5; 320]);
}

#[test]
fn what_fits_can_be_taken_alone() {
    let mut network = network("resnet18");
    let before = network.parameters().to_state_dict();
    let mut dict = StateDict::new();
    dict.insert("bn1.bias".into(), Array { shape: vec![64], values: vec![3.0; 64] });
    dict.insert("bn1.weight".into(), Array { shape: vec![2], values: vec![3.0; 2] });
    dict.insert("strange".into(), Array { shape: vec![1], values: vec![1.0] });
    let part = Path::new("part.pth");
    let report = weights::load_partly(&mut network, &dict, Fit::Backbone, part).unwrap();
    assert_eq!(report.unexpected, ["strange"]);
    assert_eq!(report.misshapen[0].0, "bn1.weight");
    let after = network.parameters().to_state_dict();
    assert_eq!(after["bn1.bias"].values, [3.0; 64]);
    assert_eq!(after["bn1.weight"], before["bn1.weight"]);

    dict.remove("bn1.bias");
    let error = weights::load_partly(&mut network, &dict, Fit::Backbone, part).unwrap_err();
    assert!(matches!(error, ModelError::Mismatch { .. }), "{error}");
}

#[test]
fn a_layout_is_that_of_the_network() {
    let network = network("resnet18");
    let layout = network.backbone().layout();
    let entries = network.parameters().entries().iter().filter(|e| e.role != Role::Head);
    let ours: Vec<_> = entries.map(|e| (&e.key, &e.shape)).collect();
    let laid_out: Vec<_> = layout.iter().map(|layer| (&layer.key, &layer.shape)).collect();
    assert_eq!(ours, laid_out);
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

#[test]
fn facts_go_into_the_header_and_change_no_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let facts: BTreeMap<String, String> = [("format", "pt"), ("mean", "[0.5, \"ä\"]"), ("a", "")]
        .map(|(k, v)| (k.into(), v.into()))
        .into();
    let bytes = weights::to_safetensors_with_facts(&expected(), &facts);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(weights::read(&path).unwrap(), expected());
    let (length, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(length % 8, 0, "values begin at a multiple of their size");
    assert_eq!(header.metadata().clone().unwrap().into_iter().collect::<BTreeMap<_, _>>(), facts);
    assert_eq!(bytes, weights::to_safetensors_with_facts(&expected(), &facts));
}

#[test]
fn auxiliary_heads_of_pretrained_weights_are_left_aside() {
    let mut network = network("googlenet");
    let mut dict = network.parameters().to_state_dict();
    let array = Array { shape: vec![1], values: vec![0.0] };
    dict.insert("aux1.conv.conv.weight".into(), array.clone());
    dict.insert("aux2.fc2.bias".into(), array.clone());
    weights::load(&mut network, &dict, Fit::Backbone, "a.pth".as_ref()).unwrap();
    assert!(weights::load(&mut network, &dict, Fit::Whole, "a.pth".as_ref()).is_err());
    dict.insert("aux3.fc2.bias".into(), array);
    let error = weights::load(&mut network, &dict, Fit::Backbone, "a.pth".as_ref()).unwrap_err();
    assert!(error.to_string().contains("unexpected: aux3.fc2.bias"), "{error}");
}

#[test]
fn a_pools_exponent_is_left_aside_with_the_head_where_a_backbone_is_read() {
    let gem = NetworkConfig {
        backbone: "resnet18".into(),
        embed_dim: 8,
        pool: pnp_model::Pool::Gem,
        ..NetworkConfig::default()
    };
    let mut gem = gem.init(2, &Device::flex()).unwrap();
    let dict = gem.parameters().to_state_dict();
    assert!(dict.contains_key("pool.p"));
    let mut plain = network("resnet18");
    for network in [&mut plain, &mut gem] {
        weights::load(network, &dict, Fit::Backbone, "gem.safetensors".as_ref()).unwrap();
    }
    let whole = weights::load(&mut plain, &dict, Fit::Whole, "gem.safetensors".as_ref());
    assert!(whole.unwrap_err().to_string().contains("unexpected: pool.p"));
}
