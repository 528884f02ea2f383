//! Opening a data set of the size of Stanford Online Products: 120,053 images of 22,634 classes, in
//! its own lists and as a manifest. The files are there and empty: nothing is decoded.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pnp_data::{DatasetOptions, open, to_manifest};

const IMAGES: usize = 120_053;
const CLASSES: usize = 22_634;

/// The folder of the lists.
static LISTS: OnceLock<PathBuf> = OnceLock::new();

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_lists(folder.path()).expect("room for the lists");
    let dataset = open(&DatasetOptions::new(folder.path())).expect("the lists are good");
    let manifest = to_manifest(&dataset, folder.path()).expect("the paths are plain");
    fs::write(folder.path().join("converted.csv"), manifest).expect("room for the manifest");
    LISTS.get_or_init(|| folder.path().to_owned());
    divan::main();
}

fn write_lists(folder: &Path) -> std::io::Result<()> {
    let mut lists = [(); 2].map(|()| String::from("image_id class_id super_class_id path\n"));
    for kind in 1..=12 {
        fs::create_dir(folder.join(format!("kind{kind}_final")))?;
    }
    for image in 0..IMAGES {
        let class = 1 + image * CLASSES / IMAGES;
        let kind = 1 + class % 12;
        let name = format!("kind{kind}_final/{:012}_{image}.JPG", 7 * class);
        fs::File::create(folder.join(&name))?;
        let list = &mut lists[usize::from(2 * class > CLASSES)];
        let _ = writeln!(list, "{} {class} {kind} {name}", image + 1);
    }
    fs::write(folder.join("Ebay_train.txt"), &lists[0])?;
    fs::write(folder.join("Ebay_test.txt"), &lists[1])
}

fn folder() -> &'static Path {
    LISTS.get().expect("main wrote it")
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn online_products_120053() -> usize {
    open(&DatasetOptions::new(folder())).map_or(0, |dataset| dataset.train.len())
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn manifest_120053() -> usize {
    let options = DatasetOptions::new(folder().join("converted.csv"));
    open(&options).map_or(0, |dataset| dataset.train.len())
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn convert_120053(bencher: divan::Bencher<'_, '_>) {
    let dataset = open(&DatasetOptions::new(folder())).expect("the lists are good");
    bencher.bench_local(|| to_manifest(&dataset, folder()).map_or(0, |bytes| bytes.len()));
}
