//! What makes one vector of a map of features.

use std::fmt;

use burn::tensor::Tensor;

use crate::executor::Executor;
use crate::parameters::{Builder, ParameterId, Parameters, Role};

/// Where p of a GeM pool is in the state dict, and where its training starts (the paper's).
pub(crate) const GEM_KEY: &str = "pool.p";
const GEM_START: f32 = 3.0;

/// How a map of features becomes one vector.
///
/// Of a transformer's tokens, all but `Cls` take the patches' and leave the class token aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pool {
    /// `avg`: the mean over all positions.
    #[default]
    Avg,
    /// `max`: the maximum over all positions.
    Max,
    /// `avg+max`: the sum of both, the old code's `double`.
    AvgMax,
    /// `gem`: the generalised mean `mean(max(x, ε)^p)^(1/p)` with one trained exponent p, which
    /// starts at 3, and ε = 1e-6 (Radenović et al., TPAMI 2019, arXiv 1711.02512). Its key is
    /// `pool.p`.
    Gem,
    /// `cls`: the class token of a transformer.
    Cls,
}

impl Pool {
    /// All pools.
    pub const ALL: [Self; 5] = [Self::Avg, Self::Max, Self::AvgMax, Self::Gem, Self::Cls];

    /// The pool of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pool| pool.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Max => "max",
            Self::AvgMax => "avg+max",
            Self::Gem => "gem",
            Self::Cls => "cls",
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A [`Pool`] with what it trains.
#[derive(Debug)]
pub(crate) struct Pooling {
    pool: Pool,
    gem: Option<Gem>,
    /// Whether the features are a transformer's tokens.
    of_tokens: bool,
}

impl Pooling {
    /// Adds what the pool trains to the table.
    pub(crate) fn new(builder: &mut Builder, pool: Pool, of_tokens: bool) -> Self {
        let gem = (pool == Pool::Gem).then(|| Gem::new(builder));
        Self { pool, gem, of_tokens }
    }

    /// `[batch, height, width, channels]` -> `[batch, 1, 1, channels]`.
    pub(crate) fn forward<E: Executor>(&self, e: &E, x: E::Value) -> E::Value {
        if self.pool == Pool::Cls {
            return e.columns(0, Some(1), x);
        }
        let x = if self.of_tokens { e.columns(1, None, x) } else { x };
        match (self.pool, &self.gem) {
            (_, Some(gem)) => e.gem_pool(gem, x),
            (Pool::Max, _) => e.global_max_pool(x),
            (Pool::AvgMax, _) => e.sum(e.mean_pool(x.clone()), e.global_max_pool(x)),
            _ => e.mean_pool(x),
        }
    }
}

/// The trained exponent of [`Pool::Gem`].
#[derive(Debug)]
pub(crate) struct Gem {
    pub(crate) p: ParameterId,
}

impl Gem {
    /// The smallest value that counts, that of the paper's code.
    pub(crate) const SMALLEST: f32 = 1e-6;

    fn new(builder: &mut Builder) -> Self {
        Self { p: builder.constant(GEM_KEY.into(), 1, Role::Head, GEM_START) }
    }

    /// The exponent: `[1]`.
    pub(crate) fn exponent(&self, p: &Parameters) -> Tensor<1> {
        p.get(self.p)
    }

    /// `[batch, height, width, channels]` -> `[batch, 1, 1, channels]`.
    ///
    /// Powers are taken relative to the largest value, so that none overflows or vanishes whatever
    /// the exponent has become; the result and its gradients are the same.
    pub(crate) fn forward(&self, p: &Parameters, x: Tensor<4>) -> Tensor<4> {
        let [batch, height, width, channels] = x.dims();
        let exponent = self.exponent(p).reshape([1, 1, 1]);
        let rows = x.reshape([batch, height * width, channels]);
        let logs = rows.clamp_min(Self::SMALLEST).log();
        let largest = logs.clone().detach().max_dim(1);
        let powers = ((logs - largest.clone()) * exponent.clone()).exp();
        let mean = (powers.mean_dim(1).log() / exponent + largest).exp();
        mean.reshape([batch, 1, 1, channels])
    }
}
