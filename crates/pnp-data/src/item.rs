//! One image of a set, and what a data set may say about it beside its class.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use crate::decode::{Decoder, Extent, ReadOptions, Wanted};
use crate::error::DataError;

/// One image of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Item {
    /// Where the file is: absolute, or relative to the working directory.
    pub path: PathBuf,
    /// Its name as the data set's list has it, relative to the set's root, separated by `/`.
    pub name: String,
    /// Its class, an index into [`ImageSet::class_names`](crate::ImageSet::class_names).
    pub label: u32,
    /// The group its class belongs to, under the data set's own number, where it has such groups.
    pub super_label: Option<u32>,
    /// The kind of thing it shows (`dresses`, `furniture`), where the data set says so. Items of
    /// one kind share the text.
    pub category: Option<Arc<str>>,
    /// The part of the image that belongs to the data set; `None` is all of it.
    pub region: Option<Region>,
    /// Its part in an evaluation.
    pub role: Role,
}

impl Item {
    /// Decodes the file, turned as its EXIF orientation says where that is asked for, and cuts the
    /// item's region out of it.
    ///
    /// # Errors
    /// As [`decode()`](crate::decode()), and [`DataError::RegionOutside`].
    pub fn decode(&self, exif_rotation: bool) -> Result<RgbImage, DataError> {
        let mut image = RgbImage::default();
        let options = ReadOptions { exif_rotation, ..ReadOptions::default() };
        self.load(&mut Decoder::default(), options, &mut image, Wanted::whole)?;
        Ok(image)
    }

    /// Cuts the item's region out of its decoded file; without a region nothing changes.
    ///
    /// # Errors
    /// [`DataError::RegionOutside`].
    pub fn cut(&self, image: &mut RgbImage) -> Result<(), DataError> {
        self.region.map_or(Ok(()), |region| region.cut(image, &self.path))
    }

    /// [`Decoder::decode_part_into`] of the region: sizes and parts are those of the region, whose
    /// edges are edges of pixels, so that it is never shrunk.
    pub(crate) fn load(
        &self,
        decoder: &mut Decoder,
        options: ReadOptions,
        image: &mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Extent, DataError> {
        let Some(region) = self.region else {
            return decoder.decode_part_into(&self.path, options, image, wanted);
        };
        let mut found = None;
        let wanted = |(width, height)| {
            found = region.within(width, height);
            let Some([x1, y1, x2, y2]) = found else {
                return Wanted::whole((width, height));
            };
            let mut part = wanted((x2 - x1, y2 - y1)).part;
            part.left += x1;
            part.top += y1;
            Wanted { part, shrink: 1 }
        };
        let whole = decoder.decode_part_into(&self.path, options, image, wanted)?;
        let Some([x1, y1, x2, y2]) = found else {
            let (path, (width, height)) = (self.path.clone(), whole.size);
            return Err(DataError::RegionOutside { path, region, width, height });
        };
        self.cut(image)?;
        Ok(Extent { size: (x2 - x1, y2 - y1), shrink: 1 })
    }

    /// What tells it from other images of a data set: its name and its region.
    pub(crate) fn key(&self) -> Cow<'_, str> {
        match self.region {
            None => Cow::Borrowed(&self.name),
            Some(region) => Cow::Owned(format!("{} [{region}]", self.name)),
        }
    }
}

/// What an image is in an evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// It is searched for, and found by nobody.
    Query,
    /// It is found, and searches for nothing.
    Gallery,
    /// Both: it queries all the others and is in their gallery. The usual case.
    #[default]
    Both,
}

impl Role {
    /// Whether it searches.
    pub fn is_query(self) -> bool {
        self != Self::Gallery
    }

    /// Whether it is found.
    pub fn is_gallery(self) -> bool {
        self != Self::Query
    }
}

/// A box in an image, in pixels: columns `x1..x2` and rows `y1..y2`, the second of each excluded,
/// as Pillow's `crop` takes it. It may reach over any edge of its image, as boxes of the field do by
/// a pixel or two: that part is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    x1: i32,
    y1: i32,
    x2: i32,
    y2: i32,
}

impl Region {
    /// A box; `None` unless `x1 < x2` and `y1 < y2`.
    pub fn new(x1: i32, y1: i32, x2: i32, y2: i32) -> Option<Self> {
        (x1 < x2 && y1 < y2).then_some(Self { x1, y1, x2, y2 })
    }

    /// `[x1, y1, x2, y2]`.
    pub fn corners(self) -> [i32; 4] {
        [self.x1, self.y1, self.x2, self.y2]
    }

    /// The part of the box that lies in an image of this size, `[x1, y1, x2, y2]`; `None` where
    /// there is none.
    pub fn within(self, width: u32, height: u32) -> Option<[u32; 4]> {
        let inside = |corner: i32, length: u32| corner.max(0).cast_unsigned().min(length);
        let [x1, x2] = [self.x1, self.x2].map(|x| inside(x, width));
        let [y1, y2] = [self.y1, self.y2].map(|y| inside(y, height));
        (x1 < x2 && y1 < y2).then_some([x1, y1, x2, y2])
    }

    /// Cuts the box out of an image in its own memory; `path` is for the error.
    fn cut(self, image: &mut RgbImage, path: &Path) -> Result<(), DataError> {
        let (width, height) = image.dimensions();
        let outside =
            || DataError::RegionOutside { path: path.to_owned(), region: self, width, height };
        let [x1, y1, x2, y2] = self.within(width, height).ok_or_else(outside)?;
        if [x1, y1, x2, y2] == [0, 0, width, height] {
            return Ok(());
        }
        let mut pixels = std::mem::take(image).into_raw();
        let row = 3 * (x2 - x1) as usize;
        for y in y1..y2 {
            // Rows move towards the front, so none is overwritten before it was read.
            let from = 3 * (y as usize * width as usize + x1 as usize);
            pixels.copy_within(from..from + row, (y - y1) as usize * row);
        }
        pixels.truncate(row * (y2 - y1) as usize);
        *image = RgbImage::from_raw(x2 - x1, y2 - y1, pixels).ok_or_else(outside)?;
        Ok(())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{}", self.x1, self.y1, self.x2, self.y2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> RgbImage {
        RgbImage::from_fn(7, 5, |x, y| image::Rgb([x as u8, y as u8, 9]))
    }

    fn cut(x1: i32, y1: i32, x2: i32, y2: i32) -> Result<RgbImage, DataError> {
        let region = Region::new(x1, y1, x2, y2);
        let mut image = image();
        Item { region, ..Item::default() }.cut(&mut image).map(|()| image)
    }

    #[test]
    fn a_region_holds_at_least_one_pixel() {
        assert!(Region::new(3, 0, 3, 1).is_none());
        assert!(Region::new(0, 2, 1, 1).is_none());
        assert!(Region::new(0, 0, 1, 1).is_some());
    }

    #[test]
    fn the_region_alone_is_left() {
        let inner = cut(2, 1, 6, 4).unwrap();
        assert_eq!(inner.dimensions(), (4, 3));
        assert!(inner.enumerate_pixels().all(|(x, y, p)| p.0 == [x as u8 + 2, y as u8 + 1, 9]));
        assert_eq!(cut(0, 0, 7, 5).unwrap(), image());
    }

    #[test]
    fn what_reaches_over_the_edge_is_cut_off_and_what_lies_outside_refused() {
        assert_eq!(cut(5, 3, 100, i32::MAX).unwrap().dimensions(), (2, 2));
        let corner = cut(i32::MIN, -1, 2, 3).unwrap();
        assert_eq!((corner.dimensions(), corner.get_pixel(1, 2).0), ((2, 3), [1, 2, 9]));
        for [x1, y1, x2, y2] in [[7, 0, 9, 5], [0, 5, 7, 6], [-3, 0, 0, 5], [0, -9, 7, -1]] {
            let error = cut(x1, y1, x2, y2).unwrap_err().to_string();
            let region = format!("{x1},{y1},{x2},{y2}");
            assert!(error.contains(&region) && error.contains("7 x 5"), "{error}");
        }
    }
}
