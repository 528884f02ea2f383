//! Hostile images under a memory cap: a process that may take little memory decodes them all.
//!
//! An allocation that fails aborts the process, so that a header alone that makes the decoder ask
//! for much is found by the exit status.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;

use image::RgbImage;
use pnp_data::decode::{Decoder, JpegDecoder, JpegOptions, ReadOptions, Wanted};

/// Address space of the process in KiB: the test program with its threads, and an image or two.
const CAP: u32 = 300_000;

/// Names the folder for the process under the cap.
const FOLDER: &str = "PNP_HOSTILE_IMAGES";

fn golden(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/transforms");
    std::fs::read(folder.join(name)).unwrap()
}

fn chunk(kind: &str, content: &[u8]) -> Vec<u8> {
    let mut checked = kind.as_bytes().to_vec();
    checked.extend(content);
    let crc = !checked.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    });
    let mut chunk = (content.len() as u32).to_be_bytes().to_vec();
    chunk.extend(checked);
    chunk.extend(crc.to_be_bytes());
    chunk
}

/// A PNG of a declared size and colour type with these chunks after its header.
fn png(width: u32, height: u32, color: u8, chunks: &[&[u8]]) -> Vec<u8> {
    let mut header = width.to_be_bytes().to_vec();
    header.extend(height.to_be_bytes());
    header.extend([8, color, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    file.extend(chunk("IHDR", &header));
    file.extend(chunks.concat());
    file
}

/// A JPEG with another declared size, and as many bytes of nothing at its end.
fn jpeg(name: &str, width: u16, height: u16, padding: usize) -> Vec<u8> {
    let mut file = golden(name);
    let frame = file.windows(2).position(|pair| matches!(pair, [0xff, 0xc0 | 0xc2])).unwrap();
    file[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
    file[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    let end = file.len() - 2;
    file.splice(end..end, std::iter::repeat_n(0, padding));
    file
}

/// Files whose headers ask for far more than they hold.
fn hostile() -> Vec<Vec<u8>> {
    // A stored block of deflate that promises 65,535 bytes and has few.
    let data = chunk("IDAT", &[0x78, 1, 0, 0xff, 0xff, 0, 0, 1, 2, 3]);
    let profile = chunk("iCCP", &[b"p\0\0".to_vec(), vec![0x78; 100_000]].concat());
    let text = chunk("zTXt", &[b"t\0\0".to_vec(), vec![0x78; 100_000]].concat());
    let mut endless = b"\x89PNG\r\n\x1a\n".to_vec();
    endless.extend(0xffff_fff0_u32.to_be_bytes());
    endless.extend(b"IHDR");
    vec![
        png(u32::MAX, u32::MAX, 2, &[&data]),
        png(2_000_000_000, 1, 6, &[&data]),
        png(9_999, 9_999, 2, &[&data]),
        png(30_000, 3_000, 0, &[&data]),
        png(9_999, 9_999, 3, &[&data]),
        png(64, 64, 2, &[&profile, &text, &data]),
        endless,
        jpeg("landscape.jpg", 65_535, 65_535, 0),
        jpeg("landscape.jpg", 65_500, 1_500, 0),
        jpeg("grey_small.jpg", 65_500, 1_500, 0),
        jpeg("portrait.jpg", 65_535, 1_500, 0),
        jpeg("cmyk.jpg", 20_000, 5_000, 0),
        jpeg("landscape.jpg", 1, 65_535, 0),
        jpeg("landscape.jpg", 600, 65_535, 200_000),
    ]
}

#[test]
fn hostile_images_are_decoded_or_refused_within_a_memory_cap() {
    let folder = tempfile::tempdir().unwrap();
    let files = hostile();
    for (number, file) in files.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{number:02}")), file).unwrap();
    }
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {CAP} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "decode_all_of_a_folder", "--ignored", "--nocapture"])
        .args(["--test-threads", "1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(text.contains(&format!("{} files", files.len())), "{text}");
    // The cap works: a whole image of the largest size that is decoded does not fit.
    assert!(text.contains("300 MB are refused"), "{text}");
}

/// Not a test of its own: what the process under the cap does.
#[test]
#[ignore = "run by the test above under a memory cap"]
fn decode_all_of_a_folder() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut paths: Vec<_> =
        std::fs::read_dir(Path::new(&folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let decoders = [JpegDecoder::Zune, JpegDecoder::Turbo];
    for decoder in decoders.into_iter().filter(|decoder| decoder.is_built()) {
        let jpeg = JpegOptions { decoder, scaling: false };
        let options = ReadOptions { jpeg, ..ReadOptions::default() };
        for path in &paths {
            let mut image = RgbImage::default();
            let mut decoder = Decoder::default();
            let outcome = decoder.decode_part_into(path, options, &mut image, Wanted::whole);
            println!("{outcome:?}");
        }
    }
    println!("{} files", paths.len());
    // Seen from outside, lest the compiler leave it out.
    let mut most = Vec::<u8>::new();
    let refused = most.try_reserve_exact(300_000_000).is_err();
    std::hint::black_box(most);
    println!("300 MB are {}", if refused { "refused" } else { "given" });
}
