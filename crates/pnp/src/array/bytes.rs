//! The bytes of a file, mapped or in memory.

use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// Files from this size on are mapped: they may be larger than memory.
const MAPPED_FROM: u64 = 1 << 20;

/// Read-only bytes.
#[derive(Debug)]
pub(super) enum Bytes {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Bytes {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        // Before it is opened: a pipe would wait for somebody to write.
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is no file"));
        }
        let mut file = File::open(path)?;
        let about = file.metadata()?;
        if about.len() < MAPPED_FROM {
            let mut bytes = Vec::with_capacity(about.len() as usize);
            Read::by_ref(&mut file).take(MAPPED_FROM).read_to_end(&mut bytes)?;
            return Ok(Self::Held(bytes));
        }
        // SAFETY: the map is read-only and private to this process. Who changes the file while it
        // is scored gets other numbers, or ends this program by cutting it short: nothing but the
        // operating system can prevent that, and reading it whole would need as much memory.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self::Mapped(map))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}
