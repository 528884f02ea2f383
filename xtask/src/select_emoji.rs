//! Selects the small data set of the quick start from a larger one.
//!
//! The larger set has a `manifest.csv` with the columns `path,label,split`, one image per drawing,
//! named after the artists' set that it comes from. Kept are the sets whose licences ask for no
//! more than attribution, without the drawings that several labels share, and of these the labels
//! with enough drawings; of each split some labels are drawn by a fixed seed. The splits of the
//! larger set stay as they are, and with them what it promises: that they share no label and no
//! family of labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The artists' sets that are kept, by file name.
const SETS: [&str; 6] =
    ["noto", "noto-v1", "twemoji", "emojione", "fluent-emoji", "fluent-emoji-flat"];

/// A label needs this many drawings: two for a pair, and two more to tell rankings apart.
const MIN_DRAWINGS: usize = 4;

/// Labels kept of each split.
const CLASSES_PER_SPLIT: usize = 250;

/// Decides which.
const SEED: u64 = 1;

/// What the repository is willing to carry.
const MAX_BYTES: u64 = 8_000_000;

/// The drawings of each label, by split: paths relative to the larger set.
type Catalogue = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Writes the selection of the set in `from` to `to`, whose old contents are removed.
pub(crate) fn run(from: &Path, to: &Path) -> Result<()> {
    let catalogue = select(read(&from.join("manifest.csv"))?, from)?;
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot clear '{}'", to.display()))?;
    }
    let bytes = copy(&catalogue, from, to)?;
    ensure!(bytes <= MAX_BYTES, "the selection has {bytes} bytes, more than {MAX_BYTES}");
    fs::write(to.join("manifest.csv"), manifest(&catalogue)?)?;
    fs::write(to.join("README.md"), readme(&catalogue))?;
    fs::write(to.join("LICENSES.md"), include_str!("../templates/emoji_licenses.md"))?;
    fs::write(to.join("Apache-2.0.txt"), include_str!("../templates/Apache-2.0.txt"))?;
    println!("{}: {bytes} bytes of images", to.display());
    Ok(())
}

fn read(manifest: &Path) -> Result<Catalogue> {
    let mut csv = csv::Reader::from_path(manifest)
        .with_context(|| format!("cannot read '{}'", manifest.display()))?;
    let mut catalogue = Catalogue::new();
    for row in csv.deserialize() {
        let (path, label, split): (String, String, String) =
            row.with_context(|| format!("'{}' needs path,label,split", manifest.display()))?;
        catalogue.entry(split).or_default().entry(label).or_default().push(path);
    }
    Ok(catalogue)
}

fn select(mut catalogue: Catalogue, from: &Path) -> Result<Catalogue> {
    for labels in catalogue.values_mut() {
        for paths in labels.values_mut() {
            paths.retain(|path| SETS.contains(&set_of(path)));
            paths.sort_unstable();
        }
        labels.retain(|_, paths| paths.len() >= MIN_DRAWINGS);
    }
    let shared = shared(&catalogue, from)?;
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for (split, labels) in &mut catalogue {
        // Shuffled first: a label that has too few drawings of its own moves no other one.
        let mut names: Vec<String> = labels.keys().cloned().collect();
        names.shuffle(&mut rng);
        for paths in labels.values_mut() {
            paths.retain(|path| !shared.contains(path));
        }
        names.retain(|name| labels[name].len() >= MIN_DRAWINGS);
        ensure!(names.len() >= CLASSES_PER_SPLIT, "split '{split}' has {} labels", names.len());
        let kept: BTreeSet<String> = names.into_iter().take(CLASSES_PER_SPLIT).collect();
        labels.retain(|label, _| kept.contains(label));
    }
    Ok(catalogue)
}

/// The drawings that another label has too, byte for byte: they tell these labels not apart, and
/// across the splits they would be trained and measured on.
fn shared(catalogue: &Catalogue, from: &Path) -> Result<BTreeSet<String>> {
    let mut alike: HashMap<Vec<u8>, Vec<(&String, &String)>> = HashMap::new();
    for (label, paths) in catalogue.values().flatten() {
        for path in paths {
            alike.entry(image(from, path)?).or_default().push((label, path));
        }
    }
    let several = alike.into_values().filter(|all| all.iter().any(|(label, _)| *label != all[0].0));
    Ok(several.flatten().map(|(_, path)| path.clone()).collect())
}

fn image(from: &Path, path: &str) -> Result<Vec<u8>> {
    fs::read(from.join(path)).with_context(|| format!("cannot read '{path}'"))
}

/// The artists' set that a drawing comes from.
fn set_of(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(".png").unwrap_or(name)
}

fn paths(catalogue: &Catalogue) -> impl Iterator<Item = &String> {
    catalogue.values().flat_map(BTreeMap::values).flatten()
}

/// Copies the images as they are; returns their bytes.
fn copy(catalogue: &Catalogue, from: &Path, to: &Path) -> Result<u64> {
    let mut bytes = 0;
    for path in paths(catalogue) {
        let target = to.join(path);
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let image = image(from, path)?;
        fs::write(&target, &image)?;
        bytes += image.len() as u64;
    }
    Ok(bytes)
}

fn manifest(catalogue: &Catalogue) -> Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["path", "label", "split"])?;
    // Training first, as a reader of the file expects.
    for (split, labels) in catalogue.iter().rev() {
        for (label, paths) in labels {
            for path in paths {
                csv.write_record([path, label, split])?;
            }
        }
    }
    Ok(csv.into_inner()?)
}

fn readme(catalogue: &Catalogue) -> String {
    let mut counts = String::new();
    for (split, labels) in catalogue.iter().rev() {
        let images: usize = labels.values().map(Vec::len).sum();
        // Writing to a string cannot fail.
        let _ = writeln!(counts, "| {split} | {} | {images} |", labels.len());
    }
    include_str!("../templates/emoji_readme.md")
        .replace("{counts}", counts.trim_end())
        .replace("{seed}", &SEED.to_string())
        .replace("{classes}", &CLASSES_PER_SPLIT.to_string())
        .replace("{drawings}", &MIN_DRAWINGS.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A larger set with `labels` labels per split and five drawings of each.
    fn larger_set(folder: &Path, labels: usize) {
        let mut manifest = "path,label,split\n".to_owned();
        for split in ["test", "train"] {
            for label in 0..labels {
                let label = format!("{split}-{label}");
                fs::create_dir_all(folder.join("images").join(&label)).unwrap();
                for set in ["noto", "noto-v1", "twemoji", "emojione", "openmoji"] {
                    let path = format!("images/{label}/{set}.png");
                    fs::write(folder.join(&path), &path).unwrap();
                    writeln!(manifest, "{path},{label},{split}").unwrap();
                }
            }
        }
        fs::write(folder.join("manifest.csv"), manifest).unwrap();
    }

    #[test]
    fn the_selection_keeps_splits_and_leaves_out_other_licences() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        larger_set(&from, 260);
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("old"), "").unwrap();
        run(&from, &to).unwrap();
        assert!(!to.join("old").exists());
        let selected = read(&to.join("manifest.csv")).unwrap();
        for (split, labels) in &selected {
            assert_eq!(labels.len(), CLASSES_PER_SPLIT);
            for (label, paths) in labels {
                assert!(label.starts_with(split.as_str()));
                assert_eq!(paths.len(), 4);
            }
        }
        for path in paths(&selected) {
            assert!(!path.contains("openmoji"));
            assert_eq!(fs::read_to_string(to.join(path)).unwrap(), *path);
        }
        let readme = fs::read_to_string(to.join("README.md")).unwrap();
        assert!(readme.contains("| train | 250 | 1000 |"), "{readme}");
        assert!(!readme.contains('{'), "a placeholder is left: {readme}");
    }

    #[test]
    fn drawings_that_several_labels_share_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        larger_set(&from, 260);
        run(&from, &to).unwrap();
        let before = read(&to.join("manifest.csv")).unwrap();
        // Two labels of a selection get a drawing in common; each has three of its own left.
        let of = |split: &str| before[split].keys().next().unwrap().clone();
        for label in [of("train"), of("test")] {
            fs::write(from.join(format!("images/{label}/twemoji.png")), "shared").unwrap();
        }
        run(&from, &to).unwrap();
        let after = read(&to.join("manifest.csv")).unwrap();
        for split in ["train", "test"] {
            assert_eq!(after[split].len(), CLASSES_PER_SPLIT);
            let gone: Vec<_> =
                before[split].keys().filter(|label| !after[split].contains_key(*label)).collect();
            assert_eq!(gone, [&of(split)], "the draw of the others stays as it was");
        }
    }

    #[test]
    fn too_few_labels_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        larger_set(folder.path(), 3);
        let error = run(folder.path(), &folder.path().join("to")).unwrap_err();
        assert!(error.to_string().contains("has 3 labels"), "{error}");
    }
}
