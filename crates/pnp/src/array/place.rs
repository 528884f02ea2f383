//! Which array of which file is meant.

use std::path::{Path, PathBuf};

use super::ArrayError;

/// What an array is for: how it is called in files of several, and its kind of values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role {
    /// The names that are looked for, the first ones first.
    pub(super) names: &'static [&'static str],
    /// Whether it is a matrix of real numbers, or a list.
    pub(super) is_matrix: bool,
}

impl Role {
    pub(crate) const EMBEDDINGS: Self =
        Self { names: &["embeddings", "features"], is_matrix: true };
    pub(crate) const LABELS: Self = Self::list(&["label", "labels"]);
    pub(crate) const IDS: Self = Self::list(&["id", "ids", "label"]);
    pub(crate) const GROUPS: Self = Self::list(&["group", "groups", "label"]);
    pub(crate) const CATEGORIES: Self = Self::list(&["category", "categories", "label"]);
    pub(crate) const COARSE_LABELS: Self =
        Self::list(&["coarse_label", "coarse_labels", "super_label", "super_labels", "label"]);

    const fn list(names: &'static [&'static str]) -> Self {
        Self { names, is_matrix: false }
    }
}

/// A file, and what in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) name: Option<String>,
}

impl Place {
    /// Reads `FILE` or `FILE:NAME`. A file whose own name has the colon is itself.
    pub(super) fn of(path: &Path) -> Self {
        let whole = || Self { file: path.to_owned(), name: None };
        let Some(text) = path.to_str().filter(|_| !path.exists()) else { return whole() };
        let colons = text.match_indices(':');
        let mut splits = colons.map(|(at, _)| (Path::new(&text[..at]), &text[at + 1..]));
        let named = splits.find(|(file, _)| file.is_file());
        let of = |(file, name): (&Path, &str)| Self { file: file.into(), name: Some(name.into()) };
        named.map_or_else(whole, of)
    }

    pub(super) fn has_extension(&self, expected: &str) -> bool {
        self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(expected))
    }

    /// The array that was named; else the one that is called like its role; else the only one that
    /// could be meant.
    pub(super) fn choose<'a, T>(
        &self,
        role: Role,
        arrays: &'a [(String, T)],
        suits: impl Fn(&T, Role) -> bool,
    ) -> Result<&'a T, ArrayError> {
        let known = || quoted(arrays.iter().map(|(name, _)| name.as_str()));
        let find = |wanted: &str| arrays.iter().find(|(name, _)| name == wanted);
        if let Some(name) = &self.name {
            return find(name).map(|(_, array)| array).ok_or_else(|| ArrayError::NoSuch {
                path: self.file.clone(),
                kind: "array",
                name: name.clone(),
                known: known(),
            });
        }
        if let Some((_, array)) = role.names.iter().find_map(|name| find(name)) {
            return Ok(array);
        }
        let mut suitable = arrays.iter().filter(|(_, array)| suits(array, role));
        match (suitable.next(), suitable.next(), arrays) {
            (Some((_, array)), None, _) | (None, _, [(_, array)]) => Ok(array),
            (None, ..) => Err(ArrayError::NoSuch {
                path: self.file.clone(),
                kind: "array",
                name: role.names[0].to_owned(),
                known: known(),
            }),
            _ => Err(ArrayError::Which { path: self.file.clone(), kind: "array", known: known() }),
        }
    }
}

/// Names for a message: the first ones, if there are many.
pub(super) fn quoted<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let count = names.len();
    let shown: Vec<String> = names.take(SHOWN).map(|name| format!("'{name}'")).collect();
    match (count, count.saturating_sub(SHOWN)) {
        (0, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
