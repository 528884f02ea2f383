//! What a batch is ranked against besides itself.

use burn::tensor::{Int, Tensor};

/// Embeddings beyond the batch that its items are ranked against: a memory of earlier batches, or a
/// second view of the same images.
///
/// They are references only: nothing is ranked for them. Where they are tracked by autodiff, the
/// gradient reaches them as well; a memory holds [inner](Tensor::inner) tensors.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use pnp_ranking_burn::{PnpLossConfig, References};
///
/// let device = Device::flex().autodiff();
/// let loss = PnpLossConfig::new().init()?;
/// let ints = |values: &[i32]| Tensor::<1, Int>::from_ints(values, &device);
///
/// let batch = Tensor::<2>::from_floats([[1.0, 0.0], [0.6, 0.8]], &device).require_grad();
/// let older = Tensor::<2>::from_floats([[0.8, 0.6], [0.0, 1.0], [1.0, 0.1]], &device).inner();
/// // The last of them is an older copy of the first item: it is left out of that item's list.
/// let older = References::new(older, ints(&[0, 1, 0])).with_ids(ints(&[10, 11]), ints(&[4, 5, 10]));
///
/// let value = loss.forward_with_references(batch.clone(), ints(&[0, 1]), older);
/// assert!(batch.grad(&value.backward()).is_some());
/// # Ok::<(), pnp_ranking_burn::RankingError>(())
/// ```
#[derive(Debug, Clone)]
pub struct References {
    pub(crate) embeddings: Tensor<2>,
    pub(crate) labels: Tensor<1, Int>,
    /// Those of the batch, and these references' own.
    pub(crate) ids: Option<(Tensor<1, Int>, Tensor<1, Int>)>,
    pub(crate) with_batch: bool,
}

impl References {
    /// References that each item is ranked against together with the batch.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[references, dim]`
    /// - labels: `[references]`
    pub fn new(embeddings: Tensor<2>, labels: Tensor<1, Int>) -> Self {
        Self { embeddings, labels, ids: None, with_batch: true }
    }

    /// Names the items of the batch and the references, so that a reference with an item's own id
    /// is left out of its list.
    ///
    /// # Shapes
    ///
    /// - batch: `[batch]`
    /// - references: `[references]`
    #[must_use]
    pub fn with_ids(self, batch: Tensor<1, Int>, references: Tensor<1, Int>) -> Self {
        Self { ids: Some((batch, references)), ..self }
    }

    /// Ranks each item against the references only, and not against the batch. No query is in its
    /// own list then, so that it does not count among its positives.
    #[must_use]
    pub fn without_batch(self) -> Self {
        Self { with_batch: false, ..self }
    }
}
