//! Random generators keyed by what they decide.
//!
//! A ChaCha8 key has 256 bits: the seed, two numbers that say which decision it is (epoch and
//! batch position, say) and the purpose fit in it as they are. Generators of different decisions
//! are therefore independent, and none has to be drawn from in any order.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a generator is for. The numbers are part of the key: changing one changes every run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Which classes are held out for testing.
    HoldOut = 1,
    /// Which images form the batches of an epoch.
    Batches = 2,
    /// How an image is cropped and flipped.
    Augment = 3,
    /// Which image replaces a broken one.
    Replace = 4,
    /// Which classes form a fold of the cross-validation.
    Folds = 20,
    /// Which images form the gallery of a data set whose protocol draws it.
    Gallery = 21,
    /// Which images the class means of an evaluation are taken of.
    ClassMeans = 22,
}

/// The generator of one decision: `first` and `second` tell decisions of one purpose apart.
pub(crate) fn keyed(seed: u64, purpose: Purpose, first: u64, second: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [seed, purpose as u64, first, second];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Appends `count` of `pool` to `out`: without replacement while the pool lasts, then the whole
/// pool anew, so that every element comes once before any comes twice. Shuffles `pool`.
pub(crate) fn deal(pool: &mut [u32], count: usize, rng: &mut impl Rng, out: &mut Vec<u32>) {
    let mut left = count;
    while left > 0 && !pool.is_empty() {
        let (dealt, _) = pool.partial_shuffle(rng, left);
        left -= dealt.len();
        out.extend_from_slice(dealt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_matters() {
        let draw = |seed, purpose, a, b| keyed(seed, purpose, a, b).next_u64();
        let base = draw(1, Purpose::Augment, 2, 3);
        assert_eq!(base, draw(1, Purpose::Augment, 2, 3));
        for other in [
            draw(2, Purpose::Augment, 2, 3),
            draw(1, Purpose::Replace, 2, 3),
            draw(1, Purpose::Augment, 3, 3),
            draw(1, Purpose::Augment, 2, 4),
            draw(1, Purpose::Augment, 3, 2),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn dealing_repeats_nothing_before_all_were_dealt() {
        let mut rng = keyed(0, Purpose::Batches, 0, 0);
        let mut out = Vec::new();
        deal(&mut [7, 8, 9], 8, &mut rng, &mut out);
        assert_eq!(out.len(), 8);
        for round in [&out[..3], &out[3..6]] {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [7, 8, 9]);
        }
        assert_ne!(out[6], out[7]);
    }

    #[test]
    fn dealing_from_an_empty_pool_ends() {
        let mut out = Vec::new();
        deal(&mut [], 3, &mut keyed(0, Purpose::Batches, 0, 0), &mut out);
        assert!(out.is_empty());
    }
}
