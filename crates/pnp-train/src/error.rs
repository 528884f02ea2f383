//! What can go wrong with a training: a setting, a file, a run folder, or the work itself.

use std::path::PathBuf;

/// An error of a training, with what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting breaks its rule.
    #[error("{setting} = {value} is not possible: {rule}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The rule.
        rule: String,
    },
    /// A configuration names a setting that does not exist, or gives it a value of another type.
    #[error("the configuration is wrong: {0}")]
    Config(String),
    /// No pretrained weights for a backbone were found.
    #[error(
        "there are no pretrained weights for {backbone}: looked for {looked_for}; give --weights \
         FILE (safetensors or .pth with torchvision's key names) or --not-pretrained"
    )]
    NoWeights {
        /// The backbone.
        backbone: String,
        /// The files that were looked for.
        looked_for: String,
    },
    /// A run folder belongs to another data set.
    #[error(
        "the run '{run}' was made with another data set: its digest is {expected}, that of \
         '{source_path}' is {found}; give the right one with --source-path, or start a new run"
    )]
    OtherData {
        /// The run folder.
        run: PathBuf,
        /// The data set that was opened.
        source_path: PathBuf,
        /// The digest in the run folder.
        expected: String,
        /// The digest of the data set.
        found: String,
    },
    /// Images that do not decode.
    #[error(
        "{count} of the data set's images cannot be used: {first}; mend or remove them, or give \
         --on-bad-image skip"
    )]
    BrokenImages {
        /// How many.
        count: usize,
        /// What is wrong with the first few.
        first: String,
    },
    /// There is no pack that can be used, and none is to be made.
    #[error("{0} (`pnp data pack` makes one, and so does a training with --rebuild-pack)")]
    Pack(pnp_data::DataError),
    /// A run's data set is no longer where it was.
    #[error(
        "the data set of '{run}' is not at '{source_path}' (a relative path is relative to where \
         the run was started): say where it is with --source-path"
    )]
    DataMoved {
        /// The run or model.
        run: PathBuf,
        /// Where its data set was.
        source_path: PathBuf,
    },
    /// An epoch in which no image had another one of its class in its batch.
    #[error(
        "no query of epoch {epoch} had a positive, so nothing was learned ({skipped} images were \
         skipped as broken): check the images and --samples-per-class"
    )]
    NothingLearned {
        /// The epoch, from 1.
        epoch: u64,
        /// Broken images in it.
        skipped: u64,
    },
    /// Threads that are to decode could not be started.
    #[error("cannot start threads: {0}; fewer --workers may do")]
    Threads(String),
    /// It was stopped before anything was written.
    #[error("stopped; nothing was written")]
    StoppedEarly,
    /// A checkpoint cannot be used.
    #[error("the checkpoint '{path}' cannot be used: {reason}")]
    Checkpoint {
        /// Its folder or file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A loss or a gradient is no number any more.
    #[error(
        "the {what} is not finite at epoch {epoch}, step {step}: the last checkpoint is kept; a \
         smaller --lr (of proxies --proxy-lr), or a larger temperature of the loss, may help"
    )]
    Diverged {
        /// Embedding, loss, gradient, proxy or weight.
        what: &'static str,
        /// The epoch, from 1.
        epoch: u64,
        /// The step over the whole run, from 0.
        step: u64,
    },
    /// A setting that a resumed run cannot change.
    #[error(
        "--{0} cannot be changed when a run is resumed: it would no longer be the same run; start \
         a new one, or leave the flag out"
    )]
    FixedByRun(String),
    /// The run is already at its last epoch.
    #[error("the run '{0}' is finished; give a larger --n-epochs to go on")]
    Finished(PathBuf),
    /// The data.
    #[error(transparent)]
    Data(#[from] pnp_data::DataError),
    /// A weight file does not fit the backbone that is to start from it.
    #[error(
        "{0}; `pnp weights inspect` shows what it fits, and --partial-weights takes what fits and \
         leaves the rest random"
    )]
    Pretrained(pnp_model::ModelError),
    /// The network or its weights.
    #[error(transparent)]
    Model(#[from] pnp_model::ModelError),
    /// The loss or the metrics.
    #[error(transparent)]
    Ranking(#[from] pnp_ranking::RankingError),
    /// The run folder.
    #[error(transparent)]
    Run(#[from] pnp_run::RunError),
}

impl TrainError {
    /// Whether the request was wrong (and nothing was done), rather than that the work failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Setting { .. }
                | Self::Config(_)
                | Self::NoWeights { .. }
                | Self::OtherData { .. }
                | Self::DataMoved { .. }
                | Self::FixedByRun(_)
                | Self::Finished(_)
        )
    }
}
