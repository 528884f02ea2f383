//! Backbones: what turns an image into a map of features. One file each, one line in [`BACKBONES`].

mod mobilenet_v2;
mod resnet;
mod vit;

use burn::tensor::Tensor;

use crate::error::ModelError;
use crate::executor::Executor;
use crate::layer::Pass;
use crate::parameters::Builder;
use crate::pool::Pool;

/// Which convolution of a ResNet bottleneck takes the stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResNetStride {
    /// The 3×3 one, as in torchvision ("v1.5").
    #[default]
    Torchvision,
    /// The first 1×1 one, as in the paper (arXiv 1512.03385) and in weights converted from Caffe
    /// or Keras.
    V1,
}

/// Settings that change what a backbone computes but not the names or shapes of its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackboneOptions {
    /// Where a ResNet bottleneck takes its stride; read by ResNet-50 and -101 only.
    pub resnet_stride: ResNetStride,
    /// The ε of batch norm; torchvision's networks use 1e-5.
    pub norm_epsilon: f64,
}

impl Default for BackboneOptions {
    fn default() -> Self {
        Self { resnet_stride: ResNetStride::Torchvision, norm_epsilon: 1e-5 }
    }
}

/// What a backbone's weights expect of an image's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputConvention {
    /// Red, green, blue in 0 to 1, less ImageNet's means, over its deviations: torchvision's.
    #[default]
    ImageNet,
    /// Blue, green, red in 0 to 255, less their means: Caffe's, and so BN-Inception's.
    Caffe,
    /// Red, green, blue in 0 to 1, less 0.5, over 0.5: of timm's vision transformers.
    Half,
}

impl InputConvention {
    /// All conventions.
    pub const ALL: [Self; 3] = [Self::ImageNet, Self::Caffe, Self::Half];

    /// The convention of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|input| input.name() == name)
    }

    /// Its name: `imagenet`, `caffe` or `half`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ImageNet => "imagenet",
            Self::Caffe => "caffe",
            Self::Half => "half",
        }
    }
}

/// A laid-out backbone.
trait Backbone: std::fmt::Debug + Send + Sync {
    /// `[batch, height, width, 3]` -> `[batch, height / 32, width / 32, features]`, of a
    /// transformer `[batch, 1, 1 + patches, features]` with the class token first.
    fn forward<E: Executor>(&self, executor: &E, x: E::Value) -> E::Value;
}

/// A [`Backbone`] as an object: its forward pass for each executor there is.
pub(crate) trait AnyBackbone: std::fmt::Debug + Send + Sync {
    /// [`Backbone::forward`] on tensors.
    fn compute(&self, pass: &Pass, x: Tensor<4>) -> Tensor<4>;
}

impl<B: Backbone> AnyBackbone for B {
    fn compute(&self, pass: &Pass, x: Tensor<4>) -> Tensor<4> {
        self.forward(pass, x)
    }
}

/// A line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct BackboneEntry {
    /// The name as in `--arch`.
    pub name: &'static str,
    /// Channels of the feature map.
    pub features: usize,
    /// The key under which torchvision keeps this network's last linear layer; the embedding head
    /// takes its place.
    pub head_key: &'static str,
    /// What its pretrained weights expect of an image's values.
    pub input: InputConvention,
    /// Of a transformer the side in pixels of the patches that it cuts an image into. It has
    /// tokens instead of a map, and layer norms instead of batch norms. `None`: a convolutional
    /// network.
    pub patch: Option<usize>,
    pub(crate) build: fn(&mut Builder, &BackboneOptions) -> Box<dyn AnyBackbone>,
}

impl BackboneEntry {
    /// The pool where none is chosen: the class token of a transformer, else the mean.
    pub fn default_pool(&self) -> Pool {
        if self.patch.is_some() { Pool::Cls } else { Pool::Avg }
    }

    /// Whether it has batch norms, which can be frozen and whose statistics a batch gives.
    pub fn has_batch_norm(&self) -> bool {
        self.patch.is_none()
    }
}

/// All backbones.
pub const BACKBONES: &[BackboneEntry] = &[
    mobilenet_v2::ENTRY,
    resnet::RESNET18,
    resnet::RESNET34,
    resnet::RESNET50,
    resnet::RESNET101,
    vit::VIT_TINY,
    vit::VIT_SMALL,
    vit::VIT_BASE,
];

/// The registry's line for a name.
///
/// # Errors
///
/// [`ModelError::UnknownBackbone`] with the names there are.
pub fn find(name: &str) -> Result<&'static BackboneEntry, ModelError> {
    BACKBONES.iter().find(|entry| entry.name == name).ok_or_else(|| ModelError::UnknownBackbone {
        name: name.to_owned(),
        known: BACKBONES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}
