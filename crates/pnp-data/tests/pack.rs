//! Packs: what comes out of them, the same bits however they are made, and packs that are stale or
//! damaged.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::draw;
use image::RgbImage;
use pnp_data::transform::{EvalTransform, Normalization, TrainTransform};
use pnp_data::{
    Batch, Dataset, DatasetOptions, Loader, LoaderOptions, OnBadImage, Pack, PackFormat,
    PackSettings, Pixels, open, pack,
};
use tempfile::{TempDir, tempdir};

const RAW: PackSettings = PackSettings { side: 20, format: PackFormat::Raw };
const JPEG: PackSettings = PackSettings { side: 20, format: PackFormat::Jpeg { quality: 90 } };

/// Twelve images of 40 x 30 pixels in a folder, and a place for a pack beside it.
fn data() -> TempDir {
    let folder = tempdir().unwrap();
    for number in 0..12 {
        let split = if number < 6 { "train" } else { "test" };
        draw(&folder.path().join(format!("images/{split}/{}/{number}.png", number % 3)), number);
    }
    folder
}

fn dataset(folder: &Path) -> Dataset {
    open(&DatasetOptions::new(folder.join("images"))).unwrap()
}

fn write(folder: &Path, settings: PackSettings) -> pack::Packed {
    let dataset = dataset(folder);
    let sets = dataset.splits().map(|(_, set)| set);
    let path = folder.join("images.pnp-pack");
    pack::write(sets, &path, settings, OnBadImage::Stop, |_| true).unwrap().unwrap()
}

fn packed(folder: &Path) -> Dataset {
    let mut dataset = dataset(folder);
    let pack = Arc::new(Pack::open(&folder.join("images.pnp-pack")).unwrap());
    dataset.use_pack(&pack).unwrap();
    dataset
}

fn options(workers: usize) -> LoaderOptions {
    LoaderOptions { workers, ..LoaderOptions::default() }
}

/// The values of a batch that was normalised.
fn planes(batch: Batch) -> Vec<f32> {
    match batch.pixels {
        Pixels::Planes(planes) => planes,
        Pixels::Bytes(_) => panic!("the batch holds bytes"),
    }
}

/// A training epoch's values as bits, and an evaluation's values.
fn pixels(dataset: &Dataset, workers: usize) -> (Vec<u32>, Vec<f32>) {
    let batches = vec![vec![0, 1, 2], vec![5, 3, 0]];
    let transform = TrainTransform { size: 16, ..TrainTransform::default() };
    let norm = Normalization { mean: [0.0; 3], std: [1.0; 3], ..Normalization::IMAGENET };
    let train = Loader::new(Arc::new(dataset.train.clone()), options(workers));
    let train = train.train(transform, norm, 0, batches, 0);
    let bits = train.flat_map(|b| planes(b.unwrap())).map(f32::to_bits).collect();
    let test = Loader::new(Arc::new(dataset.test.clone()), options(workers));
    let test =
        test.eval(EvalTransform { resize: 20, crop: 16, ..EvalTransform::default() }, norm, 4);
    (bits, test.flat_map(|b| planes(b.unwrap())).collect())
}

/// The error of opening the pack for its data set.
fn stale(folder: &Path) -> String {
    let pack = Arc::new(Pack::open(&folder.join("images.pnp-pack")).unwrap());
    dataset(folder).use_pack(&pack).unwrap_err().to_string()
}

#[test]
fn evaluation_from_a_pack_is_that_of_the_files_up_to_rounding() {
    let folder = data();
    assert_eq!(write(folder.path(), RAW).images, 12);
    let (_, from_pack) = pixels(&packed(folder.path()), 1);
    let (_, from_files) = pixels(&dataset(folder.path()), 1);
    assert_eq!(from_pack.len(), 6 * 3 * 16 * 16);
    let worst = from_pack.iter().zip(&from_files).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1.5 / 255.0, "{} levels", worst * 255.0);
    write(folder.path(), JPEG);
    let (_, from_jpeg) = pixels(&packed(folder.path()), 1);
    let difference: f32 = from_jpeg.iter().zip(&from_files).map(|(a, b)| (a - b).abs()).sum();
    let mean = 255.0 * difference / from_files.len() as f32;
    assert!(mean > 0.0 && mean < 6.0, "{mean} levels in the mean");
}

#[test]
fn any_number_of_threads_and_workers_gives_the_same_bits() {
    for settings in [RAW, JPEG] {
        let folder = data();
        let path = folder.path().join("images.pnp-pack");
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| write(folder.path(), settings));
            fs::read(&path).unwrap()
        };
        let one = with(1);
        assert!(with(3) == one, "the pack depends on the threads");
        let dataset = packed(folder.path());
        assert_eq!(pixels(&dataset, 1), pixels(&dataset, 3));
    }
}

#[test]
fn a_packed_image_is_the_whole_image_resized() {
    let folder = tempdir().unwrap();
    for (name, (width, height)) in
        [("a/1.png", (60, 40)), ("b/1.png", (40, 61)), ("b/2.png", (7, 7))]
    {
        let path = folder.path().join("images/train").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_fn(width, height, |x, _| image::Rgb([x as u8, 0, 9])).save(path).unwrap();
    }
    draw(&folder.path().join("images/test/a/1.png"), 1);
    write(folder.path(), RAW);
    // 30 x 20, 20 x 30 (30.5 rounded down) and 20 x 20 pixels of three bytes; then the test image.
    let bytes = fs::read(folder.path().join("images.pnp-pack")).unwrap();
    let images = 3 * (30 * 20 + 20 * 30 + 20 * 20 + 26 * 20);
    assert_eq!(u64::from_le_bytes(*bytes[32..].first_chunk().unwrap()), 128 + images);
}

#[test]
fn a_set_with_a_pack_has_another_digest_and_other_settings_another_again() {
    let folder = data();
    let digest = dataset(folder.path()).digest();
    write(folder.path(), RAW);
    let raw = packed(folder.path()).digest();
    write(folder.path(), JPEG);
    let jpeg = packed(folder.path()).digest();
    assert!(digest != raw && raw != jpeg && digest != jpeg);
}

#[test]
fn a_changed_image_makes_the_pack_stale_and_is_named() {
    let folder = data();
    write(folder.path(), RAW);
    let image = folder.path().join("images/test/1/7.png");
    draw(&image, 200);
    let error = stale(folder.path());
    assert!(error.contains("1 of 6 images") && error.contains("test/1/7.png"), "{error}");
}

#[test]
fn an_image_that_is_not_in_the_pack_makes_it_stale_and_one_too_many_does_not() {
    let folder = data();
    write(folder.path(), RAW);
    fs::remove_file(folder.path().join("images/test/1/7.png")).unwrap();
    packed(folder.path());
    draw(&folder.path().join("images/test/1/new.png"), 9);
    let error = stale(folder.path());
    assert!(error.contains("test/1/new.png"), "{error}");
}

#[test]
fn a_copied_data_set_keeps_its_pack() {
    let folder = data();
    write(folder.path(), RAW);
    let image = folder.path().join("images/test/1/7.png");
    let later = SystemTime::now() + Duration::from_secs(1000);
    fs::File::options().write(true).open(image).unwrap().set_modified(later).unwrap();
    packed(folder.path());
}

#[test]
fn a_damaged_image_is_named_when_it_is_read() {
    for settings in [RAW, JPEG] {
        let folder = data();
        write(folder.path(), settings);
        let path = folder.path().join("images.pnp-pack");
        let mut bytes = fs::read(&path).unwrap();
        bytes[128 + 40] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = Pack::open(&path).unwrap().verify(|_| true).unwrap_err().to_string();
        assert!(error.contains("'train/0/0.png' in it is damaged"), "{error}");
        let dataset = packed(folder.path());
        let loader = Loader::new(Arc::new(dataset.train), options(2));
        let eval = EvalTransform { resize: 20, crop: 16, ..EvalTransform::default() };
        let mut batches = loader.eval(eval, Normalization::IMAGENET, 8);
        assert!(batches.next().unwrap().unwrap_err().to_string().contains("damaged"));
    }
}

#[test]
fn a_whole_pack_is_verified_and_verifying_can_be_ended() {
    let folder = data();
    write(folder.path(), JPEG);
    let pack = Pack::open(&folder.path().join("images.pnp-pack")).unwrap();
    let mut seen = 0;
    let whole = pack.verify(|more| {
        seen += more;
        true
    });
    assert!(whole.unwrap());
    assert_eq!((seen, pack.images(), pack.settings()), (12, 12, JPEG));
    assert!(!pack.verify(|_| false).unwrap());
}

#[test]
fn a_jpeg_of_another_size_than_the_index_says_is_refused() {
    // The file is made anew by hand with one image, whose index says 3 x 3 pixels.
    let folder = tempdir().unwrap();
    for split in ["train/a/1.png", "train/a/2.png", "test/a/3.png"] {
        draw(&folder.path().join("images").join(split), 1);
    }
    write(folder.path(), JPEG);
    let path = folder.path().join("images.pnp-pack");
    let mut bytes = fs::read(&path).unwrap();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let index = word(&bytes, 32) as usize;
    let width = index + 4 + "train/a/1.png".len() + 48;
    assert_eq!(bytes[width], 26);
    bytes[width] = 3;
    let digest: [u8; 32] =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&bytes[index..]))
            .into();
    bytes[48..80].copy_from_slice(&digest);
    let sum = crc32fast::hash(&bytes[..124]).to_le_bytes();
    bytes[124..128].copy_from_slice(&sum);
    fs::write(&path, bytes).unwrap();
    let error = Pack::open(&path).unwrap().verify(|_| true).unwrap_err().to_string();
    assert!(error.contains("not that of the index"), "{error}");
}

#[test]
fn a_broken_image_has_no_pixels_in_the_pack_and_its_file_says_why() {
    let folder = data();
    fs::write(folder.path().join("images/train/1/1.png"), "broken").unwrap();
    let path = folder.path().join("images.pnp-pack");
    let set = dataset(folder.path());
    let sets = || set.splits().map(|(_, set)| set);
    let packed_set = pack::write(sets(), &path, RAW, OnBadImage::Skip, |_| true).unwrap().unwrap();
    assert_eq!(packed_set.without_pixels.len(), 1);
    let dataset = packed(folder.path());
    let options = LoaderOptions { on_bad_image: OnBadImage::Skip, ..options(2) };
    let loader = Loader::new(Arc::new(dataset.train), options);
    let batch = loader.eval(
        EvalTransform { resize: 20, crop: 16, ..EvalTransform::default() },
        Normalization::IMAGENET,
        8,
    );
    let batch = batch.map(Result::unwrap).next().unwrap();
    assert_eq!(batch.indices.len(), 5);
    assert!(batch.skipped[0].error.to_string().contains("neither a PNG"));
}

#[test]
fn impossible_settings_are_refused_before_any_work() {
    let folder = data();
    let path = folder.path().join("images.pnp-pack");
    let format = PackFormat::Jpeg { quality: 0 };
    for settings in [PackSettings { side: 0, ..RAW }, PackSettings { format, ..RAW }] {
        let set = dataset(folder.path());
        let result = pack::write([&set.train], &path, settings, OnBadImage::Stop, |_| true);
        assert!(result.is_err());
        assert!(!path.exists());
    }
}

#[test]
fn what_is_no_pack_does_not_open() {
    let folder = data();
    let path = folder.path().join("images/train/0/0.png");
    let error = Pack::open(&path).unwrap_err().to_string();
    assert!(error.contains("0.png"), "{error}");
    assert!(Pack::open(&folder.path().join("gone")).is_err());
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    assert!(Pack::open(&empty).unwrap_err().to_string().contains("shorter than"));
}

#[test]
fn regions_are_packed_and_a_pack_of_other_regions_is_stale() {
    let folder = tempdir().unwrap();
    let line = |number: u32| {
        draw(&folder.path().join(format!("{number}.png")), number);
        let split = if number < 3 { "train" } else { "test" };
        format!("{number}.png,{},{split},3,{number},27,28", number % 2)
    };
    let lines: Vec<String> = (0..6).map(line).collect();
    let manifest = format!("path,label,split,x1,y1,x2,y2\n{}\n", lines.join("\n"));
    let path = folder.path().join("manifest.csv");
    fs::write(&path, &manifest).unwrap();
    let open = || open(&DatasetOptions::new(&path)).unwrap();
    let packed = folder.path().join("images.pnp-pack");
    let settings = PackSettings { side: 24, format: PackFormat::Raw };
    let files = open();
    let sets = files.splits().map(|(_, set)| set);
    pack::write(sets, &packed, settings, OnBadImage::Stop, |_| true).unwrap().unwrap();
    let mut from_pack = open();
    from_pack.use_pack(&Arc::new(Pack::open(&packed).unwrap())).unwrap();
    let values = |dataset: &Dataset| {
        let loader = Loader::new(Arc::new(dataset.test.clone()), options(2));
        let transform = EvalTransform { resize: 24, crop: 20, ..EvalTransform::default() };
        let batches = loader.eval(transform, Normalization::IMAGENET, 2);
        batches.flat_map(|batch| planes(batch.unwrap())).collect::<Vec<f32>>()
    };
    // Boxes of 24 columns need no resizing where they have as many rows or more.
    let (found, expected) = (values(&from_pack), values(&files));
    let differ = found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 0.05).count();
    assert_eq!((found.len(), differ), (3 * 3 * 20 * 20, 0));
    fs::write(&path, manifest.replace(",27,28", ",26,28")).unwrap();
    let error = open().use_pack(&Arc::new(Pack::open(&packed).unwrap())).unwrap_err();
    assert!(error.to_string().contains("stale"), "{error}");
}
