//! One image, from its file to the bytes of a batch.

use std::path::Path;

use image::RgbImage;
use rand::Rng;

use crate::decode::{Decoder, Extent, ReadOptions, Wanted};
use crate::error::DataError;
use crate::set::ImageSet;
use crate::transform::{EvalTransform, Resampler, RgbView, TrainTransform};

/// An image, or what is wanted of one, where [`Decoder::decode_part_into`] would have put it.
#[derive(Debug)]
pub(crate) struct Loaded<'a> {
    pub(crate) view: RgbView<'a>,
    pub(crate) extent: Extent,
}

/// Where an image comes from.
pub(crate) trait Source {
    /// The image, of which `wanted` says what is looked at. `image` is memory to decode into.
    fn load<'a>(
        &'a self,
        decoder: &mut Decoder,
        options: ReadOptions,
        image: &'a mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Loaded<'a>, DataError>;
}

/// A file.
impl Source for Path {
    fn load<'a>(
        &'a self,
        decoder: &mut Decoder,
        options: ReadOptions,
        image: &'a mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Loaded<'a>, DataError> {
        let extent = decoder.decode_part_into(self, options, image, wanted)?;
        Ok(Loaded { view: (&*image).into(), extent })
    }
}

/// An item of a set: its place in the set's pack, or the region of its file.
pub(crate) struct Member<'a> {
    pub(crate) set: &'a ImageSet,
    pub(crate) index: u32,
}

impl Source for Member<'_> {
    fn load<'a>(
        &'a self,
        decoder: &mut Decoder,
        options: ReadOptions,
        image: &'a mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Loaded<'a>, DataError> {
        if let Some((pack, place)) = self.set.packed(self.index) {
            return pack.load(place, decoder, options, image, wanted);
        }
        let item = &self.set.items()[self.index as usize];
        let extent = item.load(decoder, options, image, wanted)?;
        Ok(Loaded { view: (&*image).into(), extent })
    }
}

/// Prepares one image after another, keeping its buffers. Of a JPEG file only what the transform
/// needs is decoded, as far as its decoder can leave out the rest; the bytes are those of a transform
/// of the whole image, unless it may be scaled.
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
        let wanted = |size: (u32, u32)| {
            transform.wanted(size, drawn.insert(transform.draw(size.0, size.1, rng)))
        };
        let Loaded { view, extent } = source.load(decoder, transform.reading(), image, wanted)?;
        let (width, height) = extent.size;
        let reason = || "nothing was drawn for it".to_owned();
        let drawn = drawn.ok_or_else(|| DataError::Resample { width, height, reason: reason() })?;
        transform.render(view, extent.shrink, &drawn, resampler, out)
    }

    pub(crate) fn eval_from(
        &mut self,
        source: &(impl Source + ?Sized),
        transform: &EvalTransform,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Self { decoder, image, resampler } = self;
        let wanted = |size| transform.wanted(size);
        let Loaded { view, extent } = source.load(decoder, transform.reading(), image, wanted)?;
        transform.render(view, extent, resampler, out)
    }
}
