//! Kinds of images, and files that are broken or hostile.

use std::path::{Path, PathBuf};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use pnp_data::Preparer;
use pnp_data::decode::{Decoder, Extent, JpegDecoder, JpegOptions, ReadOptions, Wanted};
use pnp_data::transform::{
    EvalTransform, RandomResizedCrop, Resampler, TrainTransform, augmentation,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

/// EXIF orientations are honoured.
const TURNED: ReadOptions = ReadOptions {
    exif_rotation: true,
    jpeg: JpegOptions { decoder: JpegDecoder::Zune, scaling: false },
};

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
            let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
            let wanted = |(width, _)| Wanted::whole((width, 40));
            if let Ok(Extent { size: (_, height), .. }) =
                decoder.decode_part_into(&path, TURNED, &mut image, wanted)
            {
                assert!(image.height() >= 40.min(height));
            }
        }
    }
}

#[test]
fn a_jpeg_is_decoded_to_the_last_row_that_is_wanted_and_no_further() {
    let mut decoder = Decoder::default();
    // Colours at half resolution, and grey; the third has many scans and is decoded as a whole.
    for (name, early) in
        [("landscape.jpg", true), ("grey_small.jpg", true), ("portrait.jpg", false)]
    {
        let whole = pnp_data::decode(&golden(name)).unwrap();
        let (width, height) = whole.dimensions();
        for wanted in [0, 1, 8, 15, 16, 17, 100, height - 1, height, u32::MAX] {
            let mut image = RgbImage::default();
            let rows = |size| {
                assert_eq!(size, (width, height));
                Wanted::whole((width, wanted))
            };
            let options = ReadOptions::default();
            let extent = decoder.decode_part_into(&golden(name), options, &mut image, rows);
            assert_eq!(extent.unwrap(), Extent { size: (width, height), shrink: 1 });
            assert!(image.height() >= wanted.min(height) && image.height() <= height);
            if early && wanted.saturating_add(32) < height {
                assert!(image.height() < wanted + 32, "{name}: {wanted}, {}", image.height());
            }
            let exact = 3 * (width * wanted.min(height)) as usize;
            assert!(image.as_raw()[..exact] == whole.as_raw()[..exact], "{name}: {wanted} rows");
        }
    }
}

#[test]
fn a_file_is_left_as_it_was_read() {
    let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
    let path = golden("landscape.jpg");
    let wanted = |(width, _)| Wanted::whole((width, 20));
    decoder.decode_part_into(&path, ReadOptions::default(), &mut image, wanted).unwrap();
    let few = image.height();
    decoder.decode_into(&path, &mut image).unwrap();
    assert!(few < image.height());
    assert_eq!(image, pnp_data::decode(&path).unwrap());
}

/// An EXIF block with an orientation alone.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0".to_vec();
    block.extend([0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
    block
}

fn jpeg_with_exif(orientation: u8) -> Vec<u8> {
    let mut file = std::fs::read(golden("landscape.jpg")).unwrap();
    let mut segment = vec![0xff, 0xe1, 0, 34];
    segment.extend(b"Exif\0\0");
    segment.extend(exif(orientation));
    segment[3] = (segment.len() - 2) as u8;
    file.splice(2..2, segment);
    file
}

fn png_with_exif(orientation: u8) -> Vec<u8> {
    let mut file = std::fs::read(golden("palette.png")).unwrap();
    let mut chunk = b"eXIf".to_vec();
    chunk.extend(exif(orientation));
    let mut bytes = (chunk.len() as u32 - 4).to_be_bytes().to_vec();
    bytes.extend(&chunk);
    bytes.extend(crc(&chunk).to_be_bytes());
    // After the signature and the header chunk.
    file.splice(33..33, bytes);
    file
}

/// What an orientation makes of an image, pixel by pixel, from the table of the EXIF standard.
fn turned(image: &RgbImage, orientation: u8) -> RgbImage {
    let (w, h) = image.dimensions();
    let (width, height) = if (5..=8).contains(&orientation) { (h, w) } else { (w, h) };
    RgbImage::from_fn(width, height, |x, y| {
        let (from_x, from_y) = match orientation {
            2 => (w - 1 - x, y),
            3 => (w - 1 - x, h - 1 - y),
            4 => (x, h - 1 - y),
            5 => (y, x),
            6 => (y, h - 1 - x),
            7 => (w - 1 - y, h - 1 - x),
            8 => (w - 1 - y, x),
            _ => (x, y),
        };
        *image.get_pixel(from_x, from_y)
    })
}

#[test]
fn all_eight_exif_orientations_are_honoured_when_asked_for() {
    let folder = TempDir::new().unwrap();
    let (mut preparer, mut resampler) = (Preparer::default(), Resampler::default());
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for (name, plain) in [("a.jpg", "landscape.jpg"), ("a.png", "palette.png")] {
        let path = folder.path().join(name);
        let plain = pnp_data::decode(&golden(plain)).unwrap();
        // The last one is none of the standard's.
        for orientation in 1..=9 {
            let file = if name == "a.jpg" { jpeg_with_exif } else { png_with_exif }(orientation);
            std::fs::write(&path, file).unwrap();
            assert_eq!(pnp_data::decode(&path).unwrap(), plain, "{name}: {orientation}");
            let upright = turned(&plain, orientation);
            let (mut decoder, mut image) = (Decoder::default(), RgbImage::default());
            let extent = decoder.decode_part_into(&path, TURNED, &mut image, Wanted::whole);
            assert_eq!(extent.unwrap().size, upright.dimensions());
            assert_eq!(image, upright, "{name}: {orientation}");
            let eval = EvalTransform { exif_rotation: true, ..EvalTransform::default() };
            eval.apply(&upright, &mut resampler, &mut expected).unwrap();
            preparer.eval(&path, &eval, &mut bytes).unwrap();
            assert!(bytes == expected, "{name}: {orientation}, evaluation");
            for name in ["base", "red"] {
                let transform = augmentation(name).unwrap().transform(RandomResizedCrop::default());
                let transform = TrainTransform { exif_rotation: true, ..transform };
                let rng = || ChaCha8Rng::seed_from_u64(3);
                transform.apply(&upright, &mut rng(), &mut resampler, &mut expected).unwrap();
                preparer.train(&path, &transform, &mut rng(), &mut bytes).unwrap();
                assert!(bytes == expected, "{name}: {orientation}, training");
            }
        }
    }
}

#[test]
fn headers_that_differ_are_refused() {
    let mut file = std::fs::read(golden("landscape.jpg")).unwrap();
    let frame = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let length = usize::from(file[frame + 3]) + 2;
    let mut second = file[frame..frame + length].to_vec();
    second[8] ^= 1;
    file.splice(frame + length..frame + length, second);
    refused(&file);
}
