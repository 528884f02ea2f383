//! From a file to normalised planes on one core: `cargo bench -p pnp-data --bench loader`.
//!
//! An iteration does each of the four JPEG files of `benches/images`, 500 pixels the longer side;
//! `benches/peers/loader.py` made them, and runs torchvision and Pillow on them to compare. With
//! `--features turbojpeg` each case of decoding is measured with libjpeg-turbo as well.

use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use image::RgbImage;
use pnp_data::Preparer;
use pnp_data::decode::{Decoder, JpegDecoder, JpegOptions, ReadOptions, Wanted};
use pnp_data::transform::{
    EvalTransform, Normalization, RandomResizedCrop, Resampler, TrainTransform, augmentation,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const PLANES: usize = 3 * 224 * 224;

fn main() {
    divan::main();
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/images");
    (0..4).map(|number| folder.join(format!("{number}.jpg"))).collect()
}

/// Measures `work` on each file, with what it keeps from one to the next.
fn each_file(bencher: Bencher, mut work: impl FnMut(&Path)) {
    let files = files();
    let bencher = bencher.counter(ItemsCount::new(files.len()));
    bencher.bench_local(|| files.iter().for_each(|path| work(path)));
}

/// The decoders of this build.
const DECODERS: &[&str] =
    if JpegDecoder::Turbo.is_built() { &["zune", "turbojpeg"] } else { &["zune"] };

/// How a decoder of that name decodes.
fn jpeg(name: &str, scaling: bool) -> JpegOptions {
    let decoder = if name == "zune" { JpegDecoder::Zune } else { JpegDecoder::Turbo };
    JpegOptions { decoder, scaling }
}

#[divan::bench(args = DECODERS)]
fn decode(bencher: Bencher, name: &str) {
    let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
    let options = ReadOptions { jpeg: jpeg(name, false), ..ReadOptions::default() };
    each_file(bencher, |path| {
        decoder.decode_part_into(path, options, &mut image, Wanted::whole).unwrap();
    });
}

fn train(bencher: Bencher, transform: TrainTransform) {
    let (mut preparer, mut bytes) = (Preparer::default(), Vec::new());
    let mut planes = vec![0.0; PLANES];
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    each_file(bencher, |path| {
        preparer.train(path, &transform, &mut rng, &mut bytes).unwrap();
        Normalization::IMAGENET.apply(&bytes, &mut planes[..bytes.len()]);
    });
}

/// As the loader does it: what the decoder can leave out beside the crop is not decoded.
#[divan::bench(args = DECODERS)]
fn train_transform_to_224(bencher: Bencher, name: &str) {
    train(bencher, TrainTransform { jpeg: jpeg(name, false), ..TrainTransform::default() });
}

/// The same with colours jittered.
#[divan::bench(args = DECODERS)]
fn train_transform_adv_to_224(bencher: Bencher, name: &str) {
    let adv = augmentation("adv").unwrap().transform(RandomResizedCrop::default());
    train(bencher, TrainTransform { jpeg: jpeg(name, false), ..adv });
}

/// Large crops at a half or less of their size, where the decoder can do it: to 224 pixels few are
/// large enough, to 96 pixels most.
#[divan::bench(args = [(224, false), (224, true), (96, false), (96, true)])]
fn train_transform_scaled(bencher: Bencher, (size, scaling): (u32, bool)) {
    let name = DECODERS[DECODERS.len() - 1];
    let jpeg = jpeg(name, scaling && name != "zune");
    train(bencher, TrainTransform { size, jpeg, ..TrainTransform::default() });
}

/// The same bytes with every pixel decoded.
#[divan::bench(args = DECODERS)]
fn train_transform_of_whole_images_to_224(bencher: Bencher, name: &str) {
    let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
    let (mut resampler, mut bytes) = (Resampler::default(), Vec::new());
    let mut planes = vec![0.0; PLANES];
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let transform = TrainTransform::default();
    let options = ReadOptions { jpeg: jpeg(name, false), ..ReadOptions::default() };
    each_file(bencher, |path| {
        decoder.decode_part_into(path, options, &mut image, Wanted::whole).unwrap();
        transform.apply(&image, &mut rng, &mut resampler, &mut bytes).unwrap();
        Normalization::IMAGENET.apply(&bytes, &mut planes);
    });
}

#[divan::bench(args = DECODERS)]
fn eval_transform_to_224(bencher: Bencher, name: &str) {
    let (mut preparer, mut bytes) = (Preparer::default(), Vec::new());
    let mut planes = vec![0.0; PLANES];
    let transform = EvalTransform { jpeg: jpeg(name, false), ..EvalTransform::default() };
    each_file(bencher, |path| {
        preparer.eval(path, &transform, &mut bytes).unwrap();
        Normalization::IMAGENET.apply(&bytes, &mut planes);
    });
}

/// Without decoding: a crop of random scale, resized, and mirrored or not.
#[divan::bench]
fn crop_resize_and_flip(bencher: Bencher) {
    let image = pnp_data::decode(&files()[1]).unwrap();
    let (mut resampler, mut bytes) = (Resampler::default(), Vec::new());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        TrainTransform::default().apply(&image, &mut rng, &mut resampler, &mut bytes).unwrap();
    });
}

#[divan::bench]
fn normalise(bencher: Bencher) {
    let bytes: Vec<u8> = (0..PLANES).map(|i| (i * i % 251) as u8).collect();
    let mut planes = vec![0.0; PLANES];
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| Normalization::IMAGENET.apply(&bytes, &mut planes));
}
