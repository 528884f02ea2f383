//! What readers share: reading lists and folders, the fields of a line, and refusing an image that
//! is listed twice.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::Draft;
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

/// The folder of a data set: the source, or a folder in it that usually has one of these names,
/// whichever `holds` first.
pub(super) fn root(source: &Path, names: &[&str], holds: fn(&Path) -> bool) -> Option<PathBuf> {
    let inner = names.iter().map(|name| source.join(name));
    std::iter::once(source.to_owned()).chain(inner).find(|root| holds(root))
}

/// That a source has not the layout that was asked for by name.
pub(super) fn wrong_layout(source: &Path, layout: &str) -> DataError {
    DataError::Layout { path: source.to_owned(), reason: format!("it should have {layout}") }
}

/// That a line is not what it should be; of a long one the beginning is quoted.
pub(super) fn malformed(list: &Path, line: u64, found: &str, expected: &str) -> DataError {
    let found = format!("'{}'", found.chars().take(100).collect::<String>());
    DataError::Line { path: list.to_owned(), line, found, expected: expected.to_owned() }
}

/// The lines of a list with their numbers, without the empty ones at its end.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (u64, &str)> {
    (1..).zip(text.trim_end().lines())
}

/// An image for each line of a list, none of them twice; the error of `parse` says what a line
/// should have been.
pub(super) fn drafts<'a>(
    lines: impl Iterator<Item = (u64, &'a str)>,
    list: &Path,
    listed: &mut Listed,
    mut parse: impl FnMut(&'a str) -> Result<Draft, &'static str>,
) -> Result<Vec<Draft>, DataError> {
    lines
        .map(|(line, text)| {
            let draft = parse(text).map_err(|expected| malformed(list, line, text, expected))?;
            listed.add(&draft.name, list, line)?;
            Ok(draft)
        })
        .collect()
}

/// The fields of a line that white space separates; `None` where there are more or fewer.
pub(super) fn fields<const N: usize>(line: &str) -> Option<[&str; N]> {
    let mut parts = line.split_ascii_whitespace();
    let mut fields = [""; N];
    for field in &mut fields {
        *field = parts.next()?;
    }
    parts.next().is_none().then_some(fields)
}

/// A whole number from 1 on.
pub(super) fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&id| id > 0)
}

/// What a path in a downloaded list must be: such a list must not reach outside its own folder.
pub(super) const INSIDE: &str = "a path inside the data set's folder";

/// Whether a path of a downloaded list stays inside the folder it is relative to.
pub(super) fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The places at which images were listed so far.
#[derive(Default)]
pub(super) struct Listed {
    lists: Vec<PathBuf>,
    /// The list, as an index into `lists`, and the line of each image.
    places: HashMap<String, (usize, u64)>,
}

impl Listed {
    /// Notes that `name` stands at `line` of `list`; an error where it was listed before.
    pub(super) fn add(&mut self, name: &str, list: &Path, line: u64) -> Result<(), DataError> {
        self.check(name, list, line)?;
        if self.lists.last().is_none_or(|last| last != list) {
            self.lists.push(list.to_owned());
        }
        self.places.insert(name.to_owned(), (self.lists.len() - 1, line));
        Ok(())
    }

    /// An error where `name` was listed before `line` of `list`.
    pub(super) fn check(&self, name: &str, list: &Path, line: u64) -> Result<(), DataError> {
        let Some(&(first_list, first_line)) = self.places.get(name) else { return Ok(()) };
        let first_list = self.lists[first_list].display();
        Err(DataError::Line {
            path: list.to_owned(),
            line,
            found: format!("'{name}' again, after '{first_list}' line {first_line}"),
            expected: "each image once".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_parts_stay_inside() {
        for name in ["a.jpg", "img/a b/c.jpg"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", "/a.jpg", "../a.jpg", "img/../../a.jpg", "./a.jpg"] {
            assert!(!is_inside(name), "{name}");
        }
    }

    #[test]
    fn fields_are_counted() {
        assert_eq!(fields("1  a.jpg\t"), Some(["1", "a.jpg"]));
        assert_eq!(fields::<2>("1"), None);
        assert_eq!(fields::<2>("1 a b"), None);
    }
}
