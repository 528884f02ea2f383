//! A tensor as it lies in a weight file: which bytes, and in what order its values stand in them.

use std::ops::Range;

use super::value_kind::ValueKind;

/// A tensor in a weight file, not decoded yet. Its bytes lie in the file: that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    kind: ValueKind,
    shape: Vec<usize>,
    /// How many values further the next index of each dimension is.
    strides: Vec<usize>,
    /// From its first value to its last.
    range: Range<usize>,
}

impl Stored {
    /// Values that fill their bytes, row-major.
    pub(super) fn contiguous(kind: ValueKind, shape: Vec<usize>, range: Range<usize>) -> Self {
        let strides = row_major(&shape);
        Self { kind, shape, strides, range }
    }

    /// A view of a storage, which lies in the file at `storage`: `offset` and `strides` count
    /// values.
    pub(super) fn view(
        kind: ValueKind,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        storage: Range<usize>,
    ) -> Result<Self, String> {
        let wrong = || {
            format!(
                "its shape {shape:?} with strides {strides:?} from value {offset} on does not lie \
                 in its storage of {} bytes",
                storage.len()
            )
        };
        if shape.len() != strides.len() {
            return Err(wrong());
        }
        let end = reach(&shape, &strides).and_then(|reach| offset.checked_add(reach));
        let bytes = |values: usize| values.checked_mul(kind.size());
        let (start, end) = (bytes(offset), end.and_then(bytes));
        let (start, end) =
            start.zip(end).filter(|&(_, end)| end <= storage.len()).ok_or_else(wrong)?;
        // How many values there are is what `len` may multiply without overflowing.
        let stored =
            Self { kind, shape, strides, range: storage.start + start..storage.start + end };
        stored.bytes().ok_or("it has more values than can be counted")?;
        Ok(stored)
    }

    /// The type of its values.
    pub fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many values it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The bytes of all its values side by side, which a view with a stride of 0 need not have in
    /// the file; `None` where no number holds that many.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.kind.size(), |bytes, &side| bytes.checked_mul(side))
    }

    /// Its values, row-major; `None` where they are not floating-point.
    pub(super) fn decode(&self, file: &[u8]) -> Option<Vec<f32>> {
        let values = self.kind.decode(&file[self.range.clone()])?;
        if self.shape.contains(&0) || self.strides == row_major(&self.shape) {
            return Some(values);
        }
        let mut gathered = Vec::with_capacity(self.count());
        let mut index = vec![0; self.shape.len()];
        for _ in 0..self.count() {
            let place: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            gathered.push(values[place]);
            advance(&mut index, &self.shape);
        }
        Some(gathered)
    }
}

/// The next index, the last dimension first.
fn advance(index: &mut [usize], shape: &[usize]) {
    for (i, &side) in index.iter_mut().zip(shape).rev() {
        *i += 1;
        if *i < side {
            return;
        }
        *i = 0;
    }
}

/// How many values lie from a view's first to its last; `None` where no number holds that many.
fn reach(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().zip(strides).try_fold(1usize, |reach, (&side, &stride)| {
        (side - 1).checked_mul(stride).and_then(|step| reach.checked_add(step))
    })
}

/// The strides of values side by side. Where a side is 0 they do not matter.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i]);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: u8) -> Vec<u8> {
        (0..count).flat_map(|i| f32::from(i).to_le_bytes()).collect()
    }

    #[test]
    fn a_view_is_gathered_by_its_strides_from_its_offset_on() {
        let view = Stored::view(ValueKind::F32, vec![2, 3], vec![1, 2], 1, 4..32).unwrap();
        assert_eq!(view.decode(&bytes(8)).unwrap(), [2.0, 4.0, 6.0, 3.0, 5.0, 7.0]);
    }

    #[test]
    fn a_view_may_repeat_a_value_or_have_none() {
        let repeated = Stored::view(ValueKind::F32, vec![3], vec![0], 2, 0..16).unwrap();
        assert_eq!(repeated.decode(&bytes(4)).unwrap(), [2.0; 3]);
        let empty = Stored::view(ValueKind::F32, vec![5, 0], vec![9, 9], 4, 0..16).unwrap();
        assert_eq!(empty.decode(&bytes(4)).unwrap(), [0.0; 0]);
    }

    #[test]
    fn a_view_beyond_its_storage_is_refused() {
        let refused = |shape: &[usize], strides: &[usize], offset| {
            let view = Stored::view(ValueKind::F32, shape.into(), strides.into(), offset, 0..16);
            view.is_err()
        };
        assert!(!refused(&[4], &[1], 0));
        assert!(refused(&[4], &[1], 1), "an offset");
        assert!(refused(&[3], &[2], 0), "a stride");
        assert!(refused(&[5], &[1], 0), "a side");
        assert!(refused(&[4], &[1, 1], 0), "another number of strides");
        assert!(refused(&[1], &[1], usize::MAX), "an offset that overflows");
        assert!(refused(&[usize::MAX, 2], &[usize::MAX, 1], 0), "strides that overflow");
        assert!(refused(&[usize::MAX, 3], &[0, 0], 0), "a count that overflows");
        assert!(refused(&[], &[], 4), "a single value behind the end");
    }
}
