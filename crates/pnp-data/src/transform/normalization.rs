//! Bytes to the zero-mean floats that a network was trained on.

/// `(value / 255 * largest - mean) / std` for each of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// What the byte 255 stands for: 1 in torchvision's networks, 255 in Caffe's.
    pub largest: f32,
    /// The mean of each channel, of values in 0 to `largest`.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, of values in 0 to `largest`.
    pub std: [f32; 3],
    /// Whether the planes come out as blue, green, red.
    pub bgr: bool,
}

impl Normalization {
    /// The statistics of ImageNet that torchvision's networks expect.
    pub const IMAGENET: Self =
        Self { largest: 1.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], bgr: false };

    /// Bytes as they are, less their means, blue before green before red: what weights trained in
    /// Caffe expect, BN-Inception's (Ioffe and Szegedy, ICML 2015) among them. The means of blue,
    /// green and red are 104, 117 and 128. (The PyTorch code had means of 0.502, 0.4588 and 0.4078
    /// and a deviation of 0.0039, which makes 0.55% more of every value.)
    pub const CAFFE: Self =
        Self { largest: 255.0, mean: [128.0, 117.0, 104.0], std: [1.0; 3], bgr: true };

    /// Values in −1 to 1: what torchvision's GoogLeNet turns its input into (`transform_input`), and
    /// timm's vision transformers expect.
    pub const HALF: Self = Self { largest: 1.0, mean: [0.5; 3], std: [0.5; 3], bgr: false };

    /// Normalises one image: `pixels` are RGB bytes, row by row, `out` receives three planes, red,
    /// green and blue or the other way about.
    ///
    /// # Panics
    /// Where the lengths differ or are no multiple of 3.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        self.table().apply(pixels, out);
    }

    /// The 256 values of each channel, computed as torchvision computes them: a look-up gives the
    /// same bits and takes no division per pixel.
    pub(crate) fn table(&self) -> NormalizationTable {
        let channels = std::array::from_fn(|channel| {
            std::array::from_fn(|byte| {
                // By 255 and by 1, this is exact.
                let value = if self.largest == 255.0 {
                    byte as f32
                } else {
                    byte as f32 / 255.0 * self.largest
                };
                (value - self.mean[channel]) / self.std[channel]
            })
        });
        NormalizationTable { channels, bgr: self.bgr }
    }
}

/// What each byte of each channel, red first, becomes, and the order of the planes.
#[derive(Debug)]
pub(crate) struct NormalizationTable {
    channels: [[f32; 256]; 3],
    bgr: bool,
}

impl NormalizationTable {
    pub(crate) fn apply(&self, pixels: &[u8], out: &mut [f32]) {
        assert_eq!(pixels.len(), out.len(), "an image and its planes differ in length");
        let pixels = whole_pixels(pixels);
        for (plane, (channel, table)) in
            out.chunks_exact_mut(pixels.len().max(1)).zip(self.planes())
        {
            for (value, pixel) in plane.iter_mut().zip(pixels) {
                *value = table[usize::from(pixel[channel])];
            }
        }
    }

    /// [`apply`](Self::apply) to what follows in `out`: memory that nobody has filled with zeros
    /// before.
    pub(crate) fn append(&self, pixels: &[u8], out: &mut Vec<f32>) {
        let pixels = whole_pixels(pixels);
        for (channel, table) in self.planes() {
            out.extend(pixels.iter().map(|pixel| table[usize::from(pixel[channel])]));
        }
    }

    /// The channel that each plane shows, with its values.
    fn planes(&self) -> [(usize, &[f32; 256]); 3] {
        let order = if self.bgr { [2, 1, 0] } else { [0, 1, 2] };
        order.map(|channel| (channel, &self.channels[channel]))
    }
}

fn whole_pixels(bytes: &[u8]) -> &[[u8; 3]] {
    let (pixels, rest) = bytes.as_chunks::<3>();
    assert!(rest.is_empty(), "an RGB image has three bytes per pixel");
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_the_formula_channel_by_channel() {
        let normalization = Normalization {
            largest: 1.0,
            mean: [0.5, 0.25, 0.0],
            std: [0.5, 0.25, 2.0],
            bgr: false,
        };
        let mut out = [0.0; 6];
        normalization.apply(&[255, 0, 255, 0, 255, 0], &mut out);
        assert_eq!(out, [1.0, -1.0, -1.0, 3.0, 0.5, 0.0]);
    }

    #[test]
    fn torchvisions_bits_are_kept() {
        let mut out = [0.0; 3];
        for byte in 0..=255_u8 {
            Normalization::IMAGENET.apply(&[byte; 3], &mut out);
            assert_eq!(out[0].to_bits(), ((f32::from(byte) / 255.0 - 0.485) / 0.229).to_bits());
        }
    }

    #[test]
    fn half_is_what_torchvisions_googlenet_makes_of_imagenets() {
        let pixels: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(3);
        let (mut imagenet, mut half) = (vec![0.0; pixels.len()], vec![0.0; pixels.len()]);
        Normalization::IMAGENET.apply(&pixels, &mut imagenet);
        Normalization::HALF.apply(&pixels, &mut half);
        let scales = [(0.229, 0.485), (0.224, 0.456), (0.225, 0.406)];
        for ((planes, ours), (std, mean)) in imagenet.chunks(256).zip(half.chunks(256)).zip(scales)
        {
            for (plane, ours) in planes.iter().zip(ours) {
                let theirs: f32 = plane * (std / 0.5) + (mean - 0.5) / 0.5;
                assert!((theirs - ours).abs() < 1e-6, "{theirs} is not {ours}");
            }
        }
    }

    #[test]
    fn caffes_planes_are_blue_green_red_less_their_means() {
        let mut out = [0.0; 6];
        Normalization::CAFFE.apply(&[130, 120, 110, 0, 0, 255], &mut out);
        assert_eq!(out, [6.0, 151.0, 3.0, -117.0, 2.0, -128.0]);
    }
}
