//! A small canvas: rectangles, images, strokes and text on white.

use image::imageops::{self, FilterType};
use image::{ImageFormat, Rgb, RgbImage};
use noto_sans_mono_bitmap::{
    FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width,
};

use super::Thumbnail;

const WHITE: [u8; 3] = [255; 3];
/// What shows beside an image that is not square.
const MOUNT: [u8; 3] = [0xf2; 3];

/// An image that is drawn on; whatever lies outside of it is cut off.
pub(super) struct Canvas(RgbImage);

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self(RgbImage::from_pixel(width, height, Rgb(WHITE)))
    }

    /// The picture as a PNG file.
    pub(super) fn png(&self) -> Result<Vec<u8>, String> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        self.0.write_to(&mut bytes, ImageFormat::Png).map_err(|e| e.to_string())?;
        Ok(bytes.into_inner())
    }

    pub(super) fn fill(&mut self, (left, top): (u32, u32), size: (u32, u32), color: [u8; 3]) {
        for y in top..top + size.1 {
            for x in left..left + size.0 {
                self.blend((x, y), color, 1.0);
            }
        }
    }

    /// An image in a square cell with a frame of the cell's own.
    pub(super) fn framed(
        &mut self,
        (left, top): (u32, u32),
        cell: u32,
        frame: u32,
        color: [u8; 3],
        thumbnail: &Thumbnail,
    ) {
        let inside = cell - 2 * frame;
        self.fill((left, top), (cell, cell), color);
        self.fill((left + frame, top + frame), (inside, inside), MOUNT);
        let Some(image) = fit(thumbnail, inside) else { return };
        let x = left + frame + (inside - image.width()) / 2;
        let y = top + frame + (inside - image.height()) / 2;
        imageops::replace(&mut self.0, &image, i64::from(x), i64::from(y));
    }

    /// White strokes with round ends, given in shares of a square of `side` pixels.
    pub(super) fn strokes(
        &mut self,
        (left, top): (u32, u32),
        side: u32,
        strokes: &[[(f32, f32); 2]],
    ) {
        let size = side as f32;
        let radius = 0.075 * size;
        for y in 0..side {
            for x in 0..side {
                let centre = ((x as f32 + 0.5) / size, (y as f32 + 0.5) / size);
                let distances = strokes.iter().map(|&stroke| size * distance(centre, stroke));
                let nearest = distances.fold(f32::INFINITY, f32::min);
                // A pixel is about half covered where the stroke's edge runs through its centre.
                let cover = (radius - nearest + 0.5).clamp(0.0, 1.0);
                self.blend((left + x, top + y), WHITE, cover);
            }
        }
    }

    /// A line of text in a font of fixed width, cut with dots at the right edge.
    pub(super) fn text(&mut self, (left, top): (u32, u32), height: u32, text: &str) {
        let advance = get_raster_width(FontWeight::Regular, size(height)) as u32;
        let room = self.0.width().saturating_sub(left) / advance.max(1);
        let mut x = left;
        for c in shorten(text, room as usize).chars() {
            let Some(raster) = letter(c, height).or_else(|| letter('?', height)) else { continue };
            for (dy, row) in raster.rows().enumerate() {
                for (dx, cover) in row.iter().enumerate() {
                    let cover = f32::from(*cover) / 255.0;
                    self.blend((x + dx as u32, top + dy as u32), [0x26; 3], cover);
                }
            }
            x += advance;
        }
    }

    /// Mixes a colour into a pixel; one outside the picture is left out.
    fn blend(&mut self, (x, y): (u32, u32), color: [u8; 3], cover: f32) {
        let Some(Rgb(pixel)) = self.0.get_pixel_mut_checked(x, y) else { return };
        for (below, above) in pixel.iter_mut().zip(color) {
            let mixed = f32::from(*below) * (1.0 - cover) + f32::from(above) * cover;
            *below = mixed.round() as u8;
        }
    }
}

/// The image at the size at which it fills a square of `side` pixels in one direction.
fn fit(thumbnail: &Thumbnail, side: u32) -> Option<RgbImage> {
    let (width, height) = (thumbnail.width, thumbnail.height);
    let image = RgbImage::from_raw(width, height, thumbnail.rgb.clone())?;
    let longest = f64::from(width.max(height));
    let scaled = |length: u32| {
        ((f64::from(length) * f64::from(side) / longest).round() as u32).clamp(1, side)
    };
    Some(imageops::resize(&image, scaled(width), scaled(height), FilterType::Triangle))
}

fn size(height: u32) -> RasterHeight {
    if height < 20 { RasterHeight::Size16 } else { RasterHeight::Size20 }
}

fn letter(c: char, height: u32) -> Option<RasterizedChar> {
    get_raster(c, FontWeight::Regular, size(height))
}

/// The text, or its beginning and dots, in at most `room` letters.
fn shorten(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let dots = room.min(3);
    text.chars().take(room - dots).chain(std::iter::repeat_n('.', dots)).collect()
}

/// The distance of a point from a line segment.
fn distance((x, y): (f32, f32), [(ax, ay), (bx, by)]: [(f32, f32); 2]) -> f32 {
    let (dx, dy) = (bx - ax, by - ay);
    let along = (((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
    (x - ax - along * dx).hypot(y - ay - along * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shorten("chair", 5), "chair");
        assert_eq!(shorten("armchair", 5), "ar...");
        assert_eq!(shorten("armchair", 2), "..");
        assert_eq!(shorten("armchair", 0), "");
    }
}
