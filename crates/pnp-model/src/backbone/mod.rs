//! Backbones: what turns an image into a map of features. One file each, one line in [`BACKBONES`].

mod bn_inception;
mod efficientnet_lite;
mod googlenet;
mod mobilenet_v2;
mod resnet;
mod vit;

use burn::tensor::Tensor;

use crate::error::ModelError;
use crate::executor::Executor;
use crate::layer::Pass;
use crate::onnx;
use crate::parameters::{Builder, Layer};
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
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BackboneOptions {
    /// Where a ResNet bottleneck takes its stride; read by ResNet-50 and -101 only.
    pub resnet_stride: ResNetStride,
    /// The ε of batch norm; `None`: the one that the backbone's weights were trained with.
    pub norm_epsilon: Option<f64>,
}

impl BackboneOptions {
    /// The ε of batch norm that a backbone is laid out with.
    pub(crate) fn epsilon(&self, entry: &BackboneEntry) -> f64 {
        self.norm_epsilon.unwrap_or(entry.norm_epsilon)
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
    /// Red, green, blue in 0 to 1, less 0.5, over 0.5: what torchvision's GoogLeNet turns its input
    /// into (`transform_input`), and timm's vision transformers expect.
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

/// A part of a backbone that is frozen or trained as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The name as in `--freeze-until`.
    pub name: &'static str,
    /// How the keys of its parameters begin.
    pub keys: &'static [&'static str],
}

impl Stage {
    /// Whether a parameter or statistic of this key is part of the stage.
    pub fn holds(&self, key: &str) -> bool {
        self.keys.iter().any(|start| key.starts_with(start))
    }
}

/// Which sides of images a backbone can take, where it cannot take all.
#[derive(Debug, Clone, Copy)]
pub struct SideRule {
    /// The rule in words.
    pub rule: &'static str,
    /// Whether a side in pixels keeps it.
    pub fits: fn(u32) -> bool,
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
    /// Other names that it is known by.
    pub aliases: &'static [&'static str],
    /// Channels of the feature map.
    pub features: usize,
    /// Values that training moves, without the head's.
    pub parameters: usize,
    /// The key under which its pretrained weights keep their last linear layer; the embedding head
    /// takes its place.
    pub head_key: &'static str,
    /// What its pretrained weights expect of an image's values.
    pub input: InputConvention,
    /// The ε of batch norm that its pretrained weights were trained with.
    pub norm_epsilon: f64,
    /// The sides of images that it can take; `None`: all.
    pub sides: Option<SideRule>,
    /// Its stages from the input on: every parameter belongs to one.
    pub stages: &'static [Stage],
    /// Of a transformer the side in pixels of the patches that it cuts an image into. It has
    /// tokens instead of a map, and layer norms instead of batch norms. `None`: a convolutional
    /// network.
    pub patch: Option<usize>,
    /// Whether it is of ResNet's bottlenecks, whose stride is a setting.
    pub bottlenecks: bool,
    pub(crate) build: fn(&mut Builder, &BackboneOptions) -> Box<dyn AnyBackbone>,
}

impl BackboneEntry {
    /// The names and shapes of its tensors, in the order of its layers.
    pub fn layout(&self) -> Vec<Layer> {
        let mut builder = Builder::layout();
        (self.build)(&mut builder, &BackboneOptions::default());
        builder.into_layers()
    }

    /// The pool where none is chosen: the class token of a transformer, else the mean.
    pub fn default_pool(&self) -> Pool {
        if self.patch.is_some() { Pool::Cls } else { Pool::Avg }
    }

    /// Whether it has batch norms, which can be frozen and whose statistics a batch gives.
    pub fn has_batch_norm(&self) -> bool {
        self.patch.is_none()
    }

    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The stages up to and including the one of this name.
    ///
    /// # Errors
    ///
    /// [`ModelError::UnknownStage`] with the stages there are.
    pub fn stages_until(&self, last: &str) -> Result<&'static [Stage], ModelError> {
        let place = self.stages.iter().position(|stage| stage.name == last);
        place.map(|place| &self.stages[..=place]).ok_or_else(|| ModelError::UnknownStage {
            stage: last.to_owned(),
            backbone: self.name,
            known: self.stages.iter().map(|stage| stage.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// Refuses a side of images that it cannot take; `setting` names it in the error.
    ///
    /// # Errors
    ///
    /// [`ModelError::Setting`] with the rule.
    pub fn check_side(&self, setting: &'static str, side: u32) -> Result<(), ModelError> {
        match self.sides {
            Some(SideRule { rule, fits }) if !fits(side) => {
                Err(ModelError::Setting { setting, value: side.to_string(), rule })
            }
            _ => Ok(()),
        }
    }
}

/// All backbones.
pub const BACKBONES: &[BackboneEntry] = &[
    mobilenet_v2::ENTRY,
    efficientnet_lite::LITE0,
    resnet::RESNET18,
    resnet::RESNET34,
    resnet::RESNET50,
    resnet::RESNET101,
    googlenet::ENTRY,
    bn_inception::ENTRY,
    vit::VIT_TINY,
    vit::VIT_SMALL,
    vit::VIT_BASE,
];

/// The registry's line for a name or an alias.
///
/// # Errors
///
/// [`ModelError::UnknownBackbone`] with the names there are.
pub fn find(name: &str) -> Result<&'static BackboneEntry, ModelError> {
    let entry = BACKBONES.iter().find(|entry| entry.names().any(|known| known == name));
    entry.ok_or_else(|| ModelError::UnknownBackbone {
        name: name.to_owned(),
        known: BACKBONES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}
