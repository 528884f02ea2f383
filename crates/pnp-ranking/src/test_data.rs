//! Made-up numbers for the tests of this crate.

use crate::real::Real;

/// `count` numbers in -1..1 from a seed.
pub(crate) fn noise<T: Real>(count: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let bits = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        T::narrow(bits as f64 / (1_u64 << 52) as f64 - 1.0)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Rows of unit length from a seed.
pub(crate) fn unit_rows<T: Real>(rows: usize, dim: usize, seed: u64) -> Vec<T> {
    let mut values: Vec<f64> = noise(rows * dim, seed);
    for row in values.chunks_exact_mut(dim) {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        for value in row {
            *value /= norm;
        }
    }
    values.into_iter().map(T::narrow).collect()
}
