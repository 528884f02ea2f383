//! What `eval` and `embed` have in common: a model and a split of a data set to use it on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pnp_data::transform::EvalTransform;
use pnp_data::{ImageSet, LoaderOptions};
use pnp_run::RunFolder;
use pnp_train::{EmbeddedSet, Model, Observer, StopFlag, TrainConfig, TrainError};

use crate::cli::UseArgs;
use crate::failure::Failure;
use crate::progress::Terminal;
use crate::{device, settings};

/// How many folders above a checkpoint its run folder may be.
const LEVELS: usize = 4;

/// An embedded split and the settings that it was made with.
pub(crate) struct Used {
    pub(crate) config: TrainConfig,
    pub(crate) set: Arc<ImageSet>,
    pub(crate) embedded: EmbeddedSet,
}

/// Embeds the split that was asked for.
pub(crate) fn embed(model: &Path, args: &UseArgs) -> Result<Used, Failure> {
    if !model.exists() {
        return Err(Failure::Usage(format!("there is no model '{}'", model.display())));
    }
    let device = device::open(&args.device)?;
    let path = model;
    let model = Model::load(path, &device)?;
    let config = config(path, args)?;
    config.jpeg().check()?;
    let transform = EvalTransform { jpeg: config.jpeg(), ..model.transform };
    if !config.source_path.exists() {
        let (run, source_path) = (path.to_owned(), config.source_path);
        return Err(TrainError::DataMoved { run, source_path }.into());
    }
    let mut observer = Terminal::new();
    let set = Arc::new(split(&config, &args.split, &mut observer)?);
    let options = LoaderOptions {
        workers: config.worker_count(),
        on_bad_image: config.on_bad_image(),
        seed: config.seed,
        ..LoaderOptions::default()
    };
    let embedded = pnp_train::embed_set(
        &model.network,
        transform,
        &set,
        &options,
        args.eval_batch_size as usize,
        &args.split,
        &StopFlag::default(),
        &mut observer,
    )?
    .ok_or(Failure::Stopped)?;
    for skipped in &embedded.skipped {
        crate::say!("skipped: {}", skipped.error);
    }
    Ok(Used { config, set, embedded })
}

/// The settings of the model's run, if it is in one, with the flags over them.
fn config(model: &Path, args: &UseArgs) -> Result<TrainConfig, Failure> {
    let mut table = match run_folder(model) {
        Some(run) => {
            let text = RunFolder::open(&run).and_then(|run| run.config_toml());
            let text = text.map_err(TrainError::from)?;
            text.parse().map_err(|e| {
                Failure::Usage(format!("the configuration of '{}' is no TOML: {e}", run.display()))
            })?
        }
        None => toml::Table::new(),
    };
    let flags = settings::table(&args.data)?;
    if flags.contains_key("source_path") && !flags.contains_key("dataset") {
        // Another data set need not have the layout of the run's own.
        table.remove("dataset");
    }
    if flags.contains_key("source_path") {
        // Nor is it in the run's pack.
        table.remove("pack");
    }
    table.extend(flags);
    if let Some(seed) = args.seed {
        table.insert("seed".into(), toml::Value::Integer(i64::try_from(seed).unwrap_or(i64::MAX)));
    }
    let config = TrainConfig::from_table(table)?;
    if config.source_path.as_os_str().is_empty() {
        return Err(Failure::Usage(
            "no data set: this model is in no run folder, so give one with --source-path".into(),
        ));
    }
    Ok(config)
}

/// The run folder that a model is in, if any.
fn run_folder(model: &Path) -> Option<PathBuf> {
    let folders = model.ancestors().take(LEVELS);
    folders.filter(|f| f.join("run.json").is_file()).map(Path::to_owned).next()
}

fn split(
    config: &TrainConfig,
    name: &str,
    observer: &mut dyn Observer,
) -> Result<ImageSet, Failure> {
    // Using a model writes no pack.
    let config = TrainConfig { rebuild_pack: false, ..config.clone() };
    let dataset = pnp_train::open_dataset(&config, &StopFlag::default(), observer)?;
    if name == "val" && dataset.validation.is_none() {
        return Err(Failure::Usage(
            "there is no validation split: cut one with --use-tv-split or --folds".into(),
        ));
    }
    Ok(dataset.split(name)?)
}
