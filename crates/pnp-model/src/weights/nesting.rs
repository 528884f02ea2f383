//! Finds the state dict in what training programs save around it.
//!
//! They save a dictionary with an epoch, an optimiser and settings beside the weights, or two
//! networks (DINO's student and teacher), and wrap a network in others (`DataParallel` puts
//! `module.` before every key). One rule serves both: a key's first part, where it is one of those
//! below, is taken off, again and again.

use std::collections::BTreeMap;

use super::stored::Stored;

/// A part that is taken off the keys that have it; the others stay.
const TRANSPARENT: &str = "module";
/// Parts in which the state dict is: what is beside it is left aside. The first that is there
/// counts, so of DINO's two networks it is the teacher, which its authors evaluate.
const WRAPPERS: [&str; 6] =
    ["state_dict", "model_state_dict", "model", "teacher", "student", "backbone"];
/// How often parts are taken off.
const DEEPEST: usize = 8;

/// A state dict, and what was around it.
#[derive(Debug, Default)]
pub(super) struct Unwrapped {
    pub(super) tensors: BTreeMap<String, Stored>,
    /// What was taken off, the outermost first.
    pub(super) nested_in: Vec<String>,
    /// The whole names of the tensors that are left aside.
    pub(super) beside: Vec<String>,
}

/// Takes the wrappers off.
///
/// # Errors
///
/// Two tensors that would have the same key.
pub(super) fn unwrap(tensors: BTreeMap<String, Stored>) -> Result<Unwrapped, String> {
    let mut unwrapped = Unwrapped { tensors, ..Unwrapped::default() };
    for _ in 0..DEEPEST {
        let has = |part: &&str| {
            let start = format!("{part}.");
            unwrapped.tensors.keys().any(|key| key.starts_with(&start))
        };
        let Some(part) = [TRANSPARENT].into_iter().chain(WRAPPERS).find(has) else { break };
        unwrapped.take_off(part)?;
    }
    Ok(unwrapped)
}

impl Unwrapped {
    fn take_off(&mut self, part: &str) -> Result<(), String> {
        let start = format!("{part}.");
        let whole: String = self.nested_in.iter().flat_map(|outer| [outer.as_str(), "."]).collect();
        for (key, stored) in std::mem::take(&mut self.tensors) {
            let inner = match key.strip_prefix(&start) {
                Some(inner) => inner.to_owned(),
                None if part == TRANSPARENT => key,
                None => {
                    self.beside.push(format!("{whole}{key}"));
                    continue;
                }
            };
            if self.tensors.contains_key(&inner) {
                return Err(format!("it has two tensors '{inner}', one of them in '{part}'"));
            }
            self.tensors.insert(inner, stored);
        }
        self.nested_in.push(part.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::value_kind::ValueKind;
    use super::*;

    fn unwrapped(keys: &[&str]) -> Result<[Vec<String>; 3], String> {
        let stored = || Stored::contiguous(ValueKind::F32, vec![1], 0..4);
        let unwrapped = unwrap(keys.iter().map(|&key| (key.to_owned(), stored())).collect())?;
        let keys = unwrapped.tensors.into_keys().collect();
        Ok([keys, unwrapped.nested_in, unwrapped.beside])
    }

    #[test]
    fn a_plain_state_dict_stays_as_it_is() {
        let [keys, nested_in, beside] = unwrapped(&["conv1.weight", "fc.bias"]).unwrap();
        assert_eq!(keys, ["conv1.weight", "fc.bias"]);
        assert!(nested_in.is_empty() && beside.is_empty());
    }

    #[test]
    fn wrappers_come_off_from_the_outside_and_what_is_beside_them_is_named() {
        let keys = ["state_dict.module.model.fc.bias", "optimizer.state.0.exp_avg"];
        let [keys, nested_in, beside] = unwrapped(&keys).unwrap();
        assert_eq!(keys, ["fc.bias"]);
        assert_eq!(nested_in, ["state_dict", "module", "model"]);
        assert_eq!(beside, ["optimizer.state.0.exp_avg"]);
    }

    #[test]
    fn of_two_networks_it_is_the_teacher_and_of_it_the_backbone() {
        let keys = [
            "student.module.backbone.norm.bias",
            "teacher.backbone.norm.bias",
            "teacher.head.mlp.0.bias",
        ];
        let [keys, nested_in, beside] = unwrapped(&keys).unwrap();
        assert_eq!(keys, ["norm.bias"]);
        assert_eq!(nested_in, ["teacher", "backbone"]);
        assert_eq!(beside, ["student.module.backbone.norm.bias", "teacher.head.mlp.0.bias"]);
    }

    #[test]
    fn two_tensors_of_one_key_are_refused() {
        let error = unwrapped(&["fc.bias", "module.fc.bias"]).unwrap_err();
        assert!(error.contains("two tensors 'fc.bias'"), "{error}");
    }
}
