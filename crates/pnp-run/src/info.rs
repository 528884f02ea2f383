//! `run.json`: what a run is, as opposed to what happened in it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::RunError;

/// The layout of a run folder that this version writes and reads.
const FORMAT: u64 = 1;

/// The longest `run.json` that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What a run is: where it came from and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The version of the program.
    pub version: String,
    /// The device that trained, in words.
    pub device: String,
    /// The seed of everything random.
    pub seed: u64,
    /// The data set's name.
    pub dataset: String,
    /// A digest of the data set's names, labels, splits and file sizes: runs with different ones saw
    /// different data.
    pub data_digest: String,
    /// When the run began, in seconds since 1970-01-01 UTC.
    pub started_unix_s: u64,
    /// How it stands.
    pub status: Status,
    /// What the best epoch is picked on: `"validation"`, or `"test"` where there is no validation
    /// split. Every output of a run says so in the second case.
    pub selected_on: String,
    /// The settings that matter most, name and value, in the order in which a summary shows them.
    /// All of them are in `config.toml`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
}

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It trains, or was killed without a chance to say so.
    Running,
    /// It came to its end.
    Finished,
    /// It was asked to stop and can be resumed.
    Interrupted,
    /// It stopped with an error.
    Failed {
        /// The error.
        message: String,
    },
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Running => f.write_str("running, or killed"),
            Self::Finished => f.write_str("finished"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Failed { message } => write!(f, "failed: {message}"),
        }
    }
}

/// The file: the format first, so that a reader of another version knows what it holds.
#[derive(Serialize)]
struct Document<'a> {
    format: u64,
    #[serde(flatten)]
    info: &'a RunInfo,
}

#[derive(Deserialize)]
struct Header {
    format: u64,
}

/// Writes `run.json`, whole.
pub(crate) fn write(path: &Path, info: &RunInfo) -> Result<(), RunError> {
    let mut bytes = serde_json::to_vec_pretty(&Document { format: FORMAT, info })
        .map_err(|e| RunError::Unwritable { reason: e.to_string() })?;
    bytes.push(b'\n');
    if bytes.len() as u64 > MAX_BYTES {
        let reason = format!("run.json would take {} bytes, {MAX_BYTES} at most", bytes.len());
        return Err(RunError::Unwritable { reason });
    }
    atomic::write(path, &bytes)
}

/// Reads `run.json`.
pub(crate) fn read(path: &Path) -> Result<RunInfo, RunError> {
    let io = RunError::io("read", path);
    let size = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return Err(io(error)),
    };
    if size > MAX_BYTES {
        let reason = format!("the file has {size} bytes, {MAX_BYTES} at most are read");
        return Err(RunError::Record { path: path.to_owned(), line: 1, reason });
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let broken = |error: serde_json::Error| RunError::Record {
        path: path.to_owned(),
        line: error.line() as u64,
        reason: error.to_string(),
    };
    // The format decides whether the rest can be understood at all.
    let header: Header = serde_json::from_slice(&bytes).map_err(broken)?;
    if header.format != FORMAT {
        let path = path.to_owned();
        return Err(RunError::Version { path, found: header.format, expected: FORMAT });
    }
    serde_json::from_slice(&bytes).map_err(broken)
}
