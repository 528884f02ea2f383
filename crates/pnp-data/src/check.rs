//! The check of a whole data set before work begins: every image is decoded once, and bytes that
//! stand in two splits are found.

use std::collections::HashMap;

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::decode::Decoder;
use crate::error::{DataError, Split};
use crate::item::Item;
use crate::set::ImageSet;

/// Images that are decoded between two reports of progress.
const ROUND: usize = 512;

/// What was found.
#[derive(Debug, Default)]
pub struct Check {
    /// An error for each image that cannot be used, in the order of the splits.
    pub broken: Vec<DataError>,
    /// Names of images of the training split whose bytes an image of another split has too, and
    /// that image's name.
    pub shared: Vec<(String, String)>,
}

/// Decodes every image of some splits (as [`Dataset::splits`](crate::Dataset::splits) gives them).
/// `progress` hears how many more are done and may end the check by returning `false`; it returns
/// `None` then.
pub fn check_images<'a>(
    splits: impl IntoIterator<Item = (Split, &'a ImageSet)>,
    mut progress: impl FnMut(usize) -> bool,
) -> Option<Check> {
    let mut check = Check::default();
    let mut trained = HashMap::new();
    for (split, set) in splits {
        for items in set.items().chunks(ROUND) {
            let digests: Vec<_> = items.par_iter().map_init(Default::default, digest).collect();
            for (item, digest) in items.iter().zip(digests) {
                match digest {
                    Err(error) => check.broken.push(error),
                    Ok(digest) if split == Split::Train => {
                        trained.entry(digest).or_insert(&item.name);
                    }
                    Ok(digest) => {
                        let twin = trained.get(&digest);
                        check.shared.extend(twin.map(|&name| (name.clone(), item.name.clone())));
                    }
                }
            }
            if !progress(items.len()) {
                return None;
            }
        }
    }
    Some(check)
}

/// The digest of a file that decodes.
fn digest((decoder, image): &mut (Decoder, RgbImage), item: &Item) -> Result<[u8; 32], DataError> {
    decoder.decode_into(&item.path, image)?;
    item.cut(image)?;
    Ok(Sha256::digest(decoder.file()).into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{DatasetOptions, open};

    #[test]
    fn broken_images_and_shared_bytes_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = String::from("path,label,split\n");
        for (i, split) in ["train", "train", "train", "test", "test"].into_iter().enumerate() {
            let shade = if i == 4 { 1 } else { i as u8 };
            RgbImage::from_pixel(4, 4, image::Rgb([shade; 3]))
                .save(folder.path().join(format!("{i}.png")))
                .unwrap();
            manifest.push_str(&[&i.to_string(), ".png,", split, ",", split, "\n"].concat());
        }
        fs::write(folder.path().join("2.png"), "no image").unwrap();
        fs::write(folder.path().join("m.csv"), manifest).unwrap();
        let dataset = open(&DatasetOptions::new(folder.path().join("m.csv"))).unwrap();
        let mut seen = 0;
        let check = check_images(dataset.splits(), |more| {
            seen += more;
            true
        });
        let check = check.unwrap();
        assert_eq!(seen, 5);
        assert_eq!(check.broken.len(), 1);
        assert!(check.broken[0].to_string().contains("2.png"));
        assert_eq!(check.shared, [("1.png".to_owned(), "4.png".to_owned())]);
        assert!(check_images(dataset.splits(), |_| false).is_none());
    }
}
