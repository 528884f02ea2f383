//! MAT files with the annotations of cars, uncompressed.

fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn matrix(class: u8, columns: usize, name: &str, content: &[u8]) -> Vec<u8> {
    let flags = element(6, &[class, 0, 0, 0, 0, 0, 0, 0]);
    let sides = element(5, &[1_i32, columns as i32].map(i32::to_le_bytes).concat());
    element(14, &[&flags, &sides, &element(1, name.as_bytes()), content].concat())
}

fn number(value: u8) -> Vec<u8> {
    matrix(9, 1, "", &element(2, &[value]))
}

/// A file whose `annotations` have a box, a class and the file's name in the field `path`.
pub(crate) fn annotations(path: &str, entries: &[(&str, u8)]) -> Vec<u8> {
    let fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", path];
    let mut names = Vec::new();
    for field in fields {
        names.extend(field.as_bytes());
        names.resize(names.len().next_multiple_of(32), 0);
    }
    let mut content = [element(5, &32_i32.to_le_bytes()), element(1, &names)].concat();
    for &(name, class) in entries {
        content.extend([2, 3, 20, 30, class].into_iter().flat_map(number));
        content.extend(matrix(4, name.len(), "", &element(16, name.as_bytes())));
    }
    let mut file = vec![b' '; 124];
    file.extend([0x00, 0x01, b'I', b'M']);
    file.extend(matrix(2, entries.len(), "annotations", &content));
    file
}
