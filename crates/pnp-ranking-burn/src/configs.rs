//! The configurations of the losses without proxies, and the settings they stand for.

use burn::config::Config;
use pnp_ranking::loss;

use crate::choices::{Distance, PnpVariant, TripletMining};

/// Configuration to create a [PNP loss](crate::PnpLoss) using the
/// [init function](PnpLossConfig::init).
///
/// The best results of the paper are reported for PNP-D_q: with alpha = 8 according to PyTorch
/// Metric Learning's documentation, with alpha = 4 according to the authors' README.
#[derive(Config, Debug, PartialEq)]
pub struct PnpLossConfig {
    /// The variant of the PNP loss.
    #[config(default = "PnpVariant::O")]
    pub variant: PnpVariant,
    /// The exponent of PNP-D_q, 1 to 1,000,000; that variant asks for one.
    pub alpha: Option<f64>,
    /// The bound of PNP-I_b, a millionth to 1,000,000. The paper uses 2.
    #[config(default = 2.0)]
    pub b: f64,
    /// The temperature of the sigmoid, a millionth to 1,000,000. The paper uses 0.01.
    #[config(default = 0.01)]
    pub anneal: f64,
    /// Whether a query counts among its own positives, as in the authors' code.
    #[config(default = true)]
    pub count_query: bool,
}

impl From<&PnpLossConfig> for loss::PnpSettings {
    fn from(config: &PnpLossConfig) -> Self {
        let &PnpLossConfig { variant, alpha, b, anneal, count_query } = config;
        Self { variant: variant.into(), alpha, b, anneal, count_query }
    }
}

/// Configuration to create a [Smooth-AP loss](crate::SmoothApLoss) using the
/// [init function](SmoothApLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct SmoothApLossConfig {
    /// The temperature of the sigmoid, a millionth to 1,000,000. The paper uses 0.01.
    #[config(default = 0.01)]
    pub anneal: f64,
    /// Whether a query counts among its own positives, as in the authors' code.
    #[config(default = true)]
    pub count_query: bool,
}

impl From<&SmoothApLossConfig> for loss::SmoothApSettings {
    fn from(config: &SmoothApLossConfig) -> Self {
        let &SmoothApLossConfig { anneal, count_query } = config;
        Self { anneal, count_query }
    }
}

/// Configuration to create a [FastAP loss](crate::FastApLoss) using the
/// [init function](FastApLossConfig::init).
#[derive(Config, Debug, PartialEq, Eq)]
pub struct FastApLossConfig {
    /// The number of bins, 1 to 1000; there is one centre more. The paper uses 10.
    #[config(default = 10)]
    pub bins: usize,
}

impl From<&FastApLossConfig> for loss::FastApSettings {
    fn from(config: &FastApLossConfig) -> Self {
        Self { bins: config.bins }
    }
}

/// Configuration to create a [recall@k loss](crate::RecallAtKLoss) using the
/// [init function](RecallAtKLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct RecallAtKLossConfig {
    /// The depths, ascending, each 1 to 1,000,000. The paper uses the default.
    #[config(default = "vec![1, 2, 4, 8, 16]")]
    pub k: Vec<usize>,
    /// The temperature of the sigmoid over similarities, a millionth to 1,000,000. The paper uses
    /// 0.01.
    #[config(default = 0.01)]
    pub anneal: f64,
    /// The temperature of the sigmoid over ranks, a millionth to 1,000,000: one for all depths, or
    /// one for each. The paper uses 1, the command line of the authors' code k itself.
    #[config(default = "vec![1.0]")]
    pub rank_temperature: Vec<f64>,
}

impl From<&RecallAtKLossConfig> for loss::RecallAtKSettings {
    fn from(config: &RecallAtKLossConfig) -> Self {
        let RecallAtKLossConfig { k, anneal, rank_temperature } = config.clone();
        Self { k, anneal, rank_temperature }
    }
}

/// Configuration to create a [SupAP loss](crate::SupApLoss) using the
/// [init function](SupApLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct SupApLossConfig {
    /// The temperature of the sigmoid, a millionth to 1,000,000. The paper uses 0.01.
    #[config(default = 0.01)]
    pub anneal: f64,
    /// The slope beyond `delta`, a millionth to 1,000,000. The paper uses 100.
    #[config(default = 100.0)]
    pub rho: f64,
    /// How far a negative stands before a positive where the slope turns constant, 0 to 2. The
    /// paper uses 0.05.
    #[config(default = 0.05)]
    pub delta: f64,
    /// The weight of the calibration, 0 to 1; 0 leaves SupAP alone. The paper uses 0.5.
    #[config(default = 0.5)]
    pub calibration: f64,
    /// The similarity that positives are to reach, -1 to 1. The paper uses 0.9.
    #[config(default = 0.9)]
    pub positive_margin: f64,
    /// The similarity that negatives are not to exceed, -1 to 1. The paper uses 0.6.
    #[config(default = 0.6)]
    pub negative_margin: f64,
    /// Whether a query counts among its own positives, as in the authors' code.
    #[config(default = true)]
    pub count_query: bool,
}

impl From<&SupApLossConfig> for loss::SupApSettings {
    fn from(config: &SupApLossConfig) -> Self {
        let &SupApLossConfig {
            anneal,
            rho,
            delta,
            calibration,
            positive_margin,
            negative_margin,
            count_query,
        } = config;
        Self { anneal, rho, delta, calibration, positive_margin, negative_margin, count_query }
    }
}

/// Configuration to create a [contrastive loss](crate::ContrastiveLoss) using the
/// [init function](ContrastiveLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct ContrastiveLossConfig {
    /// What the margin is measured in.
    #[config(default = "Distance::Cosine")]
    pub distance: Distance,
    /// Where a negative stops costing. By cosine, the similarity from which on it costs, -1 to 1;
    /// by Euclidean distance, the distance below which it costs, above 0 and up to 2. `None` is
    /// the usual one: 0.5 by cosine, as in the paper, and 1 by Euclidean distance.
    pub margin: Option<f64>,
}

impl From<&ContrastiveLossConfig> for loss::ContrastiveSettings {
    fn from(config: &ContrastiveLossConfig) -> Self {
        let usual = Self::of(config.distance.into());
        Self { margin: config.margin.unwrap_or(usual.margin), ..usual }
    }
}

/// Configuration to create a [triplet loss](crate::TripletLoss) using the
/// [init function](TripletLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct TripletLossConfig {
    /// By how much the squared distances are to differ, a millionth to 4. The paper uses 0.2.
    #[config(default = 0.2)]
    pub margin: f64,
    /// Which triplets cost something. The paper uses the semi-hard ones.
    #[config(default = "TripletMining::SemiHard")]
    pub mining: TripletMining,
}

impl From<&TripletLossConfig> for loss::TripletSettings {
    fn from(config: &TripletLossConfig) -> Self {
        Self { margin: config.margin, mining: config.mining.into() }
    }
}

/// Configuration to create a [multi-similarity loss](crate::MultiSimilarityLoss) using the
/// [init function](MultiSimilarityLossConfig::init).
#[derive(Config, Debug, PartialEq)]
pub struct MultiSimilarityLossConfig {
    /// The scale of the positives, a millionth to 1,000,000. The paper uses 2.
    #[config(default = 2.0)]
    pub alpha: f64,
    /// The scale of the negatives, a millionth to 1,000,000. The paper uses 50, the authors' code
    /// 40.
    #[config(default = 50.0)]
    pub beta: f64,
    /// The similarity from which both are measured, -1 to 1, as in the authors' code.
    #[config(default = 0.5)]
    pub base: f64,
    /// The margin of the mining, 0 to 4; above 2 all pairs of unit vectors take part. The paper
    /// uses 0.1.
    #[config(default = 0.1)]
    pub epsilon: f64,
}

impl From<&MultiSimilarityLossConfig> for loss::MultiSimilaritySettings {
    fn from(config: &MultiSimilarityLossConfig) -> Self {
        let &MultiSimilarityLossConfig { alpha, beta, base, epsilon } = config;
        Self { alpha, beta, base, epsilon }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_plain_losses() {
        macro_rules! same {
            ($($config:ident is $settings:ident,)*) => {
                $(assert_eq!(loss::$settings::from(&$config::new()), loss::$settings::default());)*
            };
        }
        same! {
            PnpLossConfig is PnpSettings,
            SmoothApLossConfig is SmoothApSettings,
            FastApLossConfig is FastApSettings,
            RecallAtKLossConfig is RecallAtKSettings,
            SupApLossConfig is SupApSettings,
            ContrastiveLossConfig is ContrastiveSettings,
            TripletLossConfig is TripletSettings,
            MultiSimilarityLossConfig is MultiSimilaritySettings,
        }
    }

    #[test]
    fn a_form_of_the_contrastive_loss_brings_its_margin() {
        let margin =
            |config: &ContrastiveLossConfig| loss::ContrastiveSettings::from(config).margin;
        let euclidean = ContrastiveLossConfig::new().with_distance(Distance::Euclidean);
        assert_eq!(margin(&euclidean), 1.0);
        assert_eq!(margin(&euclidean.with_margin(Some(0.7))), 0.7);
    }
}
