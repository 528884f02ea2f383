//! Files that a command writes.

use std::path::{Path, PathBuf};

use crate::array;
use crate::failure::Failure;

/// Refuses outputs that would replace an input or each other, or whose folder is missing, before
/// anything is done.
pub(crate) fn check<'a>(
    inputs: impl Iterator<Item = &'a PathBuf>,
    outputs: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), Failure> {
    let mut taken: Vec<PathBuf> = inputs.map(|path| resolved(&array::file_of(path))).collect();
    for path in outputs {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Failure::Work(format!(
                "cannot write '{}': there is no folder '{}'",
                path.display(),
                folder.display()
            )));
        }
        let path = resolved(path);
        if taken.contains(&path) {
            return Err(Failure::Usage(format!(
                "'{}' is named twice, and would be written over: give another file",
                path.display()
            )));
        }
        taken.push(path);
    }
    Ok(())
}

/// The file that a path names, whether it exists or not.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent.unwrap_or(Path::new(".")).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
