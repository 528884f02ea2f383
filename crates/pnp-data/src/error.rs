//! What can go wrong with a data set: a wrong setting, a list that does not parse, files that are
//! not there, an image that does not decode.

use std::fmt;
use std::path::PathBuf;

use crate::item::Region;

/// One of the three parts of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// What a model is trained on.
    Train,
    /// What the best checkpoint is picked on.
    Validation,
    /// What is measured once, at the end.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// An error of this crate, with what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No data set reader has this name.
    #[error("unknown data set '{name}': the data sets are {known}")]
    UnknownDataset {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// No data set reader recognises what is at the source path.
    #[error("no data set is recognised at '{}': it should hold one of\n{layouts}", source_path.display())]
    Unrecognised {
        /// Where the data set should be.
        source_path: PathBuf,
        /// One line per layout that would be recognised.
        layouts: String,
    },
    /// The data set has no split of this name.
    #[error("the data set has no split '{name}': its splits are {known}")]
    UnknownSplit {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// No sampler has this name.
    #[error("unknown sampler '{name}': the samplers are {known}")]
    UnknownSampler {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// No augmentation has this name.
    #[error("unknown augmentation '{name}': the augmentations are {known}")]
    UnknownAugmentation {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// A setting is out of its range, or does not suit the data.
    #[error("{setting} = {value} is not possible: {rule}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// The value that was given.
        value: String,
        /// What it must be.
        rule: String,
    },
    /// A file or folder could not be opened or read.
    #[error("cannot read '{}': {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a list or manifest is not what it should be.
    #[error("'{}' line {line}: found {found}, expected {expected}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: String,
    },
    /// A folder or list as a whole is not a usable data set.
    #[error("'{}' is not a usable data set: {reason}", path.display())]
    Layout {
        /// The folder or list.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Images that the data set names are not there.
    #[error(
        "{count} of {total} images are missing or no files, the first of them {}; \
         check the source path and that the archive was unpacked whole",
        list(first)
    )]
    MissingImages {
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// The first few, in the data set's order.
        first: Vec<PathBuf>,
    },
    /// A split has no image at all.
    #[error("the {split} split of '{}' is empty: {hint}", path.display())]
    EmptySplit {
        /// The data set.
        path: PathBuf,
        /// Which split.
        split: Split,
        /// What would fill it.
        hint: &'static str,
    },
    /// A file is no image, a broken one, or one of a kind that is not read.
    #[error("the image '{}' cannot be used: {reason}", path.display())]
    BadImage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The box that a data set gives for an image lies beside the image.
    #[error(
        "the box {region} of '{}' (x1,y1,x2,y2) lies outside its {width} x {height} pixels: mend \
         the list, or leave the boxes unused",
        path.display()
    )]
    RegionOutside {
        /// The file.
        path: PathBuf,
        /// The box.
        region: Region,
        /// The image's width.
        width: u32,
        /// The image's height.
        height: u32,
    },
    /// A file is no pack of images, or a damaged one.
    #[error("the pack '{}' cannot be used: {reason}; pack the data set anew", path.display())]
    BadPack {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A pack was made of other images than those of the data set.
    #[error("the pack '{}' is stale: {reason}; pack the data set anew", path.display())]
    StalePack {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A file could not be written.
    #[error("cannot write '{}': {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An image and a transform do not go together.
    #[error("cannot resample an image of {width} x {height} pixels: {reason}")]
    Resample {
        /// The image's width.
        width: u32,
        /// The image's height.
        height: u32,
        /// Why.
        reason: String,
    },
    /// A loader's worker thread failed in a way that is no image's fault.
    #[error("a loader thread failed at '{}': {message}", path.display())]
    Worker {
        /// The image it was working on.
        path: PathBuf,
        /// The panic's or the system's message.
        message: String,
    },
}

/// Paths in quotes, separated by commas.
fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<_> = paths.iter().map(|path| format!("'{}'", path.display())).collect();
    quoted.join(", ")
}
