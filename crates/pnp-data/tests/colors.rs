//! Colours of training images against torchvision's, and the distributions of what is drawn.

use std::collections::HashMap;
use std::path::PathBuf;

use pnp_data::transform::{
    Adjustment, ColorJitter, RandomCrop, RandomResizedCrop, Resampler, TrainCrop, TrainTransform,
    augmentation,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn golden(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/jitter");
    pnp_data::decode(&folder.join(name)).unwrap().into_raw()
}

/// What torchvision was asked for, in the order of golden/jitter/make.py.
const CASES: [Adjustment; 12] = [
    Adjustment::Brightness(0.8),
    Adjustment::Brightness(1.17),
    Adjustment::Contrast(0.83),
    Adjustment::Contrast(1.2),
    Adjustment::Saturation(0.81),
    Adjustment::Saturation(1.19),
    Adjustment::Saturation(0.0),
    Adjustment::Hue(0.0),
    Adjustment::Hue(0.2),
    Adjustment::Hue(-0.2),
    Adjustment::Hue(0.0712),
    Adjustment::Hue(-0.5),
];

#[test]
fn every_byte_is_torchvisions() {
    let (input, expected) = (golden("input.png"), golden("expected.png"));
    let mut expected = expected.chunks_exact(input.len());
    for case in CASES {
        let mut pixels = input.clone();
        case.apply(&mut pixels);
        let wrong = pixels.iter().zip(expected.next().unwrap()).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{case:?}: {wrong} of {} bytes differ", pixels.len());
    }
    // The last one is grey, which a transform alone can make.
    let image = image::RgbImage::from_raw(48, 48, input).unwrap();
    let crop = RandomCrop { resize: 48 };
    let transform = TrainTransform {
        size: 48,
        crop: TrainCrop::AtOneScale(crop),
        grey: 1.0,
        flip: 0.0,
        ..TrainTransform::default()
    };
    let (mut rng, mut out) = (ChaCha8Rng::seed_from_u64(0), Vec::new());
    transform.apply(&image, &mut rng, &mut Resampler::default(), &mut out).unwrap();
    assert_eq!(out, expected.next().unwrap());
    assert!(expected.next().is_none());
}

/// The largest distance between the empirical distribution of `values` and a uniform one.
fn from_uniform(mut values: Vec<f64>, low: f64, high: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let count = values.len() as f64;
    let gaps = values.iter().enumerate().map(|(i, &value)| {
        assert!((low..=high).contains(&value), "{value}");
        ((i as f64 + 0.5) / count - (value - low) / (high - low)).abs()
    });
    gaps.fold(0.0, f64::max)
}

#[test]
fn factors_are_uniform_and_every_order_is_as_likely() {
    let jitter = ColorJitter { brightness: 0.2, contrast: 0.4, saturation: 0.1, hue: 0.3 };
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut factors: [Vec<f64>; 4] = Default::default();
    let mut orders = HashMap::<Vec<usize>, u32>::new();
    for _ in 0..12_000 {
        let mut order = Vec::new();
        for adjustment in jitter.draw(&mut rng) {
            let (kind, value) = match adjustment {
                Adjustment::Brightness(value) => (0, value),
                Adjustment::Contrast(value) => (1, value),
                Adjustment::Saturation(value) => (2, value),
                Adjustment::Hue(value) => (3, value),
            };
            factors[kind].push(value);
            order.push(kind);
        }
        *orders.entry(order).or_default() += 1;
    }
    let ranges = [(0.8, 1.2), (0.6, 1.4), (0.9, 1.1), (-0.3, 0.3)];
    for (values, (low, high)) in factors.into_iter().zip(ranges) {
        assert_eq!(values.len(), 12_000);
        // 1.95 / sqrt(12,000) is the 0.1% point.
        assert!(from_uniform(values, low, high) < 0.0178);
    }
    assert_eq!(orders.len(), 24);
    // 500 of each, with a standard deviation of 22.
    assert!(orders.values().all(|count| (400..600).contains(count)), "{orders:?}");
}

#[test]
fn adv_turns_a_fifth_of_the_images_grey() {
    let transform = augmentation("adv").unwrap().transform(RandomResizedCrop::default());
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    let drawn: Vec<_> = (0..10_000).map(|_| transform.draw(300, 200, &mut rng)).collect();
    let grey = drawn.iter().filter(|d| d.grey).count();
    let flipped = drawn.iter().filter(|d| d.flip).count();
    // Standard deviations of 40 and 50.
    assert!((1_870..=2_130).contains(&grey), "{grey}");
    assert!((4_835..=5_165).contains(&flipped), "{flipped}");
    assert!(drawn.iter().all(|d| d.jitter.len() == 4));
}

#[test]
fn what_is_off_is_not_done() {
    let jitter = ColorJitter { contrast: 0.5, ..ColorJitter::default() };
    let drawn = jitter.draw(&mut ChaCha8Rng::seed_from_u64(1));
    assert!(matches!(drawn[..], [Adjustment::Contrast(_)]), "{drawn:?}");
    let base = augmentation("base").unwrap().transform(RandomResizedCrop::default());
    let drawn = base.draw(40, 30, &mut ChaCha8Rng::seed_from_u64(1));
    assert!(!drawn.grey && drawn.jitter.is_empty());
}

#[test]
fn jitter_that_means_nothing_is_refused() {
    let none = ColorJitter::default();
    assert!(none.check().is_ok());
    for (jitter, setting) in [
        (ColorJitter { brightness: 1.5, ..none }, "brightness"),
        (ColorJitter { contrast: -0.1, ..none }, "contrast"),
        (ColorJitter { saturation: f64::NAN, ..none }, "saturation"),
        (ColorJitter { hue: 0.6, ..none }, "hue"),
    ] {
        let error = jitter.check().unwrap_err().to_string();
        assert!(error.starts_with(setting), "{error}");
    }
}
