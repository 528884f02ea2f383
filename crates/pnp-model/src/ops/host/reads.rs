//! Which positions of one map read which of another: how a convolution and the gradient of its
//! input go through a map.

#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled for the processor that `pulp` dispatches to"
)]

use super::geometry::Geometry;

/// Floats: rows whose beginnings are a multiple of this apart push each other out of the nearest
/// cache.
const CROWDED: usize = 1024;

/// Which positions of the other map a position has to do with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads {
    /// Whether the other map is the input of the convolution, or its output's gradient.
    forward: bool,
    kernel: usize,
    stride: usize,
    padding: usize,
    /// Rows and columns of the other map.
    sides: [usize; 2],
    /// Its channels.
    pub(super) channels: usize,
}

impl Reads {
    /// Of an output position, the positions of the input.
    pub(super) fn forward(g: &Geometry) -> Self {
        Self {
            forward: true,
            kernel: g.kernel,
            stride: g.spec.stride,
            padding: g.spec.padding,
            sides: [g.height, g.width],
            channels: g.channels_in,
        }
    }

    /// Of an input position, the positions of the output that read it.
    pub(super) fn backward(g: &Geometry) -> Self {
        let (sides, channels) = ([g.height_out, g.width_out], g.channels_out);
        Self { forward: false, sides, channels, ..Self::forward(g) }
    }

    /// Whether the rows of the other map push each other out of the nearest cache.
    #[inline(always)]
    pub(super) fn crowded(&self) -> bool {
        self.channels.is_multiple_of(CROWDED)
    }

    /// Along one side: the position that belongs to kernel offset `k`, if inside.
    #[inline(always)]
    fn along(&self, at: usize, k: usize, side: usize) -> Option<usize> {
        let there = if self.forward {
            (at * self.stride + k).checked_sub(self.padding)
        } else {
            (at + self.padding).checked_sub(k).map(|there| there / self.stride)
        };
        there.filter(|&there| there < side)
    }

    /// The first value of what a kernel offset reads, if inside.
    #[inline(always)]
    pub(super) fn offset(&self, [image, y, x]: [usize; 3], tap: usize) -> Option<usize> {
        let [height, width] = self.sides;
        let y = self.along(y, tap / self.kernel, height)?;
        let x = self.along(x, tap % self.kernel, width)?;
        Some(((image * height + y) * width + x) * self.channels)
    }
}

/// Positions of a map at even distances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lattice {
    /// Rows and columns of the map.
    pub(super) map: [usize; 2],
    first: [usize; 2],
    step: usize,
}

impl Lattice {
    /// Every position.
    pub(super) fn all(map: [usize; 2]) -> Self {
        Self { map, first: [0; 2], step: 1 }
    }

    /// Lattices of this step that have every position between them.
    pub(super) fn phases(map: [usize; 2], step: usize) -> impl Iterator<Item = Self> {
        let firsts = (0..step).flat_map(move |y| (0..step).map(move |x| [y, x]));
        firsts.map(move |first| Self { map, first, step })
    }

    /// Rows and columns of the lattice.
    pub(super) fn sides(&self) -> [usize; 2] {
        [0, 1].map(|i| self.map[i].saturating_sub(self.first[i]).div_ceil(self.step))
    }

    /// The position of this number over the images: image, row and column.
    #[inline(always)]
    pub(super) fn position(&self, number: usize) -> [usize; 3] {
        let [height, width] = self.sides();
        let (image, rest) = (number / (height * width), number % (height * width));
        let [y, x] = self.first;
        [image, y + rest / width * self.step, x + rest % width * self.step]
    }

    /// The kernel offsets by which an output may have read these positions.
    pub(super) fn taps(&self, g: &Geometry) -> Vec<usize> {
        let fits = |first: usize, k: usize| {
            (first + g.spec.padding + g.kernel * g.spec.stride - k).is_multiple_of(g.spec.stride)
        };
        let taps = (0..g.kernel * g.kernel).filter(|tap| {
            fits(self.first[0], tap / g.kernel) && fits(self.first[1], tap % g.kernel)
        });
        taps.collect()
    }
}
