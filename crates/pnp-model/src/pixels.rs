//! Images that come as bytes and are normalised where the network is.

use burn::tensor::{DType, Int, Tensor, TensorData};

use crate::network::Network;

/// What bytes become: `(value / 255 * largest - mean) / std` for each of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelScale {
    /// What the byte 255 stands for.
    pub largest: f32,
    /// The mean of each channel, of values in 0 to `largest`.
    pub mean: [f32; 3],
    /// The standard deviation of each channel, of values in 0 to `largest`.
    pub std: [f32; 3],
    /// Whether the planes come out as blue, green, red.
    pub bgr: bool,
}

impl Network {
    /// Whether the network is on the host: there, normalising beside the decoding costs nothing.
    pub fn is_on_host(&self) -> bool {
        self.parameters().is_on_host()
    }

    /// A batch of images on the network's device, from RGB bytes: a quarter of the memory of
    /// [`images`](Self::images) goes there, and the device does the rest.
    ///
    /// `bytes` holds `[batch, height, width, 3]` row-major; `shape` is `[batch, 3, height, width]`,
    /// as that of what comes out.
    ///
    /// # Panics
    ///
    /// When the number of bytes is another.
    pub fn images_of_bytes(
        &self,
        mut bytes: Vec<u8>,
        shape: [usize; 4],
        scale: &PixelScale,
    ) -> Tensor<4> {
        let [batch, channels, height, width] = shape;
        let values = batch * channels * height * width;
        assert_eq!(bytes.len(), values, "{} bytes for images of shape {shape:?}", bytes.len());
        let device = self.device();
        bytes.resize(values.next_multiple_of(4), 0);
        // Four to a word: every device has words of 32 bits, few have bytes.
        let words: Vec<i32> =
            bytes.as_chunks::<4>().0.iter().map(|&four| i32::from_le_bytes(four)).collect();
        let data = TensorData::new(words, [values.div_ceil(4)]);
        let words = Tensor::<1, Int>::from_data(data, (&device, DType::I32));
        let part =
            |shift: i32| words.clone().bitwise_right_shift_scalar(shift).bitwise_and_scalar(255);
        let parts = [0, 8, 16, 24].map(part).to_vec();
        let flat = Tensor::stack::<2>(parts, 1).reshape([values.next_multiple_of(4)]);
        let pixels = flat.narrow(0, 0, values).reshape([batch, height, width, channels]).float();
        let row = |of: [f32; 3]| Tensor::<1>::from_floats(of, &device).reshape([1, 1, 1, channels]);
        let normalised = (pixels / 255.0 * scale.largest - row(scale.mean)) / row(scale.std);
        let ordered = if scale.bgr { normalised.flip([3]) } else { normalised };
        ordered.permute([0, 3, 1, 2])
    }
}
