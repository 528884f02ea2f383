//! Files and folders that are old or new, never a mix.

use std::fs;
use std::path::Path;

use pnp_run::RunError;
use pnp_run::atomic::{current_dir, replace_dir, write};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Fills a folder with one file that says `text`.
fn says(text: &str) -> impl FnOnce(&Path) -> Result<(), RunError> {
    move |folder| write(&folder.join("text"), text.as_bytes())
}

fn read(folder: &Path) -> String {
    fs::read_to_string(folder.join("text")).unwrap()
}

#[test]
fn a_file_is_replaced_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write(&path, b"old").unwrap();
    write(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["a.txt"]);
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("taken/inside")).unwrap();
    let error = write(&folder.path().join("taken"), b"new").unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
    assert_eq!(names(folder.path()), ["taken"]);
    assert!(write(&folder.path().join("none/a.txt"), b"new").is_err());
    assert!(write(Path::new("/"), b"new").is_err());
}

#[cfg(unix)]
#[test]
fn a_file_has_the_permissions_of_an_ordinary_one() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, ordinary) = (folder.path().join("ours"), folder.path().join("ordinary"));
    write(&ours, b"").unwrap();
    fs::write(&ordinary, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&ordinary));
}

#[test]
fn a_folder_is_replaced_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("checkpoints/last");
    assert_eq!(current_dir(&target), None);
    replace_dir(&target, says("old")).unwrap();
    assert_eq!(read(&current_dir(&target).unwrap()), "old");
    replace_dir(&target, says("new")).unwrap();
    assert_eq!(read(&current_dir(&target).unwrap()), "new");
    assert_eq!(names(target.parent().unwrap()), ["last"]);
}

#[test]
fn a_folder_that_cannot_be_filled_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("last");
    replace_dir(&target, says("old")).unwrap();
    let failed: Result<(), RunError> = replace_dir(&target, |new| {
        says("half")(new)?;
        Err(RunError::Unwritable { reason: "the disk is full".into() })
    });
    assert!(failed.unwrap_err().to_string().contains("the disk is full"));
    assert_eq!(read(&current_dir(&target).unwrap()), "old");
    assert_eq!(names(folder.path()), ["last"]);
}

/// What is on disk, each folder's name and what it says, and what a reader is to find.
type Moment = (&'static [(&'static str, &'static str)], Option<&'static str>);

#[test]
fn after_a_crash_at_any_moment_a_whole_folder_is_found_and_the_next_one_fits() {
    let moments: [Moment; 5] = [
        (&[("last.new", "half")], None),
        (&[("last", "old"), ("last.new", "half")], Some("old")),
        (&[("last.old", "old"), ("last.new", "new")], Some("old")),
        (&[("last", "new"), ("last.old", "old")], Some("new")),
        (&[("last", "new")], Some("new")),
    ];
    for (on_disk, expected) in moments {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("last");
        for (name, text) in on_disk {
            fs::create_dir(folder.path().join(name)).unwrap();
            says(text)(&folder.path().join(name)).unwrap();
        }
        let found = current_dir(&target).map(|path| read(&path));
        assert_eq!(found.as_deref(), expected);
        let failed = replace_dir(&target, |_| Err(RunError::Unwritable { reason: "no".into() }));
        assert!(failed.is_err());
        let found = current_dir(&target).map(|path| read(&path));
        assert_eq!(found.as_deref(), expected, "a failed attempt changes nothing");
        replace_dir(&target, says("next")).unwrap();
        assert_eq!(read(&current_dir(&target).unwrap()), "next");
        assert_eq!(names(folder.path()), ["last"]);
    }
}
