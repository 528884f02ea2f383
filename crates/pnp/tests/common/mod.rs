//! What the tests of the program share: the program itself, golden inputs as `.npy`, small data.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use image::{Rgb, RgbImage};
use npyz::WriterBuilder;
use serde_json::Value;

pub fn pnp() -> Command {
    Command::cargo_bin("pnp").unwrap()
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn golden(file: &str) -> Value {
    let text = fs::read_to_string(root().join("golden").join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

pub fn write_npy<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
    let mut bytes = Vec::new();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
    fs::write(path, bytes).unwrap();
}

pub fn read_npy<T: npyz::Deserialize>(path: &Path) -> (Vec<u64>, Vec<T>) {
    let file = npyz::NpyFile::new(fs::File::open(path).unwrap()).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}\n{}", stdout(output), stderr(output)))
}

/// Writes 12 classes of 4 images of 40 pixels and a manifest, half train, half test.
pub fn write_data(folder: &Path) -> PathBuf {
    let mut manifest = String::from("path,label,split\n");
    for class in 0..12u32 {
        for image in 0..4u32 {
            let name = format!("{class}_{image}.png");
            let colour =
                Rgb([(class * 47 % 256) as u8, (class * 101 % 256) as u8, 60 * image as u8]);
            let picture = RgbImage::from_fn(40, 40, |x, y| {
                if (x / 5 + image) % (class + 2) == y / 9 { colour } else { Rgb([230; 3]) }
            });
            picture.save(folder.join(&name)).unwrap();
            let split = if class % 2 == 0 { "train" } else { "test" };
            writeln!(manifest, "{name},class {class},{split}").unwrap();
        }
    }
    let path = folder.join("manifest.csv");
    fs::write(&path, manifest).unwrap();
    path
}

/// `pnp train` on such data, for seconds.
pub fn train(folder: &Path, name: &str) -> Command {
    let mut command = pnp();
    command.current_dir(folder).arg("train");
    command.args(["--source-path", "manifest.csv", "--save-path", "runs", "--savename", name]);
    command.args(["--image-size", "32", "--eval-resize", "32", "--eval-size", "32"]);
    command.args(["--batch-size", "8", "--samples-per-class", "4", "--embed-dim", "16"]);
    command.args(["--variant", "PNP-D_q", "--alpha", "4", "--lr", "1e-3", "--n-epochs", "2"]);
    command
}
