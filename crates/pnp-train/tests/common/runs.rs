//! Trainings from the start, stopped, resumed, and what two runs must have in common.

use std::fs;
use std::path::Path;

use pnp_run::{Event, RunFolder};
use pnp_train::{Observer, Outcome, Phase, Silent, StopFlag, TrainConfig, TrainError};

use super::host;

pub fn train(config: TrainConfig) -> Result<Outcome, TrainError> {
    pnp_train::train(config, &host(), &StopFlag::default(), &mut Silent)
}

pub fn resume(path: &Path, overrides: &str, stop: &StopFlag) -> Result<Outcome, TrainError> {
    let overrides = overrides.parse().unwrap();
    pnp_train::resume(path, &overrides, &host(), stop, &mut Silent)
}

/// Asks the training to stop after a number of steps, counted over all epochs, or in the middle of
/// an evaluation.
struct StopAfter {
    steps: u64,
    evaluations: u64,
    stop: StopFlag,
    phase: Phase,
}

impl Observer for StopAfter {
    fn begin(&mut self, phase: &Phase, _: u64, _: u64) {
        self.phase = phase.clone();
    }
    fn advance(&mut self, by: u64, _: &str) {
        match self.phase {
            Phase::Check | Phase::Pack => {}
            Phase::Train { .. } => self.steps = self.steps.saturating_sub(by),
            Phase::Embed { .. } => self.evaluations = self.evaluations.saturating_sub(1),
        }
        if self.steps == 0 || self.evaluations == 0 {
            self.stop.set();
        }
    }
    fn end(&mut self) {}
    fn say(&mut self, _: &str) {}
}

pub fn train_and_stop(config: TrainConfig, steps: u64, evaluations: u64) -> Outcome {
    let stop = StopFlag::default();
    let mut observer = StopAfter { steps, evaluations, stop: stop.clone(), phase: Phase::Check };
    pnp_train::train(config, &host(), &stop, &mut observer).unwrap()
}

/// What must be equal: the checkpoints' files, and the record without its times and its stops.
pub fn result(run: &Path) -> (Vec<(String, Vec<u8>)>, Vec<Event>) {
    let mut files = Vec::new();
    for kind in ["best", "last"] {
        for name in ["model.safetensors", "optimizer.safetensors", "model.json"] {
            let path = run.join("checkpoints").join(kind).join(name);
            files.push((format!("{kind}/{name}"), fs::read(path).unwrap()));
        }
        // Only where the loss has proxies or a memory.
        let objective = fs::read(run.join("checkpoints").join(kind).join("objective.safetensors"));
        files.push((format!("{kind}/objective"), objective.unwrap_or_default()));
    }
    let events = RunFolder::open(run).unwrap().events().unwrap();
    let events = events.into_iter().filter_map(|mut event| {
        match &mut event {
            Event::Step { seconds, .. } | Event::Evaluation { seconds, .. } => *seconds = 0.0,
            Event::Epoch { seconds, images_per_second, .. } => {
                (*seconds, *images_per_second) = (0.0, 0.0);
            }
            Event::Resumed { .. } | Event::Checkpoint { .. } | Event::Note { .. } => return None,
        }
        Some(event)
    });
    (files, events.collect())
}

pub fn assert_same(a: &Path, b: &Path) {
    let ((files_a, events_a), (files_b, events_b)) = (result(a), result(b));
    for ((name, a), (_, b)) in files_a.iter().zip(&files_b) {
        assert!(a == b, "{name} differs");
    }
    assert_eq!(events_a, events_b);
}
