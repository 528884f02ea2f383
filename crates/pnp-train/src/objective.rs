//! What is minimised: the loss with what it keeps from step to step, the cross-batch memory and
//! the proxies.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use pnp_model::weights::{Array, StateDict};
use pnp_ranking::loss::{CrossBatchMemory, Items, Loss, LossInput, LossOutput, initial_proxies};
use pnp_ranking::{Embeddings, RankingError};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::optimizer::{OptimizerRecord, OptimizerState, Owner};
use crate::step::{self, StepError};

/// The key of the proxies in a checkpoint.
const PROXIES: &str = "proxies";
/// The keys of the memory in a checkpoint.
const MEMORY: [&str; 3] = ["memory.embeddings", "memory.labels", "memory.ids"];

/// A loss and its state.
pub(crate) struct Objective {
    loss: Box<dyn Loss>,
    memory: Option<CrossBatchMemory>,
    /// The first step that ranks against the memory.
    memory_start: u64,
    proxies: Option<Proxies>,
}

/// A vector for each class, trained beside the network; the loss wants it on the host.
struct Proxies {
    /// `[classes, dim]`.
    values: Vec<f32>,
    /// What they become, on the device until it is waited for.
    moved: Option<Tensor<1>>,
    classes: usize,
    dim: usize,
    optimizer: OptimizerState,
    /// Where the optimiser works.
    device: Device,
}

/// The small part of an objective's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectiveRecord {
    /// The memory's next place.
    memory_next: Option<usize>,
    /// The step counts of the proxies' optimiser.
    proxy_counts: Option<BTreeMap<String, u64>>,
}

impl ObjectiveRecord {
    /// Whether there are tensors beside it.
    pub(crate) fn has_tensors(&self) -> bool {
        self.memory_next.is_some() || self.proxy_counts.is_some()
    }
}

impl Objective {
    /// The configured loss for training images of `classes` classes.
    pub(crate) fn new(
        config: &TrainConfig,
        classes: usize,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let (loss, dim) = (config.build_loss()?, config.embed_dim);
        let proxies = loss.trains_proxies().then(|| Proxies {
            values: initial_proxies(classes, dim, config.seed),
            moved: None,
            classes,
            dim,
            optimizer: OptimizerState::new(config),
            device: device.clone(),
        });
        let memory = match config.memory {
            0 => None,
            capacity => Some(CrossBatchMemory::new(capacity, dim)?),
        };
        Ok(Self { loss, memory, memory_start: config.memory_start, proxies })
    }

    /// The loss with its settings, for records.
    pub(crate) fn name(&self) -> String {
        self.loss.name()
    }

    /// Whether it has proxies.
    pub(crate) fn trains_proxies(&self) -> bool {
        self.proxies.is_some()
    }

    /// How many times faster than the network the proxies learn where no rate is set.
    pub(crate) fn proxy_rate(&self) -> f64 {
        self.loss.proxy_rate()
    }

    /// Value and gradients of a batch in the step of this number.
    pub(crate) fn compute(
        &self,
        batch: Items<'_, f32>,
        step: u64,
    ) -> Result<LossOutput<f32>, RankingError> {
        let memory = self.memory.as_ref().filter(|_| step >= self.memory_start);
        let input = match memory {
            Some(memory) => LossInput::batch_and(batch, memory.items())?,
            None => LossInput::batch(batch),
        };
        match &self.proxies {
            Some(proxies) => {
                let proxies = Embeddings::new(&proxies.values, proxies.dim)?;
                self.loss.compute_f32(&input.with_proxies(proxies)?)
            }
            None => self.loss.compute_f32(&input),
        }
    }

    /// Takes a step: the proxies move along their gradient, the memory takes the batch in. The
    /// proxies are where they were until the step is [settled](Self::settle).
    pub(crate) fn step(
        &mut self,
        batch: Items<'_, f32>,
        proxy_gradient: Option<Vec<f32>>,
        rate: f64,
    ) -> Result<(), StepError> {
        if let (Some(proxies), Some(gradient)) = (&mut self.proxies, proxy_gradient) {
            proxies.step(gradient, rate);
        }
        match &mut self.memory {
            Some(memory) => memory.push(&batch).map_err(step::other),
            None => Ok(()),
        }
    }

    /// Waits for the proxies of the last step. Fails with what is no finite number.
    pub(crate) fn settle(&mut self) -> Result<(), &'static str> {
        let Some(proxies) = &mut self.proxies else { return Ok(()) };
        if let Some(moved) = proxies.moved.take() {
            proxies.values = pnp_model::to_host(moved);
        }
        if proxies.values.iter().all(|value| value.is_finite()) { Ok(()) } else { Err("proxy") }
    }

    /// The state after steps that are settled, to be stored: the small part, and the bytes of a
    /// safetensors file.
    pub(crate) fn record(&self) -> (ObjectiveRecord, Vec<u8>) {
        let mut record = ObjectiveRecord::default();
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        if let Some(proxies) = &self.proxies {
            assert!(proxies.moved.is_none(), "the last step must be settled");
            let optimizer = proxies.optimizer.record(&proxies.owners());
            let mut floats = optimizer.tensors;
            let (shape, values) = (vec![proxies.classes, proxies.dim], proxies.values.clone());
            floats.insert(PROXIES.into(), Array { shape, values });
            for (key, array) in floats {
                let bytes = bytemuck::cast_slice(&array.values).to_vec();
                tensors.push((key, Dtype::F32, array.shape, bytes));
            }
            record.proxy_counts = Some(optimizer.counts);
        }
        if let Some(memory) = &self.memory {
            let (items, [embeddings, labels, ids]) = (memory.items(), MEMORY);
            let (length, dim) = (items.len(), items.embeddings().dim());
            let values = bytemuck::cast_slice(items.embeddings().values()).to_vec();
            tensors.push((embeddings.into(), Dtype::F32, vec![length, dim], values));
            let values = bytemuck::cast_slice(items.labels()).to_vec();
            tensors.push((labels.into(), Dtype::U32, vec![length], values));
            let values = bytemuck::cast_slice(items.ids().unwrap_or_default()).to_vec();
            tensors.push((ids.into(), Dtype::U64, vec![length], values));
            record.memory_next = Some(memory.next());
        }
        let views = tensors.iter().map(|(key, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            (key, view.expect("as many values as the shape says"))
        });
        let bytes = safetensors::serialize(views, None).expect("whole tensors always serialise");
        (record, bytes)
    }

    /// Takes a stored state over. Fails with what does not fit.
    pub(crate) fn load(&mut self, record: &ObjectiveRecord, bytes: &[u8]) -> Result<(), String> {
        let wanted = (self.memory.is_some(), self.proxies.is_some());
        if wanted != (record.memory_next.is_some(), record.proxy_counts.is_some()) {
            return Err("it is that of a run with another loss or memory".into());
        }
        if !record.has_tensors() {
            return Ok(());
        }
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        if let (Some(proxies), Some(counts)) = (&mut self.proxies, &record.proxy_counts) {
            proxies.load(&file, counts)?;
        }
        if let (Some(memory), Some(next)) = (&mut self.memory, record.memory_next) {
            *memory = load_memory(&file, memory, next)?;
        }
        Ok(())
    }
}

impl Proxies {
    fn owners(&self) -> [Owner; 1] {
        [Owner { key: PROXIES.into(), length: self.values.len(), trained: true }]
    }

    fn step(&mut self, gradient: Vec<f32>, rate: f64) {
        let tensor = |values: Vec<f32>| {
            let shape = [values.len()];
            Tensor::<1>::from_data(TensorData::new(values, shape), &self.device)
        };
        assert!(self.moved.is_none(), "the step before must be settled");
        let (values, gradient) = (tensor(self.values.clone()), tensor(gradient));
        self.moved = Some(self.optimizer.moved(0, rate, values, gradient));
    }

    fn load(
        &mut self,
        file: &SafeTensors<'_>,
        counts: &BTreeMap<String, u64>,
    ) -> Result<(), String> {
        let shape = [self.classes, self.dim];
        self.values = floats(file, PROXIES, &shape)?;
        let mut tensors = StateDict::new();
        for name in file.names() {
            if name.strip_prefix(PROXIES).is_some_and(|rest| rest.starts_with('.')) {
                let values = floats(file, name, &[self.values.len()])?;
                tensors.insert(name.to_owned(), Array { shape: vec![values.len()], values });
            }
        }
        let record = OptimizerRecord { tensors, counts: counts.clone() };
        self.optimizer.load(&record, &self.owners(), &self.device)
    }
}

fn load_memory(
    file: &SafeTensors<'_>,
    memory: &CrossBatchMemory,
    next: usize,
) -> Result<CrossBatchMemory, String> {
    let [embeddings, labels, ids] = MEMORY;
    let dim = memory.items().embeddings().dim();
    let labels: Vec<u32> = numbers(file, labels, Dtype::U32, None)?;
    let ids: Vec<u64> = numbers(file, ids, Dtype::U64, Some(&[labels.len()]))?;
    let values = floats(file, embeddings, &[labels.len(), dim])?;
    let items = Embeddings::new(&values, dim)
        .and_then(|embeddings| Items::new(embeddings, &labels)?.with_ids(&ids));
    items
        .and_then(|items| CrossBatchMemory::restore(memory.capacity(), &items, next))
        .map_err(|e| e.to_string())
}

fn floats(file: &SafeTensors<'_>, key: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    let values: Vec<f32> = numbers(file, key, Dtype::F32, Some(shape))?;
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(format!("'{key}' holds a value that is no finite number"))
    }
}

/// The values of a tensor, whose shape is known or is a vector of any length.
fn numbers<N: bytemuck::Pod>(
    file: &SafeTensors<'_>,
    key: &str,
    dtype: Dtype,
    shape: Option<&[usize]>,
) -> Result<Vec<N>, String> {
    let view = file.tensor(key).map_err(|_| format!("'{key}' is missing"))?;
    let fits = shape.map_or(view.shape().len() == 1, |shape| view.shape() == shape);
    if view.dtype() != dtype || !fits {
        return Err(format!("'{key}' has another type or shape than this run's"));
    }
    // The bytes of a file stand anywhere; the copy is aligned.
    Ok(bytemuck::pod_collect_to_vec(view.data()))
}
