//! Colours of training images, as torchvision changes those of a Pillow image: byte by byte the
//! same, truncation and the rounding of hues included.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::random_resized_crop::between;
use crate::error::DataError;

/// torchvision's `ColorJitter`: how far each quality may be moved; 0 leaves it alone.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ColorJitter {
    /// The brightness is multiplied by a factor uniform in `1 - brightness..1 + brightness`.
    pub brightness: f64,
    /// So is the distance of each byte to the mean grey.
    pub contrast: f64,
    /// So is the distance of each pixel to its own grey.
    pub saturation: f64,
    /// Hues are turned by a share of the circle uniform in `-hue..hue`; at most 0.5.
    pub hue: f64,
}

/// One change of colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Adjustment {
    /// Towards or away from black, by this factor.
    Brightness(f64),
    /// Towards or away from the image's mean grey.
    Contrast(f64),
    /// Towards or away from each pixel's grey.
    Saturation(f64),
    /// Around the circle of hues, by this share of it.
    Hue(f64),
}

impl ColorJitter {
    /// Refuses factors that could fall below 0, and hues of more than half a turn.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |setting, value: f64, rule: &str| {
            Err(DataError::Setting { setting, value: value.to_string(), rule: rule.to_owned() })
        };
        let Self { brightness, contrast, saturation, hue } = *self;
        for (setting, value) in
            [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)]
        {
            if !(0.0..=1.0).contains(&value) {
                return refuse(setting, value, "it lies in 0 to 1");
            }
        }
        if !(0.0..=0.5).contains(&hue) {
            return refuse("hue", hue, "it lies in 0 to 0.5");
        }
        Ok(())
    }

    /// Draws the changes of one image, in an order that is drawn as well.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<Adjustment> {
        let mut factor = |width: f64| between((1.0 - width, 1.0 + width), rng);
        let mut all = [
            (self.brightness, Adjustment::Brightness(factor(self.brightness))),
            (self.contrast, Adjustment::Contrast(factor(self.contrast))),
            (self.saturation, Adjustment::Saturation(factor(self.saturation))),
            (self.hue, Adjustment::Hue(factor(self.hue) - 1.0)),
        ];
        all.shuffle(rng);
        // Turning a hue by nothing is not the identity: what is off must not be done.
        let on = all.into_iter().filter(|&(width, _)| width > 0.0);
        on.map(|(_, adjustment)| adjustment).collect()
    }
}

impl Adjustment {
    /// Changes RGB bytes, pixel by pixel.
    ///
    /// # Panics
    /// Where the length is no multiple of 3.
    pub fn apply(self, pixels: &mut [u8]) {
        let (pixels, rest) = pixels.as_chunks_mut::<3>();
        assert!(rest.is_empty(), "an RGB image has three bytes per pixel");
        match self {
            Self::Brightness(factor) => blend_all(pixels, 0, factor as f32),
            Self::Contrast(factor) => {
                let sum: u64 = pixels.iter().map(|&pixel| u64::from(grey(pixel))).sum();
                let mean = sum as f64 / pixels.len().max(1) as f64;
                blend_all(pixels, (mean + 0.5) as u8, factor as f32);
            }
            Self::Saturation(factor) => {
                for pixel in pixels {
                    let grey = grey(*pixel);
                    *pixel = pixel.map(|byte| blend(grey, byte, factor as f32));
                }
            }
            Self::Hue(share) => {
                // Toward zero, and around: as NumPy converts it to a byte.
                let turn = (share * 255.0) as i32 as u8;
                for pixel in pixels {
                    let [hue, saturation, value] = to_hsv(*pixel);
                    *pixel = to_rgb([hue.wrapping_add(turn), saturation, value]);
                }
            }
        }
    }
}

/// torchvision's `Grayscale(3)`: each pixel becomes its luma.
pub(super) fn make_grey(pixels: &mut [u8]) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        *pixel = [grey(*pixel); 3];
    }
}

/// The luma of ITU-R 601-2 in 16-bit fixed point, as Pillow's `convert("L")` has it.
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000) >> 16) as u8
}

/// From `from` towards `byte` by `factor`, or beyond: cut to a byte and not rounded.
fn blend(from: u8, byte: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(byte) - f32::from(from))) as u8
}

/// [`blend`] with one origin for all bytes, looked up.
fn blend_all(pixels: &mut [[u8; 3]], from: u8, factor: f32) {
    let table: [u8; 256] = std::array::from_fn(|byte| blend(from, byte as u8, factor));
    for byte in pixels.as_flattened_mut() {
        *byte = table[usize::from(*byte)];
    }
}

/// Hue, saturation and value as bytes. Single and double precision alternate as in Pillow's C: the
/// last bit of a hue depends on it.
fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let saturation = range / f32::from(max);
    let [rc, gc, bc] = [r, g, b].map(|channel| f32::from(max - channel) / range);
    let sixths = if r == max {
        bc - gc
    } else if g == max {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let turn = f64::from(sixths) / 6.0 + 1.0;
    let hue = (if turn >= 1.0 { turn - 1.0 } else { turn }) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max]
}

/// The inverse of [`to_hsv`], with Pillow's rounding.
fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let sixths = f64::from(hue) * 6.0 / 255.0;
    let sector = sixths as u8;
    let part = (sixths - f64::from(sector)) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    // Rounded: for all 2^24 colours the same as by `round`, which is a call on many processors.
    let lowered = |by: f64| (f64::from(value) * (1.0 - by) + 0.5) as u8;
    let low = lowered(saturation.into());
    let falling = lowered((saturation * part).into());
    let rising = lowered(f64::from(saturation) * (1.0 - f64::from(part)));
    match sector % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// Whether something of this probability happens.
pub(super) fn happens(probability: f64, rng: &mut impl Rng) -> bool {
    rng.random::<f64>() < probability
}
