//! Embeddings of earlier batches, to rank new ones against.

use std::ops::Range;

use super::Items;
use crate::embeddings::Embeddings;
use crate::error::RankingError;

/// A ring of the last embeddings, with their classes and ids (Wang et al., Cross-Batch Memory for
/// Embedding Learning, CVPR 2020).
///
/// Rank a batch against it with [`LossInput::batch_and`](super::LossInput::batch_and), then
/// [`push`](Self::push) the batch. Nothing flows back into what it holds. An item that comes again
/// stands in it twice, and both copies are left out of that item's own list by its id.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::loss::{CrossBatchMemory, Items, Loss, LossInput, PnpLoss, PnpSettings};
///
/// let loss = PnpLoss::new(&PnpSettings::default())?;
/// let mut memory = CrossBatchMemory::new(1000, 2)?;
/// for (values, ids) in [([1.0, 0.0, 0.6, 0.8], [7, 8]), ([0.8, 0.6, 0.0, 1.0], [9, 7])] {
///     let batch = Items::new(Embeddings::new(&values, 2)?, &[0, 1])?.with_ids(&ids)?;
///     let output = loss.compute_f32(&LossInput::batch_and(batch, memory.items())?)?;
///     memory.push(&batch)?;
///     assert!(output.value.is_finite());
/// }
/// assert_eq!(memory.items().ids(), Some(&[7, 8, 9, 7][..]));
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CrossBatchMemory {
    capacity: usize,
    dim: usize,
    embeddings: Vec<f32>,
    labels: Vec<u32>,
    ids: Vec<u64>,
    /// The place that is written next, once the ring is full.
    next: usize,
}

impl CrossBatchMemory {
    /// An empty memory of `capacity` embeddings of `dim` values; room is made as it fills.
    ///
    /// # Errors
    /// [`RankingError::Setting`] for a capacity of 0 or of more than 32 bits can number;
    /// [`RankingError::ZeroDimension`].
    pub fn new(capacity: usize, dim: usize) -> Result<Self, RankingError> {
        let rule = "it must be a whole number from 1 to 4294967295";
        if capacity == 0 || u32::try_from(capacity).is_err() {
            let value = capacity.to_string();
            return Err(RankingError::Setting { setting: "memory", value, rule });
        }
        if dim == 0 {
            return Err(RankingError::ZeroDimension);
        }
        let (embeddings, labels, ids) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { capacity, dim, embeddings, labels, ids, next: 0 })
    }

    /// A memory as it was, from [`items`](Self::items) in their order and [`next`](Self::next).
    ///
    /// # Errors
    /// [`RankingError::Setting`] if they are not the state of such a memory, and those of
    /// [`new`](Self::new).
    pub fn restore(
        capacity: usize,
        items: &Items<'_, f32>,
        next: usize,
    ) -> Result<Self, RankingError> {
        let mut memory = Self::new(capacity, items.embeddings().dim())?;
        let full = items.len() == capacity;
        if items.len() > capacity || (if full { next >= capacity } else { next != items.len() }) {
            let value = format!("{} items, place {next}", items.len());
            let rule = "a memory holds at most its capacity, and its place lies in it";
            return Err(RankingError::Setting { setting: "memory", value, rule });
        }
        memory.push(items)?;
        memory.next = next;
        Ok(memory)
    }

    /// How many it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The place in [`items`](Self::items) that is written next.
    pub fn next(&self) -> usize {
        self.next
    }

    /// What it holds, by place: not by age once the ring is full.
    pub fn items(&self) -> Items<'_, f32> {
        let embeddings = Embeddings::checked(&self.embeddings, self.dim);
        Items::checked(embeddings, &self.labels, Some(&self.ids))
    }

    /// Takes a batch in, over the oldest. Of a batch larger than the memory the last remain.
    ///
    /// # Errors
    /// [`RankingError::ReferenceDimension`]; [`RankingError::IdCount`] for a batch without ids.
    pub fn push(&mut self, batch: &Items<'_, f32>) -> Result<(), RankingError> {
        let dim = batch.embeddings().dim();
        if dim != self.dim {
            return Err(RankingError::ReferenceDimension { batch: dim, references: self.dim });
        }
        let Some(ids) = batch.ids() else {
            return Err(RankingError::IdCount { embeddings: batch.len(), ids: 0 });
        };
        let mut start = batch.len().saturating_sub(self.capacity);
        while start < batch.len() {
            let room = (self.capacity - self.next).min(batch.len() - start);
            let taken = start..start + room;
            self.write(&batch.embeddings().values()[scaled(&taken, dim)], dim);
            write_at(&mut self.labels, self.next, &batch.labels()[taken.clone()]);
            write_at(&mut self.ids, self.next, &ids[taken]);
            self.next = (self.next + room) % self.capacity;
            start += room;
        }
        Ok(())
    }

    fn write(&mut self, values: &[f32], dim: usize) {
        write_at(&mut self.embeddings, self.next * dim, values);
    }
}

fn scaled(range: &Range<usize>, by: usize) -> Range<usize> {
    range.start * by..range.end * by
}

/// Overwrites from `place` on, and appends what goes beyond the end.
fn write_at<V: Copy>(to: &mut Vec<V>, place: usize, values: &[V]) {
    let (over, beyond) = values.split_at(values.len().min(to.len() - place));
    to[place..place + over.len()].copy_from_slice(over);
    to.extend_from_slice(beyond);
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn push(memory: &mut CrossBatchMemory, ids: Range<u64>) {
        let values: Vec<f32> = ids.clone().flat_map(|id| [id as f32, -(id as f32)]).collect();
        let labels: Vec<u32> = ids.clone().map(|id| id as u32 / 3).collect();
        let ids: Vec<u64> = ids.collect();
        let embeddings = Embeddings::new(&values, 2).unwrap();
        memory.push(&Items::new(embeddings, &labels).unwrap().with_ids(&ids).unwrap()).unwrap();
    }

    #[test]
    fn the_last_ones_are_held_in_ring_order() {
        let mut memory = CrossBatchMemory::new(5, 2).unwrap();
        let mut expected = VecDeque::new();
        let mut next_id = 0;
        for batch in [2, 2, 2, 5, 1, 13, 4, 0, 3] {
            push(&mut memory, next_id..next_id + batch);
            expected.extend(next_id..next_id + batch);
            next_id += batch;
            while expected.len() > 5 {
                expected.pop_front();
            }
            let items = memory.items();
            let ids = items.ids().unwrap();
            // From the place that is written next on, they are in the order they came.
            let start = if ids.len() == 5 { memory.next() } else { 0 };
            let by_age = (0..ids.len()).map(|i| ids[(start + i) % ids.len()]);
            assert!(by_age.eq(expected.iter().copied()));
            for (i, &id) in ids.iter().enumerate() {
                assert_eq!(items.embeddings().row(i), [id as f32, -(id as f32)]);
                assert_eq!(items.labels()[i], id as u32 / 3);
            }
            let restored = CrossBatchMemory::restore(5, &items, memory.next()).unwrap();
            assert_eq!(restored, memory);
        }
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        assert!(CrossBatchMemory::new(0, 4).is_err());
        assert!(CrossBatchMemory::new(4, 0).is_err());
        let mut memory = CrossBatchMemory::new(4, 2).unwrap();
        push(&mut memory, 0..3);
        for next in [0, 2, 4] {
            assert!(CrossBatchMemory::restore(4, &memory.items(), next).is_err());
        }
        assert!(CrossBatchMemory::restore(2, &memory.items(), 0).is_err());
        assert!(CrossBatchMemory::restore(3, &memory.items(), 3).is_err());
        let values = [0.0; 3];
        let no_ids = Items::new(Embeddings::new(&values[..2], 2).unwrap(), &[0]).unwrap();
        let error = memory.push(&no_ids).unwrap_err();
        assert_eq!(error, RankingError::IdCount { embeddings: 1, ids: 0 });
        let wide = Items::new(Embeddings::new(&values, 3).unwrap(), &[0]).unwrap();
        let error = memory.push(&wide.with_ids(&[1]).unwrap()).unwrap_err();
        assert_eq!(error, RankingError::ReferenceDimension { batch: 3, references: 2 });
    }
}
