//! Images that are there twice: the same bytes, and the same picture.

use std::collections::HashMap;

use rayon::prelude::*;

use super::near;
use super::picture::Fingerprint;
use super::{Finding, Image, Kind};

/// Notes images whose bytes an earlier image has: the first in an earlier split, and the first of
/// its own split.
pub(super) fn same_bytes(images: &[Image<'_>], findings: &mut [Vec<Finding>]) {
    let mut first = HashMap::new();
    let mut first_of_split = HashMap::new();
    for (place, image) in images.iter().enumerate() {
        let Some(digest) = image.seen.digest else { continue };
        // Splits come one after another: the first of all is in an earlier one, if any is.
        // Parts of one file, and test splits that hold one another's images, are meant.
        let is_same = |earlier: usize| {
            let other = &images[earlier];
            let part = other.item.region != image.item.region;
            other.item.path == image.item.path && (part || other.class == image.class)
        };
        let earlier = *first.entry(digest).or_insert(place);
        if images[earlier].split != image.split {
            findings[place].push(image.like(Kind::SharedBytes, &images[earlier]));
        }
        let earlier = *first_of_split.entry((digest, image.split)).or_insert(place);
        if earlier != place && !is_same(earlier) {
            let other = &images[earlier];
            let kind = if other.class == image.class {
                Kind::RepeatedBytes
            } else {
                Kind::ConflictingBytes
            };
            findings[place].push(image.like(kind, other));
        }
    }
}

/// Notes images that show the picture of an earlier image, of an earlier split or of another class
/// of its split, with other bytes. Of images with the same bytes the first stands for all.
pub(super) fn same_picture(images: &[Image<'_>], findings: &mut [Vec<Finding>]) {
    let groups = Groups::new(images);
    let twins: Vec<(usize, Twins)> =
        groups.pictures.par_iter().map(|&place| (place, groups.twins(images, place))).collect();
    for (place, twins) in twins {
        for (kind, twin) in
            [(Kind::SharedPicture, twins.shared), (Kind::ConflictingPicture, twins.conflicting)]
        {
            let twin = twin.map(|twin| images[place].like(kind, &images[twin]));
            findings[place].extend(twin);
        }
    }
}

impl Image<'_> {
    fn like(&self, kind: Kind, other: &Image<'_>) -> Finding {
        let twin = Some((other.split, other.item.name.clone()));
        Finding { twin, ..self.finding(kind, String::new()) }
    }
}

/// The first image of an earlier split, and of another class of the same one, that shows the same
/// picture.
#[derive(Default)]
struct Twins {
    shared: Option<usize>,
    conflicting: Option<usize>,
}

/// Pictures by their hash.
struct Groups {
    /// The images that are compared, ascending.
    pictures: Vec<usize>,
    /// Which group each hash is.
    numbers: HashMap<u64, usize>,
    /// The images of each hash, ascending.
    members: Vec<Vec<usize>>,
    /// The groups whose hashes are near each group's.
    near: Vec<Vec<u32>>,
}

impl Groups {
    fn new(images: &[Image<'_>]) -> Self {
        let mut seen = std::collections::HashSet::new();
        let (mut pictures, mut hashes) = (Vec::new(), Vec::new());
        let (mut numbers, mut members) = (HashMap::new(), Vec::new());
        for (place, image) in images.iter().enumerate() {
            let Some(Fingerprint { hash, .. }) = image.seen.fingerprint else { continue };
            if !seen.insert((image.seen.digest, image.item.region)) {
                continue;
            }
            pictures.push(place);
            let number = *numbers.entry(hash).or_insert_with(|| {
                hashes.push(hash);
                members.push(Vec::new());
                members.len() - 1
            });
            members[number].push(place);
        }
        Self { pictures, numbers, members, near: near::neighbours(&hashes) }
    }

    fn twins(&self, images: &[Image<'_>], place: usize) -> Twins {
        let mut twins = Twins::default();
        let image = &images[place];
        let Some(own) = &image.seen.fingerprint else { return twins };
        for &group in &self.near[self.numbers[&own.hash]] {
            for &other in &self.members[group as usize] {
                let found = if images[other].split == image.split {
                    &mut twins.conflicting
                } else {
                    &mut twins.shared
                };
                // Members ascend: what follows is no earlier twin.
                if other >= place {
                    break;
                }
                let candidate = &images[other];
                if candidate.split == image.split && candidate.class == image.class
                    || found.is_some_and(|found| found < other)
                {
                    continue;
                }
                let same = candidate.seen.fingerprint.as_ref().is_some_and(|f| f.same_colours(own));
                if same {
                    *found = Some(other);
                }
            }
        }
        twins
    }
}
