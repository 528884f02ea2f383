//! The weights of a convolution in the order in which the tiles of [`super::tile`] read them.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::geometry::Geometry;
use super::shared::{Shared, filled, written};
use super::tile::panel_width;

/// Channels of a weight that are turned at once: what is read of each filter stays in the cache.
const TURNED: usize = 16;

/// A weight cut along its columns, the channels that come out: of each panel of
/// [`panel_width`] columns first the kernel's offsets, then the channels that go in, then the
/// columns; zeros beyond the last column.
#[derive(Debug)]
pub(super) struct Panels {
    values: Vec<f32>,
    /// Channels that go in.
    inputs: usize,
    /// Channels that come out.
    outputs: usize,
    taps: usize,
    width: usize,
}

impl Panels {
    /// Those of the forward pass, from the weight `[o, i, k, k]` and the scale of every output:
    /// `i` goes in, `o` comes out.
    pub(super) fn forward(weight: &[f32], scale: &[f32], g: &Geometry) -> Self {
        let (inputs, taps) = (g.channels_in, g.kernel * g.kernel);
        let empty = Self::empty(inputs, g.channels_out, taps);
        let width = empty.width;
        let fill = |first: usize, panel: &mut [MaybeUninit<f32>]| {
            let columns = width.min(g.channels_out - first);
            if columns < width {
                panel.fill(MaybeUninit::new(0.0));
            }
            for c in (0..inputs).step_by(TURNED) {
                let channels = TURNED.min(inputs - c);
                for i in 0..columns {
                    let filter = &weight[((first + i) * inputs + c) * taps..][..channels * taps];
                    let scale = scale[first + i];
                    for (c, values) in (c..).zip(filter.chunks_exact(taps)) {
                        for (tap, value) in values.iter().enumerate() {
                            panel[(tap * inputs + c) * width + i].write(value * scale);
                        }
                    }
                }
            }
        };
        // SAFETY: a panel that is not whole is filled with zeros, and of one that is every offset,
        // channel and column is written.
        let values = unsafe {
            filled(empty.size(), |values| {
                let panels = values.par_chunks_mut(empty.length().max(1)).enumerate();
                panels.for_each(|(j, panel)| fill(j * width, panel));
            })
        };
        Self { values, ..empty }
    }

    /// Those of the gradient of the input, from the same: `o` goes in, `i` comes out.
    pub(super) fn backward(weight: &[f32], scale: &[f32], g: &Geometry) -> Self {
        let (channels, filters, taps) = (g.channels_in, g.channels_out, g.kernel * g.kernel);
        let empty = Self::empty(filters, channels, taps);
        let (width, panel) = (empty.width, empty.length());
        // Some filters at a time, whole: read panel by panel, each would be visited in small pieces
        // that lie far apart.
        let fill = |block: usize, values: &Shared| {
            let some = block * TURNED..filters.min((block + 1) * TURNED);
            for (j, first) in (0..channels).step_by(width).enumerate() {
                let columns = width.min(channels - first);
                for o in some.clone() {
                    let filter = &weight[(o * channels + first) * taps..][..columns * taps];
                    let scale = scale[o];
                    for tap in 0..taps {
                        // SAFETY: the row of this panel, offset and filter is no other task's.
                        let to = unsafe {
                            let row = j * panel + (tap * filters + o) * width;
                            let row = values.at(row).cast::<MaybeUninit<f32>>();
                            std::slice::from_raw_parts_mut(row, width)
                        };
                        let from = filter[tap..].iter().step_by(taps);
                        to.iter_mut().zip(from).for_each(|(to, from)| {
                            to.write(from * scale);
                        });
                        to[columns..].fill(MaybeUninit::new(0.0));
                    }
                }
            }
        };
        // SAFETY: the rows of all panels, offsets and filters are written whole.
        let values = unsafe {
            written(empty.size(), |values| {
                let values = Shared(values);
                let blocks = (0..filters.div_ceil(TURNED)).into_par_iter();
                blocks.for_each(|block| fill(block, &values));
            })
        };
        Self { values, ..empty }
    }

    /// Panels of these sizes, without their values.
    fn empty(inputs: usize, outputs: usize, taps: usize) -> Self {
        Self { values: Vec::new(), inputs, outputs, taps, width: panel_width() }
    }

    /// Floats in all panels.
    fn size(&self) -> usize {
        self.count() * self.length()
    }

    /// Floats in a panel.
    fn length(&self) -> usize {
        self.taps * self.inputs * self.width
    }

    /// Channels that go in.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels that come out.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many panels there are.
    pub(super) fn count(&self) -> usize {
        self.outputs.div_ceil(self.width)
    }

    /// A panel's values.
    pub(super) fn panel(&self, j: usize) -> &[f32] {
        &self.values[j * self.length()..][..self.length()]
    }

    /// Where the rows of a kernel offset begin in a panel.
    pub(super) fn place(&self, tap: usize) -> usize {
        tap * self.inputs * self.width
    }
}
