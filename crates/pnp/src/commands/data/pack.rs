//! `pnp data pack`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use pnp_data::{DataError, Dataset, OnBadImage, Pack, PackFormat, PackSettings, pack};
use pnp_train::{Observer, Phase};
use serde::Serialize;

use super::{SourceArgs, WorkerArgs};
use crate::commands::train::stop_on_interrupt;
use crate::commands::{print, print_json};
use crate::failure::Failure;
use crate::progress::Terminal;

/// The quality of JPEG where none is given.
const QUALITY: u8 = 90;

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct PackArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    workers: WorkerArgs,
    /// The pack, as FILE.pnp-pack; an older one is replaced once the new one is whole
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Shorter side of the packed images in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    side: u32,
    /// How images are stored: raw needs no decoding, jpeg a tenth of the space
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
    /// JPEG quality, 1 to 100 [default: 90]
    #[arg(long, value_name = "N")]
    quality: Option<u8>,
    /// What an image does that cannot be used: stop, or skip (a training then reads its file)
    #[arg(long, value_enum, default_value_t = BadImage::Stop)]
    on_bad_image: BadImage,
    /// Write nothing: check every image of an existing pack, and that it fits the data set
    #[arg(long, conflicts_with_all = ["side", "format", "quality", "on_bad_image"])]
    verify: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Raw,
    Jpeg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BadImage {
    Stop,
    Skip,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    pack: String,
    /// `written`, `up to date` or `verified`.
    state: &'static str,
    images: usize,
    bytes: u64,
    settings: String,
    without_pixels: usize,
}

pub(super) fn run(args: &PackArgs) -> Result<(), Failure> {
    let settings = settings(args)?;
    let mut dataset = args.source.open()?;
    let answer = if args.verify {
        verify(args, &mut dataset)?
    } else if fits(&args.out, settings, &mut dataset)? {
        Answer::of(&args.out, "up to date", &Pack::open(&args.out)?)
    } else {
        write(args, settings, &dataset)?
    };
    if args.json {
        return print_json(&answer);
    }
    let Answer { pack, state, images, bytes, settings, without_pixels } = answer;
    let without = match without_pixels {
        0 => String::new(),
        count => format!(", {count} of them without pixels"),
    };
    print(&format!("{pack}: {state}; {images} images{without}, {settings}, {bytes} bytes\n"))
}

fn settings(args: &PackArgs) -> Result<PackSettings, Failure> {
    let format = match (args.format, args.quality) {
        (Format::Raw, None) => PackFormat::Raw,
        (Format::Raw, Some(_)) => {
            return Err(Failure::Usage("--quality is of --format jpeg".into()));
        }
        (Format::Jpeg, quality) => PackFormat::Jpeg { quality: quality.unwrap_or(QUALITY) },
    };
    let settings = PackSettings { side: args.side, format };
    settings.check()?;
    Ok(settings)
}

/// Whether there is a pack of these settings already that fits the data set.
fn fits(path: &Path, settings: PackSettings, dataset: &mut Dataset) -> Result<bool, Failure> {
    let pack = match Pack::open(path) {
        Ok(pack) => Arc::new(pack),
        // What is there instead is for the writer to judge.
        Err(DataError::Io { .. } | DataError::BadPack { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    match dataset.use_pack(&pack) {
        Ok(()) if pack.settings() != settings => Ok(false),
        Ok(()) => match pack.verify(|_| true) {
            Err(error @ DataError::BadPack { .. }) => {
                crate::say!("{error}: it is made anew");
                Ok(false)
            }
            whole => Ok(whole?),
        },
        Err(DataError::StalePack { reason, .. }) => {
            crate::say!("the pack is stale, and made anew: {reason}");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn write(args: &PackArgs, settings: PackSettings, dataset: &Dataset) -> Result<Answer, Failure> {
    let sets = || dataset.splits().map(|(_, set)| set);
    let on_bad_image = match args.on_bad_image {
        BadImage::Stop => OnBadImage::Stop,
        BadImage::Skip => OnBadImage::Skip,
    };
    let stop = stop_on_interrupt("after these images, without a pack")?;
    let packed = args.workers.run(|| {
        let mut terminal = Terminal::new();
        terminal.begin(&Phase::Pack, pack::count(sets()) as u64, 0);
        let packed = pack::write(sets(), &args.out, settings, on_bad_image, |more| {
            terminal.advance(more as u64, "");
            !stop.is_set()
        });
        terminal.end();
        packed?.ok_or(Failure::Stopped)
    })?;
    for error in &packed.without_pixels {
        crate::say!("without pixels: {error}");
    }
    Ok(Answer {
        pack: args.out.display().to_string(),
        state: "written",
        images: packed.images,
        bytes: packed.bytes,
        settings: settings.to_string(),
        without_pixels: packed.without_pixels.len(),
    })
}

fn verify(args: &PackArgs, dataset: &mut Dataset) -> Result<Answer, Failure> {
    let pack = Arc::new(Pack::open(&args.out)?);
    dataset.use_pack(&pack)?;
    let stop = stop_on_interrupt("after these images")?;
    args.workers.run(|| {
        let mut terminal = Terminal::new();
        terminal.begin(&Phase::Check, pack.images() as u64, 0);
        let whole = pack.verify(|more| {
            terminal.advance(more as u64, "");
            !stop.is_set()
        });
        terminal.end();
        if whole? { Ok(()) } else { Err(Failure::Stopped) }
    })?;
    Ok(Answer::of(&args.out, "verified", &pack))
}

impl Answer {
    fn of(path: &Path, state: &'static str, pack: &Pack) -> Self {
        Self {
            pack: path.display().to_string(),
            state,
            images: pack.images(),
            bytes: pack.bytes(),
            settings: pack.settings().to_string(),
            without_pixels: pack.without_pixels(),
        }
    }
}
