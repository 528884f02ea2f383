//! What a loss is computed over: a batch, and the references that its items are ranked against.

use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::real::Real;

/// Embeddings with a class each and, where an item may come back later, an id each.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a, T: Real> {
    embeddings: Embeddings<'a, T>,
    labels: &'a [u32],
    ids: Option<&'a [u64]>,
}

impl<'a, T: Real> Items<'a, T> {
    /// Embeddings `[items, dim]` and one class id for each.
    ///
    /// # Errors
    /// [`RankingError::LabelCount`]; [`RankingError::TooLarge`] if inner products could leave the
    /// range of `T`.
    pub fn new(embeddings: Embeddings<'a, T>, labels: &'a [u32]) -> Result<Self, RankingError> {
        embeddings.check_labels(labels)?;
        embeddings.squared_norms()?;
        Ok(Self { embeddings, labels, ids: None })
    }

    /// Items that were checked before.
    pub(super) fn checked(
        embeddings: Embeddings<'a, T>,
        labels: &'a [u32],
        ids: Option<&'a [u64]>,
    ) -> Self {
        Self { embeddings, labels, ids }
    }

    /// Names each item, so that an older copy of it among the references is known as one.
    ///
    /// # Errors
    /// [`RankingError::IdCount`].
    pub fn with_ids(self, ids: &'a [u64]) -> Result<Self, RankingError> {
        if ids.len() == self.len() {
            Ok(Self { ids: Some(ids), ..self })
        } else {
            Err(RankingError::IdCount { embeddings: self.len(), ids: ids.len() })
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The embeddings.
    pub fn embeddings(&self) -> &Embeddings<'a, T> {
        &self.embeddings
    }

    /// The class of each.
    pub fn labels(&self) -> &'a [u32] {
        self.labels
    }

    /// The id of each, if they have any.
    pub fn ids(&self) -> Option<&'a [u64]> {
        self.ids
    }
}

/// The queries of a loss and what they are ranked against.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{Items, Loss, LossInput, PnpLoss, PnpSettings};
///
/// let (batch, older) = ([1.0_f32, 0.0, 0.6, 0.8], [0.8_f32, 0.6, 0.0, 1.0, 1.0, 0.0]);
/// let batch = Items::new(Embeddings::new(&batch, 2)?, &[0, 1])?.with_ids(&[10, 11])?;
/// let older = Items::new(Embeddings::new(&older, 2)?, &[0, 1, 0])?.with_ids(&[4, 5, 10])?;
/// // The last reference is an older copy of the first item: it is left out of that item's list.
/// let input = LossInput::batch_and(batch, older)?;
/// let output = PnpLoss::new(&PnpSettings::default())?.compute_f32(&input)?;
/// assert_eq!((output.counts.queries, output.counts.stale_copies), (2, 1));
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LossInput<'a, T: Real> {
    pub(super) batch: Items<'a, T>,
    /// Whether the batch's items are references of each other.
    pub(super) within_batch: bool,
    pub(super) references: Option<Items<'a, T>>,
    pub(super) reference_gradient: bool,
    pub(super) proxies: Option<Embeddings<'a, T>>,
}

impl<'a, T: Real> LossInput<'a, T> {
    /// Each item of the batch against all of the batch, as usual.
    pub fn batch(batch: Items<'a, T>) -> Self {
        Self {
            batch,
            within_batch: true,
            references: None,
            reference_gradient: false,
            proxies: None,
        }
    }

    /// Each item of the batch against other references only. The query is not in its own list, so
    /// that it does not count among its positives there.
    ///
    /// # Errors
    /// [`RankingError::ReferenceDimension`].
    pub fn against(batch: Items<'a, T>, references: Items<'a, T>) -> Result<Self, RankingError> {
        Ok(Self { within_batch: false, ..Self::batch_and(batch, references)? })
    }

    /// Each item of the batch against the batch and other references, as with a
    /// [`CrossBatchMemory`](super::CrossBatchMemory). References with the query's own id are left
    /// out of its list.
    ///
    /// # Errors
    /// [`RankingError::ReferenceDimension`]; [`RankingError::TooManyRows`] if both together have
    /// more than 32 bits can number.
    pub fn batch_and(batch: Items<'a, T>, references: Items<'a, T>) -> Result<Self, RankingError> {
        let (dim, reference_dim) = (batch.embeddings.dim(), references.embeddings.dim());
        if dim != reference_dim {
            return Err(RankingError::ReferenceDimension { batch: dim, references: reference_dim });
        }
        let rows = batch.len() + references.len();
        if u32::try_from(rows).is_err() {
            return Err(RankingError::TooManyRows { rows });
        }
        Ok(Self { references: Some(references), ..Self::batch(batch) })
    }

    /// The queries.
    pub fn queries(&self) -> Items<'a, T> {
        self.batch
    }

    /// Whether the queries are references of each other.
    pub fn ranks_within_batch(&self) -> bool {
        self.within_batch
    }

    /// The references besides, if there are some.
    pub fn references(&self) -> Option<Items<'a, T>> {
        self.references
    }

    /// Whether the gradient of the references is asked for.
    pub fn wants_reference_gradient(&self) -> bool {
        self.reference_gradient
    }

    /// The proxies, if there are some.
    pub fn proxies(&self) -> Option<Embeddings<'a, T>> {
        self.proxies
    }

    /// How many references each item is ranked against: those of the batch, if they are, first.
    pub fn reference_count(&self) -> usize {
        let within = if self.within_batch { self.batch.len() } else { 0 };
        within + self.references.map_or(0, |references| references.len())
    }

    /// The embedding of a reference and its class, by its place.
    pub(super) fn reference(&self, place: usize) -> (&'a [T], u32) {
        let within = if self.within_batch { self.batch.len() } else { 0 };
        match &self.references {
            Some(others) if place >= within => {
                (others.embeddings.row(place - within), others.labels[place - within])
            }
            _ => (self.batch.embeddings.row(place), self.batch.labels[place]),
        }
    }

    /// Whether a reference is in the query's list besides the query itself: it is not the query,
    /// nor an older copy of it.
    pub(super) fn takes_part(&self, query: usize, place: usize) -> bool {
        let within = if self.within_batch { self.batch.len() } else { 0 };
        if place < within {
            return place != query;
        }
        let others = self.references.and_then(|references| references.ids);
        match (self.batch.ids, others) {
            (Some(ids), Some(others)) => ids[query] != others[place - within],
            _ => true,
        }
    }

    /// Asks for the gradient of the references too.
    #[must_use]
    pub fn with_reference_gradient(self) -> Self {
        Self { reference_gradient: true, ..self }
    }

    /// Adds the proxies, `[classes, dim]`, of a loss that trains some: row c is that of class c.
    /// They are normalised inside, and their gradient is returned.
    ///
    /// # Errors
    /// [`RankingError::ProxyDimension`]; [`RankingError::ProxyClass`] for a label without a
    /// proxy.
    pub fn with_proxies(self, proxies: Embeddings<'a, T>) -> Result<Self, RankingError> {
        let dim = self.batch.embeddings.dim();
        if proxies.dim() != dim {
            return Err(RankingError::ProxyDimension { batch: dim, proxies: proxies.dim() });
        }
        let classes = proxies.rows();
        if let Some(&label) = self.batch.labels.iter().find(|&&label| label as usize >= classes) {
            return Err(RankingError::ProxyClass { label, classes });
        }
        Ok(Self { proxies: Some(proxies), ..self })
    }
}
