//! What the batches of each sampler look like.

mod common;

use std::collections::HashSet;

use common::image_set;
use pnp_data::{ClassMeans, ImageSet, SAMPLERS, Sampler, SamplerSettings, sampler};
use tempfile::tempdir;

/// Classes of these sizes; the super-class of class `c` is `10 + c % 3`.
fn set(sizes: &[usize]) -> std::sync::Arc<ImageSet> {
    let folder = tempdir().unwrap();
    let plain = image_set(folder.path(), sizes);
    let mut items = plain.items().to_vec();
    for item in &mut items {
        item.super_label = Some(10 + item.label % 3);
    }
    std::sync::Arc::new(ImageSet::new(items, plain.class_names().to_vec()).unwrap())
}

/// Names of the samplers that draw by class.
fn by_class() -> impl Iterator<Item = &'static str> {
    SAMPLERS.iter().filter(|entry| entry.by_class).map(|entry| entry.name)
}

/// Means of classes on a line: the nearer two labels, the more similar their means.
fn line(classes: usize) -> ClassMeans {
    let angles = (0..classes).map(|label| label as f32 / classes as f32);
    let values = angles.flat_map(|angle| [angle.cos(), angle.sin()]).collect();
    ClassMeans::stored(values, 2).unwrap()
}

fn settings(batch_size: usize, samples_per_class: usize) -> SamplerSettings {
    SamplerSettings {
        batch_size,
        samples_per_class,
        super_classes: 1,
        hard_neighbours: 2,
        hard_images: 3,
        seed: 7,
    }
}

fn build(name: &str, set: &ImageSet, settings: SamplerSettings) -> Box<dyn Sampler> {
    sampler::build(name, set, &settings).unwrap()
}

fn error(name: &str, set: &ImageSet, settings: SamplerSettings) -> String {
    sampler::build(name, set, &settings).unwrap_err().to_string()
}

const SIZES: [usize; 8] = [5, 2, 7, 4, 1, 3, 6, 4];

#[test]
fn a_sampler_by_class_fills_its_batches_class_by_class() {
    let set = set(&SIZES);
    for name in by_class() {
        let mut sampler = build(name, &set, settings(6, 2));
        assert_eq!(sampler.name(), name);
        for _ in 0..2 {
            let batches = sampler.batches(0);
            assert_eq!(batches.len(), 32 / 6);
            for batch in &batches {
                assert_eq!(batch.len(), 6);
                for pair in batch.chunks(2) {
                    let label = |i: u32| set.labels()[i as usize];
                    assert_eq!(label(pair[0]), label(pair[1]), "{name}");
                }
            }
            sampler.set_class_means(line(8)).unwrap();
        }
    }
}

#[test]
fn every_sampler_depends_on_seed_and_epoch_only() {
    let set = set(&SIZES);
    for entry in SAMPLERS {
        let mut base = build(entry.name, &set, settings(6, 2));
        let mut again = build(entry.name, &set, settings(6, 2));
        assert_eq!(base.batches(3), again.batches(3), "{}", entry.name);
        base.set_class_means(line(8)).unwrap();
        again.set_class_means(line(8)).unwrap();
        let later = again.batches(4);
        assert_eq!(base.batches(3), again.batches(3), "{}", entry.name);
        assert_ne!(base.batches(3), later, "{}", entry.name);
        let other = SamplerSettings { seed: 8, ..settings(6, 2) };
        assert_ne!(build(entry.name, &set, other).batches(3), base.batches(3), "{}", entry.name);
    }
}

#[test]
fn no_class_and_no_image_comes_twice_while_there_are_others() {
    let set = set(&SIZES);
    for name in by_class().filter(|&name| name != "class_random") {
        let mut sampler = build(name, &set, settings(16, 4));
        sampler.set_class_means(line(8)).unwrap();
        for batch in (0..50).flat_map(|epoch| sampler.batches(epoch)) {
            let labels: HashSet<u32> = batch.iter().map(|&i| set.labels()[i as usize]).collect();
            assert_eq!(labels.len(), 4, "{name}");
            for images in batch.chunks(4) {
                let distinct: HashSet<u32> = images.iter().copied().collect();
                let size = SIZES[set.labels()[images[0] as usize] as usize];
                assert_eq!(distinct.len(), size.min(4), "{name}: a class with {size} images");
            }
        }
    }
}

#[test]
fn every_image_is_drawn_sooner_or_later() {
    let set = set(&SIZES);
    for entry in SAMPLERS {
        let mut sampler = build(entry.name, &set, settings(6, 2));
        sampler.set_class_means(line(8)).unwrap();
        let drawn: HashSet<u32> = (0..40).flat_map(|e| sampler.batches(e)).flatten().collect();
        assert_eq!(drawn.len(), 32, "{}", entry.name);
    }
}

#[test]
fn shuffle_gives_every_image_once_and_the_rest_in_a_smaller_batch() {
    let set = set(&SIZES);
    let batches = build("shuffle", &set, settings(6, 2)).batches(0);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6, 6, 6, 6, 2]);
    let mut all: Vec<u32> = batches.into_iter().flatten().collect();
    assert_ne!(all, (0..32).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..32).collect::<Vec<_>>());
}

/// How many classes of each super-class a batch has, of those it has.
fn supers_of(set: &ImageSet, batch: &[u32]) -> Vec<usize> {
    let mut classes: Vec<u32> = batch.iter().map(|&i| set.labels()[i as usize]).collect();
    classes.dedup();
    let mut counts = [0; 3];
    for class in classes {
        counts[class as usize % 3] += 1;
    }
    let mut counts: Vec<usize> = counts.into_iter().filter(|&count| count > 0).collect();
    counts.sort_unstable();
    counts
}

#[test]
fn hierarchical_batches_come_from_as_many_super_classes_as_asked() {
    // Super-classes of 4, 4 and 4 classes.
    let set = set(&[4; 12]);
    for (super_classes, expected) in [(1, vec![4]), (2, vec![2, 2]), (3, vec![1, 1, 2])] {
        let settings = SamplerSettings { super_classes, ..settings(8, 2) };
        let sampler = build("hierarchical", &set, settings);
        for batch in (0..20).flat_map(|epoch| sampler.batches(epoch)) {
            assert_eq!(supers_of(&set, &batch), expected);
        }
    }
    // One super-class has too few classes: another one fills the batch up.
    let settings = SamplerSettings { super_classes: 1, ..settings(12, 2) };
    for batch in build("hierarchical", &set, settings).batches(0) {
        assert_eq!(supers_of(&set, &batch), [2, 4]);
    }
}

#[test]
fn hierarchical_needs_super_classes() {
    let plain = image_set(tempdir().unwrap().path(), &SIZES);
    let message = error("hierarchical", &plain, settings(6, 2));
    assert!(message.contains("no super-classes") && message.contains("m_per_class"), "{message}");
    let set = set(&SIZES);
    for super_classes in [0, 4] {
        let settings = SamplerSettings { super_classes, ..settings(6, 2) };
        let message = error("hierarchical", &set, settings);
        assert!(message.contains("super_classes") && message.contains("all 3"), "{message}");
    }
}

#[test]
fn hard_class_draws_as_m_per_class_until_it_is_given_means() {
    let set = set(&SIZES);
    let sampler = build("hard_class", &set, settings(6, 2));
    assert!(sampler.class_mean_images(0).is_some() && sampler.class_means().is_none());
    assert_eq!(sampler.batches(5), build("m_per_class", &set, settings(6, 2)).batches(5));
}

#[test]
fn hard_class_asks_for_a_few_images_of_each_class_and_for_others_each_time() {
    let set = set(&SIZES);
    let sampler = build("hard_class", &set, settings(6, 2));
    let mut seen = HashSet::new();
    for epoch in 0..40 {
        let images = sampler.class_mean_images(epoch).unwrap();
        assert!(images.is_sorted_by(|a, b| a < b), "{images:?}");
        assert_eq!(sampler.class_mean_images(epoch).unwrap(), images);
        // The labels of a part are those of the whole.
        let part = set.subset(&images).unwrap();
        for (label, size) in (0..).zip(SIZES) {
            assert_eq!(part.class_items(label).len(), size.min(3));
        }
        let names = part.items().iter().map(|item| &item.name);
        assert!(names.eq(images.iter().map(|&image| &set.items()[image as usize].name)));
        seen.extend(images);
    }
    assert_eq!(seen.len(), set.len(), "some image is never drawn");
    // Without any image a class would have no label.
    assert!(set.subset(&[0]).unwrap_err().to_string().contains("labels must be dense"));
    for entry in SAMPLERS.iter().filter(|entry| entry.name != "hard_class") {
        let other = build(entry.name, &set, settings(6, 2));
        assert!(other.class_mean_images(1).is_none(), "{}", entry.name);
    }
}

#[test]
fn hard_class_puts_a_class_beside_its_nearest() {
    let set = set(&[4; 30]);
    let mut sampler = build("hard_class", &set, settings(12, 2));
    sampler.set_class_means(line(30)).unwrap();
    assert_eq!(sampler.class_means(), Some(&line(30)));
    let mut anchors = HashSet::new();
    for batch in (0..60).flat_map(|epoch| sampler.batches(epoch)) {
        let labels: Vec<u32> = batch.iter().step_by(2).map(|&i| set.labels()[i as usize]).collect();
        let [anchor, near, next] = labels[..3] else { panic!("a batch has 6 classes") };
        anchors.insert(anchor);
        // The first group has a free choice: both neighbours, or two on one side at the ends.
        let distances = [anchor.abs_diff(near), anchor.abs_diff(next)];
        let expected = if anchor == 0 || anchor == 29 { [1, 2] } else { [1, 1] };
        assert_eq!(distances, expected, "{labels:?}");
        let distinct: HashSet<&u32> = labels.iter().collect();
        assert_eq!(distinct.len(), 6);
    }
    assert_eq!(anchors.len(), 30, "some class is never drawn first");
}

#[test]
fn hard_class_refuses_what_does_not_fit() {
    let set = set(&SIZES);
    for hard_neighbours in [0, 3] {
        let settings = SamplerSettings { hard_neighbours, ..settings(6, 2) };
        let message = error("hard_class", &set, settings);
        assert!(message.contains("hard_neighbours") && message.contains("1 to 2"), "{message}");
    }
    let none = SamplerSettings { hard_images: 0, ..settings(6, 2) };
    assert!(error("hard_class", &set, none).contains("hard_images = 0"));
    let mut sampler = build("hard_class", &set, settings(6, 2));
    let message = sampler.set_class_means(line(7)).unwrap_err().to_string();
    assert!(message.contains("8 classes"), "{message}");
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
    let settings = SamplerSettings { hard_neighbours: 1, ..settings(8, 1) };
    for entry in SAMPLERS {
        assert_eq!(build(entry.name, &set, settings).batches(0)[0].len(), 8);
    }
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
    for name in ["m_per_class", "hierarchical", "hard_class"] {
        assert!(error(name, &set, settings(20, 2)).contains("10 distinct classes"));
    }
    assert!(sampler::build("class_random", &set, &settings(20, 2)).is_ok());
    assert!(error("distance", &set, settings(4, 2)).contains("m_per_class, class_random"));
}
