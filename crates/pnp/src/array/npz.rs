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
    contents: Contents,
}

impl Entry {
    pub(super) fn suits(&self, role: Role) -> bool {
        self.contents.suits(role)
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
        entry.take(BEGINNING).read_to_end(&mut beginning).map_err(|e| e.to_string())?;
        let contents = npy::promised(&beginning).map_err(|e| format!("array '{name}': {e}"))?;
        let promised = contents.range.end as u64;
        if promised > size || size > packed.saturating_mul(MAX_RATIO) {
            return Err(format!("array '{name}' promises more bytes than the file has"));
        }
        arrays.push((name, Entry { index, contents }));
    }
    Ok(arrays)
}

/// Reads an array: in its place where it is stored as it is.
pub(super) fn read(file: Bytes, entry: &Entry) -> Result<Stored, String> {
    let mut archive = ZipArchive::new(Cursor::new(&*file)).map_err(|e| e.to_string())?;
    let mut of_array = archive.by_index(entry.index).map_err(|e| e.to_string())?;
    let contents = entry.contents.clone();
    let size = of_array.size();
    if of_array.compression() == CompressionMethod::Stored {
        let start = of_array.data_start().and_then(|start| usize::try_from(start).ok());
        let range = start.and_then(|start| {
            Some(start.checked_add(contents.range.start)?..start.checked_add(contents.range.end)?)
        });
        let range = range.filter(|range| range.end <= file.len());
        let range = range.ok_or("an array ends after the file does")?;
        drop(of_array);
        return Ok(Contents { range, ..contents }.stored(file));
    }
    // Memory grows with what is really there.
    let mut bytes = Vec::new();
    let read = Read::by_ref(&mut of_array).take(size).read_to_end(&mut bytes);
    read.map_err(|e| e.to_string())?;
    if contents.range.end > bytes.len() {
        return Err("an array ends before its header says".into());
    }
    Ok(contents.stored(Bytes::Held(bytes)))
}
