//! The audit: each kind of finding, what is no finding, order, and images that are hostile.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, Rgb, RgbImage};
use pnp_data::audit::{Depth, Finding, Kind, Severity, Subject};
use pnp_data::{Audit, DatasetOptions, audit, open_incomplete};
use tempfile::TempDir;

/// A picture with structure, another one for each number.
fn picture(number: u32) -> RgbImage {
    let phase = f64::from(number);
    RgbImage::from_fn(120, 90, |x, y| {
        let (u, v) = (f64::from(x) / 120.0, f64::from(y) / 90.0);
        let wave = |a: f64, b: f64, c: f64| {
            let angle = 6.0 * (a * u + b * v) + c;
            (127.0 + 70.0 * angle.sin() + 50.0 * (2.3 * angle * (u - v)).cos()).clamp(0.0, 255.0)
        };
        let (a, b) = (1.0 + (phase * 0.37) % 2.0, 1.0 + (phase * 0.61) % 2.0);
        Rgb([wave(a, b, phase), wave(b, a, 1.7 * phase), wave(a, -b, 0.9 * phase)].map(|c| c as u8))
    })
}

/// A data set in the making: files and the lines of its manifest.
struct Data {
    folder: TempDir,
    manifest: String,
}

impl Data {
    /// Two good images in train and two in test, of classes `a` and `b`.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut data = Self { folder, manifest: "path,label,split\n".to_owned() };
        for (number, split) in [(100, "train"), (101, "train"), (102, "test"), (103, "test")] {
            let class = if split == "train" { "a" } else { "b" };
            let path = data.list(&format!("good{number}.png"), class, split);
            picture(number).save(path).unwrap();
        }
        data
    }

    /// Lists an image, and says where its file has to be.
    fn list(&mut self, name: &str, class: &str, split: &str) -> PathBuf {
        writeln!(self.manifest, "{name},{class},{split}").unwrap();
        self.folder.path().join(name)
    }

    fn audit_to(&self, depth: Depth) -> Audit {
        let manifest = self.folder.path().join("manifest.csv");
        fs::write(&manifest, &self.manifest).unwrap();
        let dataset = open_incomplete(&DatasetOptions::new(manifest)).unwrap();
        audit(dataset.splits(), depth, |_| true).unwrap()
    }

    fn audit(&self) -> Audit {
        self.audit_to(Depth::Full)
    }
}

/// The image a finding is about.
fn image(finding: &Finding) -> &str {
    match &finding.subject {
        Subject::Image(name) | Subject::Class(name) => name,
    }
}

/// Each kind that was found and its image or class.
fn found(audit: &Audit) -> Vec<(Kind, &str)> {
    audit.findings.iter().map(|finding| (finding.kind, image(finding))).collect()
}

/// Each finding's kind, image and twin.
fn twins(audit: &Audit) -> Vec<(Kind, &str, &str)> {
    audit
        .findings
        .iter()
        .map(|f| (f.kind, image(f), f.twin.as_ref().map_or("", |(_, name)| name.as_str())))
        .collect()
}

fn write_jpeg(path: &Path, image: &RgbImage, quality: u8) {
    let file = fs::File::create(path).unwrap();
    JpegEncoder::new_with_quality(file, quality).encode_image(image).unwrap();
}

fn write_png(path: &Path, bytes: &[u8], size: (u32, u32), color: ExtendedColorType) {
    let file = fs::File::create(path).unwrap();
    PngEncoder::new(file).write_image(bytes, size.0, size.1, color).unwrap();
}

/// A chunk of a PNG file.
fn chunk(kind: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend(kind);
    chunk.extend(data);
    let sum = crc32fast::hash(&chunk[4..]);
    chunk.extend(sum.to_be_bytes());
    chunk
}

/// A PNG file whose header says this size, and little else.
fn declared_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, 2, 0, 0, 0]);
    file.extend(chunk(*b"IHDR", &header));
    file.extend(chunk(*b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]));
    file.extend(chunk(*b"IEND", &[]));
    file
}

#[test]
fn a_good_data_set_has_no_findings() {
    let audit = Data::new().audit();
    assert_eq!(audit.images, 4);
    assert_eq!(audit.findings, []);
    assert_eq!(audit.corrupting(), 0);
}

#[test]
fn all_missing_files_are_named() {
    let mut data = Data::new();
    data.list("gone1.png", "a", "train");
    fs::create_dir(data.list("a_folder.png", "a", "train")).unwrap();
    data.list("gone2.png", "b", "test");
    let audit = data.audit();
    let expected = ["gone1.png", "a_folder.png", "gone2.png"].map(|name| (Kind::Missing, name));
    assert_eq!(found(&audit), expected);
    assert_eq!(audit.corrupting(), 3);
}

#[test]
fn files_that_do_not_decode_are_named_with_the_reason() {
    let mut data = Data::new();
    let path = data.list("cut.jpg", "a", "train");
    write_jpeg(&path, &picture(1), 80);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(data.list("text.png", "a", "train"), "no image").unwrap();
    fs::write(data.list("empty.png", "b", "test"), "").unwrap();
    let audit = data.audit();
    let names = ["cut.jpg", "text.png", "empty.png"].map(|name| (Kind::Undecodable, name));
    assert_eq!(found(&audit), names);
    assert!(audit.findings[2].detail.contains("empty"), "{}", audit.findings[2]);
}

#[test]
fn a_decompression_bomb_is_refused_by_its_declared_size() {
    let mut data = Data::new();
    // More than is ever decoded, and more than so few bytes can hold.
    fs::write(data.list("bomb.png", "a", "train"), declared_png(60_000, 60_000)).unwrap();
    fs::write(data.list("hollow.png", "a", "train"), declared_png(9_000, 9_000)).unwrap();
    let audit = data.audit();
    assert_eq!(found(&audit), [(Kind::Bomb, "bomb.png"), (Kind::Bomb, "hollow.png")]);
    assert!(audit.findings[0].detail.contains("60000 x 60000"), "{}", audit.findings[0]);
}

#[test]
fn the_same_bytes_in_two_splits_two_classes_and_one_class_are_told_apart() {
    let mut data = Data::new();
    let good = data.folder.path().join("good100.png");
    for (name, class, split) in
        [("copy.png", "a", "train"), ("other.png", "z", "train"), ("leak.png", "a", "test")]
    {
        fs::copy(&good, data.list(name, class, split)).unwrap();
    }
    data.list("more.png", "z", "train");
    picture(7).save(data.folder.path().join("more.png")).unwrap();
    data.list("leak2.png", "a", "test");
    fs::copy(&good, data.folder.path().join("leak2.png")).unwrap();
    let audit = data.audit();
    let expected = [
        (Kind::RepeatedBytes, "copy.png", "good100.png"),
        (Kind::ConflictingBytes, "other.png", "good100.png"),
        (Kind::SharedBytes, "leak.png", "good100.png"),
        (Kind::SharedBytes, "leak2.png", "good100.png"),
        (Kind::RepeatedBytes, "leak2.png", "leak.png"),
    ];
    assert_eq!(twins(&audit), expected);
    assert_eq!(audit.corrupting(), 3);
    let shallow = data.audit_to(Depth::Decode);
    assert_eq!(shallow.findings, audit.findings);
}

#[test]
fn the_same_picture_encoded_or_resized_anew_is_found_across_splits() {
    let mut data = Data::new();
    for number in 0..40 {
        let path = data.list(&format!("{number}.png"), "a", "train");
        picture(number).save(path).unwrap();
    }
    let path = data.list("encoded.jpg", "b", "test");
    write_jpeg(&path, &picture(3), 50);
    let half = image::imageops::resize(&picture(4), 60, 45, FilterType::Triangle);
    half.save(data.list("half.png", "b", "test")).unwrap();
    let double = image::imageops::resize(&picture(5), 240, 180, FilterType::CatmullRom);
    write_jpeg(&data.list("double.jpg", "b", "test"), &double, 75);
    let audit = data.audit();
    let expected = [
        (Kind::SharedPicture, "encoded.jpg", "3.png"),
        (Kind::SharedPicture, "half.png", "4.png"),
        (Kind::SharedPicture, "double.jpg", "5.png"),
    ];
    assert_eq!(twins(&audit), expected);
    assert_eq!(data.audit_to(Depth::Decode).findings, []);
}

#[test]
fn the_same_picture_in_another_class_is_found() {
    let mut data = Data::new();
    for (name, class) in [("same.jpg", "a"), ("other1.jpg", "z"), ("other2.jpg", "z")] {
        let quality = 60 + name.len() as u8;
        write_jpeg(&data.list(name, class, "train"), &picture(100), quality);
    }
    let audit = data.audit();
    let kinds = twins(&audit);
    assert_eq!(kinds[0], (Kind::ConflictingPicture, "other1.jpg", "good100.png"));
    assert_eq!(audit.of(Kind::ConflictingPicture).count(), 1, "{kinds:?}");
    assert_eq!(audit.of(Kind::RepeatedBytes).count(), 1, "{kinds:?}");
    assert_eq!(audit.corrupting(), 0);
}

#[test]
fn a_product_in_another_colour_is_another_picture() {
    let mut data = Data::new();
    // As bright everywhere, so that the hash is the same: 299 parts of red are 114 of blue less.
    let product = |red: u8, blue: u8| {
        let mut image = picture(50);
        for pixel in image.pixels_mut() {
            let grey = pixel.0[0] / 2 + 60;
            pixel.0 = [grey + red, grey, grey - blue];
        }
        image
    };
    product(0, 0).save(data.list("grey.png", "a", "train")).unwrap();
    product(20, 52).save(data.list("orange.png", "b", "test")).unwrap();
    let flat = |shade| RgbImage::from_pixel(30, 30, Rgb([shade; 3]));
    flat(10).save(data.list("flat1.png", "a", "train")).unwrap();
    flat(11).save(data.list("flat2.png", "b", "test")).unwrap();
    assert_eq!(data.audit().findings, []);
}

#[test]
fn classes_of_one_image_and_of_unusual_size_follow_the_images_of_their_split() {
    let mut data = Data::new();
    let mut number = 0;
    let mut add = |class: &str, count: u32| {
        for _ in 0..count {
            let path = data.list(&format!("{number}.png"), class, "train");
            RgbImage::from_pixel(2, 1, Rgb([number as u8, 1, (number >> 8) as u8]))
                .save(path)
                .unwrap();
            number += 1;
        }
    };
    (0..9).for_each(|class| add(&format!("class {class}"), 8));
    add("lone", 1);
    add("huge", 33);
    data.list("gone.png", "b", "test");
    let audit = data.audit();
    let expected =
        [(Kind::LargeClass, "huge"), (Kind::LoneClass, "lone"), (Kind::Missing, "gone.png")];
    assert_eq!(found(&audit), expected);
    assert!(matches!(audit.findings[0].subject, Subject::Class(_)));
    assert!(audit.findings[0].detail.starts_with("33 images"), "{}", audit.findings[0]);
}

#[test]
fn an_extension_that_lies_is_named_with_what_the_file_is() {
    let mut data = Data::new();
    let path = data.list("lies.JPG", "a", "train");
    picture(1).save_with_format(path, image::ImageFormat::Png).unwrap();
    write_jpeg(&data.list("honest.JPEG", "a", "train"), &picture(2), 90);
    write_jpeg(&data.list("no_extension", "a", "train"), &picture(3), 90);
    let audit = data.audit();
    assert_eq!(found(&audit), [(Kind::ExtensionLies, "lies.JPG")]);
    assert!(audit.findings[0].detail.contains("PNG"));
}

#[test]
fn cmyk_sixteen_bits_and_alpha_are_worth_knowing() {
    let mut data = Data::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/transforms/cmyk.jpg");
    fs::copy(golden, data.list("cmyk.jpg", "a", "train")).unwrap();
    let rgb = picture(1);
    let wide: Vec<u8> = rgb.as_raw().iter().flat_map(|&v| [v, 0]).collect();
    let path = data.list("wide.png", "a", "train");
    write_png(&path, &wide, rgb.dimensions(), ExtendedColorType::Rgb16);
    let clear = DynamicImage::from(picture(2)).to_rgba8();
    clear.save(data.list("clear.png", "a", "train")).unwrap();
    let audit = data.audit();
    let expected =
        [(Kind::Cmyk, "cmyk.jpg"), (Kind::SixteenBit, "wide.png"), (Kind::Alpha, "clear.png")];
    assert_eq!(found(&audit), expected);
    assert!(audit.findings.iter().all(|f| f.kind.severity() == Severity::WorthKnowing));
}

#[test]
fn exif_rotation_is_found_in_jpeg_and_png() {
    // A little-endian TIFF directory of one entry: tag 0x112, type 3, one value, 6.
    let exif = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut data = Data::new();
    let path = data.list("turned.jpg", "a", "train");
    write_jpeg(&path, &picture(1), 90);
    let mut bytes = fs::read(&path).unwrap();
    let body = [b"Exif\0\0", &exif[..]].concat();
    let length = (body.len() as u16 + 2).to_be_bytes();
    bytes.splice(2..2, [&[0xff, 0xe1], &length[..], &body].concat());
    fs::write(&path, bytes).unwrap();
    let path = data.list("turned.png", "a", "train");
    picture(2).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // After the signature of 8 bytes and the header's chunk of 25.
    bytes.splice(33..33, chunk(*b"eXIf", exif));
    fs::write(&path, bytes).unwrap();
    let audit = data.audit();
    let expected = ["turned.jpg", "turned.png"].map(|name| (Kind::ExifRotation, name));
    assert_eq!(found(&audit), expected);
    assert_eq!(audit.findings[0].detail, "orientation 6");
}

#[test]
fn animations_are_found_by_signature() {
    let mut data = Data::new();
    let path = data.list("moving.png", "a", "train");
    picture(1).save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let control = chunk(*b"acTL", &[0, 0, 0, 1, 0, 0, 0, 0]);
    let frame = [&[0; 4][..], &120_u32.to_be_bytes(), &90_u32.to_be_bytes(), &[0; 14]].concat();
    bytes.splice(33..33, [control, chunk(*b"fcTL", &frame)].concat());
    fs::write(&path, bytes).unwrap();
    fs::write(data.list("moving.gif", "a", "train"), b"GIF89a\x01\0\x01\0\0\0\0;").unwrap();
    let audit = data.audit();
    let expected = [
        (Kind::Animated, "moving.png"),
        (Kind::Undecodable, "moving.gif"),
        (Kind::Animated, "moving.gif"),
    ];
    assert_eq!(found(&audit), expected);
}

#[test]
fn a_huge_image_that_decodes_is_worth_knowing() {
    let mut data = Data::new();
    let path = data.list("large.png", "a", "train");
    write_png(&path, &vec![9; 5000 * 5000], (5000, 5000), ExtendedColorType::L8);
    let audit = data.audit();
    assert_eq!(found(&audit), [(Kind::Large, "large.png")]);
    assert_eq!(audit.findings[0].detail, "5000 x 5000 pixels");
}

#[test]
fn findings_are_the_same_for_any_number_of_threads() {
    let mut data = Data::new();
    for number in 0..60 {
        let split = if number % 3 == 0 { "test" } else { "train" };
        let path = data.list(&format!("{number}.jpg"), &format!("class {}", number % 7), split);
        if number % 10 == 9 {
            fs::write(path, "broken").unwrap();
        } else {
            write_jpeg(&path, &picture(number % 8), 70 + (number % 5) as u8);
        }
    }
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| data.audit().findings)
    };
    let one = with(1);
    assert!(one.len() > 30, "{}", one.len());
    assert_eq!(with(3), one);
}

#[test]
fn an_audit_can_be_ended() {
    let data = Data::new();
    fs::write(data.folder.path().join("manifest.csv"), &data.manifest).unwrap();
    let dataset = open_incomplete(&DatasetOptions::new(data.folder.path())).unwrap();
    assert!(audit(dataset.splits(), Depth::Full, |_| false).is_none());
}

/// The data of the quick start: real pictures, two of which one artist drew alike, and no alarm
/// beside them. They pass their own audit.
#[test]
fn real_images_are_alike_only_where_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/emoji");
    let dataset = open_incomplete(&DatasetOptions::new(folder)).unwrap();
    let audit = audit(dataset.splits(), Depth::Full, |_| true).unwrap();
    let expected = [(Kind::ConflictingPicture, "images/person-juggling/fluent-emoji.png")];
    assert_eq!(found(&audit), expected);
    assert_eq!(audit.corrupting(), 0);
}

#[test]
fn test_splits_that_hold_one_anothers_images_are_meant() {
    let mut data = Data::new();
    for name in ["good102.png", "good103.png"] {
        data.list(name, "b", "test-all");
    }
    let picture = picture(200);
    for (name, split) in [("x.png", "test-all"), ("y.png", "test-all")] {
        picture.save(data.list(name, "c", split)).unwrap();
    }
    assert_eq!(found(&data.audit()), [(Kind::RepeatedBytes, "y.png")]);
}

#[test]
fn one_file_in_two_classes_and_parts_of_one_file_are_told_apart() {
    let mut data = Data::new();
    data.list("good102.png", "another", "test-all");
    data.list("good103.png", "b", "test-all");
    let expected = [(Kind::LoneClass, "another"), (Kind::ConflictingBytes, "good102.png")];
    let audit = data.audit();
    let mut findings = found(&audit);
    findings.retain(|finding| finding.0 != Kind::LoneClass || finding.1 == "another");
    findings.sort_by_key(|finding| finding.1);
    assert_eq!(findings, expected);
}

#[test]
fn boxes_over_an_edge_are_told_and_boxes_outside_are_bad_images() {
    let mut data = Data::new();
    data.manifest = "path,label,split,x1,y1,x2,y2\n".to_owned();
    // 120 x 90 pixels each.
    let boxes = ["0,0,120,90", "-4,0,60,90", "0,5,121,90", "-9,0,0,90", "0,90,120,99", ",,,"];
    for (number, corners) in (0_u32..).zip(boxes) {
        let split = if number < 4 { "train" } else { "test" };
        picture(number).save(data.folder.path().join(format!("{number}.png"))).unwrap();
        writeln!(data.manifest, "{number}.png,{split},{split},{corners}").unwrap();
    }
    let audit = data.audit();
    let expected = [
        (Kind::BoxOverEdge, "1.png"),
        (Kind::BoxOverEdge, "2.png"),
        (Kind::BoxOutside, "3.png"),
        (Kind::BoxOutside, "4.png"),
    ];
    assert_eq!(found(&audit), expected);
    assert_eq!(audit.corrupting(), 2);
    let text = audit.findings[2].to_string();
    assert!(text.contains("-9,0,0,90 in 120 x 90 pixels"), "{text}");
    assert_eq!(found(&data.audit_to(Depth::Decode)), expected[2..]);
}
