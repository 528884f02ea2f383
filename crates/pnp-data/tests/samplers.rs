//! What the batches of each sampler look like.

mod common;

use std::collections::HashSet;

use common::image_set;
use pnp_data::{ImageSet, SAMPLERS, Sampler, SamplerSettings, sampler};
use tempfile::tempdir;

fn set(sizes: &[usize]) -> std::sync::Arc<ImageSet> {
    image_set(tempdir().unwrap().path(), sizes)
}

fn settings(batch_size: usize, samples_per_class: usize) -> SamplerSettings {
    SamplerSettings { batch_size, samples_per_class, seed: 7 }
}

fn build(name: &str, set: &ImageSet, settings: SamplerSettings) -> Box<dyn Sampler> {
    sampler::build(name, set, &settings).unwrap()
}

fn error(name: &str, set: &ImageSet, settings: SamplerSettings) -> String {
    sampler::build(name, set, &settings).unwrap_err().to_string()
}

const SIZES: [usize; 8] = [5, 2, 7, 4, 1, 3, 6, 4];

#[test]
fn every_sampler_fills_its_batches_class_by_class() {
    let set = set(&SIZES);
    for entry in SAMPLERS {
        let sampler = build(entry.name, &set, settings(6, 2));
        assert_eq!(sampler.name(), entry.name);
        let batches = sampler.batches(0);
        assert_eq!(batches.len(), 32 / 6);
        for batch in &batches {
            assert_eq!(batch.len(), 6);
            for pair in batch.chunks(2) {
                let label = |i: u32| set.labels()[i as usize];
                assert_eq!(label(pair[0]), label(pair[1]), "{}", entry.name);
            }
        }
    }
}

#[test]
fn every_sampler_depends_on_seed_and_epoch_only() {
    let set = set(&SIZES);
    for entry in SAMPLERS {
        let base = build(entry.name, &set, settings(6, 2));
        let again = build(entry.name, &set, settings(6, 2));
        let later = again.batches(4);
        assert_eq!(base.batches(3), again.batches(3), "{}", entry.name);
        assert_ne!(base.batches(3), later, "{}", entry.name);
        let other = SamplerSettings { seed: 8, ..settings(6, 2) };
        assert_ne!(build(entry.name, &set, other).batches(3), base.batches(3), "{}", entry.name);
    }
}

#[test]
fn m_per_class_repeats_no_class_and_no_image_while_it_has_others() {
    let set = set(&SIZES);
    let sampler = build("m_per_class", &set, settings(16, 4));
    for batch in (0..50).flat_map(|epoch| sampler.batches(epoch)) {
        let labels: HashSet<u32> = batch.iter().map(|&i| set.labels()[i as usize]).collect();
        assert_eq!(labels.len(), 4);
        for images in batch.chunks(4) {
            let distinct: HashSet<u32> = images.iter().copied().collect();
            let size = SIZES[set.labels()[images[0] as usize] as usize];
            assert_eq!(distinct.len(), size.min(4), "of a class with {size} images");
        }
    }
}

#[test]
fn m_per_class_draws_every_class_and_image_alike() {
    let sizes = [4; 6];
    let set = set(&sizes);
    let sampler = build("m_per_class", &set, settings(4, 2));
    let mut counts = [0_u32; 24];
    for index in (0..1000).flat_map(|epoch| sampler.batches(epoch)).flatten() {
        counts[index as usize] += 1;
    }
    // 24,000 draws: 1000 of each, with a standard deviation of about 29.
    assert!(counts.iter().all(|count| (870..1130).contains(count)), "{counts:?}");
}

#[test]
fn class_random_draws_classes_and_images_with_replacement() {
    let set = set(&[3; 4]);
    let sampler = build("class_random", &set, settings(8, 2));
    let (mut twice, mut same) = (0, 0);
    let batches: Vec<_> = (0..400).flat_map(|epoch| sampler.batches(epoch)).collect();
    for batch in &batches {
        let labels: HashSet<u32> = batch.iter().map(|&i| set.labels()[i as usize]).collect();
        twice += usize::from(labels.len() < 4);
        same += batch.chunks(2).filter(|pair| pair[0] == pair[1]).count();
    }
    assert_eq!(batches.len(), 400);
    // Four classes of four are all different in 4!/4^4 = 9.4% of the batches.
    assert!((340..=385).contains(&twice), "{twice}");
    // A third of the 1,600 pairs is one image twice.
    assert!((450..=617).contains(&same), "{same}");
}

#[test]
fn one_sample_per_class_is_allowed() {
    let set = set(&SIZES);
    assert_eq!(build("m_per_class", &set, settings(8, 1)).batches(0)[0].len(), 8);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let set = set(&SIZES);
    for entry in SAMPLERS {
        let name = entry.name;
        assert!(error(name, &set, settings(7, 2)).contains("multiple of samples_per_class = 2"));
        assert!(error(name, &set, settings(0, 2)).contains("batch_size = 0"));
        assert!(error(name, &set, settings(4, 0)).contains("samples_per_class = 0"));
        assert!(error(name, &set, settings(34, 2)).contains("has 32 images"));
    }
    assert!(error("m_per_class", &set, settings(20, 2)).contains("10 distinct classes"));
    assert!(sampler::build("class_random", &set, &settings(20, 2)).is_ok());
    assert!(error("distance", &set, settings(4, 2)).contains("m_per_class, class_random"));
}
