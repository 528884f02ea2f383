//! The geometry of an image whose shorter side is resized and of which a part is cut out then:
//! where in the image that part comes from, so that nothing else is decoded or resampled.

use super::CropBox;
use super::resample::Region;

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

/// How far, in powers of two up to 8, an image may be shrunk before the part of it that this region
/// is becomes smaller than `shown` pixels in each direction.
pub(super) fn shrink(region: Region, shown: (u32, u32)) -> u32 {
    let times = (region.width / f64::from(shown.0)).min(region.height / f64::from(shown.1));
    [8, 4, 2].into_iter().find(|&shrink| f64::from(shrink) <= times).unwrap_or(1)
}

/// The pixels that have an influence on `shown` pixels of a region of the resized image, which is
/// made from the image shrunk so far.
pub(super) fn part(size: (u32, u32), region: Region, shown: (u32, u32), shrink: u32) -> CropBox {
    let (left, width) = reach(size.0, (region.left, region.width), shown.0, shrink);
    let (top, height) = reach(size.1, (region.top, region.height), shown.1, shrink);
    CropBox { left, top, width, height }
}

/// The same of a side: pixels before, and how many there are.
fn reach(side: u32, (from, length): (f64, f64), shown: u32, shrink: u32) -> (u32, u32) {
    // The bilinear filter reaches one output pixel, or one of the image's where that is more, from
    // the centre of each output pixel.
    let support = (length / f64::from(shown)).max(f64::from(shrink));
    let first = ((from - support).floor() as u32).saturating_sub(shrink);
    let end = ((from + length + support).ceil() as u32).saturating_add(shrink).min(side);
    (first, end.saturating_sub(first))
}
