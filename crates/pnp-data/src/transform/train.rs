//! What training images go through: a random crop to a square, colours, and mirroring.
//!
//! What is random is drawn first, from the image's size alone: so a file need be decoded only as
//! far as its crop reaches.

use image::RgbImage;
use rand::Rng;

use super::color::{self, Adjustment, ColorJitter};
use super::random_crop::RandomCrop;
use super::random_resized_crop::{CropBox, RandomResizedCrop};
use super::resample::Region;
use super::{Resampler, RgbView, resized};
use crate::decode::{JpegOptions, ReadOptions, Wanted};
use crate::error::DataError;

/// All that may happen to a training image, in torchvision's order: crop, `RandomGrayscale`,
/// `ColorJitter`, `RandomHorizontalFlip`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainTransform {
    /// The side of the square that comes out, in pixels. The paper uses 224.
    pub size: u32,
    /// Which part of the image it shows.
    pub crop: TrainCrop,
    /// How likely the image loses its colours.
    pub grey: f64,
    /// How its colours are moved.
    pub jitter: ColorJitter,
    /// How likely the image is mirrored.
    pub flip: f64,
    /// Whether the image is turned as its EXIF orientation says before anything else.
    pub exif_rotation: bool,
    /// How JPEG files are decoded.
    pub jpeg: JpegOptions,
}

/// A way of cutting a square out of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainCrop {
    /// A part of random size and shape, resized to the square.
    Resized(RandomResizedCrop),
    /// A square of the image at one scale.
    AtOneScale(RandomCrop),
}

impl Default for TrainTransform {
    /// The paper's: torchvision's `RandomResizedCrop` to 224 pixels, mirrored half of the time.
    fn default() -> Self {
        Self {
            size: 224,
            crop: TrainCrop::Resized(RandomResizedCrop::default()),
            grey: 0.0,
            jitter: ColorJitter::default(),
            flip: 0.5,
            exif_rotation: false,
            jpeg: JpegOptions::default(),
        }
    }
}

/// What was drawn for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmentation {
    /// The part of the image that is kept.
    pub crop: DrawnCrop,
    /// Whether it loses its colours.
    pub grey: bool,
    /// How its colours are changed, in this order.
    pub jitter: Vec<Adjustment>,
    /// Whether it is mirrored.
    pub flip: bool,
}

/// The part of an image that is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DrawnCrop {
    /// Of a [`RandomResizedCrop`]: pixels beside it have no influence.
    Cut(CropBox),
    /// Of a [`RandomCrop`]: pixels beside it count where the filter reaches them, as if the whole
    /// image had been resized before.
    Shown(Region),
}

impl DrawnCrop {
    /// The part in pixels and fractions of them.
    fn region(self) -> Region {
        match self {
            Self::Cut(crop) => crop.into(),
            Self::Shown(region) => region,
        }
    }
}

impl TrainTransform {
    /// Refuses sizes, ranges and probabilities that mean nothing, and what this build cannot do.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |setting, value: String, rule: &str| {
            Err(DataError::Setting { setting, value, rule: rule.to_owned() })
        };
        if self.size == 0 {
            return refuse("size", self.size.to_string(), "it must be at least 1 pixel");
        }
        match self.crop {
            TrainCrop::Resized(crop) => crop.check()?,
            TrainCrop::AtOneScale(crop) if crop.resize < self.size => {
                let rule = "the crop is no larger than the shorter side that it is cut from";
                return refuse("size", self.size.to_string(), rule);
            }
            TrainCrop::AtOneScale(_) => {}
        }
        for (setting, value) in [("grey", self.grey), ("flip", self.flip)] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(setting, value.to_string(), "a probability lies in 0 to 1");
            }
        }
        self.jpeg.check()?;
        self.jitter.check()
    }

    /// How files are read for it.
    pub fn reading(&self) -> ReadOptions {
        ReadOptions { exif_rotation: self.exif_rotation, jpeg: self.jpeg }
    }

    /// Draws what happens to an image of this size.
    pub fn draw(&self, width: u32, height: u32, rng: &mut impl Rng) -> Augmentation {
        let crop = match self.crop {
            TrainCrop::Resized(crop) => DrawnCrop::Cut(crop.draw(width, height, rng)),
            TrainCrop::AtOneScale(crop) => {
                DrawnCrop::Shown(crop.draw((width, height), self.size, rng))
            }
        };
        // What is off draws nothing, so that `base` has the draws that it had without colours.
        let grey = self.grey > 0.0 && color::happens(self.grey, rng);
        let colours = self.jitter != ColorJitter::default();
        let jitter = if colours { self.jitter.draw(rng) } else { Vec::new() };
        Augmentation { crop, grey, jitter, flip: color::happens(self.flip, rng) }
    }

    /// What of an image of this size is needed for what was drawn for it.
    pub fn wanted(&self, size: (u32, u32), drawn: &Augmentation) -> Wanted {
        let (region, shown) = (drawn.crop.region(), (self.size, self.size));
        let shrink = if self.jpeg.scaling { resized::shrink(region, shown) } else { 1 };
        let part = match drawn.crop {
            DrawnCrop::Cut(crop) if shrink == 1 => crop,
            _ => resized::part(size, region, shown, shrink),
        };
        Wanted { part, shrink }
    }

    /// Draws from `rng` and writes `size` x `size` RGB bytes, row by row, to `out`.
    ///
    /// # Errors
    /// [`DataError::Resample`] for an image without pixels.
    pub fn apply(
        &self,
        image: &RgbImage,
        rng: &mut impl Rng,
        resampler: &mut Resampler,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(DataError::Resample { width, height, reason: "it is empty".to_owned() });
        }
        let drawn = self.draw(width, height, rng);
        self.render(image.into(), 1, &drawn, resampler, out)
    }

    /// Writes what was drawn to `out`, as [`apply`](Self::apply) does, of an image that was decoded
    /// as [`wanted`](Self::wanted) says and shrunk so far.
    ///
    /// # Errors
    /// [`DataError::Resample`] where `image` has not what the crop needs.
    pub fn render(
        &self,
        image: RgbView<'_>,
        shrink: u32,
        drawn: &Augmentation,
        resampler: &mut Resampler,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let side = self.size as usize;
        let square = (self.size, self.size);
        out.resize(3 * side * side, 0);
        match drawn.crop {
            DrawnCrop::Cut(crop) if shrink == 1 => resampler.crop(image, crop, square, out)?,
            // The crop's edges are between pixels now.
            crop => resampler.region(image, crop.region().shrunk(shrink), square, out)?,
        }
        if drawn.grey {
            color::make_grey(out);
        }
        drawn.jitter.iter().for_each(|adjustment| adjustment.apply(out));
        if drawn.flip {
            out.chunks_exact_mut(3 * side).for_each(|row| row.as_chunks_mut::<3>().0.reverse());
        }
        Ok(())
    }
}
