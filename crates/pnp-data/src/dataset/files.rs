//! What readers share: reading lists and folders, and refusing a path that is listed twice.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// A file's text.
pub(super) fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = std::fs::read(path).map_err(|e| io(path, e))?;
    String::from_utf8(bytes).map_err(|_| DataError::Layout {
        path: path.to_owned(),
        reason: "it is no UTF-8 text".to_owned(),
    })
}

pub(super) fn io(path: &Path, source: std::io::Error) -> DataError {
    DataError::Io { path: path.to_owned(), source }
}

/// One entry of a folder.
pub(super) struct FolderEntry {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) is_folder: bool,
}

/// What a folder holds, sorted by name, hidden entries left out, links followed.
pub(super) fn read_folder(path: &Path) -> Result<Vec<FolderEntry>, DataError> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| io(path, e))? {
        let entry = entry.map_err(|e| io(path, e))?;
        let name = entry.file_name().into_string().map_err(|name| DataError::Layout {
            path: path.to_owned(),
            reason: format!("the name {} is no UTF-8 text; rename it", name.display()),
        })?;
        if !name.starts_with('.') {
            let path = entry.path();
            let is_folder = path.is_dir();
            entries.push(FolderEntry { name, path, is_folder });
        }
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Whether a file's name ends like an image's.
pub(super) fn has_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The places at which images were listed so far.
#[derive(Default)]
pub(super) struct Listed(HashMap<String, (PathBuf, u64)>);

impl Listed {
    /// Notes that `name` stands at `line` of `list`; an error where it was listed before.
    pub(super) fn add(&mut self, name: &str, list: &Path, line: u64) -> Result<(), DataError> {
        let Some((first_list, first_line)) =
            self.0.insert(name.to_owned(), (list.to_owned(), line))
        else {
            return Ok(());
        };
        Err(DataError::Line {
            path: list.to_owned(),
            line,
            found: format!("'{name}' again, after '{}' line {first_line}", first_list.display()),
            expected: "each image once".to_owned(),
        })
    }
}
