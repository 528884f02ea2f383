//! What can go wrong with a model: an unknown name, a weight file that is not one, weights of
//! another network.

use std::path::PathBuf;

use crate::weights::LoadReport;

/// An error of this crate, with what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No backbone has this name.
    #[error("unknown backbone '{name}': the backbones are {known}")]
    UnknownBackbone {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// A backbone has no stage of this name.
    #[error("freeze_until = {stage} is not possible: the stages of {backbone} are {known}")]
    UnknownStage {
        /// What was asked for.
        stage: String,
        /// The backbone.
        backbone: &'static str,
        /// Its stages in order, separated by commas.
        known: String,
    },
    /// A setting of the network is out of its range.
    #[error("{setting} = {value} is not possible: {rule}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// The value that was given.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// A weight file could not be opened or read.
    #[error("cannot read the weights '{path}': {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no weight file, or a broken one.
    #[error("'{path}' is not a usable weight file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The weights belong to another network.
    #[error("the weights '{path}' do not fit the network {network}: {report}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The network's name.
        network: String,
        /// The keys that do not fit.
        report: Box<LoadReport>,
    },
    /// A network cannot be written in a format.
    #[error("the network cannot be written as ONNX: {reason}")]
    Export {
        /// Why, and what to do.
        reason: String,
    },
}
