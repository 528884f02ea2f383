//! Batches from one or a few super-classes, whose classes look alike.

use super::{Sampler, SamplerEntry, SamplerSettings, check_classes, classes, setting};
use crate::error::DataError;
use crate::random::{Purpose, deal, keyed};
use crate::set::ImageSet;

pub(super) const ENTRY: SamplerEntry = SamplerEntry {
    name: "hierarchical",
    summary: "classes of one or a few super-classes in a batch, which makes its negatives hard",
    by_class: true,
    by_super_class: true,
    build: |set, settings| Ok(Box::new(Hierarchical::new(set, settings)?)),
};

/// Draws, for each batch anew, `super_classes` super-classes uniformly, and of them the batch's
/// classes in equal shares without replacement, the first ones one more where they do not divide.
/// Where these run out, further super-classes are drawn. Images come as in `m_per_class`.
///
/// FastAP's training on Stanford Online Products draws so, from 2 of its 12 super-classes (Cakir et
/// al., "Deep Metric Learning to Rank", CVPR 2019). A class belongs to the super-class of its first
/// image.
#[derive(Debug)]
struct Hierarchical {
    /// The images of each class.
    classes: Vec<Vec<u32>>,
    /// The classes of each super-class, by its number in the data set.
    supers: Vec<Vec<u32>>,
    settings: SamplerSettings,
    batches: usize,
}

impl Hierarchical {
    fn new(set: &ImageSet, settings: &SamplerSettings) -> Result<Self, DataError> {
        check_classes(set, settings)?;
        let mut supers = std::collections::BTreeMap::<u32, Vec<u32>>::new();
        for label in 0..set.classes() as u32 {
            let first = set.class_items(label).first();
            let group = first.and_then(|&image| set.items()[image as usize].super_label);
            let Some(group) = group else {
                let rule = "this data set has no super-classes, or not for every class; take \
                            m_per_class"
                    .to_owned();
                let value = ENTRY.name.to_owned();
                return Err(DataError::Setting { setting: "data_sampler", value, rule });
            };
            supers.entry(group).or_default().push(label);
        }
        if settings.super_classes == 0 || settings.super_classes > supers.len() {
            let rule = format!("a batch has 1 to all {} of them", supers.len());
            return Err(setting("super_classes", settings.super_classes, rule));
        }
        let batches = set.len() / settings.batch_size;
        let supers = supers.into_values().collect();
        Ok(Self { classes: classes(set), supers, settings: *settings, batches })
    }
}

impl Sampler for Hierarchical {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<u32>> {
        let SamplerSettings { batch_size, samples_per_class, super_classes, .. } = self.settings;
        let mut rng = keyed(self.settings.seed, Purpose::Batches, epoch, 0);
        // All pools stay shuffled from draw to draw: a uniform draw does not mind.
        let mut order: Vec<u32> = (0..self.supers.len() as u32).collect();
        let (mut supers, mut images) = (self.supers.clone(), self.classes.clone());
        let mut batch = || {
            let mut shuffled = Vec::with_capacity(order.len());
            deal(&mut order, supers.len(), &mut rng, &mut shuffled);
            let mut labels = Vec::new();
            for (turn, &group) in shuffled.iter().enumerate() {
                let left = batch_size / samples_per_class - labels.len();
                let share = left.div_ceil(super_classes.saturating_sub(turn).max(1));
                let pool = &mut supers[group as usize];
                let share = share.min(pool.len());
                deal(pool, share, &mut rng, &mut labels);
            }
            let mut batch = Vec::with_capacity(batch_size);
            for &label in &labels {
                deal(&mut images[label as usize], samples_per_class, &mut rng, &mut batch);
            }
            batch
        };
        (0..self.batches).map(|_| batch()).collect()
    }
}
