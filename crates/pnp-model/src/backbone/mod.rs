//! Backbones: what turns an image into a map of features. One file each, one line in [`BACKBONES`].

mod mobilenet_v2;
mod resnet;

use burn::tensor::Tensor;

use crate::error::ModelError;
use crate::executor::Executor;
use crate::layer::Pass;
use crate::onnx;
use crate::parameters::{Builder, Layer};

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
}

/// A laid-out backbone.
trait Backbone: std::fmt::Debug + Send + Sync {
    /// `[batch, height, width, 3]` -> `[batch, height / 32, width / 32, features]`.
    fn forward<E: Executor>(&self, executor: &E, x: E::Value) -> E::Value;
}

/// A [`Backbone`] as an object: its forward pass for each executor there is.
pub(crate) trait AnyBackbone: std::fmt::Debug + Send + Sync {
    /// [`Backbone::forward`] on tensors.
    fn compute(&self, pass: &Pass, x: Tensor<4>) -> Tensor<4>;

    /// [`Backbone::forward`] as operations of an ONNX graph.
    fn write(&self, writer: &onnx::Writer, x: onnx::Value) -> onnx::Value;
}

impl<B: Backbone> AnyBackbone for B {
    fn compute(&self, pass: &Pass, x: Tensor<4>) -> Tensor<4> {
        self.forward(pass, x)
    }

    fn write(&self, writer: &onnx::Writer, x: onnx::Value) -> onnx::Value {
        self.forward(writer, x)
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
    pub(crate) build: fn(&mut Builder, &BackboneOptions) -> Box<dyn AnyBackbone>,
}

impl BackboneEntry {
    /// The names and shapes of its tensors, in the order of its layers.
    pub fn layout(&self) -> Vec<Layer> {
        let mut builder = Builder::layout();
        (self.build)(&mut builder, &BackboneOptions::default());
        builder.into_layers()
    }
}

/// All backbones.
pub const BACKBONES: &[BackboneEntry] =
    &[mobilenet_v2::ENTRY, resnet::RESNET18, resnet::RESNET34, resnet::RESNET50, resnet::RESNET101];

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
