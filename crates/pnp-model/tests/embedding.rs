//! Embeddings for use are those of the parameters as they are.

use burn::tensor::Device;
use pnp_model::{Network, NetworkConfig, to_host};

fn embedded(network: &Network) -> Vec<f32> {
    let pixels = (0..2 * 3 * 40 * 40).map(|i| (0.013 * f64::from(i)).sin() as f32).collect();
    to_host(network.embed(network.images(pixels, [2, 3, 40, 40])))
}

fn network() -> Network {
    NetworkConfig { backbone: "resnet18".into(), embed_dim: 8, ..NetworkConfig::default() }
        .init(5, &Device::flex())
        .unwrap()
}

/// On the host, where each value is one sum in one order.
#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    for (backbone, side) in [("resnet50", 40), ("mobilenet_v2", 40), ("vit_tiny_patch16", 224)] {
        let config = NetworkConfig { backbone: backbone.into(), ..NetworkConfig::default() };
        let network = config.init(5, &Device::flex()).unwrap();
        let image = 3 * side * side;
        let pixels: Vec<f32> = (0..5 * image).map(|i| (0.013 * i as f32).sin()).collect();
        let embedded = |images: &[f32]| {
            let shape = [images.len() / image, 3, side, side];
            to_host(network.embed(network.images(images.to_vec(), shape)))
        };
        let one_by_one: Vec<f32> = pixels.chunks(image).flat_map(embedded).collect();
        assert!(embedded(&pixels) == one_by_one, "{backbone}");
    }
}

#[test]
fn a_changed_parameter_or_statistic_changes_the_embeddings_at_once() {
    let mut used = network();
    let before = embedded(&used);
    assert_eq!(before, embedded(&used), "the same parameters, the same bits");
    let mut fresh = network();
    for key in ["layer1.0.bn1.weight", "layer2.0.conv1.weight", "bn1.running_var"] {
        for network in [&mut used, &mut fresh] {
            let index = network.parameters().entries().iter().position(|e| e.key == key).unwrap();
            let doubled = network.parameters().entries()[index].tensor.clone().mul_scalar(2.0);
            network.parameters_mut().set(index, doubled);
        }
        let after = embedded(&used);
        assert_ne!(before, after, "{key}");
    }
    // One that has been used before, and one that has not.
    assert_eq!(embedded(&used), embedded(&fresh));
}
