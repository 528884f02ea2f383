//! Made-up embeddings, the same in every bench and in `benches/peers/metrics.py`.

/// How far items are from the centre of their class, beside how far centres are from 0: about
/// three of four items of 60,502 x 512 have one of their class as their nearest.
const SPREAD: f32 = 2.25;

/// `items` rows around the centres of `classes` classes of nearly the same size, with their labels.
/// Every value is a number drawn from its place alone.
pub(crate) fn set(items: usize, dim: usize, classes: usize) -> (Vec<f32>, Vec<u32>) {
    let labels: Vec<u32> = (0..items).map(|i| (i * classes / items) as u32).collect();
    let mut values = Vec::with_capacity(items * dim);
    for (i, &label) in labels.iter().enumerate() {
        let centre = u64::from(label) << 20;
        let item = (1 << 60) | (i as u64) << 20;
        let value = |d: u64| uniform(centre | d) + SPREAD * uniform(item | d);
        values.extend((0..dim as u64).map(value));
    }
    (values, labels)
}

/// A number in -1..1 for a key: the upper bits of SplitMix64 (Steele et al., OOPSLA 2014).
fn uniform(key: u64) -> f32 {
    let mut z = key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
}
