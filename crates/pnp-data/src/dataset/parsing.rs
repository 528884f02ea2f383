//! The parsers of lists as functions of bytes, for tests that feed them anything: none may panic,
//! take memory that the bytes do not account for, or go on for ever. Not part of the interface.

use std::path::Path;

use super::files::Listed;
use super::{Boxes, in_shop, inaturalist, manifest, mat, online_products, vehicle_id};

/// A parser and its name. It tells whether the bytes are a list of its kind.
pub type Parser = (&'static str, fn(&[u8]) -> bool);

/// The parsers there are.
pub const PARSERS: [Parser; 6] = [
    ("manifest", manifest),
    ("online_products", online_products),
    ("vehicle_id", vehicle_id),
    ("in_shop_boxes", in_shop_boxes),
    ("inaturalist", inaturalist),
    ("mat", mat),
];

/// A CSV manifest.
pub fn manifest(bytes: &[u8]) -> bool {
    manifest::parse(bytes, Path::new("manifest.csv"), Boxes::Auto).is_ok()
}

/// A list of Stanford Online Products.
pub fn online_products(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (list, images) = (Path::new("Ebay_train.txt"), Path::new("images"));
    online_products::parse_list(&text, list, images, &mut Listed::default()).is_ok()
}

/// A list of VehicleID.
pub fn vehicle_id(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (list, images) = (Path::new("train_list.txt"), Path::new("image"));
    vehicle_id::parse_list(&text, list, images, &mut Listed::default()).is_ok()
}

/// The boxes of In-Shop Clothes.
pub fn in_shop_boxes(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    in_shop::parse_boxes(&text, Path::new("list_bbox_inshop.txt")).is_ok()
}

/// The annotations of iNaturalist.
pub fn inaturalist(bytes: &[u8]) -> bool {
    inaturalist::Classes::default().parse(bytes, Path::new("train2018.json")).is_ok()
}

/// A MAT file.
pub fn mat(bytes: &[u8]) -> bool {
    mat::parse(bytes).is_ok()
}
