//! State dicts: reading them from safetensors and from PyTorch's files, fitting them to a network,
//! writing them.

mod builtin;
mod file;
mod fits;
mod names;
mod nesting;
mod pytorch;
mod safetensors;
mod stored;
mod value_kind;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::error::ModelError;
use crate::network::Network;
use crate::parameters::Role;

pub use builtin::{BUILTIN_BACKBONE, builtin};
pub use file::{Format, WeightFile};
pub use fits::{Fitting, fits};
pub use safetensors::{to_safetensors, to_safetensors_with_facts};
pub use stored::Stored;
pub use value_kind::ValueKind;

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

/// Reads the floating-point tensors of a weight file as f32: safetensors, or PyTorch's `.pth` in its
/// zip or its older form, told apart by the content (see [`WeightFile`]).
///
/// A state dict that is nested, as under `state_dict`, is found, and the `module.` of a wrapped
/// network is taken off.
///
/// # Errors
///
/// [`ModelError::Io`] and [`ModelError::Format`], naming the file. Nothing in the file is executed
/// and no size in it is trusted.
pub fn read(path: &Path) -> Result<StateDict, ModelError> {
    WeightFile::open(path)?.state_dict()
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

/// Puts a state dict into a network; `origin` names it in the error. For [`Fit::Backbone`] the key
/// names of torchvision, timm and pretrainedmodels are understood.
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
        return Err(mismatch(network, report, origin));
    }
    load_matching(network, dict, fit, origin)
}

/// Puts what fits of a state dict into a network, leaves everything else as it is, and says what
/// did not fit.
///
/// # Errors
///
/// [`ModelError::Mismatch`] when nothing fits, [`ModelError::Format`] for a value that is not
/// finite; the network is unchanged then.
pub fn load_partly(
    network: &mut Network,
    dict: &StateDict,
    fit: Fit,
    origin: &Path,
) -> Result<LoadReport, ModelError> {
    let report = compare(network, dict, fit);
    if report.missing.len() + report.misshapen.len() == wanted(network, fit).count() {
        return Err(mismatch(network, report, origin));
    }
    load_matching(network, dict, fit, origin)?;
    Ok(report)
}

fn mismatch(network: &Network, report: LoadReport, origin: &Path) -> ModelError {
    let network = network.config().backbone.clone();
    ModelError::Mismatch { path: origin.to_owned(), network, report: Box::new(report) }
}

/// Copies every tensor that is there in the right shape.
fn load_matching(
    network: &mut Network,
    dict: &StateDict,
    fit: Fit,
    origin: &Path,
) -> Result<(), ModelError> {
    let renamed = renamed(network, dict, fit);
    let entries = network.parameters().entries();
    let matching: Vec<(usize, &Array)> = wanted(network, fit)
        .filter_map(|(index, key)| Some((index, *renamed.get(&*key)?)))
        .filter(|&(index, array)| array.shape == entries[index].shape)
        .collect();
    for &(index, array) in &matching {
        if let Some(value) = array.values.iter().find(|value| !value.is_finite()) {
            let reason = format!("tensor '{}' holds the value {value}", entries[index].key);
            return Err(ModelError::Format { path: origin.to_owned(), reason });
        }
    }
    for (index, array) in matching {
        network.parameters_mut().set_values(index, array.values.clone());
    }
    Ok(())
}

/// How a state dict fits a network, without changing anything.
pub fn compare(network: &Network, dict: &StateDict, fit: Fit) -> LoadReport {
    let entries = network.parameters().entries();
    let keys: Vec<(usize, String)> = wanted(network, fit).collect();
    let wanted = keys.iter().map(|(index, key)| (&**key, &*entries[*index].shape)).collect();
    let renamed = renamed(network, dict, fit);
    let given = renamed.iter().map(|(key, array)| (&**key, &*array.shape)).collect();
    fits::compare_shapes(&wanted, &given, fit, network.backbone())
}

/// A state dict under the network's own key names. A checkpoint has them already.
fn renamed<'a>(
    network: &Network,
    dict: &'a StateDict,
    fit: Fit,
) -> BTreeMap<Cow<'a, str>, &'a Array> {
    if fit == Fit::Whole {
        return dict.iter().map(|(key, array)| (Cow::from(key), array)).collect();
    }
    let keys = dict.keys().map(String::as_str);
    let translation = names::translate(network.backbone().name, keys);
    translation.keys.into_iter().map(|(ours, theirs)| (ours, &dict[theirs])).collect()
}

/// The network's entries that a state dict must hold.
fn wanted(network: &Network, fit: Fit) -> impl Iterator<Item = (usize, String)> {
    let entries = network.parameters().entries().iter().enumerate();
    entries
        .filter(move |(_, e)| fit == Fit::Whole || e.role != Role::Head)
        .map(|(i, e)| (i, e.key.clone()))
}
