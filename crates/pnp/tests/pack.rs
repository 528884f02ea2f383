//! `pnp data pack` and trainings that read from a pack, as a user meets them.

mod common;

use std::fs;
use std::path::Path;
use std::process::Output;

use common::{json, pnp, stderr, stdout, train, write_data};
use image::{Rgb, RgbImage};

const PACK: &str = "images.pnp-pack";

fn pack(folder: &Path, more: &[&str]) -> Output {
    let mut command = pnp();
    command.current_dir(folder).args(["data", "pack", "manifest.csv", "--out", PACK]).args(more);
    command.output().unwrap()
}

fn packed(folder: &Path, more: &[&str]) {
    let output = pack(folder, more);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// The weights that a training ends with.
fn weights(folder: &Path, run: &str, more: &[&str]) -> Vec<u8> {
    let output = train(folder, run).args(["--n-epochs", "1"]).args(more).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let path = format!("runs/manifest/{run}/checkpoints/last/model.safetensors");
    fs::read(folder.join(path)).unwrap()
}

#[test]
fn a_pack_is_written_found_up_to_date_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let output = pack(folder.path(), &["--side", "32", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let answer = json(&output);
    assert_eq!((&answer["state"], &answer["images"]), (&"written".into(), &48.into()));
    assert_eq!(answer["settings"], "RGB bytes, shorter side 32");
    let bytes = fs::read(folder.path().join(PACK)).unwrap();
    assert_eq!(answer["bytes"], bytes.len());
    assert!(stderr(&output).contains("packing images: 48/48"), "{}", stderr(&output));
    let again = pack(folder.path(), &["--side", "32", "--workers", "1"]);
    assert!(stdout(&again).contains("up to date; 48 images"), "{}", stdout(&again));
    let verified = pack(folder.path(), &["--verify"]);
    assert!(stdout(&verified).contains("verified; 48 images"), "{}", stdout(&verified));
    packed(folder.path(), &["--format", "jpeg", "--quality", "80", "--side", "32"]);
    let smaller = fs::read(folder.path().join(PACK)).unwrap();
    assert!(smaller.len() < bytes.len());
}

#[test]
fn a_training_from_a_pack_has_the_same_bits_for_any_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let one_thread = ["--side", "48", "--workers", "1"];
    packed(folder.path(), &one_thread);
    let bytes = fs::read(folder.path().join(PACK)).unwrap();
    fs::remove_file(folder.path().join(PACK)).unwrap();
    packed(folder.path(), &["--side", "48", "--workers", "3"]);
    assert!(bytes == fs::read(folder.path().join(PACK)).unwrap(), "the pack's bits differ");
    let one = weights(folder.path(), "one", &["--pack", PACK, "--workers", "1"]);
    assert!(one == weights(folder.path(), "three", &["--pack", PACK, "--workers", "3"]));
    assert!(one != weights(folder.path(), "files", &[]), "the pack was not read");
    // What the run's model is used on comes out of the pack too.
    let scores = |more: &[&str]| {
        let mut command = pnp();
        command.current_dir(folder.path()).args(["eval", "runs/manifest/one", "--json"]);
        let output = command.args(more).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        json(&output)["metrics"].clone()
    };
    let events = fs::read_to_string(folder.path().join("runs/manifest/one/events.jsonl")).unwrap();
    let score = scores(&[])["recall@1"].as_f64().unwrap();
    assert!(events.contains(&format!("{score}")), "{score} was not recorded: {events}");
}

#[test]
fn a_stale_pack_is_made_anew_or_refused_as_the_setting_says() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    packed(folder.path(), &["--side", "40", "--format", "jpeg"]);
    let old = fs::read(folder.path().join(PACK)).unwrap();
    RgbImage::from_pixel(50, 50, Rgb([1, 2, 3])).save(folder.path().join("2_1.png")).unwrap();

    let output = train(folder.path(), "refused").args(["--pack", PACK]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains("is stale") && error.contains("'2_1.png'"), "{error}");
    assert!(error.contains("--rebuild-pack"), "{error}");
    assert_eq!(fs::read(folder.path().join(PACK)).unwrap(), old);
    assert!(!folder.path().join("runs").exists());
    let verified = pack(folder.path(), &["--verify"]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(stderr(&verified).contains("is stale"), "{}", stderr(&verified));

    let again = ["--pack", PACK, "--rebuild-pack"];
    let output = train(folder.path(), "anew").args(again).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    // It is made with its own settings, not with the default ones.
    assert!(said.contains("packing it now (JPEG of quality 90, shorter side 40)"), "{said}");
    assert!(pack(folder.path(), &["--verify"]).status.success());
}

#[test]
fn a_pack_that_is_missing_or_damaged_is_made_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let make = ["--pack", PACK, "--rebuild-pack"];
    let output = train(folder.path(), "made").args(make).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("there is no pack"), "{}", stderr(&output));
    let mut bytes = fs::read(folder.path().join(PACK)).unwrap();
    bytes.truncate(1000);
    fs::write(folder.path().join(PACK), bytes).unwrap();
    let refused = train(folder.path(), "refused").args(["--pack", PACK]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("cannot be used"), "{}", stderr(&refused));
    packed(folder.path(), &[]);
}

#[test]
fn a_damaged_image_is_found_when_the_pack_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    packed(folder.path(), &["--side", "40"]);
    let whole = fs::read(folder.path().join(PACK)).unwrap();
    let mut bytes = whole.clone();
    bytes[500] ^= 1;
    fs::write(folder.path().join(PACK), bytes).unwrap();
    let output = pack(folder.path(), &["--side", "40"]);
    assert!(stdout(&output).contains("written"), "{}", stdout(&output));
    assert!(fs::read(folder.path().join(PACK)).unwrap() == whole);
}

#[test]
fn using_or_resuming_a_run_writes_no_pack() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    packed(folder.path(), &["--side", "40"]);
    let make = ["--pack", PACK, "--rebuild-pack"];
    assert!(train(folder.path(), "run").args(make).output().unwrap().status.success());
    fs::remove_file(folder.path().join(PACK)).unwrap();
    for command in [&["eval", "runs/manifest/run"][..], &["train", "--resume", "runs/manifest/run"]]
    {
        let output = pnp().current_dir(folder.path()).args(command).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("pnp data pack"), "{}", stderr(&output));
        assert!(!folder.path().join(PACK).exists());
    }
}

#[test]
fn wrong_requests_of_a_pack_end_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    for (flags, words) in [
        (&["--side", "0"][..], "side = 0"),
        (&["--quality", "80"], "--format jpeg"),
        (&["--format", "jpeg", "--quality", "101"], "quality = 101"),
        (&["--verify", "--side", "3"], "cannot be used with"),
    ] {
        let output = pack(folder.path(), flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{flags:?}: {}", stderr(&output));
        assert!(!folder.path().join(PACK).exists());
    }
    packed(folder.path(), &["--side", "16"]);
    let output = train(folder.path(), "small").args(["--pack", PACK]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("pack them larger"), "{}", stderr(&output));
}

#[test]
fn a_broken_image_stops_the_packing_or_is_left_out_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    fs::write(folder.path().join("4_1.png"), "broken").unwrap();
    let output = pack(folder.path(), &["--side", "32"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("4_1.png"), "{}", stderr(&output));
    assert!(!folder.path().join(PACK).exists());
    let output = pack(folder.path(), &["--side", "32", "--on-bad-image", "skip"]);
    assert!(stdout(&output).contains("48 images, 1 of them without pixels"), "{}", stdout(&output));
    let trained = train(folder.path(), "skipped")
        .args(["--pack", PACK, "--on-bad-image", "skip"])
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", stderr(&trained));
}

#[test]
fn an_image_in_two_splits_is_packed_and_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = write_data(folder.path());
    let text = fs::read_to_string(&manifest).unwrap();
    let again: Vec<&str> = text.lines().filter(|line| line.ends_with("test")).collect();
    fs::write(&manifest, format!("{text}{}-all\n", again.join("-all\n"))).unwrap();
    let output = pack(folder.path(), &["--side", "32"]);
    assert!(stderr(&output).contains("packing images: 48/48"), "{}", stderr(&output));
}
