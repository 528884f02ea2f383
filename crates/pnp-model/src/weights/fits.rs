//! Which backbones a state dict belongs to.

use std::collections::BTreeMap;

use super::{Fit, LoadReport, names};
use crate::backbone::{BACKBONES, BackboneEntry};
use crate::parameters::Role;
use crate::pool::GEM_KEY;

/// A backbone, and how a state dict fits it.
#[derive(Debug, Clone)]
pub struct Fitting {
    /// The backbone.
    pub backbone: &'static BackboneEntry,
    /// Whose key names the state dict has; `None`: those that the backbone has here.
    pub names: Option<&'static str>,
    /// How many tensors of the backbone are there, in the right shape.
    pub matched: usize,
    /// How many tensors the backbone has.
    pub wanted: usize,
    /// What does not fit.
    pub report: LoadReport,
}

/// How tensors with these names and shapes fit every backbone that they share a tensor with, the
/// best first.
pub fn fits(tensors: &BTreeMap<&str, &[usize]>) -> Vec<Fitting> {
    let all = BACKBONES.iter().map(|entry| fitting(entry, tensors));
    let mut fitting: Vec<Fitting> = all.filter(|fitting| fitting.matched > 0).collect();
    // Stable, so equals stay in the registry's order.
    fitting.sort_by(|a, b| {
        let share = |f: &Fitting| f.matched as f64 / f.wanted as f64;
        share(b)
            .total_cmp(&share(a))
            .then(a.report.unexpected.len().cmp(&b.report.unexpected.len()))
    });
    fitting
}

fn fitting(backbone: &'static BackboneEntry, tensors: &BTreeMap<&str, &[usize]>) -> Fitting {
    let translation = names::translate(backbone.name, tensors.keys().copied());
    let renamed: BTreeMap<&str, &[usize]> =
        translation.keys.iter().map(|(ours, theirs)| (&**ours, tensors[theirs])).collect();
    let layout = backbone.layout();
    let wanted: BTreeMap<&str, &[usize]> = layout
        .iter()
        .filter(|layer| layer.role != Role::Head)
        .map(|layer| (layer.key.as_str(), layer.shape.as_slice()))
        .collect();
    let report = compare_shapes(&wanted, &renamed, Fit::Backbone, backbone);
    let lacking = report.missing.len() + report.misshapen.len();
    let (matched, wanted) = (wanted.len() - lacking, wanted.len());
    Fitting { backbone, names: translation.source, matched, wanted, report }
}

/// What of `wanted` is not in `given` in the same shape, and what of `given` nobody wants.
pub(super) fn compare_shapes(
    wanted: &BTreeMap<&str, &[usize]>,
    given: &BTreeMap<&str, &[usize]>,
    fit: Fit,
    backbone: &BackboneEntry,
) -> LoadReport {
    let mut report = LoadReport::default();
    for (&key, &shape) in wanted {
        match given.get(key) {
            None => report.missing.push(key.to_owned()),
            Some(&other) if other != shape => {
                report.misshapen.push((key.to_owned(), shape.to_vec(), other.to_vec()));
            }
            Some(_) => {}
        }
    }
    // What follows a backbone is left aside, a pool's exponent like the last layer.
    let aside = |key: &str| {
        fit == Fit::Backbone && (is_last_layer(key, backbone.head_key) || key == GEM_KEY)
    };
    let unexpected = given.keys().filter(|key| !wanted.contains_key(**key) && !aside(key));
    report.unexpected = unexpected.map(|&key| key.to_owned()).collect();
    report
}

/// The last layer of pretrained weights, under its own name or the one the old code gave it.
fn is_last_layer(key: &str, head: &str) -> bool {
    [head, "last_linear"]
        .iter()
        .any(|name| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}
