//! Writes a pack: images are decoded and resized on all threads and written in order, a round at a
//! time, into a temporary file that takes the old pack's place once it is whole and on the disk.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::format::{Entry, HEADER_BYTES, Header, MAGIC, Origin};
use super::{PackFormat, PackSettings};
use crate::OnBadImage;
use crate::decode::Decoder;
use crate::error::DataError;
use crate::item::Item;
use crate::set::ImageSet;
use crate::transform::{Resampler, resized};

/// Images that are prepared while those before them are written: so many are in memory, twice.
const ROUND: usize = 64;

/// An image that would take more than this many squares of the side is kept at its own size: one
/// of 1 x 60,000 pixels would become 12 GB.
const MAX_SQUARES: u64 = 64;

/// What was written.
#[derive(Debug)]
pub struct Packed {
    /// Images in the pack, those without pixels too.
    pub images: usize,
    /// Bytes of the file.
    pub bytes: u64,
    /// Images of which the pack has no pixels, since they could not be used. A loader reads their
    /// files, and says what is wrong with them.
    pub without_pixels: Vec<DataError>,
}

/// Writes a pack of all images of some sets, in place of the one at `path` if there is one.
/// `progress` hears how many more are done and may end the work by returning `false`; the answer
/// is `None` then. Unless the whole pack is on the disk, what was at `path` stays as it was.
///
/// # Errors
/// [`DataError::Setting`] for impossible settings, [`DataError::Write`] where the pack cannot be
/// written or `path` is something else than a pack, and what is wrong with an image, unless it is
/// to be skipped.
pub fn write<'a>(
    sets: impl IntoIterator<Item = &'a ImageSet>,
    path: &Path,
    settings: PackSettings,
    on_bad_image: OnBadImage,
    progress: impl FnMut(usize) -> bool,
) -> Result<Option<Packed>, DataError> {
    settings.check()?;
    let items = distinct(sets);
    replace(path, |file| {
        stream(BufWriter::new(file), &items, settings, on_bad_image, progress)
            .map_err(|failure| failure.at(path))
    })
}

/// How many images a pack of some sets has: one that is in several of them counts once.
pub fn count<'a>(sets: impl IntoIterator<Item = &'a ImageSet>) -> usize {
    distinct(sets).len()
}

fn distinct<'a>(sets: impl IntoIterator<Item = &'a ImageSet>) -> Vec<&'a Item> {
    let mut seen = HashSet::new();
    sets.into_iter().flat_map(ImageSet::items).filter(|item| seen.insert(item.key())).collect()
}

/// Why a pack did not come about.
#[derive(Debug)]
enum PackFailure {
    Image(DataError),
    Writing(std::io::Error),
}

impl PackFailure {
    fn at(self, path: &Path) -> DataError {
        match self {
            Self::Image(error) => error,
            Self::Writing(source) => DataError::Write { path: path.to_owned(), source },
        }
    }
}

impl From<std::io::Error> for PackFailure {
    fn from(error: std::io::Error) -> Self {
        Self::Writing(error)
    }
}

/// Gives `fill` a temporary file beside `path`, and puts it in its place where `fill` answers
/// something. Otherwise the temporary file goes, and what was at `path` stays.
fn replace<T>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<Option<T>, DataError>,
) -> Result<Option<T>, DataError> {
    let failed = |source| DataError::Write { path: path.to_owned(), source };
    let refuse = |why: &str| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    // A link is followed, so that it stays a link.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if target.exists() && !is_pack(&target) {
        return Err(refuse("it exists and is no pack; remove it, or give another name"));
    }
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().ok_or_else(|| refuse("the path names no file"))?);
    prefix.push(".");
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // Temporary files are private by default; this one becomes an ordinary file of the user's.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    let Some(answer) = fill(file.as_file_mut())? else { return Ok(None) };
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&target).map_err(|e| failed(e.error))?;
    if cfg!(unix) {
        // The new name is on the disk only when its folder is.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    }
    Ok(Some(answer))
}

/// Whether a file begins as a pack does: whatever its state, it may be replaced.
fn is_pack(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    path.is_file()
        && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == MAGIC
}

/// Writes a whole pack.
fn stream(
    writer: impl Write + Seek + Send,
    items: &[&Item],
    settings: PackSettings,
    on_bad_image: OnBadImage,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Option<Packed>, PackFailure> {
    let mut sink = Sink { writer, offset: 0, index: Vec::new(), images: 0 };
    // The header comes last: until then nothing takes the file for a pack.
    sink.append(&[0; HEADER_BYTES])?;
    let mut without_pixels = Vec::new();
    let mut rounds = items.chunks(ROUND);
    let mut prepared = rounds.next().map(|round| prepare(round, settings));
    while let Some(round) = prepared.take() {
        let count = round.len();
        let (written, next) = rayon::join(
            || sink.write_round(round, on_bad_image),
            || rounds.next().map(|round| prepare(round, settings)),
        );
        without_pixels.extend(written?);
        prepared = next;
        if !progress(count) {
            return Ok(None);
        }
    }
    let images = sink.images;
    let bytes = sink.finish(settings)?;
    Ok(Some(Packed { images, bytes, without_pixels }))
}

/// An image on its way into a pack.
struct Prepared<'a> {
    name: Cow<'a, str>,
    origin: Origin,
    size: (u32, u32),
    bytes: Vec<u8>,
    /// Why it has no pixels.
    broken: Option<DataError>,
}

fn prepare<'a>(round: &[&'a Item], settings: PackSettings) -> Vec<Prepared<'a>> {
    let prepare = |scratch: &mut Scratch, item: &&'a Item| scratch.prepare(item, settings);
    round.par_iter().map_init(Scratch::default, prepare).collect()
}

/// The memory a thread uses again for each image.
#[derive(Default)]
struct Scratch {
    decoder: Decoder,
    image: RgbImage,
    resampler: Resampler,
}

impl Scratch {
    fn prepare<'a>(&mut self, item: &'a Item, settings: PackSettings) -> Prepared<'a> {
        // The time is that before the file is read: a change after it is a later time.
        let modified = std::fs::metadata(&item.path).map_or(0, |metadata| modified_ns(&metadata));
        let rendered = self.render(item, settings);
        let file = self.decoder.file();
        let origin = Origin {
            bytes: file.len() as u64,
            modified_ns: modified,
            digest: Sha256::digest(file).into(),
        };
        let (size, bytes, broken) = match rendered {
            Ok((size, bytes)) => (size, bytes, None),
            Err(error) => ((0, 0), Vec::new(), Some(error)),
        };
        Prepared { name: item.key(), origin, size, bytes, broken }
    }

    fn render(
        &mut self,
        item: &Item,
        settings: PackSettings,
    ) -> Result<((u32, u32), Vec<u8>), DataError> {
        self.decoder.decode_into(&item.path, &mut self.image)?;
        item.cut(&mut self.image)?;
        let size = packed_size(self.image.dimensions(), settings.side);
        let pixels = if size == self.image.dimensions() {
            self.image.as_raw().clone()
        } else {
            let mut pixels = vec![0; 3 * size.0 as usize * size.1 as usize];
            self.resampler.whole((&self.image).into(), size, &mut pixels)?;
            pixels
        };
        let PackFormat::Jpeg { quality } = settings.format else { return Ok((size, pixels)) };
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, quality)
            .encode(&pixels, size.0, size.1, ExtendedColorType::Rgb8)
            .map_err(|e| DataError::BadImage { path: item.path.clone(), reason: e.to_string() })?;
        Ok((size, bytes))
    }
}

/// The size at which an image is stored.
fn packed_size((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let short = width.min(height).max(1);
    let [w, h] = [width, height].map(|length| resized::side(side, length, short));
    let most = MAX_SQUARES * u64::from(side) * u64::from(side);
    match (u32::try_from(w), u32::try_from(h)) {
        (Ok(w), Ok(h)) if u64::from(w) * u64::from(h) <= most => (w, h),
        _ => (width, height),
    }
}

/// What is written so far.
struct Sink<W> {
    writer: W,
    offset: u64,
    index: Vec<u8>,
    images: usize,
}

impl<W: Write + Seek> Sink<W> {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.writer.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Writes images; answers what is wrong with those that have no pixels.
    fn write_round(
        &mut self,
        round: Vec<Prepared<'_>>,
        on_bad_image: OnBadImage,
    ) -> Result<Vec<DataError>, PackFailure> {
        let mut without_pixels = Vec::new();
        for Prepared { name, origin, size: (width, height), bytes, broken } in round {
            match broken {
                Some(error) if on_bad_image == OnBadImage::Stop => {
                    return Err(PackFailure::Image(error));
                }
                other => without_pixels.extend(other),
            }
            let entry = Entry {
                origin,
                width,
                height,
                offset: self.offset,
                bytes: bytes.len() as u64,
                checksum: crc32fast::hash(&bytes),
            };
            entry.append(&name, &mut self.index);
            self.append(&bytes)?;
            self.images += 1;
        }
        Ok(without_pixels)
    }

    /// Writes index and header; answers the bytes of the file.
    fn finish(mut self, settings: PackSettings) -> std::io::Result<u64> {
        let index = std::mem::take(&mut self.index);
        let header = Header {
            settings,
            images: self.images as u64,
            index_offset: self.offset,
            index_bytes: index.len() as u64,
            index_digest: Sha256::digest(&index).into(),
        };
        self.append(&index)?;
        self.writer.seek(SeekFrom::Start(0))?;
        self.writer.write_all(&header.to_bytes())?;
        self.writer.flush()?;
        Ok(self.offset)
    }
}

/// When a file was changed, in nanoseconds since 1970; 0 where that is not known.
pub(super) fn modified_ns(metadata: &Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Pack;

    /// A writer on a disk that has room for so many bytes.
    struct NearlyFull<W> {
        inner: W,
        room: usize,
    }

    impl<W: Write> Write for NearlyFull<W> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.room = self
                .room
                .checked_sub(bytes.len())
                .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::StorageFull))?;
            self.inner.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.inner.flush()
        }
    }

    impl<W: Seek> Seek for NearlyFull<W> {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.inner.seek(to)
        }
    }

    fn set(folder: &Path, count: u32) -> ImageSet {
        let items: Vec<Item> = (0..count)
            .map(|number| {
                let name = format!("{number}.png");
                let path = folder.join(&name);
                let shade = image::Rgb([number as u8, 9, 7]);
                RgbImage::from_pixel(8, 6, shade).save(&path).unwrap();
                Item { path, name, ..Item::default() }
            })
            .collect();
        ImageSet::new(items, vec!["a".to_owned()]).unwrap()
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    const SMALL: PackSettings = PackSettings { side: 8, format: PackFormat::Raw };

    #[test]
    fn a_full_disk_leaves_the_old_pack_and_nothing_else() {
        let (images, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = out.path().join("images.pnp-pack");
        let set = set(images.path(), 200);
        write([&set], &path, SMALL, OnBadImage::Stop, |_| true).unwrap().unwrap();
        let old = fs::read(&path).unwrap();
        let items: Vec<&Item> = set.items().iter().collect();
        let whole = old.len();
        // The disk is full within the images, within the index, and at the header.
        for room in [0, 1000, 30_000, whole - 3000, whole - 1, whole + HEADER_BYTES - 1] {
            let result = replace(&path, |file| {
                let writer = NearlyFull { inner: file, room };
                let stopped = stream(writer, &items, SMALL, OnBadImage::Stop, |_| true);
                stopped.map_err(|failure| failure.at(&path))
            });
            let error = result.unwrap_err();
            assert!(matches!(error, DataError::Write { .. }), "{error}");
            assert!(fs::read(&path).unwrap() == old, "the old pack changed");
            assert_eq!(files(out.path()), ["images.pnp-pack"]);
        }
        assert_eq!(Pack::open(&path).unwrap().images(), 200);
    }

    #[test]
    fn work_that_is_ended_and_a_broken_image_leave_the_old_pack_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images.pnp-pack");
        let set = set(folder.path(), 3);
        write([&set], &path, SMALL, OnBadImage::Stop, |_| true).unwrap().unwrap();
        let (old, before) = (fs::read(&path).unwrap(), files(folder.path()));
        let other = PackSettings { side: 4, ..SMALL };
        assert!(write([&set], &path, other, OnBadImage::Stop, |_| false).unwrap().is_none());
        fs::write(&set.items()[1].path, "broken").unwrap();
        let error = write([&set], &path, other, OnBadImage::Stop, |_| true).unwrap_err();
        assert!(error.to_string().contains("1.png"), "{error}");
        assert_eq!((fs::read(&path).unwrap(), files(folder.path())), (old, before));
        let packed = write([&set], &path, other, OnBadImage::Skip, |_| true).unwrap().unwrap();
        assert_eq!((packed.images, packed.without_pixels.len()), (3, 1));
    }

    #[test]
    fn a_file_that_is_no_pack_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let set = set(folder.path(), 1);
        let path = &set.items()[0].path;
        let old = fs::read(path).unwrap();
        let error = write([&set], path, SMALL, OnBadImage::Stop, |_| true).unwrap_err();
        assert!(error.to_string().contains("is no pack"), "{error}");
        assert_eq!(fs::read(path).unwrap(), old);
    }

    #[test]
    fn the_shorter_side_is_resized_unless_the_image_would_become_huge() {
        assert_eq!(packed_size((600, 411), 256), (373, 256));
        assert_eq!(packed_size((72, 72), 256), (256, 256));
        assert_eq!(packed_size((1, 60_000), 256), (1, 60_000));
        assert_eq!(packed_size((2, 128), 256), (256, 256 * 64));
    }
}
