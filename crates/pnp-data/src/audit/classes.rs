//! Classes whose size makes their label suspicious; the rule is written at [`Kind::LargeClass`].

use super::{Finding, Kind, Subject};
use crate::error::Split;
use crate::set::ImageSet;

/// Quartiles of fewer classes say nothing.
const MIN_CLASSES: usize = 8;

/// How many times the median a class must be larger or smaller, whatever the quartiles.
const TIMES_MEDIAN: f64 = 4.0;

/// What is to be said about the classes of a split, in their order.
pub(super) fn findings(split: Split, set: &ImageSet) -> Vec<Finding> {
    let sizes: Vec<usize> =
        (0..set.classes() as u32).map(|label| set.class_items(label).len()).collect();
    let fences = Fences::new(&sizes);
    let named = sizes.iter().zip(set.class_names());
    named
        .filter_map(|(&size, name)| {
            let kind = fences.kind(size)?;
            let detail = match kind {
                Kind::LoneClass => String::new(),
                _ => format!("{size} images, where the median is {}", fences.median),
            };
            Some(Finding { kind, split, subject: Subject::Class(name.clone()), detail, twin: None })
        })
        .collect()
}

/// Sizes beyond which a class is suspicious.
struct Fences {
    median: f64,
    low: f64,
    high: f64,
}

impl Fences {
    fn new(sizes: &[usize]) -> Self {
        let mut sorted = sizes.to_vec();
        sorted.sort_unstable();
        if sorted.len() < MIN_CLASSES {
            return Self { median: 0.0, low: 0.0, high: f64::INFINITY };
        }
        let [first, median, third] = [0.25, 0.5, 0.75].map(|share| quantile(&sorted, share));
        let spread = (third / first).powi(3);
        Self {
            median,
            low: (first / spread).min(median / TIMES_MEDIAN),
            high: (third * spread).max(median * TIMES_MEDIAN),
        }
    }

    fn kind(&self, size: usize) -> Option<Kind> {
        match size {
            1 => Some(Kind::LoneClass),
            size if (size as f64) > self.high => Some(Kind::LargeClass),
            size if (size as f64) < self.low => Some(Kind::SmallClass),
            _ => None,
        }
    }
}

/// A quantile with linear interpolation; `sorted` is not empty.
fn quantile(sorted: &[usize], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize] as f64, sorted[at.ceil() as usize] as f64);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(sizes: &[usize]) -> Vec<Option<Kind>> {
        let fences = Fences::new(sizes);
        sizes.iter().map(|&size| fences.kind(size)).collect()
    }

    #[test]
    fn far_larger_and_far_smaller_classes_are_noticed() {
        let mut sizes = vec![50; 10];
        sizes.extend([201, 200, 12, 13, 1]);
        let kinds = kinds(&sizes);
        assert_eq!(kinds[..10], [None; 10]);
        let expected =
            [Some(Kind::LargeClass), None, Some(Kind::SmallClass), None, Some(Kind::LoneClass)];
        assert_eq!(kinds[10..], expected);
    }

    #[test]
    fn sizes_that_spread_widely_anyway_are_not_suspicious() {
        // As in Stanford Online Products, 2 to 12 images a class, and as in a long tail.
        let products: Vec<usize> = (0..100).map(|i| 2 + i % 11).collect();
        assert_eq!(kinds(&products), [None; 100]);
        let tail: Vec<usize> = (0..100).map(|i| 2 + 1000 / (i + 5)).collect();
        assert_eq!(kinds(&tail), [None; 100]);
    }

    #[test]
    fn a_few_classes_have_no_usual_size() {
        assert_eq!(kinds(&[3, 3, 3, 900]), [None; 4]);
    }
}
