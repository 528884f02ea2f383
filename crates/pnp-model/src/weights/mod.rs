//! State dicts: reading them from safetensors and from PyTorch's files, fitting them to a network,
//! writing them.

mod builtin;
mod float_kind;
mod pytorch;
mod safetensors;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::error::ModelError;
use crate::network::Network;
use crate::parameters::Role;

pub use builtin::{BUILTIN_BACKBONE, builtin};
pub use safetensors::to_safetensors;

/// A tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Tensors by PyTorch's key names.
pub type StateDict = BTreeMap<String, Array>;

/// Reads a weight file: safetensors, or PyTorch's `.pth` in its zip or its older form, told apart
/// by the content.
///
/// Keys lose a leading `module.`; a state dict nested under `state_dict` or `model` is found. Half
/// and double precision become f32, integer tensors (batch counters) are left out.
///
/// # Errors
///
/// [`ModelError::Io`] and [`ModelError::Format`], naming the file. Nothing in the file is executed
/// and no size in it is trusted.
pub fn read(path: &Path) -> Result<StateDict, ModelError> {
    let dict =
        if pytorch::looks_like(path)? { pytorch::read(path)? } else { safetensors::read(path)? };
    let plain = |key: String| key.strip_prefix("module.").map_or(key.clone(), str::to_owned);
    Ok(dict.into_iter().map(|(key, array)| (plain(key), array)).collect())
}

/// Which keys must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// All of the network's: a checkpoint.
    Whole,
    /// The backbone's: pretrained weights, whose own last layer and auxiliary heads are left aside.
    Backbone,
}

/// How a state dict fits a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Keys of the network that the state dict lacks.
    pub missing: Vec<String>,
    /// Keys of the state dict that the network does not know.
    pub unexpected: Vec<String>,
    /// Keys with another shape: the key, the network's shape, the state dict's.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl LoadReport {
    /// Whether everything fits.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes = self.misshapen.iter();
        let misshapen: Vec<String> = shapes
            .map(|(key, ours, theirs)| format!("{key} (expected {ours:?}, found {theirs:?})"))
            .collect();
        let groups = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape", &misshapen),
        ];
        let texts = groups.into_iter().filter(|(_, keys)| !keys.is_empty());
        let texts: Vec<String> = texts.map(|(name, keys)| list(name, keys)).collect();
        f.write_str(if texts.is_empty() { "everything fits" } else { "" })?;
        f.write_str(&texts.join("; "))
    }
}

/// A count and the first few keys.
fn list(name: &str, keys: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = keys[..keys.len().min(SHOWN)].join(", ");
    let more = if keys.len() > SHOWN { ", …" } else { "" };
    format!("{} {name}: {shown}{more}", keys.len())
}

/// Puts a state dict into a network; `origin` names it in the error.
///
/// # Errors
///
/// [`ModelError::Mismatch`] with a report of all keys when a key is missing, unexpected or
/// misshapen, [`ModelError::Format`] for a value that is not finite; the network is unchanged then.
pub fn load(
    network: &mut Network,
    dict: &StateDict,
    fit: Fit,
    origin: &Path,
) -> Result<(), ModelError> {
    let report = compare(network, dict, fit);
    if !report.is_clean() {
        return Err(ModelError::Mismatch {
            path: origin.to_owned(),
            network: network.config().backbone.clone(),
            report,
        });
    }
    let keys: Vec<(usize, String)> = wanted(network, fit).collect();
    for (_, key) in &keys {
        if let Some(value) = dict[key].values.iter().find(|value| !value.is_finite()) {
            let reason = format!("tensor '{key}' holds the value {value}");
            return Err(ModelError::Format { path: origin.to_owned(), reason });
        }
    }
    for (index, key) in keys {
        network.parameters_mut().set_values(index, dict[&key].values.clone());
    }
    Ok(())
}

/// How a state dict fits a network, without changing anything.
pub fn compare(network: &Network, dict: &StateDict, fit: Fit) -> LoadReport {
    let mut report = LoadReport::default();
    let entries = network.parameters().entries();
    let keys: BTreeMap<String, usize> = wanted(network, fit).map(|(i, key)| (key, i)).collect();
    for (key, &index) in &keys {
        match dict.get(key) {
            None => report.missing.push(key.clone()),
            Some(array) if array.shape != entries[index].shape => {
                let shapes = (entries[index].shape.clone(), array.shape.clone());
                report.misshapen.push((key.clone(), shapes.0, shapes.1));
            }
            Some(_) => {}
        }
    }
    let head = format!("{}.", network.backbone().head_key);
    let known = |key: &String| keys.contains_key(key);
    let ignored = |key: &String| network.backbone().ignored.iter().any(|k| key.starts_with(k));
    let aside = |key: &String| fit == Fit::Backbone && (is_last_layer(key, &head) || ignored(key));
    report.unexpected = dict.keys().filter(|k| !known(k) && !aside(k)).cloned().collect();
    report
}

/// The last layer of pretrained weights, under its own name or the one the old code gave it.
fn is_last_layer(key: &str, head: &str) -> bool {
    key.starts_with(head) || key.starts_with("last_linear.")
}

/// The network's entries that a state dict must hold.
fn wanted(network: &Network, fit: Fit) -> impl Iterator<Item = (usize, String)> {
    let entries = network.parameters().entries().iter().enumerate();
    entries
        .filter(move |(_, e)| fit == Fit::Whole || e.role != Role::Head)
        .map(|(i, e)| (i, e.key.clone()))
}
