//! Convolutions with their batch norm folded in, made once and used until a parameter changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use burn::tensor::Tensor;

use crate::ops::Filters;
use crate::parameters::ParameterId;

/// A weight and a bias.
pub(crate) type Affine = (Filters, Tensor<1>);

/// The folded layers of a network by the id of their weight: as much memory again as their weights.
#[derive(Debug, Default)]
pub(crate) struct FoldedLayers(Mutex<HashMap<ParameterId, Affine>>);

impl FoldedLayers {
    /// The layer of this weight, by `fold` where it is not there yet.
    pub(crate) fn get(&self, weight: ParameterId, fold: impl FnOnce() -> Affine) -> Affine {
        // A panic elsewhere leaves whole entries or none.
        let mut layers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        layers.entry(weight).or_insert_with(fold).clone()
    }

    /// Forgets all of them: a parameter may have changed.
    pub(crate) fn clear(&mut self) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
