//! What is wrong with a data set: every image is decoded once, and everything that would make a
//! result wrong, or that its user should know, becomes a [`Finding`].
//!
//! [`Depth::Decode`] is the check before a training: images that cannot be used, and bytes that
//! stand in two splits. [`Depth::Full`] looks at pictures, kinds of files and classes too. What
//! each [`Kind`] means, and how bad it is, is written at [`Kind`].
//!
//! Work runs on all threads of rayon's current pool. Findings come in the order of the splits and
//! of their images, whatever the threads; those about classes follow the images of their split.

mod classes;
mod finding;
mod near;
mod picture;
mod probe;
mod twins;

use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

pub use finding::{Finding, Kind, Severity, Subject};

use self::picture::Fingerprint;
use crate::decode::Decoder;
use crate::error::{DataError, Split};
use crate::item::{Item, Region};
use crate::set::ImageSet;
use crate::transform::Resampler;

/// Images that are decoded between two reports of progress.
const ROUND: usize = 512;

/// How much an audit looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Images that cannot be used, and the same bytes twice.
    Decode,
    /// All kinds of findings.
    Full,
}

/// What an audit found.
#[derive(Debug, Default)]
pub struct Audit {
    /// How many images were looked at.
    pub images: usize,
    /// In the order of the splits and their images.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// The findings of one kind, in order.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.kind == kind)
    }

    /// How many findings would make a result wrong.
    pub fn corrupting(&self) -> usize {
        let corrupts = |finding: &&Finding| finding.kind.severity() == Severity::CorruptsResult;
        self.findings.iter().filter(corrupts).count()
    }
}

/// What was seen of one image.
struct Seen {
    /// Why it cannot be used.
    broken: Option<(Kind, String)>,
    /// What is worth knowing about its file.
    remarks: Vec<(Kind, String)>,
    /// SHA-256 of its bytes, where it can be used.
    digest: Option<[u8; 32]>,
    fingerprint: Option<Fingerprint>,
}

/// An image with its place in the data set.
struct Image<'a> {
    split: Split,
    item: &'a Item,
    /// The name of its class: numbers of different splits are not the same classes.
    class: &'a str,
    seen: Seen,
}

/// Looks at every image of some splits (as [`Dataset::splits`](crate::Dataset::splits) gives
/// them). `progress` hears how many more are done and may end the audit by returning `false`; it
/// returns `None` then.
pub fn audit<'a>(
    splits: impl IntoIterator<Item = (Split, &'a ImageSet)>,
    depth: Depth,
    mut progress: impl FnMut(usize) -> bool,
) -> Option<Audit> {
    let splits: Vec<_> = splits.into_iter().collect();
    let mut images = Vec::new();
    for &(split, set) in &splits {
        for items in set.items().chunks(ROUND) {
            let look = |looker: &mut Looker, item| looker.look(item, depth);
            let seen: Vec<Seen> = items.par_iter().map_init(Looker::default, look).collect();
            let seen = items.iter().zip(seen);
            images.extend(seen.map(|(item, seen)| {
                let class = set.class_names()[item.label as usize].as_str();
                Image { split, item, class, seen }
            }));
            if !progress(items.len()) {
                return None;
            }
        }
    }
    let mut findings: Vec<Vec<Finding>> = images.iter().map(Image::own_findings).collect();
    twins::same_bytes(&images, &mut findings);
    if depth == Depth::Full {
        twins::same_picture(&images, &mut findings);
    }
    let mut audit = Audit { images: images.len(), findings: Vec::new() };
    let mut findings = findings.into_iter();
    for (split, set) in splits {
        audit.findings.extend(findings.by_ref().take(set.len()).flatten());
        if depth == Depth::Full {
            audit.findings.extend(classes::findings(split, set));
        }
    }
    Some(audit)
}

impl Image<'_> {
    fn finding(&self, kind: Kind, detail: String) -> Finding {
        let subject = Subject::Image(self.item.name.clone());
        Finding { kind, split: self.split, subject, detail, twin: None }
    }

    fn own_findings(&self) -> Vec<Finding> {
        let own = self.seen.broken.iter().chain(&self.seen.remarks);
        own.map(|(kind, detail)| self.finding(*kind, detail.clone())).collect()
    }
}

/// The memory a thread uses again for each image.
#[derive(Default)]
struct Looker {
    decoder: Decoder,
    image: RgbImage,
    resampler: Resampler,
}

impl Looker {
    fn look(&mut self, item: &Item, depth: Depth) -> Seen {
        let decoded = self.decoder.decode_into(&item.path, &mut self.image);
        let size = self.image.dimensions();
        let decoded = decoded.and_then(|()| item.cut(&mut self.image));
        let file = self.decoder.file();
        let full = depth == Depth::Full;
        let remarks = if full {
            let mut remarks = probe::probe(file).remarks(&item.path, decoded.is_ok());
            remarks
                .extend(item.region.filter(|_| decoded.is_ok()).and_then(|r| over_edge(r, size)));
            remarks
        } else {
            Vec::new()
        };
        match decoded {
            Err(error) => Seen {
                broken: Some(broken(&item.path, error, file)),
                remarks,
                digest: None,
                fingerprint: None,
            },
            Ok(()) => Seen {
                broken: None,
                remarks,
                digest: Some(Sha256::digest(file).into()),
                fingerprint: full
                    .then(|| Fingerprint::new(&self.image, &mut self.resampler))
                    .flatten(),
            },
        }
    }
}

/// What is worth knowing about a box in an image of this size.
fn over_edge(region: Region, (width, height): (u32, u32)) -> Option<(Kind, String)> {
    let [x1, y1, x2, y2] = region.corners().map(i64::from);
    let over = x1 < 0 || y1 < 0 || x2 > i64::from(width) || y2 > i64::from(height);
    over.then(|| (Kind::BoxOverEdge, format!("{region} in {width} x {height} pixels")))
}

/// Why an image cannot be used.
fn broken(path: &Path, error: DataError, file: &[u8]) -> (Kind, String) {
    match error {
        DataError::Io { .. } if !path.is_file() => {
            (Kind::Missing, "there is no such file".to_owned())
        }
        DataError::Io { source, .. } => (Kind::Undecodable, format!("cannot be read: {source}")),
        DataError::BadImage { reason, .. } => {
            let kind = if probe::is_bomb(file) { Kind::Bomb } else { Kind::Undecodable };
            (kind, reason.trim_end().to_owned())
        }
        DataError::RegionOutside { region, width, height, .. } => {
            (Kind::BoxOutside, format!("{region} in {width} x {height} pixels"))
        }
        other => (Kind::Undecodable, other.to_string()),
    }
}
