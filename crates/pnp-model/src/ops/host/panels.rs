//! The weights of a convolution in the order in which the tiles of [`super::tile`] read them.

use rayon::prelude::*;

use super::geometry::Geometry;
use super::shared::Shared;
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
    /// Those of the forward pass, from the weight `[o, i, k, k]`: `i` goes in, `o` comes out.
    pub(super) fn forward(weight: &[f32], g: &Geometry) -> Self {
        let (inputs, taps) = (g.channels_in, g.kernel * g.kernel);
        Self::new(inputs, g.channels_out, taps, |first, panel, width, columns| {
            for c in (0..inputs).step_by(TURNED) {
                let channels = TURNED.min(inputs - c);
                for i in 0..columns {
                    let filter = &weight[((first + i) * inputs + c) * taps..][..channels * taps];
                    for (c, values) in (c..).zip(filter.chunks_exact(taps)) {
                        for (tap, value) in values.iter().enumerate() {
                            panel[(tap * inputs + c) * width + i] = *value;
                        }
                    }
                }
            }
        })
    }

    /// Those of the gradient of the input, from the same weight: `o` goes in, `i` comes out.
    pub(super) fn backward(weight: &[f32], g: &Geometry) -> Self {
        let (channels, filters, taps) = (g.channels_in, g.channels_out, g.kernel * g.kernel);
        let mut panels = Self::empty(filters, channels, taps);
        let (width, panel) = (panels.width, panels.length());
        let values = Shared(panels.values.as_mut_ptr());
        // Some filters at a time, whole: read panel by panel, each would be visited in small pieces
        // that lie far apart.
        (0..filters.div_ceil(TURNED)).into_par_iter().for_each(|block| {
            let some = block * TURNED..filters.min((block + 1) * TURNED);
            for (j, first) in (0..channels).step_by(width).enumerate() {
                let columns = width.min(channels - first);
                for o in some.clone() {
                    let filter = &weight[(o * channels + first) * taps..][..columns * taps];
                    for tap in 0..taps {
                        // SAFETY: the row of this panel, offset and filter is no other task's.
                        let to = unsafe {
                            let row = j * panel + (tap * filters + o) * width;
                            std::slice::from_raw_parts_mut(values.at(row), columns)
                        };
                        let from = filter[tap..].iter().step_by(taps);
                        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        });
        panels
    }

    /// `fill` gets a panel's first column, its values (zeros), its width and how many columns are
    /// there.
    fn new(
        inputs: usize,
        outputs: usize,
        taps: usize,
        fill: impl Fn(usize, &mut [f32], usize, usize) + Sync,
    ) -> Self {
        let mut panels = Self::empty(inputs, outputs, taps);
        let (width, panel) = (panels.width, panels.length());
        panels.values.par_chunks_mut(panel).enumerate().for_each(|(j, panel)| {
            fill(j * width, panel, width, width.min(outputs - j * width));
        });
        panels
    }

    /// Zeros.
    fn empty(inputs: usize, outputs: usize, taps: usize) -> Self {
        let width = panel_width();
        let values = vec![0.0; outputs.div_ceil(width) * taps * inputs * width];
        Self { values, inputs, outputs, taps, width }
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
