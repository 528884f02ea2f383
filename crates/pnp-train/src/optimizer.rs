//! The optimiser over a network's parameter table or single tensors, and its state by name.

use std::collections::BTreeMap;

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    Adam, AdamConfig, Optimizer as BurnOptimizer, RecordState, Sgd, SgdConfig, StateSink,
    StateSource,
};
use burn::tensor::{Device, Tensor, TensorData};
use pnp_model::weights::{Array, StateDict};
use pnp_model::{Entry, ParameterGradients, Parameters, Role};
use rayon::prelude::*;

use crate::config::{Optimizer, TrainConfig};
use crate::schedule::Rates;

/// Adam's ε, PyTorch's default.
const ADAM_EPSILON: f32 = 1e-8;

/// An optimiser and its state of every parameter.
pub enum OptimizerState {
    /// Adam (Kingma and Ba, ICLR 2015), PyTorch's ε.
    Adam(PerParameter<Adam>),
    /// Stochastic gradient descent with momentum.
    Sgd(PerParameter<Sgd>),
}

/// What a checkpoint keeps of an optimiser.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct OptimizerRecord {
    /// The moments, by `<parameter's key>.<moment's name>`.
    pub(crate) tensors: StateDict,
    /// The step counts, by the same kind of name.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl OptimizerState {
    /// The configured optimiser with no state yet. Weight decay is added to the gradient, and the
    /// momentum of SGD is not dampened, both as in PyTorch.
    pub fn new(config: &TrainConfig) -> Self {
        let decay = WeightDecayConfig::new(config.decay as f32);
        match config.optim {
            Optimizer::Adam => {
                let adam = AdamConfig::new().with_epsilon(ADAM_EPSILON);
                Self::Adam(PerParameter::new(adam.with_weight_decay(Some(decay)).build()))
            }
            Optimizer::Sgd => {
                let momentum =
                    MomentumConfig::new().with_momentum(config.momentum).with_dampening(0.0);
                let sgd = SgdConfig::new().with_momentum(Some(momentum));
                Self::Sgd(PerParameter::new(sgd.with_weight_decay(Some(decay)).build()))
            }
        }
    }

    /// Moves every parameter that has a gradient.
    pub fn step(
        &mut self,
        parameters: &mut Parameters,
        gradients: ParameterGradients,
        rates: Rates,
    ) {
        match self {
            Self::Adam(states) => states.step(parameters, gradients, rates),
            Self::Sgd(states) => states.step(parameters, gradients, rates),
        }
    }

    /// One tensor of its own after its step; `index` names its state.
    pub(crate) fn moved(
        &mut self,
        index: usize,
        rate: f64,
        x: Tensor<1>,
        gradient: Tensor<1>,
    ) -> Tensor<1> {
        match self {
            Self::Adam(states) => states.moved(index, rate, x, gradient),
            Self::Sgd(states) => states.moved(index, rate, x, gradient),
        }
    }

    /// The state, to be stored.
    pub(crate) fn record(&self, owners: &[Owner]) -> OptimizerRecord {
        match self {
            Self::Adam(states) => states.record(owners),
            Self::Sgd(states) => states.record(owners),
        }
    }

    /// Takes a stored state over. Fails with the name of the first tensor that does not fit.
    pub(crate) fn load(
        &mut self,
        record: &OptimizerRecord,
        owners: &[Owner],
        device: &Device,
    ) -> Result<(), String> {
        match self {
            Self::Adam(states) => states.load(record, owners, device),
            Self::Sgd(states) => states.load(record, owners, device),
        }
    }
}

/// What a state belongs to; its index is its place in a list of these.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    /// The parameter's key.
    pub(crate) key: String,
    /// How many values it has.
    pub(crate) length: usize,
    /// Whether it is trained: nothing else has a state.
    pub(crate) trained: bool,
}

/// The owners of the states of a network's parameters.
pub(crate) fn owners(parameters: &Parameters) -> Vec<Owner> {
    let entries = parameters.entries().iter();
    let owner = |e: &Entry| Owner {
        key: e.key.clone(),
        length: e.shape.iter().product(),
        trained: e.is_trained(),
    };
    entries.map(owner).collect()
}

/// A tensor that is to move.
struct Task {
    /// Names its state.
    index: usize,
    rate: f64,
    x: Tensor<1>,
    gradient: Tensor<1>,
}

/// One state per parameter.
pub struct PerParameter<O: BurnOptimizer> {
    optimizer: O,
    states: BTreeMap<usize, O::State<1>>,
}

impl<O: BurnOptimizer> PerParameter<O> {
    fn new(optimizer: O) -> Self {
        Self { optimizer, states: BTreeMap::new() }
    }

    fn step(&mut self, parameters: &mut Parameters, gradients: ParameterGradients, rates: Rates) {
        let on_host = parameters.is_on_host();
        let gradients = gradients.into_iter().enumerate();
        let trained = gradients.filter_map(|(index, gradient)| Some((index, gradient?)));
        let tasks = trained.map(|(index, gradient)| {
            let entry = &parameters.entries()[index];
            let rate = if entry.role == Role::Head { rates.head } else { rates.backbone };
            // A host's tensor is given away, so that it is written over and not written anew.
            let x = if on_host { parameters.take(index) } else { entry.tensor.clone() };
            Task { index, rate, x, gradient }
        });
        for (index, x) in self.moves(tasks.collect(), on_host) {
            parameters.set(index, x);
        }
    }

    /// One tensor after its step; its state moves on.
    fn moved(&mut self, index: usize, rate: f64, x: Tensor<1>, gradient: Tensor<1>) -> Tensor<1> {
        let task = Task { index, rate, x, gradient };
        let [(_, x)] = self.moves(vec![task], false).try_into().expect("one task");
        x
    }

    /// Tensors after their steps, by index; their states move on.
    fn moves(&mut self, tasks: Vec<Task>, in_parallel: bool) -> Vec<(usize, Tensor<1>)> {
        let with_state = |task: Task| (self.states.remove(&task.index), task);
        let tasks: Vec<_> = tasks.into_iter().map(with_state).collect();
        let step = |(state, Task { index, rate, x, gradient })| {
            let (x, state) = self.optimizer.step(rate, x, gradient, state);
            (index, x, state)
        };
        // One core does not read a host's memory as fast as all do; a device has its own queue.
        let moved: Vec<_> = if in_parallel {
            tasks.into_par_iter().map(step).collect()
        } else {
            tasks.into_iter().map(step).collect()
        };
        let keep = |(index, x, state): (usize, _, Option<_>)| {
            self.states.extend(state.map(|state| (index, state)));
            (index, x)
        };
        moved.into_iter().map(keep).collect()
    }

    fn record(&self, owners: &[Owner]) -> OptimizerRecord {
        let mut sink = StateSink::default();
        for (&index, state) in &self.states {
            state.state_flatten(&owners[index].key, &mut sink);
        }
        let tensors = sink.tensors.into_iter().map(|(name, data)| {
            let shape: Vec<usize> = data.shape().iter().copied().collect();
            let values =
                data.convert::<f32>().try_into_vec::<f32>().expect("f32 data, as converted");
            (name, Array { shape, values })
        });
        let counts = sink
            .scalars
            .into_iter()
            .filter_map(|(name, scalar)| u64::try_from(scalar).ok().map(|count| (name, count)));
        OptimizerRecord { tensors: tensors.collect(), counts: counts.collect() }
    }

    fn load(
        &mut self,
        record: &OptimizerRecord,
        owners: &[Owner],
        device: &Device,
    ) -> Result<(), String> {
        let scalars = record.counts.iter().map(|(name, &count)| (name.clone(), count.into()));
        let mut source = StateSource::new(scalars.collect());
        for (name, array) in &record.tensors {
            let owner = owners
                .iter()
                .filter(|o| o.trained)
                .find(|o| name.strip_prefix(&o.key).is_some_and(|rest| rest.starts_with('.')))
                .ok_or_else(|| format!("'{name}' belongs to nothing that is trained"))?;
            if array.values.len() != owner.length {
                return Err(format!("'{name}' has another size than the parameter"));
            }
            let data = TensorData::new(array.values.clone(), [array.values.len()]);
            source.insert_tensor(name.clone(), data);
        }
        self.states.clear();
        for (index, owner) in owners.iter().enumerate() {
            if !source.has_under(&owner.key) {
                continue;
            }
            let state = O::State::<1>::state_unflatten(&owner.key, &mut source, device)
                .ok_or_else(|| format!("the state of '{}' is incomplete", owner.key))?;
            self.states.insert(index, state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Runs five steps on the golden problem (`golden/optimizers`) and compares each.
    fn check(name: &str, optim: Optimizer) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/optimizers/steps.json");
        let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let number = |key: &str| golden[key].as_f64().unwrap();
        let config = TrainConfig {
            optim,
            decay: number("decay"),
            momentum: number("momentum"),
            ..TrainConfig::default()
        };
        let mut state = OptimizerState::new(&config);
        let device = Device::flex();
        let tensor = |value: &dyn Fn(f64) -> f64| {
            let values: Vec<f32> = (0..6).map(|i| value(f64::from(i)) as f32).collect();
            Tensor::<1>::from_data(TensorData::new(values, [6]), &device)
        };
        let mut x = tensor(&|i| (1.0 + i).sin());
        for (step, expected) in golden[name].as_array().unwrap().iter().enumerate() {
            let gradient = tensor(&|i| (0.7 * i + step as f64).cos());
            x = state.moved(0, number("rate"), x, gradient);
            let found = pnp_model::to_host(x.clone());
            for (a, b) in found.iter().zip(expected.as_array().unwrap()) {
                let b = b.as_f64().unwrap();
                assert!((f64::from(*a) - b).abs() < 1e-5, "{name}, step {step}: {a}, not {b}");
            }
        }
    }

    #[test]
    fn adam_takes_the_steps_of_pytorch() {
        check("adam", Optimizer::Adam);
    }

    #[test]
    fn sgd_with_momentum_takes_the_steps_of_pytorch() {
        check("sgd", Optimizer::Sgd);
    }
}
