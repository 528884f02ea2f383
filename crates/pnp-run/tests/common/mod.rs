//! A small run for the tests.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;

use pnp_run::{Event, RunFolder, RunInfo, Score, Status};

pub(crate) fn info() -> RunInfo {
    RunInfo {
        version: "0.1.0".into(),
        device: "CPU".into(),
        seed: 1,
        dataset: "emoji".into(),
        data_digest: "5f2c".into(),
        started_unix_s: 1_700_000_000,
        status: Status::Running,
        selected_on: "validation".into(),
        settings: vec![("loss".into(), "PNP-D_q".into())],
    }
}

pub(crate) fn step(step: u64) -> Event {
    Event::Step {
        epoch: 1 + step / 10,
        step,
        loss: 1.0 / (1.0 + step as f64),
        gradient_norm: 0.1 + step as f64,
        learning_rate: 1e-5,
        seconds: 0.25,
        queries: 32,
        lone_queries: 1,
        skipped_images: 0,
    }
}

pub(crate) fn epoch(epoch: u64) -> Event {
    Event::Epoch { epoch, steps: 10, mean_loss: 0.5, seconds: 2.5, images_per_second: 128.0 }
}

pub(crate) fn evaluation(epoch: u64) -> Event {
    let recall = 0.5 + 0.1 * epoch as f64;
    Event::Evaluation {
        epoch,
        split: "val".into(),
        scores: vec![
            Score::new("recall@1", "cosine", recall),
            Score::new("map@r", "cosine", recall / 2.0),
            Score::new("dists@intra", "cosine", 0.3),
            Score::new("nmi", "clustering", 0.8),
        ],
        lists: [].into(),
        counts: BTreeMap::from([("images".to_owned(), 120), ("lone queries".to_owned(), 3)]),
        seconds: 1.5,
    }
}

pub(crate) fn checkpoint(kind: &str, epoch: u64) -> Event {
    let score = 0.5 + 0.1 * epoch as f64;
    let metric = "recall@1".into();
    Event::Checkpoint { epoch, step: 10 * epoch, kind: kind.into(), metric, score }
}

/// The events of whole epochs, from the untrained network on.
pub(crate) fn events(epochs: u64) -> Vec<Event> {
    let mut events = vec![evaluation(0)];
    for e in 1..=epochs {
        events.extend((10 * (e - 1)..10 * e).map(step));
        events.extend([epoch(e), evaluation(e), checkpoint("best", e), checkpoint("last", e)]);
    }
    events
}

/// A run with these events.
pub(crate) fn run(path: &Path, events: &[Event]) -> RunFolder {
    let mut run = RunFolder::create(path, "seed = 1\n", &info()).unwrap();
    for event in events {
        run.append(event).unwrap();
    }
    run
}
