//! Embeddings and gradients are the same bits on any number of threads.

mod common;

use common::{formula_images, formula_network};
use pnp_model::{HeadKind, NetworkConfig, Pool, to_host};

/// The embeddings and all gradients of a network, computed by this many threads.
fn computed(config: &NetworkConfig, shape: [usize; 4], threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    pool.install(|| {
        let network = formula_network(config);
        let pass = network.embed_for_training(network.images(formula_images(shape), shape));
        let embeddings = pass.embeddings();
        let gradients = pass.backward(embeddings.iter().map(|z| z.cos()).collect());
        let gradients = gradients.iter().flatten().map(|g| bits(to_host(g.clone())));
        gradients.chain([bits(embeddings)]).collect()
    })
}

#[test]
fn a_vision_transformers_bits_do_not_depend_on_the_number_of_threads() {
    // Large enough for the products to be shared among threads.
    let config = NetworkConfig {
        backbone: "vit_tiny_patch16".into(),
        pool: Pool::Gem,
        head: HeadKind::Mlp,
        ..NetworkConfig::default()
    };
    let one = computed(&config, [5, 3, 160, 128], 1);
    for threads in [2, 3, 7] {
        assert!(computed(&config, [5, 3, 160, 128], threads) == one, "{threads} threads");
    }
}
