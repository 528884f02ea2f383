//! The sizes of one convolution on the host, and which input a kernel offset reads.

use crate::ops::ConvSpec;

/// Into how many parts a sum over the batch is cut, whatever the number of threads.
const SUM_PARTS: usize = 16;

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    /// Images.
    pub(super) batch: usize,
    /// Input rows.
    pub(super) height: usize,
    /// Input columns.
    pub(super) width: usize,
    /// Input channels.
    pub(super) channels_in: usize,
    /// Output channels.
    pub(super) channels_out: usize,
    /// Kernel rows and columns.
    pub(super) kernel: usize,
    /// Output rows.
    pub(super) height_out: usize,
    /// Output columns.
    pub(super) width_out: usize,
    /// Stride, padding, activation.
    pub(super) spec: ConvSpec,
}

impl Geometry {
    /// From the shapes of the input (`[n, h, w, c]`) and of the weight (`[o, i, k, k]`).
    pub(super) fn new(x: [usize; 4], weight: [usize; 4], spec: ConvSpec) -> Self {
        let [batch, height, width, channels_in] = x;
        let [channels_out, inputs, kernel, kernel_w] = weight;
        assert_eq!(kernel, kernel_w, "a kernel must be square: {weight:?}");
        let expected = if spec.depthwise { 1 } else { channels_in };
        assert_eq!(inputs, expected, "input {x:?} does not fit weight {weight:?}");
        let out = |size: usize| (size + 2 * spec.padding - kernel) / spec.stride + 1;
        Self {
            batch,
            height,
            width,
            channels_in,
            channels_out,
            kernel,
            height_out: out(height),
            width_out: out(width),
            spec,
        }
    }

    /// Floats in one input image.
    pub(super) fn image_len(&self) -> usize {
        self.height * self.width * self.channels_in
    }

    /// Output positions of one image.
    pub(super) fn positions(&self) -> usize {
        self.height_out * self.width_out
    }

    /// Output positions of the batch.
    pub(super) fn rows(&self) -> usize {
        self.batch * self.positions()
    }

    /// Floats in one output image.
    pub(super) fn output_len(&self) -> usize {
        self.positions() * self.channels_out
    }

    /// Floats in one patch.
    pub(super) fn patch(&self) -> usize {
        self.kernel * self.kernel * self.channels_in
    }

    /// Images per part of a sum over the batch.
    pub(super) fn images_per_part(&self) -> usize {
        self.batch.div_ceil(SUM_PARTS).max(1)
    }

    /// Output rows per part of a sum over the batch.
    pub(super) fn rows_per_part(&self) -> usize {
        self.rows().div_ceil(SUM_PARTS).max(1)
    }

    /// The input position that kernel offset `k` reads at output position `o`, if inside.
    #[inline]
    pub(super) fn source(&self, o: usize, k: usize, size: usize) -> Option<usize> {
        (o * self.spec.stride + k).checked_sub(self.spec.padding).filter(|&i| i < size)
    }
}
