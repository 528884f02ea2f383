//! The structure of a set of embeddings, beyond what stands near what.
//!
//! - [`class_distances`] tells how wide the classes are and how far apart.
//! - [`spectrum`] tells over how many directions the embeddings spread.
//!
//! Both are computed in f64 from sums over the items: no pair of items is ever looked at, and the
//! memory beside the embeddings does not grow with their number. The bits of a result do not depend
//! on the number of threads.

mod class_distances;
mod eigenvalues;
mod spectrum;

use crate::vectorised::vectorised;

pub use class_distances::{ClassDistance, ClassDistances, class_distances};
pub use spectrum::{Spectrum, VANISHING, spectrum};

/// Running sums of an inner product, so that the processor need not wait for each addition.
const LANES: usize = 16;

/// The inner product of two vectors of one length, always added up in the same order.
fn inner(a: &[f64], b: &[f64]) -> f64 {
    debug_assert_eq!(a.len(), b.len());
    vectorised(
        #[inline(always)]
        || {
            let mut sums = [0.0; LANES];
            let (a_lanes, a_rest) = a.as_chunks::<LANES>();
            let (b_lanes, b_rest) = b.as_chunks::<LANES>();
            for (a, b) in a_lanes.iter().zip(b_lanes) {
                for lane in 0..LANES {
                    sums[lane] += a[lane] * b[lane];
                }
            }
            let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
            sums.iter().sum::<f64>() + rest
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_products_take_every_element_once() {
        for length in [0, 1, 15, 16, 17, 100] {
            let a: Vec<f64> = (0..length).map(f64::from).collect();
            let ones = vec![1.0; a.len()];
            assert_eq!(inner(&a, &ones), f64::from(length * (length - 1) / 2));
        }
    }
}
