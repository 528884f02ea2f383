//! Proxies: a trained vector for each class, used at length 1.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::embeddings::Embeddings;
use crate::real::Real;

/// Lengths below this count as this, as in PyTorch's `normalize`.
const LEAST_LENGTH: f64 = 1e-12;

/// Proxies to start from: directions drawn evenly from the sphere, `[classes, dim]`, length 1.
pub fn initial_proxies(classes: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut normal = || {
        // Box and Muller's transform; 1 - u is above 0.
        let (u, angle): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    };
    let mut values = Vec::with_capacity(classes * dim);
    for _ in 0..classes {
        let row: Vec<f64> = (0..dim).map(|_| normal()).collect();
        let length = length(row.iter().copied());
        values.extend(row.iter().map(|value| (value / length) as f32));
    }
    values
}

fn length(row: impl Iterator<Item = f64>) -> f64 {
    row.map(|value| value * value).sum::<f64>().sqrt().max(LEAST_LENGTH)
}

/// Rows of length 1 made of others.
#[derive(Debug)]
pub(super) struct UnitRows<T> {
    pub(super) values: Vec<T>,
    lengths: Vec<f64>,
    dim: usize,
}

impl<T: Real> UnitRows<T> {
    pub(super) fn of(proxies: &Embeddings<'_, T>) -> Self {
        let dim = proxies.dim();
        let mut values = proxies.values().to_vec();
        let lengths = values
            .chunks_exact_mut(dim)
            .map(|row| {
                let length = length(row.iter().map(|value| value.wide()));
                for value in row.iter_mut() {
                    *value = T::narrow(value.wide() / length);
                }
                length
            })
            .collect();
        Self { values, lengths, dim }
    }

    pub(super) fn embeddings(&self) -> Embeddings<'_, T> {
        Embeddings::checked(&self.values, self.dim)
    }

    /// The gradient of the rows they were made of, in place: the part along a row is lost, the
    /// rest shrinks with its length.
    pub(super) fn through_normalisation(&self, gradient: &mut [T]) {
        let rows = self.values.chunks_exact(self.dim).zip(&self.lengths);
        for (gradient, (unit, length)) in gradient.chunks_exact_mut(self.dim).zip(rows) {
            let along: f64 = gradient.iter().zip(unit).map(|(g, u)| g.wide() * u.wide()).sum();
            // A row of zeros has no direction, and nothing to turn.
            let scale = if *length > LEAST_LENGTH { 1.0 / length } else { 0.0 };
            for (g, u) in gradient.iter_mut().zip(unit) {
                *g = T::narrow((g.wide() - along * u.wide()) * scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_proxies_are_unit_rows_of_their_seed() {
        let proxies = initial_proxies(50, 16, 1);
        assert_eq!(proxies, initial_proxies(50, 16, 1));
        assert_ne!(proxies, initial_proxies(50, 16, 2));
        for row in proxies.chunks_exact(16) {
            assert!((row.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        // Directions have no preference: the mean is near 0.
        let mean = proxies.iter().sum::<f32>() / 800.0;
        assert!(mean.abs() < 0.03, "{mean}");
    }

    #[test]
    fn the_gradient_goes_through_the_normalisation() {
        let values = [3.0_f64, -4.0, 0.5, 0.1];
        let weights = [0.7, 0.2, -0.4, 1.1];
        let at = |values: &[f64]| {
            let unit = UnitRows::of(&Embeddings::new(values, 2).unwrap());
            unit.values.iter().zip(weights).map(|(u, w)| u * w).sum::<f64>()
        };
        let unit = UnitRows::of(&Embeddings::new(&values, 2).unwrap());
        let mut gradient = weights;
        unit.through_normalisation(&mut gradient);
        for i in 0..4 {
            let moved = |h: f64| {
                let mut values = values;
                values[i] += h;
                at(&values)
            };
            let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((gradient[i] - numeric).abs() < 1e-8);
        }
    }

    #[test]
    fn a_zero_row_stays_zero() {
        let zeros = [0.0_f32; 3];
        let unit = UnitRows::of(&Embeddings::new(&zeros, 3).unwrap());
        assert_eq!(unit.values, zeros);
        let mut gradient = [1.0; 3];
        unit.through_normalisation(&mut gradient);
        assert_eq!(gradient, zeros);
    }
}
