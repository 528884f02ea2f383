//! The bytes of a pack's header and index: written, and read with every number checked.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::{PackFormat, PackSettings};
use crate::decode::MAX_PIXELS;

pub(super) const MAGIC: [u8; 8] = *b"pnp-pack";
const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 128;
const HEADER_SUMMED: usize = HEADER_BYTES - 4;

/// Bytes of an index entry beside its name.
const ENTRY_BYTES: u64 = 80;

/// What a pack begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) settings: PackSettings,
    pub(super) images: u64,
    pub(super) index_offset: u64,
    pub(super) index_bytes: u64,
    pub(super) index_digest: [u8; 32],
}

/// What is known of a file that was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) bytes: u64,
    pub(super) modified_ns: u64,
    pub(super) digest: [u8; 32],
}

/// Where one image's pixels are. Width and height are 0 where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) origin: Origin,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) checksum: u32,
}

/// The images of a pack, and the place of each name among them.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
    pub(super) places: HashMap<String, u32>,
}

impl Header {
    pub(super) fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let (format, quality) = match self.settings.format {
            PackFormat::Raw => (0_u32, 0),
            PackFormat::Jpeg { quality } => (1, u32::from(quality)),
        };
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        for word in [VERSION, format, self.settings.side, quality] {
            bytes.extend(word.to_le_bytes());
        }
        for word in [self.images, self.index_offset, self.index_bytes] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(self.index_digest);
        bytes.resize(HEADER_SUMMED, 0);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        std::array::from_fn(|at| bytes[at])
    }

    /// The header of a file; the error says what is wrong with it.
    pub(super) fn parse(file: &[u8]) -> Result<Self, String> {
        let Some(bytes) = file.first_chunk::<HEADER_BYTES>() else {
            return Err(format!("it has {} bytes, less than a pack's header", file.len()));
        };
        let mut reader = Reader(bytes);
        if reader.array()? != MAGIC {
            return Err("it does not begin as a pack does".to_owned());
        }
        let version = reader.u32()?;
        if version != VERSION {
            return Err(format!("it is of version {version}, and this program reads {VERSION}"));
        }
        let (summed, checksum) = bytes.split_at(HEADER_SUMMED);
        if crc32fast::hash(summed).to_le_bytes() != checksum {
            return Err("its header is damaged: the checksum differs".to_owned());
        }
        let settings = settings(reader.u32()?, reader.u32()?, reader.u32()?)?;
        let header = Self {
            settings,
            images: reader.u64()?,
            index_offset: reader.u64()?,
            index_bytes: reader.u64()?,
            index_digest: reader.array()?,
        };
        let end = header.index_offset.checked_add(header.index_bytes);
        if header.index_offset < HEADER_BYTES as u64 || end != Some(file.len() as u64) {
            return Err(format!(
                "its index should be the {} bytes from {} on, and the file has {} bytes: it was \
                 cut, or something was added",
                header.index_bytes,
                header.index_offset,
                file.len()
            ));
        }
        if header.images > header.index_bytes / ENTRY_BYTES || header.images > u32::MAX.into() {
            let (images, bytes) = (header.images, header.index_bytes);
            return Err(format!("its {bytes} bytes of index cannot list {images} images"));
        }
        Ok(header)
    }
}

fn settings(format: u32, side: u32, quality: u32) -> Result<PackSettings, String> {
    let format = match (format, u8::try_from(quality)) {
        (0, Ok(0)) => PackFormat::Raw,
        (1, Ok(quality)) => PackFormat::Jpeg { quality },
        _ => return Err(format!("it stores images in an unknown way ({format}, {quality})")),
    };
    let settings = PackSettings { side, format };
    settings.check().map_err(|e| e.to_string())?;
    Ok(settings)
}

impl Entry {
    /// Appends this entry to the bytes of an index.
    pub(super) fn append(&self, name: &str, index: &mut Vec<u8>) {
        // A name longer than 4 GiB comes from no file system and no list that is read.
        index.extend((name.len() as u32).to_le_bytes());
        index.extend(name.as_bytes());
        index.extend(self.origin.bytes.to_le_bytes());
        index.extend(self.origin.modified_ns.to_le_bytes());
        index.extend(self.origin.digest);
        index.extend(self.width.to_le_bytes());
        index.extend(self.height.to_le_bytes());
        index.extend(self.offset.to_le_bytes());
        index.extend(self.bytes.to_le_bytes());
        index.extend(self.checksum.to_le_bytes());
    }

    fn parse(reader: &mut Reader<'_>) -> Result<(String, Self), String> {
        let length = reader.u32()? as usize;
        let name = std::str::from_utf8(reader.take(length)?)
            .map_err(|_| "a name in its index is no UTF-8 text".to_owned())?
            .to_owned();
        let origin =
            Origin { bytes: reader.u64()?, modified_ns: reader.u64()?, digest: reader.array()? };
        let (width, height) = (reader.u32()?, reader.u32()?);
        let (offset, bytes, checksum) = (reader.u64()?, reader.u64()?, reader.u32()?);
        Ok((name, Self { origin, width, height, offset, bytes, checksum }))
    }

    pub(super) fn has_pixels(&self) -> bool {
        self.width > 0
    }

    /// Refuses an image that cannot be where the index says; `from..to` is what is left for it.
    fn check(&self, name: &str, from: u64, to: u64, format: PackFormat) -> Result<(), String> {
        let end = self.offset.checked_add(self.bytes).filter(|&end| end <= to);
        if end.is_none() {
            return Err(format!("'{name}' reaches beyond the images"));
        }
        if self.offset < from {
            return Err(format!("'{name}' overlaps what stands before it"));
        }
        let pixels = u64::from(self.width) * u64::from(self.height);
        let empty = self.width == 0 && self.height == 0 && self.bytes == 0;
        let fits = match format {
            PackFormat::Raw => pixels > 0 && pixels.checked_mul(3) == Some(self.bytes),
            PackFormat::Jpeg { .. } => pixels > 0 && self.bytes > 0,
        };
        if !empty && (!fits || pixels > MAX_PIXELS) {
            let Self { width, height, bytes, .. } = self;
            return Err(format!("'{name}' cannot have {width} x {height} pixels in {bytes} bytes"));
        }
        Ok(())
    }
}

impl Index {
    /// The index of a file with this header; the error says what is wrong with it.
    pub(super) fn parse(header: &Header, file: &[u8]) -> Result<Self, String> {
        let bytes = file.get(header.index_offset as usize..).unwrap_or_default();
        if <[u8; 32]>::from(Sha256::digest(bytes)) != header.index_digest {
            return Err("its index is damaged: the checksum differs".to_owned());
        }
        // The header was checked: an image has at least `ENTRY_BYTES` of these bytes.
        let count = header.images as usize;
        let (mut entries, mut places) = (Vec::with_capacity(count), HashMap::with_capacity(count));
        let (mut reader, mut from) = (Reader(bytes), HEADER_BYTES as u64);
        for place in 0..count {
            let (name, entry) = Entry::parse(&mut reader)?;
            entry.check(&name, from, header.index_offset, header.settings.format)?;
            from = entry.offset + entry.bytes;
            entries.push(entry);
            if let Some(first) = places.insert(name, place as u32) {
                return Err(format!("images {first} and {place} have the same name"));
            }
        }
        if !reader.0.is_empty() {
            return Err(format!("its index has {} bytes too many", reader.0.len()));
        }
        Ok(Self { entries, places })
    }
}

/// Takes numbers from bytes while there are some.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or("its index ends within an image's entry")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: PackSettings = PackSettings { side: 2, format: PackFormat::Raw };

    fn entry(offset: u64) -> Entry {
        let origin = Origin { bytes: 9, modified_ns: 8, digest: [7; 32] };
        Entry { origin, width: 2, height: 3, offset, bytes: 18, checksum: 6 }
    }

    /// A file of two images with these entries.
    fn file(entries: &[(&str, Entry)], change: impl FnOnce(&mut Header, &mut Vec<u8>)) -> Vec<u8> {
        let mut index = Vec::new();
        for (name, entry) in entries {
            entry.append(name, &mut index);
        }
        let mut header = Header {
            settings: RAW,
            images: entries.len() as u64,
            index_offset: 128 + 36,
            index_bytes: index.len() as u64,
            index_digest: [0; 32],
        };
        change(&mut header, &mut index);
        header.index_digest = Sha256::digest(&index).into();
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(128 + 36, 1);
        bytes.extend(index);
        bytes
    }

    fn parse(file: &[u8]) -> Result<Index, String> {
        Index::parse(&Header::parse(file)?, file)
    }

    fn good() -> Vec<u8> {
        file(&[("a", entry(128)), ("b", entry(146))], |_, _| ())
    }

    fn refused(file: &[u8], words: &str) {
        let error = parse(file).unwrap_err();
        assert!(error.contains(words), "'{words}' is not in: {error}");
    }

    #[test]
    fn header_and_index_come_back_as_they_were_written() {
        let index = parse(&good()).unwrap();
        assert_eq!(index.entries, [entry(128), entry(146)]);
        assert_eq!(index.places["b"], 1);
        let settings = PackSettings { side: 7, format: PackFormat::Jpeg { quality: 90 } };
        let header = Header {
            settings,
            images: 0,
            index_offset: 128,
            index_bytes: 0,
            index_digest: [3; 32],
        };
        assert_eq!(Header::parse(&header.to_bytes()).unwrap(), header);
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let file = good();
        for length in 0..file.len() {
            assert!(parse(&file[..length]).is_err(), "{length} bytes are taken for a pack");
        }
    }

    #[test]
    fn every_changed_byte_of_header_and_index_is_noticed() {
        let file = good();
        for at in (0..128).chain(128 + 36..file.len()) {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert!(parse(&changed).is_err(), "byte {at} may be anything");
        }
    }

    #[test]
    fn another_kind_of_file_and_another_version_are_named() {
        let mut other = good();
        other[0] = b'P';
        refused(&other, "does not begin as a pack");
        let mut newer = good();
        newer[8] = 2;
        refused(&newer, "version 2");
    }

    #[test]
    fn an_index_that_lies_about_its_place_or_count_is_refused() {
        let entries = [("a", entry(128))];
        refused(&file(&entries, |header, _| header.index_offset = 12), "its index should be");
        refused(&file(&entries, |header, _| header.index_bytes = u64::MAX), "its index should be");
        refused(&file(&entries, |header, _| header.images = u64::MAX), "cannot list");
        refused(&file(&entries, |header, _| header.images = 0), "too many");
        let longer = |header: &mut Header, index: &mut Vec<u8>| {
            index[..4].copy_from_slice(&u32::MAX.to_le_bytes());
            header.images = 1;
        };
        refused(&file(&entries, longer), "ends within");
    }

    #[test]
    fn settings_that_no_pack_has_are_refused() {
        let side = |side| file(&[], move |header, _| header.settings.side = side);
        refused(&side(0), "side = 0");
        refused(&side(5000), "side = 5000");
        let format = PackFormat::Jpeg { quality: 101 };
        refused(&file(&[], |header, _| header.settings.format = format), "quality = 101");
    }

    #[test]
    fn images_that_overlap_or_reach_beyond_are_refused() {
        refused(&file(&[("a", entry(128)), ("b", entry(145))], |_, _| ()), "'b' overlaps");
        refused(&file(&[("a", entry(127))], |_, _| ()), "'a' overlaps");
        refused(&file(&[("a", entry(147))], |_, _| ()), "'a' reaches beyond");
        refused(&file(&[("a", entry(u64::MAX))], |_, _| ()), "'a' reaches beyond");
    }

    #[test]
    fn sizes_that_do_not_fit_the_bytes_are_refused() {
        for (width, height) in [(2, 2), (0, 3), (u32::MAX, u32::MAX)] {
            let lying = Entry { width, height, ..entry(128) };
            refused(&file(&[("a", lying)], |_, _| ()), "cannot have");
        }
    }

    #[test]
    fn a_name_twice_and_a_name_that_is_no_text_are_refused() {
        refused(&file(&[("a", entry(128)), ("a", entry(146))], |_, _| ()), "the same name");
        refused(&file(&[("a", entry(128))], |_, index| index[4] = 0xff), "no UTF-8");
    }
}
