//! What makes an embedding of the pooled features.

use std::fmt;

use crate::executor::Executor;
use crate::layer::{Linear, LinearInit};
use crate::parameters::{Builder, Role};
use crate::transformer::LayerNorm;

/// The ε of the head's layer norm, PyTorch's default.
const NORM_EPSILON: f64 = 1e-5;

/// The layers between the pooled features and the embedding.
///
/// Keys are those of the backbone's own last layer, `fc` for a ResNet: a model of torchvision or
/// timm takes a checkpoint once that layer is replaced by the modules named here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadKind {
    /// `linear`: `Linear(features, embed_dim)`; keys `fc.weight`, `fc.bias`.
    #[default]
    Linear,
    /// `layernorm+linear`: the same after a layer norm over the features without weight and bias,
    /// ε = 1e-5 (`LayerNorm(features, elementwise_affine=False)`); the same keys.
    LayerNormLinear,
    /// `mlp`: `Sequential(Linear(features, features), ReLU(), Linear(features, embed_dim))`; keys
    /// `fc.0.weight`, `fc.0.bias`, `fc.2.weight`, `fc.2.bias`.
    Mlp,
}

impl HeadKind {
    /// All heads.
    pub const ALL: [Self; 3] = [Self::Linear, Self::LayerNormLinear, Self::Mlp];

    /// The head of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|head| head.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::LayerNormLinear => "layernorm+linear",
            Self::Mlp => "mlp",
        }
    }
}

impl fmt::Display for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the random weights of the head's linear layers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadInit {
    /// `uniform`: weight and bias uniform in ±1/√inputs, PyTorch's own.
    #[default]
    Uniform,
    /// `he`: the weight normal with deviation √(2 / outputs), the bias 0: He et al. (ICCV 2015)
    /// over the outgoing connections, as the old code's suffix `he` had it.
    He,
}

impl HeadInit {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::He];

    /// The initialisation of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|init| init.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::He => "he",
        }
    }
}

impl fmt::Display for HeadInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A [`HeadKind`] with its layers.
#[derive(Debug)]
pub(crate) struct Head {
    norm: Option<LayerNorm>,
    hidden: Option<Linear>,
    last: Linear,
}

impl Head {
    /// Adds the head's parameters to the table under `key`; `sizes` are features and embedding.
    pub(crate) fn new(
        builder: &mut Builder,
        key: &str,
        [features, embed_dim]: [usize; 2],
        kind: HeadKind,
        init: HeadInit,
    ) -> Self {
        let init = match init {
            HeadInit::Uniform => LinearInit::Uniform,
            HeadInit::He => LinearInit::He,
        };
        let mut linear =
            |key: &str, outputs| Linear::new(builder, key, [features, outputs], Role::Head, init);
        let (hidden, last) = match kind {
            HeadKind::Mlp => {
                let hidden = linear(&format!("{key}.0"), features);
                (Some(hidden), linear(&format!("{key}.2"), embed_dim))
            }
            HeadKind::Linear | HeadKind::LayerNormLinear => (None, linear(key, embed_dim)),
        };
        let norm = (kind == HeadKind::LayerNormLinear).then(|| LayerNorm::plain(NORM_EPSILON));
        Self { norm, hidden, last }
    }

    /// `[batch, 1, 1, features]` -> `[batch, 1, 1, embed_dim]`.
    pub(crate) fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        let x = match &self.norm {
            Some(norm) => e.layer_norm(norm, x),
            None => x,
        };
        let x = match &self.hidden {
            Some(hidden) => e.relu(e.linear(hidden, x)),
            None => x,
        };
        e.linear(&self.last, x)
    }
}
