//! Bytes to the zero-mean floats that a network was trained on.

/// `(value / 255 - mean) / std` for each of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// The mean of each channel, of values in 0 to 1.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, of values in 0 to 1.
    pub std: [f32; 3],
}

impl Normalization {
    /// The statistics of ImageNet that torchvision's networks expect.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// Normalises one image: `pixels` are RGB bytes, row by row, `out` receives three planes.
    ///
    /// # Panics
    /// Where the lengths differ or are no multiple of 3.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        self.table().apply(pixels, out);
    }

    /// The 256 values of each channel, computed as torchvision computes them: a look-up gives the
    /// same bits and takes no division per pixel.
    pub(crate) fn table(&self) -> NormalizationTable {
        NormalizationTable(std::array::from_fn(|channel| {
            std::array::from_fn(|value| {
                (value as f32 / 255.0 - self.mean[channel]) / self.std[channel]
            })
        }))
    }
}

/// What each byte of each channel becomes.
#[derive(Debug)]
pub(crate) struct NormalizationTable([[f32; 256]; 3]);

impl NormalizationTable {
    pub(crate) fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len(), "an image and its planes differ in length");
        let (pixels, rest) = pixels.as_chunks::<3>();
        assert!(rest.is_empty(), "an RGB image has three bytes per pixel");
        let (red, others) = out.split_at_mut(pixels.len());
        let (green, blue) = others.split_at_mut(pixels.len());
        let [reds, greens, blues] = &self.0;
        for (((&[r, g, b], red), green), blue) in pixels.iter().zip(red).zip(green).zip(blue) {
            *red = reds[usize::from(r)];
            *green = greens[usize::from(g)];
            *blue = blues[usize::from(b)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_the_formula_channel_by_channel() {
        let normalization = Normalization { mean: [0.5, 0.25, 0.0], std: [0.5, 0.25, 2.0] };
        let mut out = [0.0; 6];
        normalization.apply(&[255, 0, 255, 0, 255, 0], &mut out);
        assert_eq!(out, [1.0, -1.0, -1.0, 3.0, 0.5, 0.0]);
    }
}
