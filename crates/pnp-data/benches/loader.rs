//! Decoding and augmenting one image on one core: `cargo bench -p pnp-data`.
//!
//! The peer (torchvision 0.29, Pillow, one process) made 335 images/s of a 500-pixel JPEG per core,
//! and 860 images/s decoding alone:
//! `Compose([RandomResizedCrop(224), RandomHorizontalFlip()])(Image.open(path).convert("RGB"))`.

use std::path::PathBuf;

use divan::Bencher;
use divan::counter::ItemsCount;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use pnp_data::decode::Decoder;
use pnp_data::transform::{EvalTransform, Normalization, Resampler, TrainTransform};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

fn main() {
    divan::main();
}

/// Waves, edges and a little noise: about the bytes per pixel of a product photo.
fn picture(side: u32) -> RgbImage {
    RgbImage::from_fn(side, side, |x, y| {
        let (u, v) = (f64::from(x), f64::from(y));
        let wave = 90.0 * ((0.02 * u).sin() + (0.031 * v).cos());
        let edge = if (x / 37 + y / 53) % 2 == 0 { 40.0 } else { 0.0 };
        let noise = f64::from((x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) % 17);
        Rgb([128.0 + wave, 100.0 + edge + noise, 90.0 + 0.5 * wave + edge].map(|c| c as u8))
    })
}

fn jpeg(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("500.jpg");
    let file = std::fs::File::create(&path).unwrap();
    JpegEncoder::new_with_quality(file, 90).encode_image(&picture(500)).unwrap();
    path
}

fn png(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("64.png");
    picture(64).save(&path).unwrap();
    path
}

#[divan::bench(args = ["500.jpg", "64.png"])]
fn decode(bencher: Bencher, name: &str) {
    let folder = TempDir::new().unwrap();
    let path = if name == "64.png" { png(&folder) } else { jpeg(&folder) };
    let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| decoder.decode_into(&path, &mut image).unwrap());
}

#[divan::bench(args = ["500.jpg", "64.png"])]
fn decode_and_train_transform_to_224(bencher: Bencher, name: &str) {
    let folder = TempDir::new().unwrap();
    let path = if name == "64.png" { png(&folder) } else { jpeg(&folder) };
    let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
    let (mut resampler, mut bytes) = (Resampler::default(), Vec::new());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        decoder.decode_into(&path, &mut image).unwrap();
        TrainTransform::default().apply(&image, &mut rng, &mut resampler, &mut bytes).unwrap();
    });
}

#[divan::bench(args = ["500.jpg", "64.png"])]
fn decode_and_eval_transform_to_224(bencher: Bencher, name: &str) {
    let folder = TempDir::new().unwrap();
    let path = if name == "64.png" { png(&folder) } else { jpeg(&folder) };
    let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
    let (mut resampler, mut bytes) = (Resampler::default(), Vec::new());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        decoder.decode_into(&path, &mut image).unwrap();
        EvalTransform::default().apply(&image, &mut resampler, &mut bytes).unwrap();
    });
}

#[divan::bench]
fn normalise_224(bencher: Bencher) {
    let (bytes, mut planes) = (picture(224).into_raw(), vec![0.0; 3 * 224 * 224]);
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| Normalization::IMAGENET.apply(&bytes, &mut planes));
}
