//! One image, from its file to the bytes of a batch.

use std::path::Path;

use image::RgbImage;
use rand::Rng;

use crate::decode::Decoder;
use crate::error::DataError;
use crate::transform::{EvalTransform, Resampler, TrainTransform};

/// Prepares one image after another, keeping its buffers. Of a JPEG file in one scan the rows below
/// the last that the transform needs are not decoded; the bytes are those of a transform of the
/// whole image.
#[derive(Debug, Default)]
pub struct Preparer {
    decoder: Decoder,
    image: RgbImage,
    resampler: Resampler,
}

impl Preparer {
    /// Writes the `size` x `size` RGB bytes of a training image, row by row, to `out`. What is
    /// random about it is drawn from `rng`.
    ///
    /// # Errors
    /// Those of [`decode()`](crate::decode()), and [`DataError::Resample`].
    pub fn train(
        &mut self,
        path: &Path,
        transform: &TrainTransform,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Self { decoder, image, resampler } = self;
        let mut drawn = None;
        let rows = |(width, height)| {
            transform.rows(height, drawn.insert(transform.draw(width, height, rng)))
        };
        let (width, height) =
            decoder.decode_rows_into(path, transform.exif_rotation, image, rows)?;
        let reason = || "nothing was drawn for it".to_owned();
        let drawn = drawn.ok_or_else(|| DataError::Resample { width, height, reason: reason() })?;
        transform.render(image, &drawn, resampler, out)
    }

    /// Writes the `crop` x `crop` RGB bytes of an evaluated image, row by row, to `out`.
    ///
    /// # Errors
    /// Those of [`decode()`](crate::decode()), and [`DataError::Resample`].
    pub fn eval(
        &mut self,
        path: &Path,
        transform: &EvalTransform,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Self { decoder, image, resampler } = self;
        let rows = |size| transform.rows(size);
        let size = decoder.decode_rows_into(path, transform.exif_rotation, image, rows)?;
        transform.render(image, size, resampler, out)
    }
}
