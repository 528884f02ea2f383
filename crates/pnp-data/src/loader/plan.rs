//! What a stream does: which image stands where, and how one becomes pixels.

use std::path::PathBuf;
use std::sync::Arc;

use rand::seq::SliceRandom;

use super::{Batch, LoaderOptions, OnBadImage, Pixels, Skipped};
use crate::error::DataError;
use crate::prepare::{Member, Preparer};
use crate::random::{Purpose, keyed};
use crate::set::ImageSet;
use crate::transform::{EvalTransform, NormalizationTable, TrainTransform};

/// Training or evaluation.
#[derive(Debug)]
pub(super) enum Kind {
    Train { transform: TrainTransform, epoch: u64 },
    Eval { transform: EvalTransform },
}

/// Everything that workers read and nobody changes.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) set: Arc<ImageSet>,
    pub(super) kind: Kind,
    /// What bytes become; `None`: they stay bytes.
    pub(super) normalization: Option<NormalizationTable>,
    pub(super) batches: Vec<Vec<u32>>,
    pub(super) options: LoaderOptions,
}

/// What became of one place in a batch.
#[derive(Debug)]
pub(super) struct Place {
    /// The item that stands there in the end; `None` where it was left out.
    index: Option<u32>,
    /// Its RGB bytes, row by row.
    pub(super) pixels: Vec<u8>,
    skipped: Vec<Skipped>,
}

impl Plan {
    /// The image at a place.
    pub(super) fn path_at(&self, step: usize, place: usize) -> PathBuf {
        let index = self.batches.get(step).and_then(|batch| batch.get(place));
        let item = index.and_then(|&index| self.set.items().get(index as usize));
        item.map(|item| item.path.clone()).unwrap_or_default()
    }

    /// Prepares the image at a place; `pixels` is a buffer to use.
    pub(super) fn prepare(
        &self,
        step: usize,
        place: usize,
        mut pixels: Vec<u8>,
        preparer: &mut Preparer,
    ) -> Result<Place, DataError> {
        let index = self.batches[step][place];
        let error = match self.render(index, step, place, &mut pixels, preparer) {
            Ok(()) => return Ok(Place { index: Some(index), pixels, skipped: Vec::new() }),
            Err(error) if self.options.on_bad_image == OnBadImage::Stop => return Err(error),
            Err(error) => error,
        };
        let mut skipped = vec![Skipped { index, replaced_by: None, error }];
        let mut found = None;
        for candidate in self.replacements(index, step, place) {
            match self.render(candidate, step, place, &mut pixels, preparer) {
                Ok(()) => {
                    found = Some(candidate);
                    break;
                }
                Err(error) => {
                    skipped.push(Skipped { index: candidate, replaced_by: None, error });
                }
            }
        }
        for skip in &mut skipped {
            skip.replaced_by = found;
        }
        Ok(Place { index: found, pixels, skipped })
    }

    /// One image's bytes after the transform, with the randomness of its place.
    fn render(
        &self,
        index: u32,
        step: usize,
        place: usize,
        pixels: &mut Vec<u8>,
        preparer: &mut Preparer,
    ) -> Result<(), DataError> {
        let image = Member { set: &self.set, index };
        match &self.kind {
            Kind::Train { transform, epoch } => {
                let mut rng =
                    keyed(self.options.seed, Purpose::Augment, *epoch, position(step, place));
                preparer.train_from(&image, transform, &mut rng, pixels)
            }
            Kind::Eval { transform } => preparer.eval_from(&image, transform, pixels),
        }
    }

    /// The images that may stand in for a broken one, best first: in training the others of its
    /// class, those that are not in the batch already before those that are.
    fn replacements(&self, index: u32, step: usize, place: usize) -> Vec<u32> {
        let Kind::Train { epoch, .. } = self.kind else { return Vec::new() };
        let label = self.set.labels()[index as usize];
        let mut others = self.set.class_items(label).to_vec();
        others.retain(|&other| other != index);
        let seed = self.options.seed;
        others.shuffle(&mut keyed(seed, Purpose::Replace, epoch, position(step, place)));
        others.sort_by_key(|other| self.batches[step].contains(other));
        others
    }

    /// Joins the places of a batch.
    pub(super) fn assemble(&self, places: &mut [Place]) -> Batch {
        let side = match &self.kind {
            Kind::Train { transform, .. } => transform.size as usize,
            Kind::Eval { transform } => transform.crop as usize,
        };
        let kept = || places.iter().filter_map(|place| Some((place.index?, &place.pixels)));
        let indices: Vec<u32> = kept().map(|(index, _)| index).collect();
        let labels = indices.iter().map(|&index| self.set.labels()[index as usize]).collect();
        let values = indices.len() * 3 * side * side;
        let pixels = if let Some(table) = &self.normalization {
            let mut planes = Vec::with_capacity(values);
            kept().for_each(|(_, bytes)| table.append(bytes, &mut planes));
            Pixels::Planes(planes)
        } else {
            let mut bytes = Vec::with_capacity(values);
            kept().for_each(|(_, image)| bytes.extend_from_slice(image));
            Pixels::Bytes(bytes)
        };
        let shape = [indices.len(), 3, side, side];
        let skipped = places.iter_mut().flat_map(|place| std::mem::take(&mut place.skipped));
        Batch { pixels, shape, indices, labels, skipped: skipped.collect() }
    }
}

/// A number for each place of each step, which no two share.
fn position(step: usize, place: usize) -> u64 {
    (step as u64) << 32 | place as u64
}
