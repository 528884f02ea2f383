//! Hashes that differ in a few bits, found without comparing all with all: multi-index hashing
//! (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR
//! 2012).
//!
//! A hash is cut into four parts of 16 bits. Of two hashes that differ in at most 7 bits, one part
//! differs in at most one: looking each part up in a table, as it is and with each bit flipped,
//! finds them all.

use rayon::prelude::*;

use super::picture::MAX_BITS;

const PARTS: usize = 4;
const PART_BITS: u32 = 16;
const _: () = assert!(MAX_BITS as usize / PARTS <= 1, "a part may differ in more than one bit");

/// For each of some hashes that are all different: the places of those within [`MAX_BITS`] bits,
/// its own among them, ascending.
pub(super) fn neighbours(hashes: &[u64]) -> Vec<Vec<u32>> {
    let tables: Vec<Table> = (0..PARTS).map(|part| Table::new(hashes, part)).collect();
    let find = |&hash: &u64| {
        let mut found: Vec<u32> = tables
            .iter()
            .flat_map(|table| table.candidates(hash))
            .filter(|&place| (hashes[place as usize] ^ hash).count_ones() <= MAX_BITS)
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    hashes.par_iter().map(find).collect()
}

/// The places of the hashes, by the value of one part.
struct Table {
    part: usize,
    /// Those of value `v` are `places[starts[v]..starts[v + 1]]`.
    starts: Vec<u32>,
    places: Vec<u32>,
}

impl Table {
    fn new(hashes: &[u64], part: usize) -> Self {
        let mut starts = vec![0; (1 << PART_BITS) + 1];
        for &hash in hashes {
            starts[value(hash, part) + 1] += 1;
        }
        for v in 0..1 << PART_BITS {
            starts[v + 1] += starts[v];
        }
        let (mut next, mut places) = (starts.clone(), vec![0; hashes.len()]);
        for (place, &hash) in hashes.iter().enumerate() {
            let slot = &mut next[value(hash, part)];
            places[*slot as usize] = place as u32;
            *slot += 1;
        }
        Self { part, starts, places }
    }

    /// The places of hashes that differ from `hash` in at most one bit of the part.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> {
        let own = value(hash, self.part);
        let values = std::iter::once(own).chain((0..PART_BITS).map(move |bit| own ^ 1 << bit));
        values.flat_map(|v| {
            let range = self.starts[v] as usize..self.starts[v + 1] as usize;
            self.places[range].iter().copied()
        })
    }
}

fn value(hash: u64, part: usize) -> usize {
    (hash >> (part as u32 * PART_BITS)) as usize & ((1 << PART_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;
    use crate::random::{Purpose, keyed};

    #[test]
    fn what_is_found_is_what_comparing_all_with_all_finds() {
        let mut rng = keyed(3, Purpose::Batches, 0, 0);
        let mut hashes: Vec<u64> = (0..100).map(|_| rng.next_u64()).collect();
        // Neighbours at every distance up to 12, so that both sides of the limit are there.
        for at in 0..100 {
            let mut near = hashes[at];
            for _ in 0..at % 13 {
                near ^= 1 << (rng.next_u64() % 64);
            }
            hashes.push(near);
        }
        hashes.sort_unstable();
        hashes.dedup();
        let mut pairs = 0;
        for (hash, found) in hashes.iter().zip(neighbours(&hashes)) {
            let near = |other: &u64| (hash ^ other).count_ones() <= MAX_BITS;
            let expected: Vec<u32> =
                (0..).zip(&hashes).filter(|(_, other)| near(other)).map(|(i, _)| i).collect();
            assert_eq!(found, expected);
            pairs += expected.len() - 1;
        }
        assert!(pairs > 50, "the test has few neighbours: {pairs}");
    }

    #[test]
    fn no_hashes_have_no_neighbours() {
        assert!(neighbours(&[]).is_empty());
    }
}
