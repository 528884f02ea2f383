//! Checkpoints in real PyTorch. Run by name, with a Python that has torch and torchvision:
//! `PNP_CHECK_PYTORCH=python3 cargo test -p pnp --test pytorch -- --ignored --nocapture`.

mod common;

use std::path::Path;
use std::process::Command;

use common::{pnp, root, stderr, stdout, train, write_data};

/// Trains for an epoch, embeds, and has PyTorch embed the same images with the checkpoint.
fn agrees(backbone: &str, folder: &Path, more: &[&str]) {
    let python = std::env::var_os("PNP_CHECK_PYTORCH").expect("PNP_CHECK_PYTORCH names a Python");
    write_data(folder);
    let arch = format!("{backbone}_frozen_normalize");
    let mut training = train(folder, backbone);
    // The images are of 40 pixels, so none is resized.
    training.args(["--arch", &arch, "--n-epochs", "1", "--eval-resize", "40", "--eval-size", "40"]);
    let output = training.args(more).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let run = folder.join("runs/manifest").join(backbone);
    let output = pnp().current_dir(folder).arg("embed").arg(&run).args(["--out", "."]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let mut check = Command::new(python);
    check.arg(root().join("golden/weights/load_checkpoint.py")).arg(backbone);
    let output = check.arg(run.join("checkpoints/best")).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    print!("{}", stdout(&output));
}

#[test]
#[ignore = "needs PyTorch: PNP_CHECK_PYTORCH names a Python that has it"]
fn a_mobilenet_checkpoint_embeds_the_same_in_torchvision() {
    agrees("mobilenet_v2", tempfile::tempdir().unwrap().path(), &[]);
}

#[test]
#[ignore = "needs PyTorch: PNP_CHECK_PYTORCH names a Python that has it"]
fn a_resnet50_checkpoint_embeds_the_same_in_torchvision() {
    agrees("resnet50", tempfile::tempdir().unwrap().path(), &["--not-pretrained"]);
}
