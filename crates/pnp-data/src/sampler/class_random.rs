//! The PyTorch code's draw, kept for reruns: everything with replacement.

use rand::{Rng, RngExt};

use super::{Sampler, SamplerEntry, SamplerSettings, classes};
use crate::random::{Purpose, keyed};
use crate::set::ImageSet;

pub(super) const ENTRY: SamplerEntry = SamplerEntry {
    name: "class_random",
    summary: "the PyTorch code's draw: classes and their images with replacement",
    by_class: true,
    by_super_class: false,
    build: |set, settings| Ok(Box::new(ClassRandom::new(set, settings))),
};

/// Draws `batch_size / samples_per_class` times a class uniformly, and each time
/// `samples_per_class` of its images uniformly, all with replacement: a class may come twice in a
/// batch and an image twice in its class. The labels tell what is positive all the same.
#[derive(Debug)]
struct ClassRandom {
    classes: Vec<Vec<u32>>,
    settings: SamplerSettings,
    batches: usize,
}

impl ClassRandom {
    fn new(set: &ImageSet, settings: &SamplerSettings) -> Self {
        let batches = set.len() / settings.batch_size;
        Self { classes: classes(set), settings: *settings, batches }
    }

    fn batch(&self, rng: &mut impl Rng) -> Vec<u32> {
        let SamplerSettings { batch_size, samples_per_class, .. } = self.settings;
        let mut batch = Vec::with_capacity(batch_size);
        for _ in 0..batch_size / samples_per_class {
            let images = &self.classes[rng.random_range(0..self.classes.len())];
            batch.extend((0..samples_per_class).map(|_| images[rng.random_range(0..images.len())]));
        }
        batch
    }
}

impl Sampler for ClassRandom {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<u32>> {
        let mut rng = keyed(self.settings.seed, Purpose::Batches, epoch, 0);
        (0..self.batches).map(|_| self.batch(&mut rng)).collect()
    }
}
