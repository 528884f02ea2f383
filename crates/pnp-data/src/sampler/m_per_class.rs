//! The default: distinct classes in a batch, distinct images where a class has enough.

use super::{Sampler, SamplerEntry, SamplerSettings, check_classes, classes};
use crate::error::DataError;
use crate::random::{Purpose, deal, keyed};
use crate::set::ImageSet;

pub(super) const ENTRY: SamplerEntry = SamplerEntry {
    name: "m_per_class",
    summary: "distinct classes in a batch, and distinct images of each where it has enough",
    by_class: true,
    by_super_class: false,
    build: |set, settings| Ok(Box::new(MPerClass::new(set, settings)?)),
};

/// Draws, for each batch anew, `batch_size / samples_per_class` distinct classes uniformly, and of
/// each class its images without replacement; a class with fewer gives each once before any twice.
#[derive(Debug)]
pub(super) struct MPerClass {
    classes: Vec<Vec<u32>>,
    settings: SamplerSettings,
    batches: usize,
}

impl MPerClass {
    pub(super) fn new(set: &ImageSet, settings: &SamplerSettings) -> Result<Self, DataError> {
        check_classes(set, settings)?;
        let batches = set.len() / settings.batch_size;
        Ok(Self { classes: classes(set), settings: *settings, batches })
    }
}

impl Sampler for MPerClass {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<u32>> {
        let SamplerSettings { batch_size, samples_per_class, seed, .. } = self.settings;
        let mut rng = keyed(seed, Purpose::Batches, epoch, 0);
        // Both pools stay shuffled from draw to draw: a uniform draw does not mind.
        let mut labels: Vec<u32> = (0..self.classes.len() as u32).collect();
        let mut images = self.classes.clone();
        let mut drawn = Vec::new();
        let mut batch = || {
            let mut batch = Vec::with_capacity(batch_size);
            drawn.clear();
            deal(&mut labels, batch_size / samples_per_class, &mut rng, &mut drawn);
            for &label in &drawn {
                deal(&mut images[label as usize], samples_per_class, &mut rng, &mut batch);
            }
            batch
        };
        (0..self.batches).map(|_| batch()).collect()
    }
}
