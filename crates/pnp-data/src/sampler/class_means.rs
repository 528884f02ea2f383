//! The mean embedding of each class: what a sampler may learn of the network.

use crate::error::DataError;

/// How many partial sums an inner product has: as many as the widest vectors hold. Their order is
/// fixed, and so are the bits.
const LANES: usize = 16;

/// Unit means of the embeddings of each class of the training set.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMeans {
    dim: usize,
    /// `[classes, dim]`, row-major.
    values: Vec<f32>,
}

impl ClassMeans {
    /// The normalised mean of each class's embeddings, `[images, dim]` row-major, whose classes are
    /// `labels`. A class without any gets zeros, which are as near to one class as to another.
    ///
    /// # Errors
    /// [`DataError::Setting`] where a value is no finite number.
    ///
    /// # Panics
    /// Where there are not `dim` values for each label, or a label is not below `classes`.
    pub fn of(
        embeddings: &[f32],
        dim: usize,
        labels: &[u32],
        classes: usize,
    ) -> Result<Self, DataError> {
        assert_eq!(embeddings.len(), dim * labels.len(), "{dim} values for each label");
        let mut sums = vec![0.0_f64; classes * dim];
        for (row, &label) in embeddings.chunks_exact(dim.max(1)).zip(labels) {
            let sum = &mut sums[label as usize * dim..][..dim];
            sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let mut values = Vec::with_capacity(sums.len());
        for sum in sums.chunks_exact(dim.max(1)) {
            let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
            let scale = if norm > 0.0 { norm.recip() } else { 0.0 };
            values.extend(sum.iter().map(|value| (value * scale) as f32));
        }
        Self::stored(values, dim)
    }

    /// Means that were stored: `[classes, dim]`, row-major.
    ///
    /// # Errors
    /// [`DataError::Setting`] where a row is not whole, or a value is no finite number.
    pub fn stored(values: Vec<f32>, dim: usize) -> Result<Self, DataError> {
        let refuse = |value: String, rule: &str| {
            Err(DataError::Setting { setting: "class means", value, rule: rule.to_owned() })
        };
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return refuse(values.len().to_string(), "there must be as many values for each class");
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return refuse(value.to_string(), "every value must be a finite number");
        }
        Ok(Self { dim, values })
    }

    /// Length of a mean.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.values.len() / self.dim
    }

    /// `[classes, dim]`, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The `count` classes most similar to one, the most similar first, the lower label before the
    /// higher where they are alike; none of those that are `taken`.
    pub(super) fn nearest(&self, label: u32, count: usize, taken: &[bool]) -> Vec<u32> {
        let mean = &self.values[label as usize * self.dim..][..self.dim];
        let rows = self.values.chunks_exact(self.dim).zip(taken).zip(0_u32..);
        let free = rows.filter(|((_, taken), _)| !**taken);
        let mut found: Vec<(f32, u32)> =
            free.map(|((row, _), other)| (inner_product(mean, row), other)).collect();
        let order =
            |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1));
        if count == 0 || found.is_empty() {
            return Vec::new();
        }
        if count < found.len() {
            found.select_nth_unstable_by(count - 1, order);
            found.truncate(count);
        }
        found.sort_unstable_by(order);
        found.into_iter().map(|(_, label)| label).collect()
    }
}

fn inner_product(a: &[f32], b: &[f32]) -> f32 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest = rest_a.iter().zip(rest_b).map(|(a, b)| a * b);
    sums.into_iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_normalised_and_a_class_without_images_is_zero() {
        let embeddings = [3.0, 0.0, 0.0, 4.0, 0.0, -1.0];
        let means = ClassMeans::of(&embeddings, 2, &[0, 0, 2], 3).unwrap();
        assert_eq!(means.values(), [0.6, 0.8, 0.0, 0.0, 0.0, -1.0]);
    }

    #[test]
    fn the_nearest_are_free_sorted_and_the_lower_label_goes_first() {
        let rows: Vec<[f32; 17]> = [0.0, 3.0, 1.0, 3.0, 2.0]
            .map(|first| std::array::from_fn(|i| if i == 16 { first } else { 1.0 }))
            .to_vec();
        let means = ClassMeans::stored(rows.as_flattened().to_vec(), 17).unwrap();
        let mut taken = [false; 5];
        taken[2] = true;
        assert_eq!(means.nearest(2, 3, &taken), [1, 3, 4]);
        assert_eq!(means.nearest(2, 9, &taken), [1, 3, 4, 0]);
        assert!(means.nearest(2, 0, &taken).is_empty());
    }

    #[test]
    fn means_that_are_no_numbers_are_refused() {
        let error = ClassMeans::stored(vec![1.0, f32::NAN], 1).unwrap_err().to_string();
        assert!(error.contains("finite"), "{error}");
        assert!(ClassMeans::stored(vec![1.0; 3], 2).is_err());
        assert!(ClassMeans::stored(Vec::new(), 0).is_err());
    }
}
