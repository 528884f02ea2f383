//! Small JSON files of a checkpoint, read with bounds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::TrainError;

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 22;

/// What every such file says first.
#[derive(Deserialize)]
struct Header {
    format: u64,
}

/// Reads a file of the layout `format`.
///
/// # Errors
///
/// [`TrainError::Checkpoint`] naming the file: not there, too long, no such JSON, another format.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, format: u64) -> Result<T, TrainError> {
    let reject = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
    let mut text = String::new();
    let file = File::open(path).map_err(|e| reject(e.to_string()))?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|e| reject(e.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(reject(format!("more than {MAX_BYTES} bytes are too many for it")));
    }
    let header: Header = serde_json::from_str(&text).map_err(|e| reject(e.to_string()))?;
    if header.format != format {
        let found = header.format;
        return Err(reject(format!("its format is {found}, this version reads {format}")));
    }
    serde_json::from_str(&text).map_err(|e| reject(e.to_string()))
}
