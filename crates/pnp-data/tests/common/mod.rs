//! Small data sets in temporary folders.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod layouts;
pub(crate) mod mat;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pnp_data::{DatasetOptions, ImageSet, Item};

/// Writes an empty file, which a data set opens as well as a real image, and its folders.
pub(crate) fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
}

/// Writes a small image whose colours depend on `number`.
pub(crate) fn draw(path: &Path, number: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = image::RgbImage::from_fn(40, 30, |x, y| {
        image::Rgb([(x * 6) as u8, (y * 8) as u8, (number * 9) as u8])
    });
    image.save_with_format(path, image::ImageFormat::Png).unwrap();
}

/// A set of real images in `folder`: `sizes[c]` of class `c`.
pub(crate) fn image_set(folder: &Path, sizes: &[usize]) -> Arc<ImageSet> {
    let mut items = Vec::new();
    for (label, &size) in sizes.iter().enumerate() {
        for n in 0..size {
            let name = format!("{label}/{n}.png");
            draw(&folder.join(&name), items.len() as u32);
            items.push(Item {
                path: folder.join(&name),
                name,
                label: label as u32,
                ..Item::default()
            });
        }
    }
    let names = (0..sizes.len()).map(|label| format!("class {label}")).collect();
    Arc::new(ImageSet::new(items, names).unwrap())
}

/// Options that open `source`, whatever it is.
pub(crate) fn options(source: &Path) -> DatasetOptions {
    DatasetOptions::new(source)
}

/// The names of a set's images.
pub(crate) fn names(set: &ImageSet) -> Vec<&str> {
    set.items().iter().map(|item| item.name.as_str()).collect()
}

/// The message of the error with which a data set does not open.
pub(crate) fn open_error(options: &DatasetOptions) -> String {
    pnp_data::open(options).unwrap_err().to_string()
}
