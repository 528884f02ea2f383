use std::fs;
use std::io::Write as _;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn npy(header: &str, values: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let header = format!("{header}\n");
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(values);
    bytes
}

fn array(kind: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    npy(&format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"), values)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn zip_of(arrays: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in arrays {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_matrix_survives_a_round_trip() {
    let folder = folder();
    let path = folder.path().join("x.npy");
    write(&path, &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let matrix = read_embeddings(&path).unwrap();
    assert_eq!((matrix.dim(), matrix.is_wide()), (3, false));
    assert_eq!(matrix.to_f32(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn a_large_file_is_mapped_and_reads_the_same() {
    let folder = folder();
    let path = folder.path().join("x.npy");
    let values: Vec<f32> = (0..600_000).map(|i| (i % 977) as f32).collect();
    write(&path, &[1000, 600], &values).unwrap();
    let matrix = read_embeddings(&path).unwrap();
    assert_eq!(matrix.to_f32(), values);
    let mut row = vec![0.0; 600];
    matrix.rows().unwrap().read(999, &mut row);
    assert_eq!(row, values[999 * 600..]);
}

#[test]
fn columns_first_and_big_endian_matrices_are_turned() {
    let folder = folder();
    let path = folder.path().join("x.npy");
    let values: Vec<u8> = [1.0f64, 3.0, 2.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let header = "{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }";
    fs::write(&path, npy(header, &values)).unwrap();
    let matrix = read_embeddings(&path).unwrap();
    assert_eq!((matrix.to_f64(), matrix.is_wide()), (vec![1.0, 2.0, 3.0, 4.0], true));
    let values: Vec<u8> = [1.0f32, -2.5].iter().flat_map(|v| v.to_be_bytes()).collect();
    fs::write(&path, array(">f4", "(1, 2)", &values)).unwrap();
    assert_eq!(read_embeddings(&path).unwrap().to_f32(), [1.0, -2.5]);
}

#[test]
fn half_precision_is_widened() {
    let folder = folder();
    let path = folder.path().join("x.npy");
    let values: Vec<u8> =
        [0.5, -2.0].iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    fs::write(&path, array("<f2", "(2, 1)", &values)).unwrap();
    let matrix = read_embeddings(&path).unwrap();
    assert_eq!(matrix.to_f32(), [0.5, -2.0]);
    let mut row = [0.0];
    matrix.rows().unwrap().read(1, &mut row);
    assert_eq!(row, [-2.0]);
}

#[test]
fn labels_of_any_width_and_text_are_read() {
    let folder = folder();
    let path = folder.path().join("y.npy");
    let labels = |path: &Path| read_labels(path, Role::LABELS);
    write(&path, &[3], &[3u8, 1, 2]).unwrap();
    assert_eq!(labels(&path).unwrap(), [3, 1, 2]);
    write(&path, &[2, 1], &[-3i64, 1]).unwrap();
    assert_eq!(labels(&path).unwrap(), [-3, 1]);
    write(&path, &[2], &[u64::MAX, 1]).unwrap();
    assert_eq!(labels(&path).unwrap(), [i128::from(u64::MAX), 1]);
    fs::write(&path, array(">i2", "(2,)", &[0xff, 0xfe, 0, 7])).unwrap();
    assert_eq!(labels(&path).unwrap(), [-2, 7]);
    write(&path, &[1], &[1.0f32]).unwrap();
    assert!(labels(&path).unwrap_err().to_string().contains("whole numbers"));

    let names = |path: &Path| read_names(path, Role::LABELS);
    fs::write(&path, array("|S3", "(2,)", b"ab\0cde")).unwrap();
    assert_eq!(names(&path).unwrap(), ["ab", "cde"]);
    let text: Vec<u8> =
        ['é', 'x', '\0', '\0'].iter().flat_map(|&c| (c as u32).to_le_bytes()).collect();
    fs::write(&path, array("<U2", "(2,)", &text)).unwrap();
    assert_eq!(names(&path).unwrap(), ["éx", ""]);
    fs::write(&path, array("<U1", "(1,)", &[0xff; 4])).unwrap();
    assert!(names(&path).unwrap_err().to_string().contains("characters that are none"));
    fs::write(&path, array("|S1", "(1,)", &[0xff])).unwrap();
    assert!(names(&path).unwrap_err().to_string().contains("no text"));
    fs::write(&path, array("|O", "(1,)", &[0; 8])).unwrap();
    assert!(names(&path).is_err());
}

#[test]
fn arrays_of_an_archive_are_found_by_name_by_role_or_by_being_the_only_one() {
    let folder = folder();
    let path = folder.path().join("all.npz");
    let labels = array("<i4", "(2,)", &[7, 0, 0, 0, 9, 0, 0, 0]);
    let arrays = [
        ("features.npy", array("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, 4.0]))),
        ("other.npy", array("<f4", "(1, 2)", &floats(&[5.0, 6.0]))),
        ("y.npy", labels),
        ("readme.txt", b"no array".to_vec()),
    ];
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        fs::write(&path, zip_of(&arrays, method)).unwrap();
        assert_eq!(read_embeddings(&path).unwrap().to_f32(), [1.0, 2.0, 3.0, 4.0]);
        let named = folder.path().join("all.npz:other");
        assert_eq!(read_embeddings(&named).unwrap().to_f32(), [5.0, 6.0]);
        // The only list of whole numbers.
        assert_eq!(read_names(&path, Role::LABELS).unwrap(), ["7", "9"]);
        let missing = read_embeddings(&folder.path().join("all.npz:none")).unwrap_err();
        assert!(matches!(missing, ArrayError::NoSuch { .. }), "{missing}");
    }
    fs::write(&path, zip_of(&arrays[1..2], zip::CompressionMethod::Stored)).unwrap();
    assert_eq!(read_embeddings(&path).unwrap().to_f32(), [5.0, 6.0]);
    let two = [("a.npy", arrays[1].1.clone()), ("b.npy", arrays[1].1.clone())];
    fs::write(&path, zip_of(&two, zip::CompressionMethod::Stored)).unwrap();
    let which = read_embeddings(&path).unwrap_err();
    assert!(matches!(which, ArrayError::Which { .. }), "{which}");
}

#[test]
fn an_archive_with_an_array_that_is_none_still_has_the_others() {
    let folder = folder();
    let path = folder.path().join("all.npz");
    let good = array("<f4", "(1, 2)", &floats(&[5.0, 6.0]));
    let mut followed = good.clone();
    followed.extend([0; 1000]);
    let arrays = [("meta.npy", b"no array".to_vec()), ("x.npy", good), ("long.npy", followed)];
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        fs::write(&path, zip_of(&arrays, method)).unwrap();
        assert_eq!(read_embeddings(&path).unwrap().to_f32(), [5.0, 6.0]);
        for (name, part) in [("meta", "does not begin"), ("long", "promises other")] {
            let named = folder.path().join(format!("all.npz:{name}"));
            let error = read_embeddings(&named).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(part), "{error}");
        }
    }
}

#[test]
fn a_changed_byte_of_an_archive_is_noticed() {
    let folder = folder();
    let path = folder.path().join("x.npz");
    let arrays = [("x.npy", array("<f4", "(1, 2)", &floats(&[5.0, 6.0])))];
    let mut file = zip_of(&arrays, zip::CompressionMethod::Stored);
    let value = floats(&[6.0]);
    let at = file.windows(4).position(|bytes| bytes == value).unwrap();
    file[at] ^= 1;
    fs::write(&path, file).unwrap();
    assert!(read_embeddings(&path).unwrap_err().to_string().contains("checksum"));
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = folder();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if made.is_ok_and(|status| status.success()) {
        assert!(matches!(read_embeddings(&path), Err(ArrayError::Io { .. })));
    }
}

#[test]
fn a_name_may_have_colons_itself() {
    let folder = folder();
    fs::write(folder.path().join("y.csv"), "my:label,b\n1,2\n").unwrap();
    let names = read_names(&folder.path().join("y.csv:my:label"), Role::LABELS).unwrap();
    assert_eq!(names, ["1"]);
    fs::write(folder.path().join("a:b.csv"), "label\n3\n").unwrap();
    let names = read_names(&folder.path().join("a:b.csv"), Role::LABELS).unwrap();
    assert_eq!(names, ["3"]);
    fs::write(folder.path().join("y.csv"), "label;shot\n1;2\n").unwrap();
    assert!(read_names(&folder.path().join("y.csv"), Role::LABELS).is_err());
}

#[test]
fn tensors_of_safetensors_are_read() {
    use ::safetensors::tensor::{Dtype, TensorView, serialize};
    let folder = folder();
    let path = folder.path().join("x.safetensors");
    let brain: Vec<u8> =
        [1.0, 0.5].iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
    let labels: Vec<u8> = [5i64].iter().flat_map(|v| v.to_le_bytes()).collect();
    let tensors = [
        ("x", TensorView::new(Dtype::BF16, vec![1, 2], &brain).unwrap()),
        ("labels", TensorView::new(Dtype::I64, vec![1], &labels).unwrap()),
    ];
    let bytes = serialize(tensors, None).unwrap();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(read_embeddings(&path).unwrap().to_f32(), [1.0, 0.5]);
    assert_eq!(read_labels(&path, Role::LABELS).unwrap(), [5]);
    for end in [0, 7, 8, 20, bytes.len() - 1] {
        fs::write(&path, &bytes[..end]).unwrap();
        assert!(matches!(read_embeddings(&path), Err(ArrayError::Format { .. })), "{end}");
    }
}

#[test]
fn a_lying_or_broken_header_is_refused_before_memory_is_asked_for() {
    let folder = folder();
    let path = folder.path().join("x.npy");
    let shapes = [
        "(1099511627776, 512)",
        "(18446744073709551615, 2)",
        "(18446744073709551616, 2)",
        "(0, 18446744073709551615, 2)",
        "(-1, 2)",
        "(3, 2)",
        "(4,)",
    ];
    for shape in shapes {
        let lying = array("<f4", shape, &[0; 16]);
        fs::write(&path, &lying).unwrap();
        let error = read_embeddings(&path).unwrap_err().to_string();
        assert!(error.contains("x.npy"), "{error}");
        for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
            fs::write(&path, zip_of(&[("x.npy", lying.clone())], method)).unwrap();
            assert!(read_embeddings(&path).is_err(), "{shape}");
        }
    }
    for twice in [
        "{'shape': (1,1), 'descr': '<f4', 'fortran_order': False, \
         'shape': (9223372036854775807, 9223372036854775807), }",
        "{'descr': [('shape(1)', '<f4')], 'fortran_order': False, \
         'shape': (9223372036854775807, 9223372036854775807), }",
    ] {
        fs::write(&path, npy(twice, &[0; 4])).unwrap();
        assert!(matches!(read_embeddings(&path), Err(ArrayError::Format { .. })));
    }
    // Nothing of so many is still nothing, and no reason to ask for memory.
    fs::write(&path, array("<f4", "(0, 1099511627776)", &[])).unwrap();
    let error = read_embeddings(&path).unwrap().rows().unwrap_err();
    assert!(matches!(error, pnp_ranking::RankingError::DimensionTooLarge { .. }), "{error}");
    let deep =
        format!("{{'descr': '<f4', 'shape': (1, 1), 'x': {}{}}}", "[".repeat(40), "]".repeat(40));
    fs::write(&path, npy(&deep, &[0; 4])).unwrap();
    assert!(matches!(read_embeddings(&path), Err(ArrayError::Format { .. })));
    let broken: [&[u8]; 6] = [
        b"",
        b"\x93NUMPY",
        b"no array at all",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        &[0; 100],
        b"PK\x03\x04 no archive",
    ];
    for bytes in broken {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(read_embeddings(&path), Err(ArrayError::Format { .. })));
    }
    assert!(matches!(read_embeddings(folder.path()), Err(ArrayError::Io { .. })));
}

#[test]
fn an_archive_cut_anywhere_or_with_any_byte_changed_is_no_crash() {
    let folder = folder();
    let path = folder.path().join("x.npz");
    let arrays = [("x.npy", array("<f4", "(2, 2)", &floats(&[1.0, 2.0, 3.0, 4.0])))];
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let whole = zip_of(&arrays, method);
        for place in 0..whole.len() {
            fs::write(&path, &whole[..place]).unwrap();
            assert!(read_embeddings(&path).is_err());
            let mut changed = whole.clone();
            changed[place] ^= 0x5a;
            fs::write(&path, changed).unwrap();
            // What it reads may be wrong; that it returns is the point.
            let _ = read_embeddings(&path).map(|matrix| matrix.to_f32());
        }
    }
}
