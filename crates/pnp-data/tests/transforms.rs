//! Decoding and transforms against Pillow and torchvision, and the distribution of random crops.

use std::path::PathBuf;

use pnp_data::Preparer;
use pnp_data::transform::{
    AUGMENTATIONS, CropBox, DrawnCrop, EvalTransform, RandomCrop, RandomResizedCrop, Region,
    Resampler, TrainCrop, TrainTransform, augmentation,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/transforms").join(name)
}

/// Mean and largest absolute difference of the evaluation transform from the golden image.
fn difference(name: &str) -> (f64, u8) {
    let stem = name.split('.').next().unwrap();
    let expected = pnp_data::decode(&golden(&format!("expected_{stem}.png"))).unwrap();
    let image = pnp_data::decode(&golden(name)).unwrap();
    let mut out = Vec::new();
    EvalTransform::default().apply(&image, &mut Resampler::default(), &mut out).unwrap();
    assert_eq!(out.len(), expected.as_raw().len());
    let pairs = out.iter().zip(expected.as_raw());
    let differences: Vec<u8> = pairs.map(|(&a, &b)| a.abs_diff(b)).collect();
    let sum: f64 = differences.iter().map(|&d| f64::from(d)).sum();
    (sum / differences.len() as f64, differences.into_iter().max().unwrap())
}

fn assert_close(name: &str, largest: u8) {
    let (mean, max) = difference(name);
    assert!(mean < 1.0 && max < largest, "{name}: mean {mean}, largest {max}");
}

#[test]
fn baseline_progressive_and_grey_jpeg_agree_with_torchvision() {
    for name in ["landscape.jpg", "portrait.jpg", "grey_small.jpg"] {
        assert_close(name, 8);
    }
}

#[test]
fn a_cmyk_jpeg_is_inverted_as_pillow_does() {
    assert_close("cmyk.jpg", 8);
}

#[test]
fn an_exif_orientation_is_ignored() {
    assert_close("exif_rotated.jpg", 8);
}

#[test]
fn alpha_is_dropped_and_a_palette_looked_up() {
    for name in ["alpha.png", "palette.png"] {
        assert_close(name, 3);
    }
}

/// The crop of a transform that cuts before it resizes.
fn cut(transform: &TrainTransform, (width, height): (u32, u32), rng: &mut ChaCha8Rng) -> CropBox {
    match transform.draw(width, height, rng).crop {
        DrawnCrop::Cut(crop) => crop,
        DrawnCrop::Shown(region) => panic!("{region:?}"),
    }
}

/// `base` with crops of other sizes.
fn scaled(scale: (f64, f64)) -> TrainTransform {
    let crop = RandomResizedCrop { scale, ..RandomResizedCrop::default() };
    TrainTransform { crop: TrainCrop::Resized(crop), ..TrainTransform::default() }
}

/// Draws crops of one image size.
fn draws(transform: TrainTransform, (width, height): (u32, u32), count: usize) -> Vec<Drawn> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    (0..count)
        .map(|_| {
            let drawn = transform.draw(width, height, &mut rng);
            let DrawnCrop::Cut(crop) = drawn.crop else { panic!("{drawn:?}") };
            assert!(crop.width > 0 && crop.left + crop.width <= width, "{crop:?}");
            assert!(crop.height > 0 && crop.top + crop.height <= height, "{crop:?}");
            Drawn {
                area: f64::from(crop.width) * f64::from(crop.height)
                    / (f64::from(width) * f64::from(height)),
                aspect: f64::from(crop.width) / f64::from(crop.height),
                left: f64::from(crop.left) / f64::from((width - crop.width).max(1)),
                flip: drawn.flip,
            }
        })
        .collect()
}

struct Drawn {
    area: f64,
    aspect: f64,
    left: f64,
    flip: bool,
}

/// The largest distance between the empirical distribution of `values` and that of `cdf`.
fn kolmogorov(mut values: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let gaps = values.iter().enumerate().map(|(i, &v)| ((i as f64 + 0.5) / count - cdf(v)).abs());
    gaps.fold(0.0, f64::max)
}

#[test]
fn crop_areas_are_uniform_and_aspects_log_uniform() {
    // Up to half of the area every crop fits a large square, so that no draw is rejected.
    let transform = scaled((0.08, 0.5));
    let drawn = draws(transform, (2000, 2000), 20_000);
    let log_range = (4.0_f64 / 3.0).ln() - (0.75_f64).ln();
    let area = kolmogorov(drawn.iter().map(|d| d.area).collect(), |a| (a - 0.08) / 0.42);
    let aspect = kolmogorov(drawn.iter().map(|d| d.aspect).collect(), |r| {
        (r.ln() - (0.75_f64).ln()) / log_range
    });
    let left = kolmogorov(drawn.iter().map(|d| d.left).collect(), |x| x);
    // 1.95 / sqrt(20,000) is the 0.1% point.
    assert!(area < 0.0138 && aspect < 0.0138 && left < 0.0138, "{area} {aspect} {left}");
    let flipped = drawn.iter().filter(|d| d.flip).count();
    assert!((9_760..=10_240).contains(&flipped), "{flipped}");
}

#[test]
fn the_default_crops_lie_in_their_ranges() {
    // Rounding to whole pixels moves areas and aspects by less than 1% at this size.
    for drawn in draws(TrainTransform::default(), (640, 480), 5_000) {
        assert!((0.079..=1.0).contains(&drawn.area), "{}", drawn.area);
        assert!((0.742..=1.35).contains(&drawn.aspect), "{}", drawn.aspect);
    }
}

#[test]
fn an_image_that_no_crop_fits_falls_back_to_its_centre() {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    // All tries ask for more than 3 rows here; the fallback keeps the height and the ratio 4:3.
    let only_large = scaled((1.0, 1.0));
    let crop = cut(&only_large, (3000, 3), &mut rng);
    assert_eq!((crop.left, crop.top, crop.width, crop.height), (1498, 0, 4, 3));
    let crop = cut(&only_large, (3, 3000), &mut rng);
    assert_eq!((crop.left, crop.top, crop.width, crop.height), (0, 1498, 3, 4));
    let crop = cut(&only_large, (1, 90_000), &mut rng);
    assert_eq!((crop.width, crop.height), (1, 1));
}

#[test]
fn a_crop_ignores_the_pixels_around_it_and_flips_by_columns() {
    let image = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8 * 3, y as u8 * 5, 0]));
    let plain = TrainTransform { size: 32, flip: 0.0, ..TrainTransform::default() };
    let flipped = TrainTransform { flip: 1.0, ..plain };
    let render = |transform: TrainTransform| {
        let mut out = Vec::new();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        transform.apply(&image, &mut rng, &mut Resampler::default(), &mut out).unwrap();
        out
    };
    let (a, b) = (render(plain), render(flipped));
    assert_ne!(a, b);
    for (row_a, row_b) in a.chunks(96).zip(b.chunks(96)) {
        assert!(row_a.chunks(3).eq(row_b.chunks(3).rev()));
    }
    // The first channel is a ramp: within a crop it never exceeds the crop's own columns.
    let crop = cut(&plain, (64, 48), &mut ChaCha8Rng::seed_from_u64(5));
    let reds = a.iter().step_by(3);
    assert!(reds.clone().all(|&red| u32::from(red) >= 3 * crop.left));
    assert!(reds.clone().all(|&red| u32::from(red) <= 3 * (crop.left + crop.width - 1)));
}

#[test]
fn red_cuts_squares_uniformly_out_of_an_image_at_one_scale() {
    let transform = augmentation("red").unwrap().transform(RandomResizedCrop::default());
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    // 512 x 1024 becomes 256 x 512: squares begin at 0..=32 and 0..=288.
    let regions: Vec<Region> = (0..20_000)
        .map(|_| match transform.draw(512, 1024, &mut rng).crop {
            DrawnCrop::Shown(region) => region,
            DrawnCrop::Cut(crop) => panic!("{crop:?}"),
        })
        .collect();
    assert!(regions.iter().all(|region| (region.width, region.height) == (448.0, 448.0)));
    for (most, offset) in [(32.0, 0), (288.0, 1)] {
        let offsets = regions.iter().map(|region| [region.left, region.top][offset] / 2.0);
        let offsets: Vec<f64> = offsets.collect();
        assert!(offsets.iter().all(|&o| o.fract() == 0.0 && o <= most));
        assert!(offsets.contains(&0.0) && offsets.contains(&most));
        // A step of the distribution is 1/33 or 1/289 wide; half of it comes on top of 0.0138.
        let gap = kolmogorov(offsets, |o| (o + 0.5) / (most + 1.0));
        assert!(gap < 0.0138 + 0.5 / (most + 1.0), "{gap}");
    }
}

#[test]
fn red_in_the_centre_is_the_evaluation_transform() {
    // Its only square: the image resized, all of it.
    let image = pnp_data::decode(&golden("landscape.jpg")).unwrap();
    let image = image::imageops::crop_imm(&image, 100, 0, 411, 411).to_image();
    let crop = TrainCrop::AtOneScale(RandomCrop { resize: 224 });
    let red = TrainTransform { crop, flip: 0.0, ..TrainTransform::default() };
    let eval = EvalTransform { resize: 224, ..EvalTransform::default() };
    let (mut resampler, mut a, mut b) = (Resampler::default(), Vec::new(), Vec::new());
    red.apply(&image, &mut ChaCha8Rng::seed_from_u64(0), &mut resampler, &mut a).unwrap();
    eval.apply(&image, &mut resampler, &mut b).unwrap();
    assert_eq!(a, b);
}

#[test]
fn rows_that_are_not_decoded_have_no_influence() {
    let mut preparer = Preparer::default();
    let (mut resampler, mut whole, mut partly) = (Resampler::default(), Vec::new(), Vec::new());
    let eval = [
        EvalTransform::default(),
        EvalTransform { resize: 500, crop: 100, ..EvalTransform::default() },
    ];
    for name in ["landscape.jpg", "portrait.jpg", "grey_small.jpg", "cmyk.jpg", "palette.png"] {
        let (path, image) = (golden(name), pnp_data::decode(&golden(name)).unwrap());
        for transform in eval {
            transform.apply(&image, &mut resampler, &mut whole).unwrap();
            preparer.eval(&path, &transform, &mut partly).unwrap();
            assert!(whole == partly, "{name}, evaluation");
        }
        for entry in AUGMENTATIONS {
            let transform = entry.transform(RandomResizedCrop::default());
            for seed in 0..40 {
                let rng = || ChaCha8Rng::seed_from_u64(seed);
                transform.apply(&image, &mut rng(), &mut resampler, &mut whole).unwrap();
                preparer.train(&path, &transform, &mut rng(), &mut partly).unwrap();
                assert!(whole == partly, "{name}, {}, seed {seed}", entry.name);
            }
        }
    }
}

#[test]
fn augmentations_are_the_old_codes() {
    let names: Vec<&str> = AUGMENTATIONS.iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["base", "adv", "big", "red"]);
    for entry in AUGMENTATIONS {
        let transform = entry.transform(RandomResizedCrop::default());
        assert!(transform.check().is_ok());
        assert_eq!(transform.size, if entry.name == "big" { 256 } else { 224 });
        assert_eq!(transform.flip, 0.5);
    }
    let message = augmentation("auto").unwrap_err().to_string();
    assert!(message.contains("'auto'") && message.contains("base, adv, big, red"), "{message}");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let base = TrainTransform::default();
    let ratio = |ratio| {
        let crop = RandomResizedCrop { ratio, ..RandomResizedCrop::default() };
        TrainTransform { crop: TrainCrop::Resized(crop), ..base }
    };
    let too_large = TrainCrop::AtOneScale(RandomCrop { resize: 223 });
    assert!(base.check().is_ok());
    for (transform, setting) in [
        (TrainTransform { size: 0, ..base }, "size"),
        (scaled((0.0, 1.0)), "scale"),
        (scaled((0.5, 1.5)), "scale"),
        (ratio((2.0, 1.0)), "ratio"),
        (ratio((f64::NAN, 1.0)), "ratio"),
        (TrainTransform { crop: too_large, ..base }, "size"),
        (TrainTransform { grey: -0.1, ..base }, "grey"),
        (TrainTransform { flip: 1.1, ..base }, "flip"),
    ] {
        let error = transform.check().unwrap_err().to_string();
        assert!(error.starts_with(setting), "{error}");
    }
}
