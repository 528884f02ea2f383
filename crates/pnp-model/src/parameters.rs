//! The flat table of a network's parameters and statistics, under PyTorch's key names.
//!
//! Layers hold indices into the table instead of tensors, so that optimiser, checkpoint and state
//! dict all walk the same list in the same order, and a training pass is the same network over a
//! tracked copy of the table.

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::weights::{Array, StateDict};

/// What an entry of the table is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A trained parameter of the backbone.
    Backbone,
    /// A trained parameter of the embedding head, which may have a learning rate of its own.
    Head,
    /// A running statistic of a batch norm: stored, never trained by a gradient.
    Statistic,
}

/// One tensor of the table, kept flat beside its shape.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name PyTorch gives it, such as `layer1.0.conv1.weight`.
    pub key: String,
    /// The shape PyTorch gives it.
    pub shape: Vec<usize>,
    /// What it is to training.
    pub role: Role,
    /// Whether training leaves it as it is, whatever its role.
    pub frozen: bool,
    /// Its values, row-major.
    pub tensor: Tensor<1>,
}

impl Entry {
    /// Whether a gradient moves it.
    pub fn is_trained(&self) -> bool {
        self.role != Role::Statistic && !self.frozen
    }
}

/// The place of an entry in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ParameterId(usize);

/// The table.
#[derive(Debug, Clone)]
pub struct Parameters {
    entries: Vec<Entry>,
}

impl Parameters {
    /// All entries, in the order of the network's layers.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The device they are on.
    ///
    /// # Panics
    ///
    /// When there are none: a network has some.
    pub fn device(&self) -> Device {
        self.entries[0].tensor.device()
    }

    /// Whether they are on the host.
    pub fn is_on_host(&self) -> bool {
        crate::ops::is_host(&self.device())
    }

    /// The trained values.
    pub fn trained_count(&self) -> usize {
        let trained = self.entries.iter().filter(|e| e.is_trained());
        trained.map(|e| e.shape.iter().product::<usize>()).sum()
    }

    /// Replaces the values of an entry.
    ///
    /// # Panics
    ///
    /// When the number of values is another.
    pub fn set(&mut self, index: usize, tensor: Tensor<1>) {
        let entry = &mut self.entries[index];
        let count: usize = entry.shape.iter().product();
        assert_eq!(tensor.dims(), [count], "a new size for '{}'", entry.key);
        entry.tensor = tensor;
    }

    /// Takes the values of an entry, so that they can be written over. It has an empty tensor until
    /// new ones are [`set`](Self::set), and no network may be computed in between.
    ///
    /// # Panics
    ///
    /// When there is no entry of this number.
    pub fn take(&mut self, index: usize) -> Tensor<1> {
        let tensor = &mut self.entries[index].tensor;
        let none = Tensor::empty([0], &tensor.device());
        std::mem::replace(tensor, none)
    }

    /// An entry by its id.
    pub(crate) fn entry(&self, id: ParameterId) -> &Entry {
        &self.entries[id.0]
    }

    /// An entry in the shape that the layer works with.
    pub(crate) fn get<const D: usize>(&self, id: ParameterId) -> Tensor<D> {
        let entry = &self.entries[id.0];
        let shape: [usize; D] =
            entry.shape.as_slice().try_into().expect("a layer knows its parameters' rank");
        entry.tensor.clone().reshape(shape)
    }

    /// A copy whose trained entries record a tape, for one training pass.
    pub(crate) fn tracked(&self) -> Self {
        let mut copy = self.clone();
        for entry in &mut copy.entries {
            let tensor = entry.tensor.clone().autodiff();
            entry.tensor = if entry.is_trained() { tensor.require_grad() } else { tensor };
        }
        copy
    }

    /// Whether training leaves an entry as it is.
    pub(crate) fn is_frozen(&self, id: ParameterId) -> bool {
        self.entries[id.0].frozen
    }

    /// Freezes the entries of the keys for which `fits` holds.
    pub(crate) fn freeze(&mut self, fits: impl Fn(&str) -> bool) {
        for entry in &mut self.entries {
            entry.frozen |= fits(&entry.key);
        }
    }

    /// Replaces a statistic by its id.
    pub(crate) fn set_statistic(&mut self, id: ParameterId, tensor: Tensor<1>) {
        self.set(id.0, tensor);
    }

    /// All values, read back from the device.
    pub fn to_state_dict(&self) -> StateDict {
        self.entries
            .iter()
            .map(|e| {
                (e.key.clone(), Array { shape: e.shape.clone(), values: to_host(e.tensor.clone()) })
            })
            .collect()
    }

    /// Whether all values are finite numbers; reads them back from the device.
    pub fn are_finite(&self) -> bool {
        let mut values = self.entries.iter().flat_map(|e| to_host(e.tensor.clone()));
        values.all(f32::is_finite)
    }

    /// Overwrites the entry at `index` with host values of the same number.
    pub(crate) fn set_values(&mut self, index: usize, values: Vec<f32>) {
        let device = self.entries[index].tensor.device();
        let length = values.len();
        self.set(index, Tensor::from_data(TensorData::new(values, [length]), &device));
    }
}

/// A tensor's values on the host, row-major.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_as::<f32>().try_into_vec::<f32>().expect("f32 data, as asked for")
}

/// Makes the table while the layers are laid out.
pub(crate) struct Builder {
    entries: Vec<(String, Vec<usize>, Role, Vec<f32>)>,
    rng: ChaCha8Rng,
    /// Names and shapes alone: no values are drawn or kept.
    layout_only: bool,
}

/// A tensor of a network that need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The name PyTorch gives it.
    pub key: String,
    /// The shape PyTorch gives it.
    pub shape: Vec<usize>,
    /// What it is to training.
    pub role: Role,
}

impl Builder {
    /// An empty table whose random initial values come from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), rng: ChaCha8Rng::seed_from_u64(seed), layout_only: false }
    }

    /// An empty table for names and shapes alone.
    pub(crate) fn layout() -> Self {
        Self { layout_only: true, ..Self::new(0) }
    }

    /// The names and shapes.
    pub(crate) fn into_layers(self) -> Vec<Layer> {
        let layers = self.entries.into_iter();
        layers.map(|(key, shape, role, _)| Layer { key, shape, role }).collect()
    }

    fn add(&mut self, key: String, shape: &[usize], role: Role, values: Vec<f32>) -> ParameterId {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let values = if self.layout_only { Vec::new() } else { values };
        self.entries.push((key, shape.to_vec(), role, values));
        ParameterId(self.entries.len() - 1)
    }

    /// A convolution's weight, He-normal over the outgoing connections as torchvision starts it.
    pub(crate) fn convolution(&mut self, key: String, shape: [usize; 4]) -> ParameterId {
        let [out, _, kernel_h, kernel_w] = shape;
        let deviation = (2.0 / (out * kernel_h * kernel_w) as f64).sqrt();
        let count = shape.iter().product();
        let values = (0..count).map(|_| (self.normal() * deviation) as f32).collect();
        self.add(key, &shape, Role::Backbone, values)
    }

    /// A vector with one value throughout.
    pub(crate) fn constant(&mut self, key: String, n: usize, role: Role, v: f32) -> ParameterId {
        self.add(key, &[n], role, vec![v; n])
    }

    /// Uniform in ±1/√inputs, as PyTorch starts linear layers and convolutions.
    pub(crate) fn uniform_by_inputs(
        &mut self,
        key: String,
        shape: &[usize],
        role: Role,
        inputs: usize,
    ) -> ParameterId {
        let bound = 1.0 / (inputs as f64).sqrt();
        let count = shape.iter().product();
        let values = (0..count).map(|_| ((2.0 * self.uniform() - 1.0) * bound) as f32).collect();
        self.add(key, shape, role, values)
    }

    /// Normal with this deviation, drawn anew beyond ±2 as timm's `trunc_normal_` has it.
    pub(crate) fn normal_values(
        &mut self,
        key: String,
        shape: &[usize],
        role: Role,
        deviation: f64,
    ) -> ParameterId {
        const BOUND: f64 = 2.0;
        let count = shape.iter().product();
        let inside = |value: &f64| value.abs() <= BOUND;
        let drawn = std::iter::repeat_with(|| self.normal() * deviation).filter(inside);
        let values = drawn.take(count).map(|value| value as f32).collect();
        self.add(key, shape, role, values)
    }

    /// Uniform in [0, 1).
    fn uniform(&mut self) -> f64 {
        if self.layout_only {
            return 0.0;
        }
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f64 {
        if self.layout_only {
            return 0.0;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// The finished table on a device.
    pub(crate) fn finish(self, device: &Device) -> Parameters {
        let upload = |(key, shape, role, values): (String, Vec<usize>, Role, Vec<f32>)| {
            let length = values.len();
            let tensor = Tensor::from_data(TensorData::new(values, [length]), device);
            Entry { key, shape, role, frozen: false, tensor }
        };
        Parameters { entries: self.entries.into_iter().map(upload).collect() }
    }
}
