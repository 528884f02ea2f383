//! Any loss that is written, weighted sums included.

use std::sync::Arc;

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::tensor::{Device, Int, Tensor};
use pnp_ranking::RankingError;
use pnp_ranking::loss::{self, Loss};

use crate::configs::PnpLossConfig;
use crate::evaluate::{Batch, evaluate};
use crate::modules::{display, forward, forward_with_references};
use crate::proxies::ProxiesConfig;
use crate::references::References;

/// Configuration to create a [ranking loss](RankingLoss) using the
/// [init function](RankingLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct RankingLossConfig {
    /// The loss as [`pnp_ranking::loss::build`] reads it: `PNP`, `multi-similarity(beta=40)`,
    /// `PNP-D_q(alpha=4):1.0,contrastive:0.1`.
    pub spec: String,
    /// The settings of PNP; its `anneal` and `count_query` hold for every loss that has them. What
    /// stands in the brackets of `spec` is stronger.
    #[config(default = "PnpLossConfig::new()")]
    pub pnp: PnpLossConfig,
    /// The proxies, for a loss that trains some.
    pub proxies: Option<ProxiesConfig>,
}

impl RankingLossConfig {
    /// Makes a loss that trains no proxies.
    ///
    /// # Errors
    ///
    /// [`RankingError`] with what cannot be read in `spec`, or with the rule that is broken: for a
    /// loss that trains proxies, see [`init_on`](Self::init_on).
    pub fn init(&self) -> Result<RankingLoss, RankingError> {
        let loss = self.build()?;
        if loss.trains_proxies() {
            return Err(proxies_setting(
                "none on a device",
                "this loss trains proxies: configure them, and name a device with init_on",
            ));
        }
        if self.proxies.is_some() {
            return Err(needless_proxies());
        }
        Ok(RankingLoss { proxies: None, loss })
    }

    /// Makes any loss, with its proxies on `device` if it trains some. The device need not be that
    /// of the embeddings.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init); [`RankingError::Setting`] if the loss and
    /// [`proxies`](Self::proxies) do not go together.
    pub fn init_on(&self, device: &Device) -> Result<RankingLoss, RankingError> {
        let loss = self.build()?;
        let proxies = match &self.proxies {
            Some(_) if !loss.trains_proxies() => return Err(needless_proxies()),
            None if loss.trains_proxies() => {
                let rule = "this loss trains proxies: configure their number and dimension";
                return Err(proxies_setting("none", rule));
            }
            proxies => proxies.as_ref().map(|proxies| proxies.init(device)).transpose()?,
        };
        Ok(RankingLoss { proxies, loss })
    }

    fn build(&self) -> Result<Arc<dyn Loss>, RankingError> {
        Ok(Arc::from(loss::build(&self.spec, &(&self.pnp).into())?))
    }
}

fn needless_proxies() -> RankingError {
    proxies_setting("some", "this loss trains no proxies: configure none")
}

fn proxies_setting(value: &str, rule: &'static str) -> RankingError {
    RankingError::Setting { setting: "proxies", value: value.to_owned(), rule }
}

/// A ranking loss, or a weighted sum of some, made of its written form.
///
/// Should be created with [`RankingLossConfig`].
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct RankingLoss {
    /// Of a loss that trains proxies: one row for each class, `[classes, dim]`, normalised inside.
    pub proxies: Option<Param<Tensor<2>>>,
    #[module(skip)]
    loss: Arc<dyn Loss>,
}

forward!(RankingLoss, |module: &Self| module.proxies.as_ref().map(Param::val));
forward_with_references!(RankingLoss);
display!(RankingLoss, proxies);
