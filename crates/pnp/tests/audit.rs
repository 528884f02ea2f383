//! `pnp data audit` as a user meets it: the table, `--json`, the exit status, hostile files.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Output;

use common::{json, pnp, stderr, stdout, write_data};

fn audit(folder: &Path, more: &[&str]) -> Output {
    let mut command = pnp();
    command.current_dir(folder).args(["data", "audit", "manifest.csv"]).args(more);
    command.output().unwrap()
}

/// Adds lines to the manifest.
fn list(folder: &Path, lines: &[&str]) {
    let path = folder.join("manifest.csv");
    let mut text = fs::read_to_string(&path).unwrap();
    for line in lines {
        writeln!(text, "{line}").unwrap();
    }
    fs::write(path, text).unwrap();
}

#[test]
fn a_data_set_without_faults_ends_with_status_0() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let output = audit(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("manifest.csv: 48 images\n"), "{text}");
    assert!(text.contains("corrupts a result\n  nothing\n"), "{text}");
    assert!(stderr(&output).contains("checking images: 48/48"), "{}", stderr(&output));
}

#[test]
fn what_is_worth_knowing_is_listed_and_ends_with_status_0() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    for number in 0..4 {
        let name = format!("{number}.jpg");
        let clear = image::RgbaImage::from_pixel(8, 8, image::Rgba([number, 2, 3, 4]));
        clear.save_with_format(folder.path().join(&name), image::ImageFormat::Png).unwrap();
        list(folder.path(), &[&format!("{name},class 0,train")]);
    }
    let output = audit(folder.path(), &["--show", "3"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "extension-lies            4  the name says another kind of file",
        "'2.jpg' (train): it is a PNG file",
        "and 1 more (--show 0 lists all)",
        "alpha                     4",
    ] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    assert!(!text.contains("'3.jpg'"), "{text}");
    assert!(stdout(&audit(folder.path(), &["--show", "0"])).contains("'3.jpg'"));
}

#[test]
fn what_would_corrupt_a_result_ends_with_status_1_and_is_in_the_json() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    fs::copy(folder.path().join("0_0.png"), folder.path().join("leak.png")).unwrap();
    fs::write(folder.path().join("broken.png"), "no image").unwrap();
    let lines = ["gone.png,class 0,train", "broken.png,class 0,train", "leak.png,class 1,test"];
    list(folder.path(), &lines);
    let output = audit(folder.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stderr(&output).contains("3 findings would corrupt a result"), "{}", stderr(&output));
    let answer = json(&output);
    assert_eq!((&answer["images"], &answer["corrupting"]), (&51.into(), &3.into()));
    let counts = serde_json::json!({ "missing": 1, "shared-bytes": 1, "undecodable": 1 });
    assert_eq!(answer["counts"], counts);
    let expected = serde_json::json!({
        "kind": "shared-bytes", "severity": "corrupts_result", "split": "test",
        "image": "leak.png", "twin": { "split": "train", "image": "0_0.png" },
    });
    assert_eq!(answer["findings"][2], expected);
    for workers in ["1", "3"] {
        assert_eq!(json(&audit(folder.path(), &["--json", "--workers", workers])), answer);
    }
}

#[test]
fn a_data_set_that_is_not_there_or_malformed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = audit(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("manifest.csv"), "{}", stderr(&output));
    let output = pnp().args(["data", "audit"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Hostile files under a cap of the address space: each is named, and none takes much memory.
#[cfg(target_os = "linux")]
#[test]
fn hostile_images_are_named_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let header = |width: u32, height: u32, checksum: u32| {
        let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        file.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
        file.extend([16, 6, 0, 0, 0]);
        file.extend(checksum.to_be_bytes());
        file
    };
    let jpeg = b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x11\0\x02\x11\0\x03\x11\0\
                 \xff\xda\x00\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0\xff\xd9";
    let mut chunk = header(4, 4, 0xf961_423d);
    chunk.extend(b"\xff\xff\xff\xf0iCCPx");
    let files: [(&str, &[u8]); 5] = [
        ("wide.png", &header(u32::MAX, u32::MAX, 0x8266_f27d)),
        ("large.png", &header(10_000, 10_000, 0xeade_be64)),
        ("chunk.png", &chunk),
        ("large.jpg", jpeg),
        ("cut.jpg", &jpeg[..9]),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
        list(folder.path(), &[&format!("{name},class 0,train")]);
    }
    let program = assert_cmd::cargo::cargo_bin("pnp");
    // 600 MB of addresses, of which the program itself takes some.
    let script = "ulimit -v 600000; exec \"$0\" data audit manifest.csv --json --workers 2";
    let output = std::process::Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", script])
        .arg(program)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let answer = json(&output);
    assert_eq!(answer["corrupting"], 5, "{answer}");
    assert_eq!(answer["counts"]["bomb"], 3, "{answer}");
}
