//! A small data set of drawn squares, and trainings on it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod runs;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use pnp_train::{Host, TrainConfig};

/// Writes `classes` classes of 4 images of 40 pixels and a manifest, half train, half test.
pub fn write_data(folder: &Path, classes: usize) {
    let mut manifest = String::from("path,label,split\n");
    for class in 0..classes {
        for image in 0..4 {
            let name = format!("{class}_{image}.png");
            draw(class, image).save(folder.join(&name)).unwrap();
            let split = if class % 2 == 0 { "train" } else { "test" };
            writeln!(manifest, "{name},class {class},{split}").unwrap();
        }
    }
    fs::write(folder.join("manifest.csv"), manifest).unwrap();
}

/// The same images, with queries and a gallery in the test split and a second test split of all
/// classes that are not trained on, where every image is both. Images are cut to a box.
pub fn write_data_with_roles(folder: &Path, classes: usize) {
    write_data(folder, classes);
    let mut manifest = String::from("path,label,split,is_query,is_gallery,x1,y1,x2,y2\n");
    for class in 0..classes {
        for image in 0..4 {
            let line = format!("{class}_{image}.png,class {class}");
            let boxed = "2,2,38,38";
            if class % 2 == 0 {
                writeln!(manifest, "{line},train,,,{boxed}").unwrap();
                continue;
            }
            let roles = ["True,False", "False,True", "False,True", "True,True"][image];
            writeln!(manifest, "{line},test,{roles},{boxed}").unwrap();
            writeln!(manifest, "{line},test-all,True,True,{boxed}").unwrap();
        }
    }
    fs::write(folder.join("manifest.csv"), manifest).unwrap();
}

fn draw(class: usize, image: usize) -> RgbImage {
    RgbImage::from_fn(40, 40, |x, y| {
        let inside = (x as usize / 5 + image).is_multiple_of(class + 2)
            || (y as usize / 5) % (class + 2) == 1;
        let colour = [(class * 47 % 256) as u8, (class * 101 % 256) as u8, (image * 60) as u8];
        if inside { Rgb(colour) } else { Rgb([230, 230, 230]) }
    })
}

/// Settings of a training of seconds on such data.
pub fn config(folder: &Path) -> TrainConfig {
    TrainConfig {
        source_path: folder.join("manifest.csv"),
        save_path: folder.join("runs"),
        savename: "run".into(),
        image_size: 32,
        eval_resize: 32,
        eval_size: 32,
        eval_batch_size: 10,
        batch_size: 8,
        samples_per_class: 4,
        embed_dim: 16,
        variant: "PNP-D_q".into(),
        alpha: Some(4.0),
        lr: 1e-3,
        n_epochs: 3,
        tau: vec![2],
        evaluation_metrics: vec!["recall@1".into(), "map@r".into()],
        ..TrainConfig::default()
    }
}

pub fn host() -> Host {
    Host { device: Device::flex(), device_name: "cpu".into(), version: "test".into() }
}
