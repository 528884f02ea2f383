//! What can go wrong with a run folder and the pictures made from it.

use std::path::{Path, PathBuf};

/// An error of this crate, with what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file system refused something.
    #[error("cannot {action} '{path}': {source}")]
    Io {
        /// What was tried, as a verb: "write", "create the folder".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A new run was to go where a run is.
    #[error(
        "'{path}' already holds a run: go on with it by --resume '{path}', or name the new one \
         with another --savename"
    )]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// A new run was to go where other files are.
    #[error("'{path}' is not empty and not a run: choose another --savename or --save_path")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is not a run's.
    #[error(
        "'{path}' is not a run folder ({reason}): name the folder that holds run.json and \
         events.jsonl"
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
    /// The folder was written by a version with another layout.
    #[error(
        "'{path}' has format {found}, this version reads format {expected}: use the version of \
         pnp that wrote it"
    )]
    Version {
        /// The file that says so.
        path: PathBuf,
        /// The format it names.
        found: u64,
        /// The format known here.
        expected: u64,
    },
    /// A record cannot be read.
    #[error("'{path}', line {line}: {reason}")]
    Record {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A record must not be written as it is: a caller's mistake.
    #[error("the record cannot be written: {reason}")]
    Unwritable {
        /// Why.
        reason: String,
    },
    /// Another process is writing to the run.
    #[error("another process is writing to the run '{path}': wait for it or stop it first")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// A table could not be put together.
    #[error("cannot make the table '{path}': {reason}")]
    Table {
        /// The table's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A plot could not be drawn.
    #[error("cannot draw the plot '{title}': {reason}")]
    Plot {
        /// The plot's title.
        title: String,
        /// Why.
        reason: String,
    },
    /// A picture of neighbours could not be drawn.
    #[error("cannot draw the neighbours: {reason}")]
    Picture {
        /// Why.
        reason: String,
    },
}

impl RunError {
    /// Turns an I/O error into one that says what was tried on which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
