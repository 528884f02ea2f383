//! What `eval` and `embed` have in common: a model and a split of a data set to use it on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pnp_data::transform::EvalTransform;
use pnp_data::{ImageSet, LoaderOptions};
use pnp_run::RunFolder;
use pnp_train::{EmbeddedSet, Model, Observer, Silent, StopFlag, TrainConfig, TrainError};

use crate::cli::UseArgs;
use crate::failure::Failure;
use crate::progress::Terminal;
use crate::{device, settings};

/// How many folders above a checkpoint its run folder may be.
const LEVELS: usize = 4;

/// Settings that say how a data set is read and divided, and where its pack is.
const SOURCE_SETTINGS: [&str; 9] = [
    "dataset",
    "use_tv_split",
    "tv_split_by_samples",
    "tv_split_perc",
    "folds",
    "fold",
    "boxes",
    "test_fraction",
    "pack",
];

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
    let mut model = Model::load(path, &device)?;
    let config = config(path, args)?;
    model.network.set_precision(config.precision()?).map_err(TrainError::from)?;
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

/// The settings of the model's run, if it is in one, with the flags over them. What says how the
/// run's own data set is read and divided means nothing to another one: it is left out then, which
/// is told.
fn config(model: &Path, args: &UseArgs) -> Result<TrainConfig, Failure> {
    let run = run_folder(model).map(|run| RunFolder::open(&run)).transpose();
    let run = run.map_err(TrainError::from)?;
    let mut table = run.as_ref().map_or(Ok(toml::Table::new()), settings_of)?;
    let flags = settings::table(&args.data)?;
    if let Some((run, source)) = run.as_ref().zip(args.data.source_path.as_ref())
        && !is_own(run, &table, source)?
    {
        let left_out = take_source_settings(&mut table)?;
        if !left_out.is_empty() {
            crate::say!(
                "note: '{}' is not the data set of the run, whose {} stay out: give them as flags \
                 where they are meant",
                source.display(),
                left_out.join(", ")
            );
        }
    }
    table.extend(flags);
    // A model is used in full precision unless a flag says otherwise, whatever it was trained in.
    table.insert("precision".into(), toml::Value::String(args.precision.clone()));
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

/// The settings that a run recorded.
fn settings_of(run: &RunFolder) -> Result<toml::Table, Failure> {
    let text = run.config_toml().map_err(TrainError::from)?;
    text.parse().map_err(|e| {
        let run = run.path().display();
        Failure::Usage(format!("the configuration of '{run}' is no TOML: {e}"))
    })
}

/// Whether a source is the data set of a run: it lies where that one lay, or, moved, it has the
/// digest that the run recorded.
fn is_own(run: &RunFolder, table: &toml::Table, source: &Path) -> Result<bool, Failure> {
    let config = TrainConfig::from_table(table.clone())?;
    if let (Ok(own), Ok(given)) = (config.source_path.canonicalize(), source.canonicalize())
        && own == given
    {
        return Ok(true);
    }
    let moved = TrainConfig { source_path: source.to_owned(), rebuild_pack: false, ..config };
    let opened = pnp_train::open_dataset(&moved, &StopFlag::default(), &mut Silent);
    let digest = opened.and_then(|dataset| pnp_train::data_digest(&moved, &dataset));
    // Whatever is wrong with it, it is not the run's.
    Ok(digest.is_ok_and(|digest| digest == run.info().data_digest))
}

/// Takes the settings of the run's own data set out of a table; answers those that were not left at
/// their defaults.
fn take_source_settings(table: &mut toml::Table) -> Result<Vec<String>, Failure> {
    let defaults = settings::table(&TrainConfig::default())?;
    let mut changed = Vec::new();
    for name in SOURCE_SETTINGS {
        let value = table.remove(name);
        changed.extend(
            value
                .filter(|value| defaults.get(name) != Some(value))
                .map(|v| format!("{name} = {v}")),
        );
    }
    // Using a model makes no pack whatever it says.
    table.remove("rebuild_pack");
    Ok(changed)
}

/// The run folder that a model is in, if any.
pub(super) fn run_folder(model: &Path) -> Option<PathBuf> {
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
