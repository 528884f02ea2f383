//! PKU VehicleID (Liu et al., "Deep Relative Distance Learning: Tell the Difference Between Similar
//! Vehicles", CVPR 2016): 221,763 photos of 26,267 vehicles from traffic cameras.
//!
//! Lists have a line `<image> <vehicle>` per image. There are three test lists, of 800, 1,600 and
//! 2,400 vehicles; each is a test split of its own, and the smallest there is the main one. As in
//! the paper, one image of each vehicle, drawn at random, is the gallery and the others are the
//! queries; here the seed decides which.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt;

use super::files::{Listed, drafts, fields, lines, read_text, root, wrong_layout};
use super::{DatasetEntry, DatasetOptions, Draft, Splits};
use crate::error::DataError;
use crate::item::Role;
use crate::random::{Purpose, keyed};

pub(super) const ENTRY: DatasetEntry = DatasetEntry {
    name: "vehicle_id",
    summary: "PKU VehicleID: vehicles of traffic cameras, with up to three test splits",
    layout: "train_test_split/train_list.txt and test_list_800.txt (1600, 2400) beside image/",
    detect: |source| locate(source).is_some(),
    read,
};

const FOLDERS: [&str; 3] = ["VehicleID_V1.0", "vehicle_id", "VehicleID"];
const TRAIN_LIST: &str = "train_test_split/train_list.txt";
/// The vehicles of the test lists.
const SIZES: [u32; 3] = [800, 1600, 2400];

fn test_list(root: &Path, size: u32) -> PathBuf {
    root.join(format!("train_test_split/test_list_{size}.txt"))
}

fn locate(source: &Path) -> Option<PathBuf> {
    root(source, &FOLDERS, |root| {
        root.join(TRAIN_LIST).is_file() && SIZES.iter().any(|&size| test_list(root, size).is_file())
    })
}

fn read(options: &DatasetOptions) -> Result<Splits, DataError> {
    let root =
        locate(&options.source).ok_or_else(|| wrong_layout(&options.source, ENTRY.layout))?;
    let images = root.join("image");
    let mut trained = Listed::default();
    let train = root.join(TRAIN_LIST);
    let mut splits = Splits {
        train: parse_list(&read_text(&train)?, &train, &images, &mut trained)?,
        ..Splits::default()
    };
    let mut main = None;
    for size in SIZES {
        let list = test_list(&root, size);
        if !list.is_file() {
            continue;
        }
        // The larger lists hold vehicles of the smaller ones: an image stands once in each.
        let mut listed = Listed::default();
        let mut drafts = parse_list(&read_text(&list)?, &list, &images, &mut listed)?;
        for (line, draft) in (1..).zip(&drafts) {
            trained.check(&draft.name, &list, line)?;
        }
        draw_gallery(&mut drafts, options.seed, size);
        if main.is_none() {
            splits.notes.push(format!("the test split is {}", name_of(&list)));
            (main, splits.test) = (Some(size), drafts);
        } else {
            splits.more_tests.push((format!("test-{size}"), drafts));
        }
    }
    Ok(splits)
}

fn name_of(list: &Path) -> String {
    list.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The images of a list's text, all of them queries and gallery so far.
pub(super) fn parse_list(
    text: &str,
    list: &Path,
    images: &Path,
    listed: &mut Listed,
) -> Result<Vec<Draft>, DataError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    drafts(lines(text), list, listed, |text| {
        let [image, vehicle] = fields(text)
            .filter(|[image, vehicle]| digits(image) && vehicle.parse::<u32>().is_ok())
            .ok_or("the numbers of an image and of its vehicle")?;
        let name = format!("{image}.jpg");
        Ok(Draft::new(images.join(&name), name, vehicle))
    })
}

/// Makes one image of each vehicle the gallery and the others queries. The draw of a vehicle
/// depends on the seed, the list and the vehicle, and not on the other vehicles.
fn draw_gallery(drafts: &mut [Draft], seed: u64, list: u32) {
    let mut vehicles: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, draft) in drafts.iter_mut().enumerate() {
        draft.role = Role::Query;
        // The parser let numbers through only.
        vehicles.entry(draft.class.parse().unwrap_or_default()).or_default().push(place);
    }
    for (vehicle, places) in vehicles {
        let mut rng = keyed(seed, Purpose::Gallery, u64::from(list), vehicle);
        drafts[places[rng.random_range(0..places.len())]].role = Role::Gallery;
    }
}
