//! The vision transformers against timm's float64 values and gradients (`golden/backbones`).

mod common;

use common::{Tolerance, check_case, golden};
use pnp_model::{NetworkConfig, Pool};

/// timm in f32 is 6e-8 from these embeddings and 3e-4 from the norm of a gradient.
const TOLERANCE: Tolerance = Tolerance { embedding: 1e-5, gradient: 1e-3, zero_gradient: 1e-8 };

fn check(case: &str, backbone: &str) {
    let expected = &golden("vit.json")[case];
    let pool = Pool::parse(expected["pool"].as_str().unwrap()).unwrap();
    let config = NetworkConfig {
        backbone: backbone.into(),
        embed_dim: 64,
        pool,
        ..NetworkConfig::default()
    };
    check_case(case, &config, expected, TOLERANCE);
}

#[test]
fn vit_small_agrees_with_timm() {
    check("vit_small", "vit_small_patch16");
}

#[test]
fn vit_small_agrees_with_timm_where_positions_are_resampled() {
    check("vit_small_wide", "vit_small_patch16");
}

#[test]
fn vit_small_agrees_with_timm_where_one_side_grows_and_one_shrinks() {
    check("vit_small_large", "vit_small_patch16");
}

#[test]
fn vit_base_agrees_with_timm() {
    check("vit_base", "vit_base_patch16");
}
