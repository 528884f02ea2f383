//! One image, from its file to the bytes of a batch.

use std::path::Path;

use image::RgbImage;
use rand::Rng;

use crate::decode::Decoder;
use crate::error::DataError;
use crate::set::ImageSet;
use crate::transform::{EvalTransform, Resampler, TrainTransform};

/// Where an image comes from.
pub(crate) trait Source {
    /// [`Decoder::decode_rows_into`] of it.
    fn load(
        &self,
        decoder: &mut Decoder,
        exif_rotation: bool,
        image: &mut RgbImage,
        rows: impl FnOnce((u32, u32)) -> u32,
    ) -> Result<(u32, u32), DataError>;
}

/// A file.
impl Source for Path {
    fn load(
        &self,
        decoder: &mut Decoder,
        exif_rotation: bool,
        image: &mut RgbImage,
        rows: impl FnOnce((u32, u32)) -> u32,
    ) -> Result<(u32, u32), DataError> {
        decoder.decode_rows_into(self, exif_rotation, image, rows)
    }
}

/// An item of a set: its place in the set's pack, or the region of its file.
pub(crate) struct Member<'a> {
    pub(crate) set: &'a ImageSet,
    pub(crate) index: u32,
}

impl Source for Member<'_> {
    fn load(
        &self,
        decoder: &mut Decoder,
        exif_rotation: bool,
        image: &mut RgbImage,
        rows: impl FnOnce((u32, u32)) -> u32,
    ) -> Result<(u32, u32), DataError> {
        if self.set.read_packed(self.index, decoder, image)? {
            let size = image.dimensions();
            rows(size);
            return Ok(size);
        }
        self.set.items()[self.index as usize].load(decoder, exif_rotation, image, rows)
    }
}

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
        self.train_from(path, transform, rng, out)
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
        self.eval_from(path, transform, out)
    }

    pub(crate) fn train_from(
        &mut self,
        source: &(impl Source + ?Sized),
        transform: &TrainTransform,
        rng: &mut impl Rng,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Self { decoder, image, resampler } = self;
        let mut drawn = None;
        let rows = |(width, height)| {
            transform.rows(height, drawn.insert(transform.draw(width, height, rng)))
        };
        let (width, height) = source.load(decoder, transform.exif_rotation, image, rows)?;
        let reason = || "nothing was drawn for it".to_owned();
        let drawn = drawn.ok_or_else(|| DataError::Resample { width, height, reason: reason() })?;
        transform.render(image, &drawn, resampler, out)
    }

    pub(crate) fn eval_from(
        &mut self,
        source: &(impl Source + ?Sized),
        transform: &EvalTransform,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Self { decoder, image, resampler } = self;
        let rows = |size| transform.rows(size);
        let size = source.load(decoder, transform.exif_rotation, image, rows)?;
        transform.render(image, size, resampler, out)
    }
}
