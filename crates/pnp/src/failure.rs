//! How a command fails: with status 1 or 2, and a message for a person.

use std::process::ExitCode;

use pnp_train::TrainError;

use crate::array::ArrayError;

/// A command's failure.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request was wrong; nothing was done.
    Usage(String),
    /// The work failed.
    Work(String),
    /// The work was stopped; what to say was said.
    Stopped,
}

impl Failure {
    /// The same, with what it was about.
    pub(crate) fn about(self, what: &str) -> Self {
        match self {
            Self::Usage(message) => Self::Usage(format!("{what}: {message}")),
            Self::Work(message) => Self::Work(format!("{what}: {message}")),
            Self::Stopped => Self::Stopped,
        }
    }

    /// Prints the message and gives the exit status.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage(message) => {
                crate::say!("error: {message}");
                ExitCode::from(2)
            }
            Self::Work(message) => {
                crate::say!("error: {message}");
                ExitCode::from(1)
            }
            Self::Stopped => ExitCode::from(1),
        }
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        let usage = match &error {
            TrainError::Data(error) => is_data_request(error),
            TrainError::Ranking(error) => is_ranking_request(error),
            TrainError::Model(error) => matches!(
                error,
                pnp_model::ModelError::UnknownBackbone { .. }
                    | pnp_model::ModelError::UnknownStage { .. }
                    | pnp_model::ModelError::Setting { .. }
            ),
            other => other.is_usage(),
        };
        if usage { Self::Usage(error.to_string()) } else { Self::Work(error.to_string()) }
    }
}

impl From<pnp_data::DataError> for Failure {
    fn from(error: pnp_data::DataError) -> Self {
        TrainError::from(error).into()
    }
}

impl From<pnp_ranking::RankingError> for Failure {
    fn from(error: pnp_ranking::RankingError) -> Self {
        TrainError::from(error).into()
    }
}

impl From<pnp_run::RunError> for Failure {
    fn from(error: pnp_run::RunError) -> Self {
        TrainError::from(error).into()
    }
}

impl From<ArrayError> for Failure {
    fn from(error: ArrayError) -> Self {
        Self::Work(error.to_string())
    }
}

/// Whether a data set was asked for wrongly, rather than that its files are broken.
fn is_data_request(error: &pnp_data::DataError) -> bool {
    use pnp_data::DataError as E;
    matches!(
        error,
        E::Setting { .. }
            | E::UnknownDataset { .. }
            | E::UnknownSampler { .. }
            | E::UnknownSplit { .. }
            | E::UnknownAugmentation { .. }
    )
}

/// Whether a name or setting was wrong, rather than the numbers.
fn is_ranking_request(error: &pnp_ranking::RankingError) -> bool {
    use pnp_ranking::RankingError as E;
    matches!(
        error,
        E::Setting { .. }
            | E::UnknownLoss { .. }
            | E::LossSyntax { .. }
            | E::UnknownParameter { .. }
            | E::TwoProxyLosses { .. }
            | E::NoProxies { .. }
            | E::ProxiesOnly { .. }
            | E::UnknownVariant { .. }
            | E::UnknownDistance { .. }
            | E::UnknownMetric { .. }
            | E::Undefined { .. }
            | E::SpectrumDepth { .. }
            | E::DepthBeyondGallery { .. }
            | E::MetricDepth { .. }
    )
}
