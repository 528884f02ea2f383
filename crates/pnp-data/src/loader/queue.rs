//! Who does what next: the work that is left, the batches under way and those that are done.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Batch;
use super::plan::{Place, Plan};
use crate::decode::panic_message;
use crate::error::DataError;
use crate::prepare::Preparer;

type Outcome = Result<Place, DataError>;

/// Shared by the stream and its workers.
#[derive(Debug)]
pub(super) struct Queue {
    plan: Plan,
    state: Mutex<State>,
    /// There may be work: the consumer took a batch, or everything stops.
    work: Condvar,
    /// A batch is done.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    /// The next place to prepare.
    step: usize,
    place: usize,
    /// The step that the consumer takes next.
    wanted: usize,
    /// Batches of which some places are still to come.
    open: BTreeMap<usize, OpenBatch>,
    done: BTreeMap<usize, Result<Batch, DataError>>,
    /// Byte buffers to use again.
    buffers: Vec<Vec<u8>>,
    stopped: bool,
}

#[derive(Debug)]
struct OpenBatch {
    places: Vec<Option<Outcome>>,
    missing: usize,
}

impl Queue {
    pub(super) fn new(plan: Plan, first_step: usize) -> Self {
        let state = State {
            step: first_step,
            place: 0,
            wanted: first_step,
            open: BTreeMap::new(),
            done: BTreeMap::new(),
            buffers: Vec::new(),
            stopped: false,
        };
        Self { plan, state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() }
    }

    pub(super) fn steps(&self) -> usize {
        self.plan.batches.len()
    }

    pub(super) fn path_at(&self, step: usize) -> PathBuf {
        self.plan.path_at(step, 0)
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.work.notify_all();
    }

    /// Waits for the batch of a step.
    pub(super) fn take(&self, step: usize) -> Result<Batch, DataError> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.done.remove(&step) {
                state.wanted = step + 1;
                self.work.notify_all();
                return batch;
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What a worker thread does, until there is nothing left or the stream stops.
    pub(super) fn work(&self) {
        let mut preparer = Preparer::default();
        while let Some((step, place, buffer)) = self.next() {
            // Nothing may unwind past here: the consumer would wait for this place for ever.
            let outcome =
                self.guard(step, place, || self.plan.prepare(step, place, buffer, &mut preparer));
            if let Some(places) = self.put(step, place, outcome) {
                self.finish(step, places);
            }
        }
    }

    /// The next place to prepare, once there is room for its batch.
    fn next(&self) -> Option<(usize, usize, Vec<u8>)> {
        let mut state = self.lock();
        loop {
            if state.stopped || state.step >= self.steps() {
                return None;
            }
            if state.step < state.wanted.saturating_add(self.plan.options.prefetch.max(1)) {
                let (step, place) = (state.step, state.place);
                let size = self.plan.batches[step].len();
                if size > 0 {
                    state.advance(size);
                    return Some((step, place, state.buffers.pop().unwrap_or_default()));
                }
                // A batch without images is done before it begins.
                state.step += 1;
                state.done.insert(step, Ok(self.plan.assemble(&mut [])));
                self.done.notify_all();
                continue;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Stores what became of a place; hands the batch out where it was the last.
    fn put(&self, step: usize, place: usize, outcome: Outcome) -> Option<Vec<Outcome>> {
        let mut state = self.lock();
        let open = state.open.get_mut(&step)?;
        open.places[place] = Some(outcome);
        open.missing -= 1;
        if open.missing > 0 {
            return None;
        }
        let open = state.open.remove(&step)?;
        Some(open.places.into_iter().flatten().collect())
    }

    /// Makes the batch, or reports its first error: the same one for any order of the work.
    fn finish(&self, step: usize, outcomes: Vec<Outcome>) {
        let places: Result<Vec<Place>, DataError> = outcomes.into_iter().collect();
        let mut buffers = Vec::new();
        let batch = places.and_then(|mut places| {
            let batch = self.guard(step, 0, || Ok(self.plan.assemble(&mut places)));
            buffers = places.into_iter().map(|place| place.pixels).collect();
            batch
        });
        let mut state = self.lock();
        state.buffers.append(&mut buffers);
        state.done.insert(step, batch);
        self.done.notify_all();
    }

    /// Runs `work`; a panic becomes an error that names the image.
    fn guard<T>(
        &self,
        step: usize,
        place: usize,
        work: impl FnOnce() -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        // A worker's buffers are all that a panic can leave half done, and the next image
        // overwrites them.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let path = self.plan.path_at(step, place);
            Err(DataError::Worker { path, message: panic_message(&*panic) })
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives the current place away and moves to the next.
    fn advance(&mut self, size: usize) {
        if self.place == 0 {
            let places = std::iter::repeat_with(|| None).take(size).collect();
            self.open.insert(self.step, OpenBatch { places, missing: size });
        }
        self.place += 1;
        if self.place == size {
            self.place = 0;
            self.step += 1;
        }
    }
}
