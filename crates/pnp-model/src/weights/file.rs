//! A weight file: what is in it, and the values once they are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::nesting::{self, Unwrapped};
use super::stored::Stored;
use super::{Array, StateDict, pytorch, safetensors};
use crate::error::ModelError;

/// How often all tensors together may show what the file holds: views with a stride of 0 repeat
/// values.
const MOST_VIEWS: usize = 4;

/// The format of a weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// PyTorch's zip archive, since 1.6.
    PytorchZip,
    /// PyTorch's older stream of pickles.
    PytorchOlder,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch (zip)",
            Self::PytorchOlder => "PyTorch (before 1.6)",
        })
    }
}

/// A weight file, parsed and not decoded.
///
/// Nothing in it is executed, no size in it is trusted: all that is kept points into the bytes
/// that were read.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    bytes: Vec<u8>,
    format: Format,
    facts: BTreeMap<String, String>,
    unwrapped: Unwrapped,
}

impl WeightFile {
    /// Opens a weight file: safetensors, or PyTorch's `.pth` in its zip or its older form, told
    /// apart by the content.
    ///
    /// # Errors
    ///
    /// [`ModelError::Io`] and [`ModelError::Format`], naming the file.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        // A device or a pipe has no length that could bound what is read.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
        }
        Self::parse(std::fs::read(path).map_err(io)?, path)
    }

    /// The same of bytes that were read; `path` names them in errors.
    ///
    /// # Errors
    ///
    /// [`ModelError::Format`].
    pub fn parse(bytes: Vec<u8>, path: &Path) -> Result<Self, ModelError> {
        let reject = |reason| ModelError::Format { path: path.to_owned(), reason };
        let mut facts = BTreeMap::new();
        let (format, tensors) = if safetensors::is_one(&bytes) {
            let file = safetensors::parse(&bytes).map_err(reject)?;
            facts = file.facts;
            (Format::Safetensors, file.tensors)
        } else if pytorch::is_zip(&bytes) {
            (Format::PytorchZip, pytorch::read_zip(&bytes).map_err(reject)?)
        } else if pytorch::is_pickle(&bytes) {
            (Format::PytorchOlder, pytorch::read_older(&bytes).map_err(reject)?)
        } else {
            return Err(reject("neither a PyTorch file nor a safetensors file".into()));
        };
        let unwrapped = nesting::unwrap(tensors).map_err(reject)?;
        let floats = || unwrapped.tensors.values().filter(|stored| stored.kind().is_float());
        if floats().next().is_none() {
            return Err(reject("it holds no floating-point tensor".into()));
        }
        let bytes_of = |stored: &Stored| stored.bytes().unwrap_or(usize::MAX);
        let claimed = floats().fold(0usize, |sum, stored| sum.saturating_add(bytes_of(stored)));
        if claimed > bytes.len().saturating_mul(MOST_VIEWS) {
            return Err(reject("its tensors claim far more values than the file holds".into()));
        }
        Ok(Self { path: path.to_owned(), bytes, format, facts, unwrapped })
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What a safetensors file says about itself.
    pub fn facts(&self) -> &BTreeMap<String, String> {
        &self.facts
    }

    /// All tensors of the state dict, integers as well, under their keys without what they are
    /// nested in.
    pub fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.unwrapped.tensors
    }

    /// What the state dict is nested in, the outermost first, as `state_dict`, `module`.
    pub fn nested_in(&self) -> &[String] {
        &self.unwrapped.nested_in
    }

    /// The whole names of tensors beside the state dict, such as an optimiser's.
    pub fn beside(&self) -> &[String] {
        &self.unwrapped.beside
    }

    /// The floating-point tensors, as f32.
    ///
    /// # Errors
    ///
    /// [`ModelError::Format`] where the values decode to another number than the shape says.
    pub fn state_dict(&self) -> Result<StateDict, ModelError> {
        let mut dict = StateDict::new();
        for (key, stored) in self.tensors() {
            let Some(values) = stored.decode(&self.bytes) else { continue };
            if values.len() != stored.count() {
                let reason = format!("tensor '{key}' is not {:?}", stored.shape());
                return Err(ModelError::Format { path: self.path.clone(), reason });
            }
            dict.insert(key.clone(), Array { shape: stored.shape().to_vec(), values });
        }
        Ok(dict)
    }
}
