//! Classes together with those that the network confuses them with.

use super::m_per_class::MPerClass;
use super::{ClassMeans, Sampler, SamplerEntry, SamplerSettings, classes, setting};
use crate::error::DataError;
use crate::random::{Purpose, deal, keyed};
use crate::set::ImageSet;

pub(super) const ENTRY: SamplerEntry = SamplerEntry {
    name: "hard_class",
    summary: "classes drawn together with those whose means were nearest at the last evaluation",
    by_class: true,
    by_super_class: false,
    build: |set, settings| Ok(Box::new(HardClass::new(set, settings)?)),
};

/// Fills a batch with groups: a class drawn uniformly and the `hard_neighbours` classes, of those
/// that the batch does not have yet, whose mean embeddings are most similar to its own. Images come
/// as in `m_per_class`, which draws the classes too until there are means.
///
/// A class's mean is that of at most `hard_images` of its images, drawn anew by the seed for each
/// evaluation: an evaluation embeds so many images of each class and no more, however large the
/// classes are, and a mean of a few tells which classes are near.
///
/// After Suh et al., "Stochastic Class-based Hard Example Mining for Deep Metric Learning", CVPR
/// 2019, which takes the nearest classes by learned signatures; here they are means of embeddings,
/// which need no weights of their own.
#[derive(Debug)]
struct HardClass {
    classes: Vec<Vec<u32>>,
    settings: SamplerSettings,
    batches: usize,
    before: MPerClass,
    means: Option<ClassMeans>,
}

impl HardClass {
    fn new(set: &ImageSet, settings: &SamplerSettings) -> Result<Self, DataError> {
        let before = MPerClass::new(set, settings)?;
        let most = settings.batch_size / settings.samples_per_class - 1;
        if settings.hard_neighbours == 0 || settings.hard_neighbours > most {
            let rule = format!("a batch has 1 to {most} classes beside the one that was drawn");
            return Err(setting("hard_neighbours", settings.hard_neighbours, rule));
        }
        if settings.hard_images == 0 {
            let rule = "a mean is of at least 1 image".to_owned();
            return Err(setting("hard_images", 0, rule));
        }
        let batches = set.len() / settings.batch_size;
        Ok(Self { classes: classes(set), settings: *settings, batches, before, means: None })
    }

    /// The classes of a batch; `order` holds all classes shuffled.
    fn labels(&self, means: &ClassMeans, order: &[u32]) -> Vec<u32> {
        let needed = self.settings.batch_size / self.settings.samples_per_class;
        let mut taken = vec![false; self.classes.len()];
        let mut labels = Vec::with_capacity(needed);
        for &anchor in order {
            if std::mem::replace(&mut taken[anchor as usize], true) {
                continue;
            }
            labels.push(anchor);
            let more = self.settings.hard_neighbours.min(needed - labels.len());
            for label in means.nearest(anchor, more, &taken) {
                taken[label as usize] = true;
                labels.push(label);
            }
            if labels.len() == needed {
                break;
            }
        }
        labels
    }
}

impl Sampler for HardClass {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<u32>> {
        let Some(means) = &self.means else { return self.before.batches(epoch) };
        let mut rng = keyed(self.settings.seed, Purpose::Batches, epoch, 0);
        let mut order: Vec<u32> = (0..self.classes.len() as u32).collect();
        let mut images = self.classes.clone();
        let mut batch = || {
            let mut shuffled = Vec::with_capacity(order.len());
            let all = order.len();
            deal(&mut order, all, &mut rng, &mut shuffled);
            let mut batch = Vec::with_capacity(self.settings.batch_size);
            for label in self.labels(means, &shuffled) {
                let count = self.settings.samples_per_class;
                deal(&mut images[label as usize], count, &mut rng, &mut batch);
            }
            batch
        };
        (0..self.batches).map(|_| batch()).collect()
    }

    fn class_mean_images(&self, epoch: u64) -> Option<Vec<u32>> {
        let mut rng = keyed(self.settings.seed, Purpose::ClassMeans, epoch, 0);
        let mut drawn = Vec::new();
        for images in &self.classes {
            let count = self.settings.hard_images.min(images.len());
            deal(&mut images.clone(), count, &mut rng, &mut drawn);
        }
        drawn.sort_unstable();
        Some(drawn)
    }

    fn set_class_means(&mut self, means: ClassMeans) -> Result<(), DataError> {
        if means.classes() != self.classes.len() {
            let rule = format!("the training set has {} classes", self.classes.len());
            return Err(setting("class means", means.classes(), rule));
        }
        self.means = Some(means);
        Ok(())
    }

    fn class_means(&self) -> Option<&ClassMeans> {
        self.means.as_ref()
    }
}
