//! Every backbone's file parsed back: the graph holds together, uses all parameters, and computes
//! what the network computes.

mod run;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use burn::tensor::Device;
use prost::Message;

use super::*;
use crate::backbone::{BACKBONES, BackboneOptions};
use crate::executor::Executor;
use crate::head::HeadKind;
use crate::layer::{Linear, LinearInit, Pass};
use crate::parameters::{Builder, Role, to_host};
use crate::pool::Pool;
use crate::{NetworkConfig, ResNetStride};
use run::Array;

/// The smallest image that every backbone takes.
const SIDE: usize = 32;
const DIM: usize = 12;

/// A network whose every parameter and statistic matters.
fn network(backbone: &str, normalize: bool, options: BackboneOptions) -> Network {
    let backbone = backbone.to_owned();
    let config = NetworkConfig { backbone, options, normalize, ..NetworkConfig::default() };
    network_of(&NetworkConfig { embed_dim: DIM, ..config })
}

fn network_of(config: &NetworkConfig) -> Network {
    let mut network = config.init(7, &Device::default()).unwrap();
    let keys: Vec<String> =
        network.parameters().entries().iter().map(|entry| entry.key.clone()).collect();
    for (index, key) in keys.iter().enumerate() {
        let entry = &network.parameters().entries()[index];
        let (count, vector) = (entry.tensor.dims()[0], entry.shape.len() == 1);
        let wave = (0..count).map(|i| (0.7 * (i % 8191) as f32 + index as f32).sin());
        let values = match key.rsplit('.').next().unwrap() {
            "running_var" => wave.map(|x| 1.0 + 0.5 * x * x).collect(),
            "weight" if vector => wave.map(|x| 1.0 + 0.1 * x).collect(),
            "weight" => continue,
            "p" => vec![2.5],
            _ => wave.map(|x| 0.1 * x).collect(),
        };
        network.parameters_mut().set_values(index, values);
    }
    network
}

fn facts() -> BTreeMap<String, String> {
    BTreeMap::from([("backbone".into(), "a".into()), ("center_crop".into(), "32".into())])
}

fn exported(network: &Network) -> proto::Model {
    let header = OnnxFacts { side: SIDE, version: "1.2.3", summary: "a network", facts: &facts() };
    proto::Model::decode(to_onnx(network, &header).unwrap().as_slice()).unwrap()
}

fn images(count: usize) -> Vec<f32> {
    (0..count * 3 * SIDE * SIDE).map(|i| (0.013 * (i % 65521) as f32).sin()).collect()
}

fn assert_near(name: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len());
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < tolerance, "{name} value {i}: {a}, not {b}");
    }
}

#[test]
fn every_backbone_is_written_as_a_graph_that_holds_together_and_computes_the_same() {
    for entry in BACKBONES {
        check(entry.name, &network(entry.name, true, BackboneOptions::default()));
    }
}

#[test]
fn every_pool_and_head_is_written() {
    for backbone in ["resnet18", "vit_tiny_patch16"] {
        for pool in Pool::ALL {
            for head in HeadKind::ALL {
                if pool == Pool::Cls && backbone == "resnet18" {
                    continue;
                }
                let config = NetworkConfig { pool, head, ..NetworkConfig::default() };
                let config = NetworkConfig { backbone: backbone.into(), embed_dim: DIM, ..config };
                check(&format!("{backbone} {pool} {head}"), &network_of(&config));
            }
        }
    }
}

/// A network's graph holds together, uses all of its parameters and computes the same.
fn check(name: &str, network: &Network) {
    let shape = [2, 3, SIDE, SIDE];
    let expected = to_host(network.embed(network.images(images(2), shape)));
    let graph = exported(network).graph.unwrap();
    assert_eq!(graph.name, network.config().backbone);
    check_order(&graph);
    check_weights(&graph, network);
    let found = run::run(&graph, Array { shape: shape.to_vec(), values: images(2) });
    assert_eq!(found.shape, [2, DIM]);
    assert_near(name, &found.values, &expected, 1e-5);
}

/// Every input of a node is known before it, every name is given once, every value is used.
fn check_order(graph: &Graph) {
    let mut known = HashSet::from([INPUT]);
    for tensor in &graph.initializer {
        assert!(known.insert(&tensor.name), "'{}' is there twice", tensor.name);
    }
    let mut used = HashSet::new();
    let mut names = HashSet::new();
    for node in &graph.node {
        assert!(names.insert(&node.name), "two nodes are named '{}'", node.name);
        for input in &node.input {
            assert!(known.contains(input.as_str()), "'{}' takes '{input}' too early", node.name);
            used.insert(input.as_str());
        }
        for output in &node.output {
            assert!(known.insert(output), "'{output}' is made twice");
        }
    }
    used.insert(OUTPUT);
    assert_eq!(used, known);
}

/// Every initialiser holds what its shape says, and all of the network's parameters went into one.
fn check_weights(graph: &Graph, network: &Network) {
    let mut made_of = BTreeSet::new();
    for tensor in &graph.initializer {
        let size = match tensor.data_type {
            proto::FLOAT => 4,
            proto::INT64 => 8,
            other => panic!("'{}' is of the type {other}", tensor.name),
        };
        let count: i64 = tensor.dims.iter().product();
        assert_eq!(tensor.raw_data.len() as i64, size * count, "'{}'", tensor.name);
        made_of.extend(tensor.doc_string.split(", ").filter(|key| !key.is_empty()));
    }
    let entries = network.parameters().entries().iter();
    assert_eq!(made_of, entries.map(|entry| entry.key.as_str()).collect());
}

#[test]
fn options_of_the_network_reach_the_graph() {
    let options = BackboneOptions { resnet_stride: ResNetStride::V1, norm_epsilon: Some(1e-2) };
    let network = network("resnet50", false, options);
    let expected = to_host(network.embed(network.images(images(1), [1, 3, SIDE, SIDE])));
    let graph = exported(&network).graph.unwrap();
    assert_eq!(graph.node.last().unwrap().op_type, "Gemm");
    let found = run::run(&graph, Array { shape: vec![1, 3, SIDE, SIDE], values: images(1) });
    let largest = expected.iter().fold(0.0f32, |m, value| m.max(value.abs()));
    assert!(largest > 0.1);
    assert_near("resnet50", &found.values, &expected, 1e-5 * largest.max(1.0));
}

#[test]
fn nodes_are_named_after_the_layers_they_are_of() {
    let network = network("resnet18", true, BackboneOptions::default());
    let graph = exported(&network).graph.unwrap();
    let named = |name: &str| graph.node.iter().find(|node| node.name == name).unwrap();
    assert_eq!(named("layer2.0.downsample.0").op_type, "Conv");
    assert_eq!(named("layer2.0.conv2/Add").op_type, "Add");
    assert_eq!(named("fc").input[1..], ["fc.weight", "fc.bias"]);
}

#[test]
fn input_output_and_metadata_say_what_they_are() {
    let model = exported(&network("mobilenet_v2", true, BackboneOptions::default()));
    assert_eq!((model.producer_name.as_str(), model.producer_version.as_str()), ("pnp", "1.2.3"));
    assert_eq!(model.doc_string, "a network");
    assert_eq!(model.opset_import, [OperatorSet { domain: String::new(), version: 17 }]);
    let pairs = model.metadata_props.into_iter().map(|fact| (fact.key, fact.value));
    assert_eq!(pairs.collect::<BTreeMap<_, _>>(), facts());
    let graph = model.graph.unwrap();
    let sides = |info: &ValueInfo| {
        let tensor = info.r#type.clone().unwrap().tensor_type.unwrap();
        let dim = tensor.shape.unwrap().dim.into_iter();
        dim.map(|side| match side.value.unwrap() {
            Size::DimValue(size) => size.to_string(),
            Size::DimParam(name) => name,
        })
        .collect::<Vec<_>>()
        .join(" ")
    };
    assert_eq!((graph.input[0].name.as_str(), graph.output[0].name.as_str()), (INPUT, OUTPUT));
    assert_eq!(sides(&graph.input[0]), "batch 3 32 32");
    assert_eq!(sides(&graph.output[0]), "batch 12");
}

#[test]
fn a_head_on_every_position_of_a_map_is_written_too() {
    let mut builder = Builder::new(3);
    let layer = Linear::new(&mut builder, "fc", [3, 5], Role::Head, LinearInit::Uniform);
    let parameters = builder.finish(&Device::default());
    let precision = crate::Precision::F32;
    let pass = Pass { parameters: &parameters, batch_statistics: None, folded: None, precision };
    let pixels = network("resnet18", true, BackboneOptions::default())
        .images(images(1), [1, 3, SIDE, SIDE])
        .permute([0, 2, 3, 1]);
    let y = pass.unit_length(0.5, pass.linear(&layer, pixels));
    let expected = to_host(y.permute([0, 3, 1, 2]));

    let writer = Writer::new(&parameters);
    let y = writer.unit_length(0.5, writer.linear(&layer, Writer::images(SIDE)));
    let (node, initializer) = writer.finish(&y).unwrap();
    let info = |name: &str| ValueInfo { name: name.into(), ..ValueInfo::default() };
    let (input, output) = (vec![info(INPUT)], vec![info(OUTPUT)]);
    let graph = Graph { node, initializer, input, output, ..Graph::default() };
    let found = run::run(&graph, Array { shape: vec![1, 3, SIDE, SIDE], values: images(1) });
    assert_eq!(found.shape, [1, 5, SIDE, SIDE]);
    assert_near("fc", &found.values, &expected, 1e-5);
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let network = network("resnet18", true, BackboneOptions::default());
    let header = OnnxFacts { side: SIDE, version: "1.2.3", summary: "a network", facts: &facts() };
    assert_eq!(to_onnx(&network, &header).unwrap(), to_onnx(&network, &header).unwrap());
}

#[test]
fn a_variance_below_zero_is_refused_by_the_layers_name() {
    let mut network = network("resnet18", true, BackboneOptions::default());
    let entries = network.parameters().entries();
    let index = entries.iter().position(|e| e.key == "layer1.1.bn2.running_var").unwrap();
    let mut values = vec![1.0; 64];
    values[9] = -1.0;
    network.parameters_mut().set_values(index, values);
    let header = OnnxFacts { side: SIDE, version: "1", summary: "", facts: &facts() };
    let error = to_onnx(&network, &header).unwrap_err().to_string();
    assert!(error.contains("'layer1.1.conv2'") && error.contains("negative"), "{error}");
}

#[test]
fn a_file_beyond_protobufs_limit_is_refused() {
    assert!(refuse_too_long(LONGEST).is_ok());
    let error = refuse_too_long(LONGEST + 1).unwrap_err().to_string();
    assert!(error.contains("2147483648 bytes") && error.contains("safetensors"), "{error}");
}
