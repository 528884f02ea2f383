//! libjpeg-turbo: a part of an image has the bits of the whole, a scaled image is near the exact one.
#![cfg(feature = "turbojpeg")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use image::RgbImage;
use pnp_data::decode::{Decoder, Extent, JpegDecoder, JpegOptions, ReadOptions, Wanted, decode};
use pnp_data::transform::{
    CropBox, EvalTransform, RandomResizedCrop, TrainCrop, TrainTransform, augmentation,
};
use pnp_data::{Preparer, Region};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

const TURBO: JpegOptions = JpegOptions { decoder: JpegDecoder::Turbo, scaling: false };
const SCALED: JpegOptions = JpegOptions { decoder: JpegDecoder::Turbo, scaling: true };
const READ: ReadOptions = ReadOptions { exif_rotation: false, jpeg: TURBO };

fn path(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = match name.chars().next() {
        Some('0'..='3') => "benches/images",
        Some('4' | 'p') if name.contains("sampled") => "golden/jpeg",
        _ => "golden/transforms",
    };
    root.join(folder).join(name)
}

/// Grey, colours at full, half and quarter resolution, upright halves, and each in many scans.
const FILES: [&str; 10] = [
    "grey_small.jpg",
    "0.jpg",
    "landscape.jpg",
    "portrait.jpg",
    "444_sampled.jpg",
    "422_sampled.jpg",
    "440_sampled.jpg",
    "411_sampled.jpg",
    "progressive_422_sampled.jpg",
    "progressive_grey_sampled.jpg",
];

fn whole(name: &str) -> RgbImage {
    let mut image = RgbImage::default();
    Decoder::default().decode_part_into(&path(name), READ, &mut image, Wanted::whole).unwrap();
    image
}

/// Decodes a part into an image of which every other pixel is wrong.
fn decode_part(decoder: &mut Decoder, name: &str, part: CropBox) -> RgbImage {
    let mut image = RgbImage::from_pixel(2000, 2000, image::Rgb([0xa5; 3]));
    let wanted = |_| Wanted { part, shrink: 1 };
    decoder.decode_part_into(&path(name), READ, &mut image, wanted).unwrap();
    image
}

fn assert_same(part: &RgbImage, whole: &RgbImage, wanted: CropBox, name: &str) {
    assert_eq!(part.dimensions(), whole.dimensions(), "{name}");
    for y in wanted.top..(wanted.top + wanted.height).min(whole.height()) {
        for x in wanted.left..(wanted.left + wanted.width).min(whole.width()) {
            let (found, expected) = (part.get_pixel(x, y), whole.get_pixel(x, y));
            assert_eq!(found, expected, "{name}: {wanted:?} at {x}, {y}");
        }
    }
}

#[test]
fn a_part_has_the_bits_of_the_whole_image() {
    let mut decoder = Decoder::default();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for name in FILES {
        let whole = whole(name);
        let (w, h) = whole.dimensions();
        for round in 0..60 {
            let (left, top) = (rng.random_range(0..w), rng.random_range(0..h));
            let (mut width, mut height) =
                (rng.random_range(1..=w - left), rng.random_range(1..=h - top));
            // Small parts, where the edges are all there is.
            if round % 3 == 0 {
                (width, height) = (width.min(1 + round / 4), height.min(1 + round / 6));
            }
            let part = CropBox { left, top, width, height };
            assert_same(&decode_part(&mut decoder, name, part), &whole, part, name);
        }
        for part in [
            CropBox { left: 0, top: 0, width: w, height: h },
            CropBox { left: w - 1, top: h - 1, width: 1, height: 1 },
            CropBox { left: 0, top: h - 1, width: w, height: 1 },
            CropBox { left: 0, top: 0, width: 1, height: 1 },
            CropBox { left: w + 7, top: h + 9, width: 5, height: 5 },
            CropBox { left: 3, top: 3, width: u32::MAX, height: u32::MAX },
            CropBox { left: 9, top: 2, width: 0, height: 0 },
        ] {
            let found = decode_part(&mut decoder, name, part);
            let part = CropBox { width: part.width.min(w), height: part.height.min(h), ..part };
            assert_same(&found, &whole, part, name);
        }
    }
}

#[test]
fn a_part_is_all_that_is_written() {
    let part = CropBox { left: 250, top: 200, width: 40, height: 30 };
    let image = decode_part(&mut Decoder::default(), "landscape.jpg", part);
    let touched = image.pixels().filter(|pixel| pixel.0 != [0xa5; 3]).count();
    assert!(touched <= (40 + 2 * 24) * 30, "{touched} pixels were written");
}

#[test]
fn the_decoders_differ_by_little() {
    for name in FILES.into_iter().chain(["cmyk.jpg"]) {
        let (pure, turbo) = (decode(&path(name)).unwrap(), whole(name));
        assert_eq!(pure.dimensions(), turbo.dimensions(), "{name}");
        let differences = || pure.as_raw().iter().zip(turbo.as_raw()).map(|(a, b)| a.abs_diff(*b));
        let mean = differences().map(f64::from).sum::<f64>() / pure.as_raw().len() as f64;
        assert!(mean < 0.6, "{name}: {mean} a channel");
    }
    // CMYK is left to the other decoder.
    assert_eq!(decode(&path("cmyk.jpg")).unwrap(), whole("cmyk.jpg"));
}

/// The bytes of a prepared image.
fn prepared(path: &Path, transform: &TrainTransform, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Preparer::default().train(path, transform, &mut rng, &mut bytes).unwrap();
    bytes
}

#[test]
fn transforms_of_what_was_decoded_are_those_of_the_whole_image() {
    let mut resampler = pnp_data::transform::Resampler::default();
    for name in FILES {
        let image = whole(name);
        for augmentation_name in ["base", "red"] {
            let entry = augmentation(augmentation_name).unwrap();
            let transform =
                TrainTransform { jpeg: TURBO, ..entry.transform(RandomResizedCrop::default()) };
            for seed in 0..12 {
                let mut expected = Vec::new();
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                transform.apply(&image, &mut rng, &mut resampler, &mut expected).unwrap();
                let found = prepared(&path(name), &transform, seed);
                assert!(found == expected, "{name}: {augmentation_name}, seed {seed}");
            }
        }
        for (resize, crop) in [(256, 224), (256, 100), (100, 90), (60, 70)] {
            let transform = EvalTransform { resize, crop, jpeg: TURBO, ..EvalTransform::default() };
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            transform.apply(&image, &mut resampler, &mut expected).unwrap();
            Preparer::default().eval(&path(name), &transform, &mut found).unwrap();
            assert!(found == expected, "{name}: {resize}, {crop}");
        }
    }
}

#[test]
fn turned_images_are_decoded_whole() {
    let (mut preparer, mut found, mut expected) = (Preparer::default(), Vec::new(), Vec::new());
    let transform = EvalTransform { exif_rotation: true, jpeg: SCALED, ..EvalTransform::default() };
    let path = path("exif_rotated.jpg");
    preparer.eval(&path, &transform, &mut found).unwrap();
    let mut image = RgbImage::default();
    let options = ReadOptions { exif_rotation: true, jpeg: TURBO };
    Decoder::default().decode_part_into(&path, options, &mut image, Wanted::whole).unwrap();
    transform.apply(&image, &mut pnp_data::transform::Resampler::default(), &mut expected).unwrap();
    assert!(found == expected);
}

/// How bright each pixel is.
fn brightness(pixels: &[u8]) -> Vec<u8> {
    let weigh =
        |p: &[u8; 3]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
    pixels.as_chunks::<3>().0.iter().map(|pixel| weigh(pixel).round() as u8).collect()
}

/// Mean and largest difference of a scaled image from the exact one. Pillow's `draft`, which scales
/// in the same way, differs from its own exact resizing of the photographs by up to 2.03 and 29 levels.
/// Colours of less resolution in one direction alone, as in `golden/jpeg`, lose much of the other in
/// either program: of these files brightness is compared.
fn differences(name: &str, exact: &[u8], scaled: &[u8]) -> (f64, u8) {
    assert_eq!(exact.len(), scaled.len());
    let seen = |pixels: &[u8]| {
        if name.contains("sampled") { brightness(pixels) } else { pixels.to_vec() }
    };
    let (exact, scaled) = (seen(exact), seen(scaled));
    let each = || exact.iter().zip(&scaled).map(|(a, b)| a.abs_diff(*b));
    (each().map(f64::from).sum::<f64>() / exact.len() as f64, each().max().unwrap())
}

#[test]
fn scaling_changes_pixels_by_little_and_only_where_it_is_allowed() {
    for name in FILES {
        for (size, shrunk) in [(300, false), (100, true), (48, true), (24, true)] {
            let transform =
                |jpeg| EvalTransform { resize: size, crop: size, jpeg, ..EvalTransform::default() };
            let eval = |jpeg| {
                let mut bytes = Vec::new();
                Preparer::default().eval(&path(name), &transform(jpeg), &mut bytes).unwrap();
                bytes
            };
            let (exact, scaled) = (eval(TURBO), eval(SCALED));
            let image = whole(name);
            let short = image.width().min(image.height());
            let shrink = transform(SCALED).wanted(image.dimensions()).shrink;
            assert_eq!(shrink > 1, shrunk && short >= 2 * size, "{name}: {size}");
            assert!(shrink * size <= short.max(size), "{name}: shrunk below {size}");
            let (mean, most) = differences(name, &exact, &scaled);
            if shrink == 1 {
                assert_eq!(most, 0, "{name}: {size}");
            } else {
                assert!(mean < 2.5 && most < 40, "{name}: {size}: {mean}, {most}");
            }
        }
        // A training crop, near the whole image.
        let crop = RandomResizedCrop { scale: (0.7, 0.8), ratio: (1.0, 1.0) };
        let train = |jpeg| TrainTransform {
            size: 32,
            crop: TrainCrop::Resized(crop),
            jpeg,
            ..TrainTransform::default()
        };
        for seed in 0..5 {
            let exact = prepared(&path(name), &train(TURBO), seed);
            let (mean, most) =
                differences(name, &exact, &prepared(&path(name), &train(SCALED), seed));
            assert!(mean < 2.5 && most < 40, "{name}: {mean}, {most}");
        }
    }
}

#[test]
fn a_scaled_part_has_the_bits_of_the_scaled_whole() {
    let mut decoder = Decoder::default();
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for name in FILES {
        for shrink in [2, 4, 8] {
            let mut all = RgbImage::default();
            let wanted = |size| Wanted { shrink, ..Wanted::whole(size) };
            let Extent { size: (w, h), .. } =
                decoder.decode_part_into(&path(name), READ, &mut all, wanted).unwrap();
            assert_eq!(all.dimensions(), (w.div_ceil(shrink), h.div_ceil(shrink)));
            for _ in 0..20 {
                let (left, top) = (rng.random_range(0..w), rng.random_range(0..h));
                let width = rng.random_range(1..=w - left);
                let height = rng.random_range(1..=h - top);
                let part = CropBox { left, top, width, height };
                let mut image = RgbImage::default();
                let wanted = |_| Wanted { part, shrink };
                let extent = decoder.decode_part_into(&path(name), READ, &mut image, wanted);
                assert_eq!(extent.unwrap().shrink, shrink);
                let (right, bottom) =
                    ((left + width).div_ceil(shrink), (top + height).div_ceil(shrink));
                let (left, top) = (left / shrink, top / shrink);
                let scaled = CropBox { left, top, width: right - left, height: bottom - top };
                assert_same(&image, &all, scaled, name);
            }
        }
    }
}

#[test]
fn images_cut_to_boxes_are_the_same_parts() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let mut manifest = "path,label,split,x1,y1,x2,y2\n".to_owned();
    for (number, split) in ["train", "train", "test", "test"].into_iter().enumerate() {
        std::fs::copy(path("landscape.jpg"), root.join(format!("{number}.jpg"))).unwrap();
        let label = number / 2;
        writeln!(manifest, "{number}.jpg,{label},{split},101,53,487,400").unwrap();
    }
    std::fs::write(root.join("all.csv"), manifest).unwrap();
    let options = pnp_data::DatasetOptions::new(root.join("all.csv"));
    let set = std::sync::Arc::new(pnp_data::open(&options).unwrap().test);
    assert_eq!(set.items()[0].region, Region::new(101, 53, 487, 400));
    let loader = pnp_data::Loader::new(set, pnp_data::LoaderOptions::default());
    let transform =
        EvalTransform { resize: 80, crop: 64, jpeg: SCALED, ..EvalTransform::default() };
    let batch = loader.eval(transform, None, 2).next().unwrap().unwrap();
    let pnp_data::Pixels::Bytes(found) = batch.pixels else { panic!("the batch holds planes") };
    let cut = image::imageops::crop_imm(&whole("landscape.jpg"), 101, 53, 386, 347).to_image();
    let mut expected = Vec::new();
    let mut resampler = pnp_data::transform::Resampler::default();
    transform.apply(&cut, &mut resampler, &mut expected).unwrap();
    assert!(found[..expected.len()] == expected);
}

fn refused(bytes: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("broken.jpg");
    std::fs::write(&path, bytes).unwrap();
    let mut image = RgbImage::default();
    let error = Decoder::default()
        .decode_part_into(&path, READ, &mut image, Wanted::whole)
        .unwrap_err()
        .to_string();
    assert!(error.contains("broken.jpg"), "the error does not name the file: {error}");
    assert!(image.is_empty());
    error
}

#[test]
fn broken_files_are_refused_before_memory_is_taken() {
    let whole = std::fs::read(path("landscape.jpg")).unwrap();
    for length in [3, 20, 300, whole.len() / 2, whole.len() - 2] {
        refused(&whole[..length]);
    }
    let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let mut file = whole.clone();
    file[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert!(refused(&file).contains("at most 100000000"));
    file[frame + 5..frame + 9].copy_from_slice(&[0x20, 0, 0x20, 0]);
    assert!(refused(&file).contains("bytes can hold"));
    // A second header that says otherwise.
    let mut file = whole.clone();
    let length = usize::from(file[frame + 3]) + 2;
    let mut second = file[frame..frame + length].to_vec();
    second[8] ^= 1;
    file.splice(frame + length..frame + length, second);
    refused(&file);
}

#[test]
fn damaged_bytes_never_crash_the_decoder() {
    let folder = TempDir::new().unwrap();
    let file_path = folder.path().join("damaged");
    let mut decoder = Decoder::default();
    for name in ["grey_small.jpg", "landscape.jpg", "portrait.jpg", "411_sampled.jpg"] {
        let whole = std::fs::read(path(name)).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for round in 0..80_u32 {
            let mut damaged = whole.clone();
            for _ in 0..4 {
                // Most of the damage goes to the headers, where it does most harm.
                let range = if rng.random() { 700.min(whole.len()) } else { whole.len() };
                damaged[rng.random_range(0..range)] = rng.random();
            }
            std::fs::write(&file_path, &damaged).unwrap();
            let mut image = RgbImage::default();
            let part = CropBox { left: 3 * round, top: round, width: 50, height: 40 };
            let wanted = |_| Wanted { part, shrink: 1 << (round % 4) };
            // An image after a broken one is decoded as ever.
            if decoder.decode_part_into(&file_path, READ, &mut image, wanted).is_ok() {
                assert!(image.width() > 0 && image.height() > 0);
            }
        }
        let part = CropBox { left: 5, top: 6, width: 30, height: 20 };
        let after = decode_part(&mut decoder, name, part);
        assert_same(&after, &self::whole(name), part, name);
    }
}

#[test]
fn a_file_of_very_many_scans_is_refused() {
    let mut file = std::fs::read(path("portrait.jpg")).unwrap();
    // The last scan, 1,000 times over.
    let scan = file.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let last = file[scan..file.len() - 2].to_vec();
    file.truncate(scan);
    file.extend(last.repeat(1000));
    file.extend([0xff, 0xd9]);
    assert!(refused(&file).contains("scans"), "{}", refused(&file));
}
