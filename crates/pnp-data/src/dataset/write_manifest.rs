//! Any data set as a CSV manifest.

use std::path::{Component, Path, PathBuf};

use crate::error::DataError;
use crate::item::{Item, Role};
use crate::set::Dataset;

/// The text of a manifest that stands in `folder` and opens to the same splits, classes, roles,
/// boxes, categories and super-classes. Paths are relative to `folder` where the images are in it
/// or near it (they have a folder other than the root in common), and absolute otherwise. Columns
/// that would be empty are left out.
///
/// # Errors
/// [`DataError::Io`] where a folder is not there; [`DataError::Layout`] where a path is no UTF-8.
pub fn to_manifest(dataset: &Dataset, folder: &Path) -> Result<Vec<u8>, DataError> {
    let paths = Paths::new(&dataset.source, folder)?;
    let columns = Columns::of(dataset);
    let mut csv = csv::Writer::from_writer(Vec::new());
    let failed = |e: csv::Error| DataError::Layout {
        path: dataset.source.clone(),
        reason: format!("it cannot be written as CSV: {e}"),
    };
    csv.write_record(columns.header()).map_err(failed)?;
    for (split, set) in dataset.named_splits() {
        for item in set.items() {
            let class = &set.class_names()[item.label as usize];
            let mut row = vec![paths.shown(item)?, class.clone(), split.to_owned()];
            columns.add_to(&mut row, item, split == "train");
            csv.write_record(row).map_err(failed)?;
        }
    }
    csv.into_inner().map_err(|e| failed(e.into_error().into()))
}

/// Which optional columns there are.
#[expect(clippy::struct_excessive_bools, reason = "each is one optional group of columns")]
struct Columns {
    category: bool,
    super_label: bool,
    roles: bool,
    regions: bool,
}

impl Columns {
    fn of(dataset: &Dataset) -> Self {
        let any = |has: fn(&Item) -> bool| {
            dataset.named_splits().any(|(_, set)| set.items().iter().any(has))
        };
        Self {
            category: any(|item| item.category.is_some()),
            super_label: any(|item| item.super_label.is_some()),
            roles: dataset.named_splits().any(|(_, set)| set.roles().is_some()),
            regions: any(|item| item.region.is_some()),
        }
    }

    fn header(&self) -> Vec<&'static str> {
        let mut header = vec!["path", "label", "split"];
        header.extend(self.category.then_some("category"));
        header.extend(self.super_label.then_some("super_label"));
        header.extend(self.roles.then_some(["is_query", "is_gallery"]).into_iter().flatten());
        header.extend(self.regions.then_some(["x1", "y1", "x2", "y2"]).into_iter().flatten());
        header
    }

    fn add_to(&self, row: &mut Vec<String>, item: &Item, trains: bool) {
        if self.category {
            row.push(item.category.as_deref().unwrap_or_default().to_owned());
        }
        if self.super_label {
            row.push(item.super_label.map_or_else(String::new, |number| number.to_string()));
        }
        if self.roles {
            let flag = |flag: bool| if flag { "True" } else { "False" };
            let flags = [flag(item.role.is_query()), flag(item.role.is_gallery())];
            let empty = trains && item.role == Role::Both;
            row.extend(flags.map(|flag| if empty { String::new() } else { flag.to_owned() }));
        }
        if self.regions {
            let corners = item.region.map(|region| region.corners().map(|c| c.to_string()));
            row.extend(corners.unwrap_or_default());
        }
    }
}

/// Where images are as seen from the manifest.
struct Paths {
    /// The source as it was given, with which the items' paths begin, and where it really is.
    source: (PathBuf, PathBuf),
    folder: PathBuf,
}

impl Paths {
    fn new(source: &Path, folder: &Path) -> Result<Self, DataError> {
        let real = |path: &Path| {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            path.canonicalize().map_err(|source| DataError::Io { path: path.to_owned(), source })
        };
        // The images of a manifest are beside it.
        let base = if source.is_file() { source.parent().unwrap_or(source) } else { source };
        Ok(Self { source: (base.to_owned(), real(base)?), folder: real(folder)? })
    }

    fn shown(&self, item: &Item) -> Result<String, DataError> {
        let (given, real) = &self.source;
        let path = match item.path.strip_prefix(given) {
            Ok(inner) => real.join(inner),
            Err(_) => std::path::absolute(&item.path)
                .map_err(|source| DataError::Io { path: item.path.clone(), source })?,
        };
        let near = relative(&path, &self.folder);
        let text = match &near {
            Some(parts) => parts.iter().map(|part| part.to_str()).collect::<Option<Vec<_>>>(),
            None => path.to_str().map(|path| vec![path]),
        };
        text.map(|parts| parts.join("/")).ok_or_else(|| DataError::Layout {
            path: item.path.clone(),
            reason: "its path is no UTF-8 text; rename it".to_owned(),
        })
    }
}

/// The parts of the way from a folder to a file, both absolute; `None` where they have no folder
/// but the root in common.
fn relative<'a>(path: &'a Path, folder: &'a Path) -> Option<Vec<&'a std::ffi::OsStr>> {
    let (path, folder): (Vec<_>, Vec<_>) =
        (path.components().collect(), folder.components().collect());
    let common = path.iter().zip(&folder).take_while(|(a, b)| a == b).count();
    let named = |part: &Component<'_>| matches!(part, Component::Normal(_));
    if !path[..common].iter().any(named) {
        return None;
    }
    let up = folder[common..].iter().map(|_| std::ffi::OsStr::new(".."));
    Some(up.chain(path[common..].iter().map(|part| part.as_os_str())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_lead_down_and_up_and_never_through_the_root() {
        let way = |path: &str, folder: &str| {
            let (path, folder) = (PathBuf::from(path), PathBuf::from(folder));
            let way = relative(&path, &folder)?;
            Some(way.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("/"))
        };
        assert_eq!(way("/a/b/c.png", "/a").as_deref(), Some("b/c.png"));
        assert_eq!(way("/a/b/c.png", "/a/x/y").as_deref(), Some("../../b/c.png"));
        assert_eq!(way("/a/c.png", "/b"), None);
    }
}
