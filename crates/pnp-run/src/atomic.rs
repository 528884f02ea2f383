//! Files and folders that are written whole.
//!
//! A file is written to a temporary neighbour, flushed to the disk and renamed over the old one;
//! renaming is atomic, so a reader sees the old bytes or the new ones.
//!
//! A folder cannot be renamed over another, so replacing `last` takes two renames, and readers
//! follow a rule:
//!
//! | moment of a crash | on disk | [`current_dir`] answers |
//! | --- | --- | --- |
//! | while the new folder is filled | `last` (old), `last.new` (partial) | `last`, the old |
//! | between the two renames | `last.old` (old), `last.new` (whole) | `last.old`, the old |
//! | while the old one is deleted | `last` (new), `last.old` (partial) | `last`, the new |
//!
//! In words: the folder itself where it exists, else its `.old` sibling, never the `.new` one. The
//! next [`replace_dir`] tidies up whatever a crash left.
//!
//! A path has one writer at a time; readers may come at any moment.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::RunError;

/// Writes `bytes` to the file `path`, whole or not at all: a temporary file in the same folder,
/// fsync, rename, fsync of the folder. An existing file is replaced, and kept if anything fails. A
/// link is followed; what is neither a file nor a link to one, as a device, is refused.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if target.exists() && !target.is_file() {
        let kind = io::Error::new(io::ErrorKind::InvalidInput, "it exists and is no file");
        return Err(RunError::io("write", path)(kind));
    }
    write_whole(&target, bytes).map_err(RunError::io("write", path))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let folder = parent(path);
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // Temporary files are private by default; this one becomes an ordinary file of the user's,
    // with the permissions that the umask leaves.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_dir(folder)
}

/// Replaces the folder `target` by one that `fill` writes into the empty folder it is given, so
/// that a crash at any moment leaves the old or the new one whole and findable by [`current_dir`].
///
/// Where `fill` fails the old folder stays as it was and the error is handed on. Missing parents
/// of `target` are created.
pub fn replace_dir<E: From<RunError>>(
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let (new, old) = (sibling(target, ".new"), sibling(target, ".old"));
    tidy(target, &new, &old).map_err(RunError::io("replace the folder", target))?;
    fs::create_dir_all(&new).map_err(RunError::io("create the folder", &new))?;
    if let Err(error) = fill(&new) {
        // The error to report is the first one; a leftover is removed by the next call.
        let _ = fs::remove_dir_all(&new);
        return Err(error);
    }
    swap(target, &new, &old).map_err(RunError::io("replace the folder", target))?;
    Ok(())
}

/// Where the whole folder stands that was last put at `target` by [`replace_dir`]; `None` where
/// there is none. Changes nothing on disk.
pub fn current_dir(target: &Path) -> Option<PathBuf> {
    [target.to_owned(), sibling(target, ".old")].into_iter().find(|path| path.is_dir())
}

/// Undoes what a crash may have left: afterwards `target` is the current folder, if there is one,
/// and neither sibling exists.
fn tidy(target: &Path, new: &Path, old: &Path) -> io::Result<()> {
    remove_if_there(new)?;
    if target.try_exists()? {
        remove_if_there(old)
    } else if old.try_exists()? {
        fs::rename(old, target)?;
        sync_dir(parent(target))
    } else {
        Ok(())
    }
}

/// Puts the filled folder in the old one's place.
fn swap(target: &Path, new: &Path, old: &Path) -> io::Result<()> {
    sync_tree(new)?;
    if target.try_exists()? {
        fs::rename(target, old)?;
    }
    fs::rename(new, target)?;
    // The new name must be on the disk before the old folder goes.
    sync_dir(parent(target))?;
    remove_if_there(old)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Flushes every file and folder below `folder` to the disk; links are left alone.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            // Windows flushes only through a handle that may write.
            File::options().read(true).write(cfg!(windows)).open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(folder)
}

/// Flushes a folder's entries; Windows has no such call and needs none.
fn sync_dir(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The folder that holds `path`; a bare name stands in the current one.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `path` with `suffix` added to its last part.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
