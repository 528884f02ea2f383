//! Patches of an image as rows of a matrix.
//!
//! Row `r` belongs to output position `r`, counted over the batch; its columns are (kernel row,
//! kernel column, channel). Channels come last in an image, so what one kernel row reads is one run
//! of memory, cut off at the image's edges.

use std::ops::Range;

use super::geometry::Geometry;

/// Fewer channels than these make runs too short to be worth a pointer.
const FEW_CHANNELS: usize = 16;

/// Writes the patches of some output positions, of each only the columns of some kernel rows.
///
/// `to` holds `rows × kernel_rows × kernel × channels` floats; all are written.
pub(super) fn gather(
    x: &[f32],
    g: &Geometry,
    rows: Range<usize>,
    kernel_rows: &Range<usize>,
    to: &mut [f32],
) {
    let c = g.channels_in;
    let run = g.kernel * c;
    let mut slots = to.chunks_exact_mut(run);
    for row in rows {
        let (image, oy, ox) = place(g, row);
        let image = &x[image * g.image_len()..][..g.image_len()];
        let inside = columns_inside(g, ox);
        for ky in kernel_rows.clone() {
            let slot = slots.next().expect("a slot for every position and kernel row");
            let Some(y) = g.source(oy, ky, g.height).filter(|_| !inside.is_empty()) else {
                slot.fill(0.0);
                continue;
            };
            let from = (y * g.width + ox * g.spec.stride + inside.start - g.spec.padding) * c;
            let (start, end) = (inside.start * c, inside.end * c);
            slot[..start].fill(0.0);
            slot[start..end].copy_from_slice(&image[from..from + end - start]);
            slot[end..].fill(0.0);
        }
    }
}

/// The image, row and column of an output position.
fn place(g: &Geometry, row: usize) -> (usize, usize, usize) {
    let (image, position) = (row / g.positions(), row % g.positions());
    (image, position / g.width_out, position % g.width_out)
}

/// The kernel columns that read inside the image at an output column.
fn columns_inside(g: &Geometry, ox: usize) -> Range<usize> {
    let at = ox * g.spec.stride;
    let start = g.spec.padding.saturating_sub(at).min(g.kernel);
    let end = (g.width + g.spec.padding).saturating_sub(at).min(g.kernel);
    start..end.max(start)
}

/// Whether patches are gathered: fewer channels make runs too short to be worth a pointer.
pub(super) fn gathers(g: &Geometry) -> bool {
    g.channels_in < FEW_CHANNELS && g.kernel > 1
}
