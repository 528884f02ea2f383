//! A pack that is mapped into memory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;
use memmap2::Mmap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::format::{Entry, HEADER_BYTES, Header, Index};
use super::write::modified_ns;
use super::{PackFormat, PackSettings};
use crate::decode::{Decoder, Extent, ReadOptions, Wanted};
use crate::error::DataError;
use crate::prepare::Loaded;
use crate::set::ImageSet;
use crate::transform::RgbView;

/// A pack of images, open for reading. Threads share it.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: Mmap,
    settings: PackSettings,
    index: Index,
    /// Which images' checksums were found right.
    checked: Vec<AtomicBool>,
}

impl Pack {
    /// Maps a pack and checks its header and its index; images are checked when they are read.
    ///
    /// # Errors
    /// [`DataError::Io`] where the file cannot be read, [`DataError::BadPack`] where it is no
    /// whole pack of a version that is known.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let bad = |reason| DataError::BadPack { path: path.to_owned(), reason };
        // Before it is opened: a pipe would wait for somebody to write.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("it is no file")));
        }
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() < HEADER_BYTES as u64 {
            return Err(bad("it is shorter than a pack's header".to_owned()));
        }
        // SAFETY: the map is read-only. `write` replaces a pack by renaming a new file over it and
        // never changes one in place, so the mapped file stays what it is. Who cuts it short by
        // other means while it is used ends this program: only the operating system could prevent
        // that, and reading 30 GB would need as much memory.
        let file = unsafe { Mmap::map(&file) }.map_err(io)?;
        let header = Header::parse(&file).map_err(bad)?;
        let index = Index::parse(&header, &file).map_err(bad)?;
        let checked = index.entries.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { path: path.to_owned(), file, settings: header.settings, index, checked })
    }

    /// How its images are stored.
    pub fn settings(&self) -> PackSettings {
        self.settings
    }

    /// How many images it lists.
    pub fn images(&self) -> usize {
        self.index.entries.len()
    }

    /// Bytes of its file.
    pub fn bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// How many images it lists that could not be decoded and have no pixels.
    pub fn without_pixels(&self) -> usize {
        self.index.entries.iter().filter(|entry| !entry.has_pixels()).count()
    }

    /// The place in the pack of each image of a set.
    ///
    /// # Errors
    /// [`DataError::StalePack`] where images are not in the pack or have changed since.
    pub(crate) fn locate(&self, set: &ImageSet) -> Result<Vec<u32>, DataError> {
        let places: Vec<Option<u32>> = set
            .items()
            .par_iter()
            .zip(set.sizes())
            .map(|(item, &bytes)| {
                let place = *self.index.places.get(&*item.key())?;
                let entry = &self.index.entries[place as usize];
                entry.is_of(&item.path, bytes).then_some(place)
            })
            .collect();
        let mut missing = places.iter().zip(set.items()).filter(|(place, _)| place.is_none());
        let Some((_, first)) = missing.next() else {
            return Ok(places.into_iter().flatten().collect());
        };
        let reason = format!(
            "{} of {} images are not in it or have changed since, the first of them '{}'",
            missing.count() + 1,
            set.len(),
            first.name
        );
        Err(DataError::StalePack { path: self.path.clone(), reason })
    }

    /// Whether the pack has the pixels of the image at a place.
    pub(crate) fn has_pixels(&self, place: u32) -> bool {
        self.index.entries[place as usize].has_pixels()
    }

    /// The image at a place, where the pack has its pixels. RGB bytes stay where they are; of a
    /// JPEG what is wanted is decoded into `image`, whose memory is used again.
    ///
    /// # Errors
    /// [`DataError::BadPack`] where its bytes are damaged.
    pub(crate) fn load<'a>(
        &'a self,
        place: u32,
        decoder: &mut Decoder,
        options: ReadOptions,
        image: &'a mut RgbImage,
        wanted: impl FnOnce((u32, u32)) -> Wanted,
    ) -> Result<Loaded<'a>, DataError> {
        let entry = &self.index.entries[place as usize];
        let bytes = self.pixels_of(entry);
        if !self.checked[place as usize].load(Ordering::Relaxed) {
            if crc32fast::hash(bytes) != entry.checksum {
                return Err(self.damaged(place, "its checksum differs"));
            }
            self.checked[place as usize].store(true, Ordering::Relaxed);
        }
        let size = (entry.width, entry.height);
        match self.settings.format {
            PackFormat::Raw => {
                wanted(size);
                // The index was checked: there are three bytes for each pixel.
                let view = RgbView { width: size.0, height: size.1, bytes };
                Ok(Loaded { view, extent: Extent { size, shrink: 1 } })
            }
            PackFormat::Jpeg { .. } => {
                let decoded = decoder.decode_bytes(bytes, options, image, wanted);
                let extent = decoded.map_err(|e| self.damaged(place, &e))?;
                if extent.size != size {
                    return Err(self.damaged(place, "its size is not that of the index"));
                }
                Ok(Loaded { view: (&*image).into(), extent })
            }
        }
    }

    /// Reads every image. `progress` hears how many more are done and may end it with `false`;
    /// the answer is whether all were read.
    ///
    /// # Errors
    /// [`DataError::BadPack`] with the first image that is damaged.
    pub fn verify(&self, mut progress: impl FnMut(usize) -> bool) -> Result<bool, DataError> {
        /// Images between two reports of progress.
        const ROUND: usize = 512;
        let places: Vec<u32> = (0..self.images() as u32).collect();
        for round in places.chunks(ROUND) {
            let results: Vec<_> = round
                .par_iter()
                .filter(|&&place| self.has_pixels(place))
                .map_init(Default::default, |(decoder, image), &place| {
                    self.load(place, decoder, ReadOptions::default(), image, Wanted::whole)
                        .map(|_| ())
                })
                .collect();
            results.into_iter().collect::<Result<Vec<()>, _>>()?;
            if !progress(round.len()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn pixels_of(&self, entry: &Entry) -> &[u8] {
        // The index was checked against the file.
        &self.file[entry.offset as usize..(entry.offset + entry.bytes) as usize]
    }

    fn damaged(&self, place: u32, what: &str) -> DataError {
        let name = self.index.places.iter().find(|(_, at)| **at == place).map(|(name, _)| name);
        let name = name.map_or("", String::as_str);
        DataError::BadPack {
            path: self.path.clone(),
            reason: format!("the image '{name}' in it is damaged: {what}"),
        }
    }
}

impl Entry {
    /// Whether it was made of the file that is there now, of which the length is known.
    fn is_of(&self, path: &Path, bytes: u64) -> bool {
        if bytes != self.origin.bytes {
            return false;
        }
        let modified = std::fs::metadata(path).map_or(0, |metadata| modified_ns(&metadata));
        if modified != 0 && modified == self.origin.modified_ns {
            return true;
        }
        // Copying a data set changes the times of its files and nothing else.
        std::fs::read(path)
            .is_ok_and(|file| <[u8; 32]>::from(Sha256::digest(file)) == self.origin.digest)
    }
}
