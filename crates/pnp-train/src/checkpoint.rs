//! Checkpoints: all that a run needs to go on to the same bits.
//!
//! A checkpoint is a folder that appears whole or not at all: `model.safetensors` and `model.json`
//! (enough to use the network), `optimizer.safetensors`, `objective.safetensors` where the loss has
//! proxies or a memory, `sampler.safetensors` where the sampler goes by class means, and
//! `state.json` with how far the run is. Sampler, augmentation and schedule have no state beyond
//! that: they are functions of the seed, the epoch and the step.

use std::collections::BTreeMap;
use std::path::Path;

use pnp_data::transform::EvalTransform;
use pnp_data::{ClassMeans, Sampler};
use pnp_model::Network;
use pnp_model::weights::{self, Array, Fit, StateDict};
use pnp_run::atomic;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::json;
use crate::model;
use crate::objective::{Objective, ObjectiveRecord};
use crate::optimizer::{OptimizerRecord, OptimizerState, owners};

const OBJECTIVE: &str = "objective.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const SAMPLER: &str = "sampler.safetensors";
/// The key of the class means in it.
const CLASS_MEANS: &str = "class_means";
const STATE: &str = "state.json";
/// The layout of `state.json` that this version writes and reads.
const FORMAT: u64 = 1;

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
    optimizer_tensors: usize,
    optimizer_counts: BTreeMap<String, u64>,
    #[serde(default)]
    objective: ObjectiveRecord,
    /// Whether the sampler was given class means.
    #[serde(default)]
    class_means: bool,
}

/// Reading and writing of one checkpoint.
#[derive(Debug)]
pub struct Checkpoint;

impl Checkpoint {
    /// Puts a checkpoint at `target`, replacing the one that is there at once. Without the
    /// objective, whose memory may be large, and the sampler it can be used but not resumed from.
    pub(crate) fn write(
        target: &Path,
        network: &Network,
        transform: EvalTransform,
        optimizer: &OptimizerState,
        to_resume: Option<(&Objective, &dyn Sampler)>,
        progress: &Progress,
    ) -> Result<(), TrainError> {
        let record = optimizer.record(&owners(network.parameters()));
        let objective = to_resume.map(|(objective, _)| objective.record());
        let (objective, objective_tensors) = objective.unwrap_or_default();
        let means = to_resume.and_then(|(_, sampler)| sampler.class_means());
        let state = State {
            format: FORMAT,
            progress: progress.clone(),
            optimizer_tensors: record.tensors.len(),
            optimizer_counts: record.counts,
            objective,
            class_means: means.is_some(),
        };
        let has_objective = state.objective.has_tensors();
        let state = serde_json::to_string(&state).expect("plain values always serialise");
        atomic::replace_dir(target, |folder| -> Result<(), TrainError> {
            model::write(folder, network, transform)?;
            let tensors = weights::to_safetensors(&record.tensors);
            atomic::write(&folder.join(OPTIMIZER), &tensors)?;
            if has_objective {
                atomic::write(&folder.join(OBJECTIVE), &objective_tensors)?;
            }
            if let Some(means) = means {
                atomic::write(&folder.join(SAMPLER), &to_safetensors(means))?;
            }
            Ok(atomic::write(&folder.join(STATE), format!("{state}\n").as_bytes())?)
        })
    }

    /// Puts a checkpoint's values into the network, the optimiser, the objective and the sampler,
    /// and says how far it was.
    pub(crate) fn read(
        target: &Path,
        network: &mut Network,
        optimizer: &mut OptimizerState,
        objective: &mut Objective,
        sampler: &mut dyn Sampler,
    ) -> Result<Progress, TrainError> {
        let reject =
            |reason: &str| TrainError::Checkpoint { path: target.into(), reason: reason.into() };
        let folder =
            atomic::current_dir(target).ok_or_else(|| reject("there is no such folder"))?;
        let state: State = json::read(&folder.join(STATE), FORMAT)?;
        let file = folder.join(model::WEIGHTS);
        weights::load(network, &weights::read(&file)?, Fit::Whole, &file)?;
        // An optimiser that has not moved yet has no state.
        let tensors = if state.optimizer_tensors == 0 {
            StateDict::new()
        } else {
            weights::read(&folder.join(OPTIMIZER))?
        };
        let record = OptimizerRecord { tensors, counts: state.optimizer_counts };
        let device = network.device();
        let owners = owners(network.parameters());
        optimizer.load(&record, &owners, &device).map_err(|reason| reject(&reason))?;
        let bytes = if state.objective.has_tensors() {
            let path = folder.join(OBJECTIVE);
            std::fs::read(&path).map_err(|e| reject(&format!("{OBJECTIVE}: {e}")))?
        } else {
            Vec::new()
        };
        let fits = objective.load(&state.objective, &bytes);
        fits.map_err(|reason| reject(&format!("{OBJECTIVE}: {reason}")))?;
        if state.class_means {
            let tensors = weights::read(&folder.join(SAMPLER))?;
            let means = from_tensors(tensors).map_err(|e| reject(&format!("{SAMPLER}: {e}")))?;
            sampler.set_class_means(means).map_err(|e| reject(&format!("{SAMPLER}: {e}")))?;
        }
        Ok(state.progress)
    }
}

fn to_safetensors(means: &ClassMeans) -> Vec<u8> {
    let shape = vec![means.classes(), means.dim()];
    let array = Array { shape, values: means.values().to_vec() };
    weights::to_safetensors(&StateDict::from([(CLASS_MEANS.to_owned(), array)]))
}

fn from_tensors(mut tensors: StateDict) -> Result<ClassMeans, String> {
    let array = tensors.remove(CLASS_MEANS).ok_or(format!("'{CLASS_MEANS}' is missing"))?;
    let &[_, dim] = array.shape.as_slice() else {
        return Err(format!("'{CLASS_MEANS}' is no matrix"));
    };
    ClassMeans::stored(array.values, dim).map_err(|e| e.to_string())
}
