//! Weights that resample a row of values to another length.

/// How sharp the cubic is: Pillow's, and PyTorch's where it antialiases.
const SHARPNESS: f64 = -0.5;
/// Values on each side that the cubic reaches at its own scale.
const REACH: f64 = 2.0;

/// The weights of cubic resampling with antialiasing from `from` values to `to`, row-major
/// `[to, from]`: what PyTorch's `interpolate(mode="bicubic", antialias=True)` does along one axis.
/// Each row sums to 1.
pub(crate) fn cubic(from: usize, to: usize) -> Vec<f32> {
    let scale = from as f64 / to as f64;
    // Where values grow fewer, the cubic is stretched over all that one of them stands for.
    let stretch = scale.max(1.0);
    let mut weights = vec![0.0; to * from];
    for (i, row) in weights.chunks_exact_mut(from).enumerate() {
        let centre = scale * (i as f64 + 0.5);
        let first = (centre - REACH * stretch + 0.5).max(0.0) as usize;
        let end = ((centre + REACH * stretch + 0.5) as usize).min(from);
        let weight = |j: usize| kernel((j as f64 - centre + 0.5) / stretch);
        let sum: f64 = (first..end).map(weight).sum();
        for (j, slot) in (first..end).zip(&mut row[first..end]) {
            *slot = (weight(j) / sum) as f32;
        }
    }
    weights
}

/// The cubic convolution kernel (Keys, 1981).
fn kernel(x: f64) -> f64 {
    let (a, x) = (SHARPNESS, x.abs());
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < REACH {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}
