//! Kinds of images, and files that are broken or hostile.

use std::path::{Path, PathBuf};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use tempfile::TempDir;

fn png_file(folder: &Path, bytes: &[u8], size: (u32, u32), color: ExtendedColorType) -> PathBuf {
    let path = folder.join("image.png");
    let file = std::fs::File::create(&path).unwrap();
    PngEncoder::new(file).write_image(bytes, size.0, size.1, color).unwrap();
    path
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/transforms").join(name)
}

fn refused(bytes: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("broken.jpg");
    std::fs::write(&path, bytes).unwrap();
    let error = pnp_data::decode(&path).unwrap_err().to_string();
    assert!(error.contains("broken.jpg"), "the error does not name the file: {error}");
    error
}

#[test]
fn of_sixteen_bits_the_upper_eight_are_kept() {
    let folder = TempDir::new().unwrap();
    let values = [0x12ff_u16, 0x3400, 0xffff];
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let path = png_file(folder.path(), &bytes, (1, 1), ExtendedColorType::Rgb16);
    assert_eq!(pnp_data::decode(&path).unwrap().into_raw(), [0x12, 0x34, 0xff]);
    let path = png_file(folder.path(), &bytes, (3, 1), ExtendedColorType::L16);
    let grey = pnp_data::decode(&path).unwrap().into_raw();
    assert_eq!(grey, [0x12, 0x12, 0x12, 0x34, 0x34, 0x34, 0xff, 0xff, 0xff]);
}

#[test]
fn grey_is_repeated_and_alpha_dropped() {
    let folder = TempDir::new().unwrap();
    let path = png_file(folder.path(), &[7, 0, 8, 255], (2, 1), ExtendedColorType::La8);
    assert_eq!(pnp_data::decode(&path).unwrap().into_raw(), [7, 7, 7, 8, 8, 8]);
    let path = png_file(folder.path(), &[1, 2, 3, 0], (1, 1), ExtendedColorType::Rgba8);
    assert_eq!(pnp_data::decode(&path).unwrap().into_raw(), [1, 2, 3]);
}

#[test]
fn the_content_decides_and_not_the_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("image.jpg");
    std::fs::copy(golden("palette.png"), &path).unwrap();
    assert_eq!(pnp_data::decode(&path).unwrap().dimensions(), (400, 90));
}

#[test]
fn a_jpeg_cut_anywhere_is_refused() {
    for name in ["landscape.jpg", "portrait.jpg"] {
        let whole = std::fs::read(golden(name)).unwrap();
        for length in [3, 20, 300, whole.len() / 2, whole.len() - 2] {
            refused(&whole[..length]);
        }
    }
}

#[test]
fn a_png_cut_anywhere_is_refused() {
    let whole = std::fs::read(golden("alpha.png")).unwrap();
    for length in [8, 20, 33, 60, whole.len() / 2] {
        refused(&whole[..length]);
    }
}

#[test]
fn garbage_and_empty_files_are_refused() {
    assert!(refused(b"").contains("empty"));
    assert!(refused(b"GIF89a and more").contains("neither a PNG nor a JPEG"));
    refused(b"\xff\xd8\xff");
    refused(b"\xff\xd8\xff\xd9");
}

#[test]
fn a_missing_file_is_named() {
    let error = pnp_data::decode(Path::new("nowhere/at_all.png")).unwrap_err().to_string();
    assert!(error.contains("at_all.png"), "{error}");
}

/// A PNG of the given size whose pixel data is missing.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    file.extend(&header);
    file.extend(crc(&header).to_be_bytes());
    file
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn a_declared_size_is_checked_before_memory_is_taken() {
    assert!(refused(&png_header(2_000_000_000, 2_000_000_000)).contains("at most 100000000"));
    assert!(refused(&png_header(10_000, 10_000)).contains("bytes can hold"));
    // The size of the frame stands after the SOF marker: FF C0, length, precision, height, width.
    let mut jpeg = std::fs::read(golden("grey_small.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert!(refused(&jpeg).contains("at most 100000000"));
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0x20, 0, 0x20, 0]);
    assert!(refused(&jpeg).contains("bytes can hold"));
}

#[test]
fn damaged_bytes_never_crash_the_decoder() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("damaged");
    for name in ["grey_small.jpg", "cmyk.jpg", "portrait.jpg", "palette.png"] {
        let whole = std::fs::read(golden(name)).unwrap();
        let mut state = 1_u32;
        for _ in 0..60 {
            let mut damaged = whole.clone();
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Most of the damage goes to the headers, where it does most harm.
                let range = if state & 1 == 0 { 700.min(whole.len()) } else { whole.len() };
                damaged[(state >> 8) as usize % range] = (state >> 3) as u8;
            }
            std::fs::write(&path, &damaged).unwrap();
            if let Ok(image) = pnp_data::decode(&path) {
                assert!(image.width() > 0 && image.height() > 0);
            }
        }
    }
}
