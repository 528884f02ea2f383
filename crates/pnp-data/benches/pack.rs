//! Training batches out of a pack by one worker: `cargo bench -p pnp-data --bench pack`.
//!
//! `benches/peers/loader.py --rust` sets them beside torchvision and Pillow. With `--features
//! turbojpeg` a JPEG pack and the files are read by libjpeg-turbo as well.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use image::codecs::jpeg::JpegEncoder;
use image::{Rgb, RgbImage};
use pnp_data::decode::{JpegDecoder, JpegOptions};
use pnp_data::transform::{Normalization, TrainTransform};
use pnp_data::{
    Dataset, DatasetOptions, Loader, LoaderOptions, OnBadImage, Pack, PackFormat, PackSettings,
    open, pack,
};
use tempfile::TempDir;

/// Images of the data set, and of an epoch.
const IMAGES: u32 = 256;
const BATCH: usize = 32;

fn main() {
    divan::main();
}

/// Waves, edges and a little noise: about the bytes per pixel of a product photo.
fn picture(number: u32) -> RgbImage {
    RgbImage::from_fn(500, 500, |x, y| {
        let (u, v) = (f64::from(x + 9 * number), f64::from(y));
        let wave = 90.0 * ((0.02 * u).sin() + (0.031 * v).cos());
        let edge = if (x / 37 + y / 53) % 2 == 0 { 40.0 } else { 0.0 };
        let noise = f64::from((x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) % 17);
        Rgb([128.0 + wave, 100.0 + edge + noise, 90.0 + 0.5 * wave + edge].map(|c| c as u8))
    })
}

fn write_images(folder: &Path) -> PathBuf {
    let images = folder.join("images");
    for number in 0..=IMAGES {
        let split = if number < IMAGES { "train" } else { "test" };
        let path = images.join(format!("{split}/{}/{number}.jpg", number % 4));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        JpegEncoder::new_with_quality(file, 75).encode_image(&picture(number)).unwrap();
    }
    images
}

/// The data set that an argument names: from its files, or from a pack.
fn dataset(folder: &Path, name: &str) -> Dataset {
    let mut dataset = open(&DatasetOptions::new(write_images(folder))).unwrap();
    let format = match name {
        "raw" => PackFormat::Raw,
        "jpeg" => PackFormat::Jpeg { quality: 90 },
        _ => return dataset,
    };
    let path = folder.join("images.pnp-pack");
    let settings = PackSettings { side: 256, format };
    pack::write([&dataset.train, &dataset.test], &path, settings, OnBadImage::Stop, |_| true)
        .unwrap();
    dataset.use_pack(&Arc::new(Pack::open(&path).unwrap())).unwrap();
    dataset
}

/// What there is to read from: with libjpeg-turbo, where the build has it, after the dash.
const SOURCES: &[&str] = if JpegDecoder::Turbo.is_built() {
    &["raw", "jpeg", "jpeg-turbojpeg", "files", "files-turbojpeg", "raw-bytes"]
} else {
    &["raw", "jpeg", "files", "raw-bytes"]
};

/// An epoch of training images: RandomResizedCrop to 224, flip, normalised (or left as bytes, for
/// a device that normalises).
#[divan::bench(args = SOURCES, sample_count = 10)]
fn epoch_to_224_by_one_worker(bencher: Bencher, name: &str) {
    let folder = TempDir::new().unwrap();
    let (source, how) = name.split_once('-').unwrap_or((name, ""));
    let set = Arc::new(dataset(folder.path(), source).train);
    let decoder = if how == "turbojpeg" { JpegDecoder::Turbo } else { JpegDecoder::Zune };
    let jpeg = JpegOptions { decoder, scaling: false };
    let transform = TrainTransform { jpeg, ..TrainTransform::default() };
    let normalization = (how != "bytes").then_some(Normalization::IMAGENET);
    let batches: Vec<Vec<u32>> =
        (0..IMAGES).collect::<Vec<_>>().chunks(BATCH).map(<[u32]>::to_vec).collect();
    let options = LoaderOptions { workers: 1, ..LoaderOptions::default() };
    let loader = Loader::new(set, options);
    bencher.counter(ItemsCount::new(IMAGES)).bench_local(|| {
        let stream = loader.train(transform, normalization, 0, batches.clone(), 0);
        for batch in stream {
            divan::black_box(batch.unwrap());
        }
    });
}
