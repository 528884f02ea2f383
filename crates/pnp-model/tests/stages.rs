//! The registry's facts about each backbone, and the freezing of its first stages.

use burn::tensor::Device;
use pnp_model::backbone::{self, BACKBONES};
use pnp_model::{ModelError, Network, NetworkConfig, ParameterGradients, Role};

fn network(backbone: &str, frozen: bool, freeze_until: Option<&str>) -> Network {
    let config = NetworkConfig {
        backbone: backbone.into(),
        options: pnp_model::BackboneOptions::default(),
        embed_dim: 4,
        frozen,
        normalize: true,
        freeze_until: freeze_until.map(Into::into),
        ..NetworkConfig::default()
    };
    config.init(3, &Device::flex()).unwrap()
}

/// The gradients of a pass over a batch of three waves.
fn gradients(network: &Network) -> ParameterGradients {
    let pixels = (0..3 * 3 * 64 * 64).map(|i| (0.013 * f64::from(i)).sin() as f32).collect();
    let pass = network.embed_for_training(network.images(pixels, [3, 3, 64, 64]));
    let weights = (0..3 * 4).map(|i| (0.3 * f64::from(i)).sin() as f32).collect();
    pass.backward(weights)
}

fn values(gradients: &ParameterGradients) -> Vec<Option<Vec<f32>>> {
    gradients.iter().map(|g| g.map(|g| pnp_model::to_host(g.clone()))).collect()
}

#[test]
fn every_parameter_of_a_backbone_is_in_one_stage_and_they_are_as_many_as_the_registry_says() {
    for entry in BACKBONES {
        let network = network(entry.name, true, None);
        let mut count = 0;
        let mut last_stage = 0;
        for e in network.parameters().entries().iter().filter(|e| e.role != Role::Head) {
            let stages = (0..entry.stages.len()).filter(|&s| entry.stages[s].holds(&e.key));
            let stages: Vec<usize> = stages.collect();
            assert_eq!(stages.len(), 1, "{}: {} is in the stages {stages:?}", entry.name, e.key);
            assert!(stages[0] >= last_stage, "{}: {} is out of order", entry.name, e.key);
            last_stage = stages[0];
            count += if e.is_trained() { e.shape.iter().product::<usize>() } else { 0 };
        }
        assert_eq!(count, entry.parameters, "{}", entry.name);
        assert_eq!(last_stage, entry.stages.len() - 1, "{} has an empty stage", entry.name);
    }
}

#[test]
fn a_backbone_is_found_by_its_alias() {
    assert_eq!(backbone::find("bninception").unwrap().name, "bn_inception");
    for entry in BACKBONES {
        for name in entry.names() {
            assert_eq!(backbone::find(name).unwrap().name, entry.name);
        }
    }
}

#[test]
fn frozen_stages_have_no_gradient_and_the_others_have_the_same() {
    let all = network("resnet18", true, None);
    let part = network("resnet18", true, Some("layer2"));
    assert_eq!(all.parameters().to_state_dict(), part.parameters().to_state_dict());
    let (all_gradients, part_gradients) = (gradients(&all), gradients(&part));
    assert!(part_gradients.norm().read() < all_gradients.norm().read());
    let entries = part.parameters().entries().iter();
    let pairs = values(&all_gradients).into_iter().zip(values(&part_gradients));
    for (entry, (whole, partial)) in entries.zip(pairs) {
        let starts = ["conv1.", "bn1.", "layer1.", "layer2."];
        let frozen = starts.iter().any(|start| entry.key.starts_with(start));
        assert_eq!(entry.frozen, frozen, "{}", entry.key);
        assert_eq!(partial, if frozen { None } else { whole }, "{}", entry.key);
    }
    let kept: usize = part.parameters().trained_count();
    let frozen = all.parameters().entries().iter().zip(part.parameters().entries());
    let frozen = frozen.filter(|(a, b)| a.is_trained() && !b.is_trained());
    let frozen: usize = frozen.map(|(a, _)| a.shape.iter().product::<usize>()).sum();
    assert_eq!(kept + frozen, all.parameters().trained_count());
}

#[test]
fn batch_norm_of_frozen_stages_keeps_its_statistics_where_the_rest_goes_by_the_batch() {
    let mut network = network("resnet18", false, Some("layer1"));
    let before = network.parameters().to_state_dict();
    let gradients = gradients(&network);
    gradients.apply_statistics(network.parameters_mut());
    let after = network.parameters().to_state_dict();
    let statistics = |key: &str| before[key] == after[key];
    assert!(statistics("bn1.running_mean") && statistics("layer1.1.bn2.running_var"));
    assert!(!statistics("layer2.0.bn1.running_mean") && !statistics("layer4.1.bn2.running_var"));
}

#[test]
fn a_head_alone_can_be_trained() {
    let network = network("googlenet", false, Some("inception5"));
    let gradients = gradients(&network);
    for (entry, gradient) in network.parameters().entries().iter().zip(gradients.iter()) {
        assert_eq!(gradient.is_some(), entry.role == Role::Head, "{}", entry.key);
    }
    assert!(gradients.norm().read() > 0.0);
}

#[test]
fn a_stage_that_is_not_there_is_refused_with_those_there_are() {
    let config = network("resnet18", true, None).config().clone();
    let config = NetworkConfig { freeze_until: Some("layer5".into()), ..config };
    let error = config.init(0, &Device::flex()).unwrap_err();
    assert!(matches!(error, ModelError::UnknownStage { .. }));
    let text = error.to_string();
    assert!(text.contains("layer5") && text.contains("stem, layer1, layer2"), "{text}");
}

#[test]
fn a_bias_before_a_batch_norm_by_the_batch_has_a_gradient_of_exactly_zero() {
    let network = network("bn_inception", false, None);
    let gradients = values(&gradients(&network));
    let is_bias = |key: &str| {
        let (layer, name) = key.rsplit_once('.').unwrap();
        name == "bias" && !layer.ends_with("_bn")
    };
    let mut seen = 0;
    for (entry, gradient) in network.parameters().entries().iter().zip(gradients) {
        if is_bias(&entry.key) && entry.role == Role::Backbone {
            assert!(gradient.unwrap().iter().all(|&g| g == 0.0), "{}", entry.key);
            seen += 1;
        }
    }
    assert_eq!(seen, 69);
}

#[test]
fn bn_inception_takes_the_sides_whose_maps_fit_together_and_names_the_others() {
    let entry = backbone::find("bn_inception").unwrap();
    for side in [32, 64, 95, 97, 102, 160, 223, 224, 230, 256, 4096] {
        entry.check_side("image_size", side).unwrap();
    }
    for side in [33 + 6, 94, 103, 222, 231, 240] {
        let error = entry.check_side("image_size", side).unwrap_err().to_string();
        assert!(error.contains(&format!("image_size = {side}")) && error.contains("32"), "{error}");
    }
    let network = network("bn_inception", true, None);
    for side in [32, 63, 70] {
        let images = network.images(vec![0.5; 3 * side * side], [1, 3, side, side]);
        assert_eq!(network.embed(images).dims(), [1, 4]);
    }
}
