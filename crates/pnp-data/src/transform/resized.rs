//! The geometry of an image whose shorter side is resized and of which a part is cut out then:
//! where in the image that part comes from, so that nothing else is resampled.

/// One side after torchvision's `Resize(resize)`; `short` is the image's shorter side, and the
/// longer one is rounded down. Far beyond 32 bits where an image is thin.
pub(crate) fn side(resize: u32, side: u32, short: u32) -> u64 {
    u64::from(resize) * u64::from(side) / u64::from(short)
}

/// Where `shown` pixels after the first `offset` of a side that was resized to `resized` begin in
/// the image, and how far they reach, in its own pixels.
pub(super) fn span(side: u32, resized: u64, offset: f64, shown: u32) -> (f64, f64) {
    let scale = f64::from(side) / resized as f64;
    let from = offset * scale;
    // Rounding must not carry the part over the image's edge.
    (from, (f64::from(shown) * scale).min(f64::from(side) - from))
}

/// How many pixels from the image's beginning have an influence on such a part.
pub(super) fn reach(side: u32, (from, length): (f64, f64), shown: u32) -> u32 {
    // The bilinear filter reaches one output pixel, or one of the image's where that is more, from
    // the centre of each output pixel.
    let support = (length / f64::from(shown)).max(1.0);
    ((from + length + support).ceil() as u32).saturating_add(1).min(side)
}
