//! A backbone with an embedding head, and one training pass over it.

use burn::tensor::{Device, Tensor, TensorData};

use crate::backbone::{self, AnyBackbone, BackboneEntry, BackboneOptions, InputConvention};
use crate::error::ModelError;
use crate::executor::Executor;
use crate::folded::FoldedLayers;
use crate::head::{Head, HeadInit, HeadKind};
use crate::layer::{Pass, StatisticUpdates};
use crate::onnx;
use crate::parameters::{Builder, Parameters, to_host};
use crate::pool::{Pool, Pooling};
use crate::precision::{Precision, widened};
use crate::weights::BUILTIN_BACKBONE;

/// The smallest norm that an embedding is divided by (PyTorch's `normalize`).
const SMALLEST_NORM: f32 = 1e-12;
/// Values that are summed in one piece for a gradient's norm.
const NORM_PART: usize = 1 << 20;

/// Images that are embedded at once on the host: of 224 pixels, 8, 32 and 64 at a time, MobileNetV2
/// embeds 117, 125 and 135 a second on two cores, ResNet-50 22.2, 22.8 and 22.8 ...
const HOST_IMAGES: usize = 64;
/// ... and on other devices, of any size up to 224 by 224 pixels: Vulkan devices that start no more
/// than 65,535 groups of threads a side refuse a product over 1,024 images of 64 by 64.
const DEVICE_IMAGES: usize = 256;
const DEVICE_PIXELS: usize = DEVICE_IMAGES * 224 * 224;

/// What a network is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// A name of [`backbone::BACKBONES`].
    pub backbone: String,
    /// Settings of the backbone.
    pub options: BackboneOptions,
    /// Length of an embedding; the old code's default is 128, its best recipe uses 512.
    pub embed_dim: usize,
    /// Whether training leaves the running statistics of batch norm as they are and normalises by
    /// them. γ and β train all the same, as in the old code. A transformer has none to freeze.
    pub frozen: bool,
    /// How the backbone's features become one vector.
    pub pool: Pool,
    /// The layers that make an embedding of it.
    pub head: HeadKind,
    /// The random weights of these layers; changes nothing where weights are loaded.
    pub head_init: HeadInit,
    /// Whether embeddings are divided by their length.
    pub normalize: bool,
    /// The last of the backbone's stages that training leaves as they are, from the first one on:
    /// no parameter of theirs is trained, their batch norms keep their running statistics and
    /// normalise by them. `None`: all are trained.
    pub freeze_until: Option<String>,
    /// What the backbone's weights expect of an image's values; `None`: as the registry says.
    pub input: Option<InputConvention>,
}

impl Default for NetworkConfig {
    /// MobileNetV2, whose weights are built in, batch norm frozen, the mean of its features, one
    /// linear layer to 128 values, divided by their length.
    fn default() -> Self {
        Self {
            backbone: BUILTIN_BACKBONE.into(),
            options: BackboneOptions::default(),
            embed_dim: 128,
            frozen: true,
            pool: Pool::Avg,
            head: HeadKind::Linear,
            head_init: HeadInit::Uniform,
            normalize: true,
            freeze_until: None,
            input: None,
        }
    }
}

impl NetworkConfig {
    /// The longest embedding that is laid out, so that no file's header can ask for more memory.
    pub const MAX_EMBED_DIM: usize = 65_536;

    /// Lays the network out with random weights from `seed`, on `device`.
    ///
    /// # Errors
    ///
    /// An unknown backbone, an embedding length of 0 or beyond [`Self::MAX_EMBED_DIM`], an ε that is
    /// not positive, a stage that the backbone does not have, the class token of a network that has
    /// none.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Network, ModelError> {
        let entry = backbone::find(&self.backbone)?;
        if !(1..=Self::MAX_EMBED_DIM).contains(&self.embed_dim) {
            let (value, rule) = (self.embed_dim.to_string(), "an embedding has 1 to 65536 values");
            return Err(ModelError::Setting { setting: "embed_dim", value, rule });
        }
        let epsilon = self.options.epsilon(entry);
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            let (value, rule) = (epsilon.to_string(), "a positive finite number");
            return Err(ModelError::Setting { setting: "norm_epsilon", value, rule });
        }
        let of_tokens = entry.patch.is_some();
        if self.pool == Pool::Cls && !of_tokens {
            let (value, rule) = (self.pool.to_string(), "only a transformer has a class token");
            return Err(ModelError::Setting { setting: "pool", value, rule });
        }
        let mut builder = Builder::new(seed);
        let backbone = (entry.build)(&mut builder, &self.options);
        let pool = Pooling::new(&mut builder, self.pool, of_tokens);
        let sizes = [entry.features, self.embed_dim];
        let head = Head::new(&mut builder, entry.head_key, sizes, self.head, self.head_init);
        let mut parameters = builder.finish(device);
        if let Some(last) = &self.freeze_until {
            let frozen = entry.stages_until(last)?;
            parameters.freeze(|key| frozen.iter().any(|stage| stage.holds(key)));
        }
        Ok(Network {
            config: self.clone(),
            entry,
            backbone,
            pool,
            head,
            parameters,
            folded: FoldedLayers::default(),
            precision: Precision::default(),
        })
    }
}

/// A backbone, a pool and the layers that make an embedding.
#[derive(Debug)]
pub struct Network {
    config: NetworkConfig,
    entry: &'static BackboneEntry,
    backbone: Box<dyn AnyBackbone>,
    pool: Pooling,
    head: Head,
    parameters: Parameters,
    folded: FoldedLayers,
    precision: Precision,
}

impl Network {
    /// What the network is made of.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The registry's line of its backbone.
    pub fn backbone(&self) -> &'static BackboneEntry {
        self.entry
    }

    /// What the network expects of an image's values.
    pub fn input(&self) -> InputConvention {
        self.config.input.unwrap_or(self.entry.input)
    }

    /// Everything trained or stored.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The same, to be changed by an optimiser or a loader.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        self.folded.clear();
        &mut self.parameters
    }

    /// What the backbone computes in; the parameters are single precision in any case.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Computes in another precision from now on.
    ///
    /// # Errors
    ///
    /// A device that does not calculate in it.
    pub fn set_precision(&mut self, precision: Precision) -> Result<(), ModelError> {
        precision.check(&self.device())?;
        self.folded.clear();
        self.precision = precision;
        Ok(())
    }

    /// The ε of its batch norms.
    pub fn norm_epsilon(&self) -> f64 {
        self.config.options.epsilon(self.entry)
    }

    /// The device the parameters are on.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// How many square images of this side are best embedded at once: enough to keep the device
    /// busy, and few enough for the memory of a small one.
    pub fn images_at_once(&self, side: usize) -> usize {
        if self.is_on_host() {
            return HOST_IMAGES;
        }
        (DEVICE_PIXELS / (side * side).max(1)).clamp(HOST_IMAGES, DEVICE_IMAGES)
    }

    /// A batch of images on the network's device.
    ///
    /// `pixels` holds `[batch, 3, height, width]` row-major, normalised.
    ///
    /// # Panics
    ///
    /// When the number of values is another.
    pub fn images(&self, pixels: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(pixels, shape), &self.device())
    }

    /// Embeddings for use: batch norm by its running statistics, folded into the convolutions once
    /// for all passes until a parameter changes; no tape.
    ///
    /// `[batch, 3, height, width]` -> `[batch, embed_dim]`.
    pub fn embed(&self, images: Tensor<4>) -> Tensor<2> {
        let (parameters, folded) = (&self.parameters, Some(&self.folded));
        let precision = self.precision;
        self.forward(&Pass { parameters, batch_statistics: None, folded, precision }, images)
    }

    /// The first half of a training step: embeddings, with a tape behind them.
    ///
    /// `[batch, 3, height, width]` -> a pass with embeddings `[batch, embed_dim]`.
    pub fn embed_for_training(&self, images: Tensor<4>) -> TrainPass {
        let parameters = self.parameters.tracked();
        let updates = StatisticUpdates::default();
        let batch_statistics = (!self.config.frozen).then_some(&updates);
        let precision = self.precision;
        let pass = Pass { parameters: &parameters, batch_statistics, folded: None, precision };
        let embeddings = self.forward(&pass, images.autodiff());
        TrainPass { parameters, embeddings, updates }
    }

    /// Writes the network down: the same operations as [`Self::embed`].
    pub(crate) fn write(&self, writer: &onnx::Writer, images: onnx::Value) -> onnx::Value {
        self.embed_features(writer, self.backbone.write(writer, images))
    }

    fn forward(&self, pass: &Pass, images: Tensor<4>) -> Tensor<2> {
        let images = images.permute([0, 2, 3, 1]).cast(self.precision.dtype());
        let features = widened(self.backbone.compute(pass, images));
        let embeddings =
            self.embed_features(&Pass { precision: Precision::F32, ..*pass }, features);
        let [batch, _, _, dim] = embeddings.dims();
        embeddings.reshape([batch, dim])
    }

    /// Pool, head and normalisation: `[batch, height, width, features]` ->
    /// `[batch, 1, 1, embed_dim]`.
    fn embed_features<E: Executor>(&self, e: &E, features: E::Value) -> E::Value {
        let embeddings = self.head.forward(e, self.pool.forward(e, features));
        if self.config.normalize { e.unit_length(SMALLEST_NORM, embeddings) } else { embeddings }
    }
}

/// The first half of a training step, kept until the loss has its gradient.
pub struct TrainPass {
    parameters: Parameters,
    embeddings: Tensor<2>,
    updates: StatisticUpdates,
}

impl TrainPass {
    /// The embeddings on the host, row-major.
    pub fn embeddings(&self) -> Vec<f32> {
        to_host(self.embeddings.clone().inner())
    }

    /// The second half: from the gradient of a loss with respect to the embeddings (row-major, of
    /// the embeddings' size) to the gradients of all trained parameters.
    ///
    /// The surrogate `sum(z · dL/dz)` has the loss's own gradient, so the tape need not know the
    /// loss.
    ///
    /// # Panics
    ///
    /// When the gradient has another size.
    pub fn backward(self, gradient: Vec<f32>) -> ParameterGradients {
        let shape = self.embeddings.dims();
        let data = TensorData::new(gradient, shape);
        let weights = Tensor::<2>::from_data(data, &self.embeddings.device().inner()).autodiff();
        let tape = (self.embeddings * weights).sum().backward();
        let gradients = self
            .parameters
            .entries()
            .iter()
            .map(|e| if e.is_trained() { e.tensor.grad(&tape) } else { None })
            .collect();
        ParameterGradients { gradients, updates: self.updates }
    }
}

/// The norm of a step's gradients, on the device; by default that of none, 0. Reading it waits until all that the device was
/// given before is done, so it is best read where that is waited for anyway.
#[derive(Debug, Default)]
pub struct GradientNorm(Option<Tensor<1>>);

impl GradientNorm {
    /// The norm, read back.
    pub fn read(self) -> f64 {
        let squares = self.0.map_or(Vec::new(), to_host);
        squares.into_iter().map(f64::from).sum::<f64>().sqrt()
    }
}

/// The gradients of one training pass, in the order of [`Parameters::entries`].
pub struct ParameterGradients {
    gradients: Vec<Option<Tensor<1>>>,
    updates: StatisticUpdates,
}

/// As [`ParameterGradients::iter`], each given away. The statistics of the pass go with the rest:
/// they have to be [applied](ParameterGradients::apply_statistics) before.
impl IntoIterator for ParameterGradients {
    type Item = Option<Tensor<1>>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.gradients.into_iter()
    }
}

impl ParameterGradients {
    /// The gradient of each entry; `None` for statistics, for what is frozen and for what the pass
    /// did not touch.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Tensor<1>>> {
        self.gradients.iter().map(Option::as_ref)
    }

    /// Adds the gradients of another part of the same batch.
    pub fn accumulate(&mut self, other: Self) {
        for (sum, part) in self.gradients.iter_mut().zip(other.gradients) {
            *sum = match (sum.take(), part) {
                (Some(a), Some(b)) => Some(a + b),
                (a, b) => a.or(b),
            };
        }
        self.updates = other.updates;
    }

    /// The Euclidean norm over all gradients: summed where they are, and read back by
    /// [`GradientNorm::read`].
    pub fn norm(&self) -> GradientNorm {
        // A long sum on the CPU backend is split among threads, so none is long.
        let parts = self.gradients.iter().flatten().flat_map(|g| {
            let length = g.dims()[0];
            (0..length).step_by(NORM_PART).map(move |start| {
                let part = g.clone().narrow(0, start, NORM_PART.min(length - start));
                part.square().sum()
            })
        });
        let squares: Vec<Tensor<1>> = parts.collect();
        GradientNorm((!squares.is_empty()).then(|| Tensor::cat(squares, 0)))
    }

    /// Writes the new running statistics of the pass (none when batch norm is frozen).
    pub fn apply_statistics(&self, parameters: &mut Parameters) {
        for (id, value) in self.updates.borrow().iter() {
            parameters.set_statistic(*id, value.clone());
        }
    }
}
