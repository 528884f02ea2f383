//! NumPy's `.npz`: a zip archive of `.npy` files, stored as they are or deflated.

use std::io::{Cursor, Read};

use zip::{CompressionMethod, ZipArchive};

use super::bytes::Bytes;
use super::npy;
use super::place::Role;
use super::stored::{Contents, Stored};

pub(super) const SIGNATURE: &[u8] = b"PK";

/// As much of an array's file as holds its header.
const BEGINNING: u64 = 1 << 13;
/// Deflate packs at most so many bytes into one.
const MAX_RATIO: u64 = 1032;

/// An array of an archive.
#[derive(Debug)]
pub(super) struct Entry {
    index: usize,
    /// Or why it is none that can be read; others of the archive may be.
    contents: Result<Contents, String>,
}

impl Entry {
    pub(super) fn suits(&self, role: Role) -> bool {
        self.contents.as_ref().is_ok_and(|contents| contents.suits(role))
    }
}

/// The arrays with their names; what else is in the archive is passed over.
pub(super) fn list(file: &[u8]) -> Result<Vec<(String, Entry)>, String> {
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(|e| e.to_string())?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|e| e.to_string())?;
        let name = entry.name().map_err(|e| e.to_string())?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
        let (packed, size) = (entry.compressed_size(), entry.size());
        let mut beginning = Vec::new();
        let read = entry.take(BEGINNING).read_to_end(&mut beginning).map_err(|e| e.to_string());
        let contents = read.and_then(|_| npy::promised(&beginning)).and_then(|contents| {
            if contents.range.end as u64 == size && size <= packed.saturating_mul(MAX_RATIO) {
                Ok(contents)
            } else {
                Err(format!("its header promises other than the {size} bytes that it has"))
            }
        });
        let contents = contents.map_err(|reason| format!("array '{name}': {reason}"));
        arrays.push((name, Entry { index, contents }));
    }
    Ok(arrays)
}

/// Reads an array: in its place where it is stored as it is. Its checksum is compared.
pub(super) fn read(file: Bytes, entry: &Entry) -> Result<Stored, String> {
    let contents = entry.contents.clone()?;
    let mut archive = ZipArchive::new(Cursor::new(&*file)).map_err(|e| e.to_string())?;
    let mut of_array = archive.by_index(entry.index).map_err(|e| e.to_string())?;
    let (size, checksum) = (contents.range.end, of_array.crc32());
    if of_array.compression() == CompressionMethod::Stored {
        let start = of_array.data_start().and_then(|start| usize::try_from(start).ok());
        let start = start.ok_or("an array begins nowhere")?;
        let whole = start.checked_add(size).and_then(|end| file.get(start..end));
        let whole = whole.ok_or("an array ends after the file does")?;
        if crc32fast::hash(whole) != checksum {
            return Err("an array's checksum is wrong".into());
        }
        let range = start + contents.range.start..start + contents.range.end;
        drop(of_array);
        return Ok(Contents { range, ..contents }.stored(file));
    }
    // Memory grows with what is really there. The byte too much makes the end be seen, where the
    // checksum is compared.
    let mut bytes = Vec::new();
    let read = Read::by_ref(&mut of_array).take(size as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    if bytes.len() != size {
        return Err("an array has other than its header says".into());
    }
    Ok(contents.stored(Bytes::Held(bytes)))
}
