//! Batches of pixels, prepared by worker threads ahead of the consumer.
//!
//! Workers take single images, not batches, so that the first batch comes early and one slow image
//! holds nothing up; a batch is bytes until its last image is there, and only then becomes `f32` (or
//! stays bytes, for a device that normalises).
//! Everything that is random about an image is keyed by where it stands in the epoch: the number
//! of workers changes nothing.

mod plan;
mod queue;

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use self::plan::{Kind, Plan};
use self::queue::Queue;
use crate::error::DataError;
use crate::set::ImageSet;
use crate::transform::{EvalTransform, Normalization, TrainTransform};

/// What happens when an image cannot be read or decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBadImage {
    /// The stream ends with an error that names it.
    #[default]
    Stop,
    /// In training another image of its class takes its place, if there is one; in evaluation it
    /// is left out. Either is reported in [`Batch::skipped`].
    Skip,
}

/// How a [`Loader`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Worker threads; 0 counts as 1.
    pub workers: usize,
    /// How many batches are prepared ahead of the consumer, and so how many are in memory beside
    /// the one it holds; 0 counts as 1.
    pub prefetch: usize,
    /// What happens to an image that cannot be used.
    pub on_bad_image: OnBadImage,
    /// Decides crops, mirroring and replacements, together with epoch, step and place.
    pub seed: u64,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        Self { workers: 1, prefetch: 2, on_bad_image: OnBadImage::Stop, seed: 1 }
    }
}

/// Images of one step, ready for a network.
#[derive(Debug)]
pub struct Batch {
    /// The images' values.
    pub pixels: Pixels,
    /// `[images, 3, height, width]`, whatever the order of the values.
    pub shape: [usize; 4],
    /// Which item of the set each image is.
    pub indices: Vec<u32>,
    /// The label of each image.
    pub labels: Vec<u32>,
    /// The images that could not be used, in the batch's order; empty unless
    /// [`OnBadImage::Skip`].
    pub skipped: Vec<Skipped>,
}

/// The values of a batch's images, one image after another.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// Normalised: in each image the red, green and blue plane (or the other way about, as the
    /// normalisation says), row by row.
    Planes(Vec<f32>),
    /// RGB bytes, row by row, for a device that normalises them: a quarter of the memory.
    Bytes(Vec<u8>),
}

impl Pixels {
    /// A copy of some of the values, as those of a few of the images.
    ///
    /// # Panics
    /// Where the range reaches beyond the end.
    #[must_use]
    pub fn part(&self, values: Range<usize>) -> Self {
        match self {
            Self::Planes(planes) => Self::Planes(planes[values].to_vec()),
            Self::Bytes(bytes) => Self::Bytes(bytes[values].to_vec()),
        }
    }
}

/// An image that could not be used.
#[derive(Debug)]
pub struct Skipped {
    /// Which item of the set it is.
    pub index: u32,
    /// The item that took its place in the batch.
    pub replaced_by: Option<u32>,
    /// What is wrong with it.
    pub error: DataError,
}

/// Makes batches of the images of one set.
#[derive(Debug, Clone)]
pub struct Loader {
    set: Arc<ImageSet>,
    options: LoaderOptions,
}

impl Loader {
    /// A loader of these images. Threads are started by [`train`](Self::train) and
    /// [`eval`](Self::eval), and live as long as the stream.
    pub fn new(set: Arc<ImageSet>, options: LoaderOptions) -> Self {
        Self { set, options }
    }

    /// The batches of a training epoch from step `first_step` on. `batches` is the whole epoch,
    /// as a [`Sampler`](crate::Sampler) draws it: the steps before are passed over, and the others
    /// have the same bits as in an epoch from the start. Without a normalisation the batches hold
    /// bytes.
    ///
    /// # Panics
    /// Where a batch has an index that the set has not.
    pub fn train(
        &self,
        transform: TrainTransform,
        normalization: impl Into<Option<Normalization>>,
        epoch: u64,
        batches: Vec<Vec<u32>>,
        first_step: usize,
    ) -> BatchStream {
        self.stream(Kind::Train { transform, epoch }, normalization.into(), batches, first_step)
    }

    /// All images of the set in its order, `batch_size` at a time; the last batch may be smaller.
    /// A `batch_size` of 0 counts as 1. Without a normalisation the batches hold bytes.
    pub fn eval(
        &self,
        transform: EvalTransform,
        normalization: impl Into<Option<Normalization>>,
        batch_size: usize,
    ) -> BatchStream {
        let all: Vec<u32> = (0..self.set.len() as u32).collect();
        let batches = all.chunks(batch_size.max(1)).map(<[u32]>::to_vec).collect();
        self.stream(Kind::Eval { transform }, normalization.into(), batches, 0)
    }

    fn stream(
        &self,
        kind: Kind,
        normalization: Option<Normalization>,
        batches: Vec<Vec<u32>>,
        first_step: usize,
    ) -> BatchStream {
        let images = self.set.len();
        for &index in batches.iter().flatten() {
            assert!((index as usize) < images, "a batch has index {index} of {images} images");
        }
        let plan = Plan {
            set: Arc::clone(&self.set),
            kind,
            normalization: normalization.as_ref().map(Normalization::table),
            batches,
            options: self.options,
        };
        BatchStream::start(plan, first_step)
    }
}

/// The batches of an epoch, in order. Dropping it stops its threads: each ends after the image it
/// is at. After an error the stream is over.
#[derive(Debug)]
pub struct BatchStream {
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
    /// The step of the next batch.
    next: usize,
    /// Reported in place of the next batch.
    failure: Option<DataError>,
}

impl BatchStream {
    fn start(plan: Plan, first_step: usize) -> Self {
        let steps = plan.batches.len();
        let count = plan.options.workers.max(1);
        let queue = Arc::new(Queue::new(plan, first_step));
        let mut stream = Self { queue, workers: Vec::new(), next: first_step, failure: None };
        if first_step >= steps {
            return stream;
        }
        for _ in 0..count {
            let queue = Arc::clone(&stream.queue);
            let thread = std::thread::Builder::new().name("pnp-data loader".to_owned());
            match thread.spawn(move || queue.work()) {
                Ok(worker) => stream.workers.push(worker),
                Err(error) if stream.workers.is_empty() => {
                    let path = stream.queue.path_at(first_step);
                    let message = format!("no thread could be started: {error}");
                    stream.failure = Some(DataError::Worker { path, message });
                }
                // Fewer threads are slower and give the same bits.
                Err(_) => break,
            }
        }
        stream
    }

    /// How many batches are still to come.
    fn remaining(&self) -> usize {
        self.queue.steps().saturating_sub(self.next)
    }

    fn stop(&mut self) {
        self.queue.stop();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its work; there is nothing to learn from the rest.
            let _ = worker.join();
        }
    }
}

impl Iterator for BatchStream {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining() == 0 {
            return None;
        }
        let result = match self.failure.take() {
            Some(error) => Err(error),
            None => self.queue.take(self.next),
        };
        self.next += 1;
        if result.is_err() {
            self.next = self.queue.steps();
        }
        if self.remaining() == 0 {
            self.stop();
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error ends the stream early.
        (usize::from(self.remaining() > 0), Some(self.remaining()))
    }
}

impl std::iter::FusedIterator for BatchStream {}

impl Drop for BatchStream {
    fn drop(&mut self) {
        self.stop();
    }
}
