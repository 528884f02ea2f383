//! What is evaluated: embeddings with labels, and where needed ids and groups.

use crate::error::RankingError;
use crate::rows::Rows;

/// A query set or a gallery.
#[derive(Debug, Clone, Copy)]
pub struct EvalSet<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) labels: &'a [u32],
    pub(super) ids: Option<&'a [u64]>,
    pub(super) groups: Option<&'a [u32]>,
}

impl<'a> EvalSet<'a> {
    /// Embeddings `[items, dim]` with one class each: an [`Embeddings<f32>`](crate::Embeddings), or
    /// [`Rows`] of any precision.
    ///
    /// # Errors
    /// [`RankingError::LabelCount`].
    pub fn new(rows: impl Into<Rows<'a>>, labels: &'a [u32]) -> Result<Self, RankingError> {
        let rows = rows.into();
        rows.check_labels(labels)?;
        Ok(Self { rows, labels, ids: None, groups: None })
    }

    /// Names each item: references with a query's id are left out of its list.
    ///
    /// # Errors
    /// [`RankingError::IdCount`].
    pub fn with_ids(self, ids: &'a [u64]) -> Result<Self, RankingError> {
        if ids.len() == self.labels.len() {
            Ok(Self { ids: Some(ids), ..self })
        } else {
            Err(RankingError::IdCount { embeddings: self.labels.len(), ids: ids.len() })
        }
    }

    /// Puts each item into a group: references of a query's class and group are left out of its
    /// list, as shots of the same camera are.
    ///
    /// # Errors
    /// [`RankingError::GroupCount`].
    pub fn with_groups(self, groups: &'a [u32]) -> Result<Self, RankingError> {
        if groups.len() == self.labels.len() {
            Ok(Self { groups: Some(groups), ..self })
        } else {
            let (embeddings, groups) = (self.labels.len(), groups.len());
            Err(RankingError::GroupCount { embeddings, groups })
        }
    }
}
