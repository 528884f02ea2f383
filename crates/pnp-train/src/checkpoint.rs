//! Checkpoints: all that a run needs to go on to the same bits.
//!
//! A checkpoint is a folder that appears whole or not at all: `model.safetensors` and `model.json`
//! (enough to use the network), `optimizer.safetensors`, and `state.json` with how far the run is.
//! Sampler, augmentation and schedule have no state beyond that: they are functions of the seed,
//! the epoch and the step.

use std::collections::BTreeMap;
use std::path::Path;

use pnp_data::transform::EvalTransform;
use pnp_model::Network;
use pnp_model::weights::{self, Fit};
use pnp_run::atomic;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::model;
use crate::optimizer::{OptimizerRecord, OptimizerState};

const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
/// The layout of `state.json` that this version writes and reads.
const FORMAT: u64 = 1;
/// The longest `state.json` that is read, in bytes.
const MAX_STATE_BYTES: u64 = 1 << 22;

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are done, with their evaluation.
    pub epochs_done: u64,
    /// Steps of the next epoch that are done.
    pub steps_done_in_epoch: u64,
    /// Steps done over the whole run.
    pub steps_done: u64,
    /// Sum of the losses of the steps done in the epoch.
    pub loss_sum: f64,
    /// Images in them.
    pub images: u64,
    /// Queries in them that had a positive.
    pub queries: u64,
    /// Images of them that were broken.
    pub skipped: u64,
    /// Seconds spent on them.
    pub seconds: f64,
    /// The best score so far and the epoch, from 1, after which it was measured.
    pub best: Option<(f64, u64)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: u64,
    progress: Progress,
    optimizer_counts: BTreeMap<String, u64>,
}

/// Reading and writing of one checkpoint.
#[derive(Debug)]
pub struct Checkpoint;

impl Checkpoint {
    /// Puts a checkpoint at `target`, replacing the one that is there at once.
    pub(crate) fn write(
        target: &Path,
        network: &Network,
        transform: EvalTransform,
        optimizer: &OptimizerState,
        progress: &Progress,
    ) -> Result<(), TrainError> {
        let record = optimizer.record(network.parameters());
        let state =
            State { format: FORMAT, progress: progress.clone(), optimizer_counts: record.counts };
        let state = serde_json::to_string(&state).expect("plain values always serialise");
        atomic::replace_dir(target, |folder| -> Result<(), TrainError> {
            model::write(folder, network, transform)?;
            let tensors = weights::to_safetensors(&record.tensors);
            atomic::write(&folder.join(OPTIMIZER), &tensors)?;
            Ok(atomic::write(&folder.join(STATE), format!("{state}\n").as_bytes())?)
        })
    }

    /// Puts a checkpoint's values into the network and the optimiser, and says how far it was.
    pub(crate) fn read(
        target: &Path,
        network: &mut Network,
        optimizer: &mut OptimizerState,
    ) -> Result<Progress, TrainError> {
        let reject =
            |reason: &str| TrainError::Checkpoint { path: target.into(), reason: reason.into() };
        let folder =
            atomic::current_dir(target).ok_or_else(|| reject("there is no such folder"))?;
        let state = read_state(&folder.join(STATE))?;
        let file = folder.join(model::WEIGHTS);
        weights::load(network, &weights::read(&file)?, Fit::Whole, &file)?;
        let tensors = if state.optimizer_counts.is_empty() && state.progress.steps_done == 0 {
            weights::StateDict::new()
        } else {
            weights::read(&folder.join(OPTIMIZER))?
        };
        let record = OptimizerRecord { tensors, counts: state.optimizer_counts };
        let device = network.device();
        optimizer.load(&record, network.parameters(), &device).map_err(|reason| reject(&reason))?;
        Ok(state.progress)
    }
}

fn read_state(path: &Path) -> Result<State, TrainError> {
    let reject = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
    let size = std::fs::metadata(path).map_err(|e| reject(e.to_string()))?.len();
    if size > MAX_STATE_BYTES {
        return Err(reject(format!("{size} bytes are too many for a state")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| reject(e.to_string()))?;
    let state: State = serde_json::from_str(&text).map_err(|e| reject(e.to_string()))?;
    if state.format != FORMAT {
        return Err(reject(format!("its format is {}, this version reads {FORMAT}", state.format)));
    }
    Ok(state)
}
