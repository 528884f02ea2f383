//! Every image once per epoch, in a random order.

use rand::seq::SliceRandom;

use super::{Sampler, SamplerEntry, SamplerSettings};
use crate::random::{Purpose, keyed};

pub(super) const ENTRY: SamplerEntry = SamplerEntry {
    name: "shuffle",
    summary: "every image once per epoch; for losses whose positives are proxies or a memory's",
    by_class: false,
    by_super_class: false,
    build: |set, settings| Ok(Box::new(Shuffle { images: set.len(), settings: *settings })),
};

/// Shuffles all images and cuts them into batches. The last batch has what is left, so that every
/// image comes once. Classes play no part: positives meet by chance.
#[derive(Debug)]
struct Shuffle {
    images: usize,
    settings: SamplerSettings,
}

impl Sampler for Shuffle {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn batches(&self, epoch: u64) -> Vec<Vec<u32>> {
        let mut order: Vec<u32> = (0..self.images as u32).collect();
        order.shuffle(&mut keyed(self.settings.seed, Purpose::Batches, epoch, 0));
        order.chunks(self.settings.batch_size).map(<[u32]>::to_vec).collect()
    }
}
