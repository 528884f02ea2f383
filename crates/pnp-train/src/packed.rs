//! The data set that the settings name, with its pack.

use std::path::Path;
use std::sync::Arc;

use pnp_data::{DataError, Dataset, Pack, PackFormat, PackSettings, pack, sampler};

use crate::config::TrainConfig;
use crate::error::TrainError;
use crate::observer::{Observer, Phase};
use crate::run::StopFlag;
use crate::workers::on_workers;

/// Opens the data set, with the pack that loaders read from if the settings name one. A pack that
/// is not there, damaged or stale is made anew if the settings say so.
///
/// # Errors
///
/// Those of the data set and of the pack; [`TrainError::Setting`] where the pack's images are
/// smaller than what is made of them; [`TrainError::StoppedEarly`] where packing was stopped.
pub fn open_dataset(
    config: &TrainConfig,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<Dataset, TrainError> {
    let mut dataset = pnp_data::open(&config.dataset()?)?;
    let Some(path) = &config.pack else { return Ok(dataset) };
    let side = config.eval_resize.max(config.image_size);
    let (settings, used) = match Pack::open(path) {
        Ok(pack) => (pack.settings(), dataset.use_pack(&Arc::new(pack))),
        Err(error) => (PackSettings { side, format: PackFormat::Raw }, Err(error)),
    };
    if settings.side < side {
        return Err(TrainError::Setting {
            setting: "pack",
            value: path.display().to_string(),
            rule: format!(
                "its images have a shorter side of {} pixels, and eval_resize and image_size need \
                 {side}: pack them larger",
                settings.side
            ),
        });
    }
    match used {
        Ok(()) => {}
        Err(error) if !config.rebuild_pack => return Err(TrainError::Pack(error)),
        Err(error) => {
            observer.say(&format!("{error}: packing it now ({settings})", error = brief(&error)));
            rebuild(config, &dataset, path, settings, stop, observer)?;
            dataset.use_pack(&Arc::new(Pack::open(path)?))?;
        }
    }
    Ok(dataset)
}

/// The digest of an opened data set by which a run with these settings knows it again.
///
/// # Errors
///
/// A sampler that is not there.
pub fn data_digest(config: &TrainConfig, dataset: &Dataset) -> Result<String, TrainError> {
    Ok(dataset.digest_for(sampler::find(&config.data_sampler)?))
}

/// Why there is no pack to use, in a few words.
fn brief(error: &DataError) -> String {
    match error {
        DataError::Io { path, .. } => format!("there is no pack '{}' yet", path.display()),
        DataError::BadPack { path, reason } | DataError::StalePack { path, reason } => {
            format!("the pack '{}' cannot be used: {reason}", path.display())
        }
        other => other.to_string(),
    }
}

fn rebuild(
    config: &TrainConfig,
    dataset: &Dataset,
    path: &Path,
    settings: PackSettings,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let sets = || dataset.splits().map(|(_, set)| set);
    observer.begin(&Phase::Pack, pack::count(sets()) as u64, 0);
    let packed = on_workers(config.workers, || {
        pack::write(sets(), path, settings, config.on_bad_image(), |more| {
            observer.advance(more as u64, "");
            !stop.is_set()
        })
    });
    observer.end();
    packed??.ok_or(TrainError::StoppedEarly)?;
    Ok(())
}
