//! The losses with proxies, trained vectors that stand for the classes.

use std::sync::Arc;

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use pnp_ranking::RankingError;
use pnp_ranking::loss::{self, Loss, initial_proxies};

use crate::evaluate::{Batch, evaluate};
use crate::modules::{display, forward};
use crate::references::References;

/// Configuration of the proxies of a [`RankingLoss`](crate::RankingLoss).
#[derive(Config, Debug, PartialEq, Eq)]
pub struct ProxiesConfig {
    /// How many classes there are; labels lie below.
    pub classes: usize,
    /// How many values an embedding has.
    pub dim: usize,
    /// The seed of the directions that the proxies start from.
    #[config(default = 0)]
    pub seed: u64,
}

impl ProxiesConfig {
    /// Draws proxies `[classes, dim]` evenly from the sphere, on `device`. The same seed gives the
    /// same ones everywhere.
    ///
    /// # Errors
    ///
    /// [`RankingError::Setting`] without classes or values, and beyond 2³¹ - 1 values in all.
    pub fn init(&self, device: &Device) -> Result<Param<Tensor<2>>, RankingError> {
        let &Self { classes, dim, seed } = self;
        let largest = i32::MAX as usize;
        if !classes.checked_mul(dim).is_some_and(|values| (1..=largest).contains(&values)) {
            return Err(RankingError::Setting {
                setting: "proxies",
                value: format!("{classes} classes x {dim} values"),
                rule: "there must be from 1 to 2147483647 values in all",
            });
        }
        let values = TensorData::new(initial_proxies(classes, dim, seed), [classes, dim]);
        Ok(Param::from_data(values, device))
    }
}

macro_rules! proxy_module {
    ($(#[$docs:meta])* $module:ident, $config:ident) => {
        $(#[$docs])*
        #[derive(Module, Debug)]
        #[module(custom_display)]
        pub struct $module {
            /// One row for each class, `[classes, dim]`, of any length: they are normalised inside,
            /// and their gradient goes through that.
            pub proxies: Param<Tensor<2>>,
            #[module(skip)]
            loss: Arc<loss::$module>,
        }

        impl $config {
            /// Checks the settings, draws the proxies and puts them on `device`, which need not be
            /// that of the embeddings. They are trained if it is an autodiff device.
            ///
            /// # Errors
            ///
            /// [`RankingError::Setting`] with the first rule that is broken.
            pub fn init(&self, device: &Device) -> Result<$module, RankingError> {
                let &Self { classes, dim, seed, .. } = self;
                let loss = Arc::new(loss::$module::new(&self.into())?);
                Ok($module { proxies: ProxiesConfig { classes, dim, seed }.init(device)?, loss })
            }
        }

        forward!($module, |module: &Self| Some(module.proxies.val()));
        display!($module, proxies);
    };
}

/// Configuration to create a [normalised softmax loss](NormalisedSoftmaxLoss) using the
/// [init function](NormalisedSoftmaxLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct NormalisedSoftmaxLossConfig {
    /// How many classes there are; labels lie below.
    pub classes: usize,
    /// How many values an embedding has.
    pub dim: usize,
    /// The seed of the directions that the proxies start from.
    #[config(default = 0)]
    pub seed: u64,
    /// The temperature, a millionth to 1,000,000. The paper uses 0.05.
    #[config(default = 0.05)]
    pub temperature: f64,
}

impl From<&NormalisedSoftmaxLossConfig> for loss::NormalisedSoftmaxSettings {
    fn from(config: &NormalisedSoftmaxLossConfig) -> Self {
        Self { temperature: config.temperature }
    }
}

proxy_module! {
    /// The normalised softmax: cross entropy over the similarities to one trained proxy of length 1
    /// for each class (Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning,
    /// BMVC 2019).
    ///
    /// Should be created with [`NormalisedSoftmaxLossConfig`].
    NormalisedSoftmaxLoss, NormalisedSoftmaxLossConfig
}

/// Configuration to create a [proxy-anchor loss](ProxyAnchorLoss) using the
/// [init function](ProxyAnchorLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct ProxyAnchorLossConfig {
    /// How many classes there are; labels lie below.
    pub classes: usize,
    /// How many values an embedding has.
    pub dim: usize,
    /// The seed of the directions that the proxies start from.
    #[config(default = 0)]
    pub seed: u64,
    /// The scale, a millionth to 1,000,000. The paper uses 32.
    #[config(default = 32.0)]
    pub alpha: f64,
    /// The margin, -2 to 2. The paper uses 0.1.
    #[config(default = 0.1)]
    pub delta: f64,
}

impl From<&ProxyAnchorLossConfig> for loss::ProxyAnchorSettings {
    fn from(config: &ProxyAnchorLossConfig) -> Self {
        let &ProxyAnchorLossConfig { alpha, delta, .. } = config;
        Self { alpha, delta }
    }
}

proxy_module! {
    /// Proxy-anchor: a trained proxy for each class pulls its items and pushes all others (Kim et
    /// al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020).
    ///
    /// The paper gives the proxies 100 times the learning rate of the network. Should be created
    /// with [`ProxyAnchorLossConfig`].
    ProxyAnchorLoss, ProxyAnchorLossConfig
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_plain_losses() {
        let softmax =
            loss::NormalisedSoftmaxSettings::from(&NormalisedSoftmaxLossConfig::new(1, 1));
        assert_eq!(softmax, loss::NormalisedSoftmaxSettings::default());
        let anchor = loss::ProxyAnchorSettings::from(&ProxyAnchorLossConfig::new(1, 1));
        assert_eq!(anchor, loss::ProxyAnchorSettings::default());
    }
}
