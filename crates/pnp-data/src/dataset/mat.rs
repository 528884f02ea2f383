//! MATLAB's MAT files of version 5 (as `save` writes up to version 7), as far as lists of annotations
//! need them: numbers, text, cells and structs, compressed or not.
//!
//! The crates that read this format leave out structs or trust the file; this reader takes nothing
//! on trust. Sizes are checked against the bytes that are there before anything is kept, nesting and
//! the inflated size are bounded, and whatever else a file holds becomes [`Array::Other`]. Format:
//! "MAT-File Format", The MathWorks, chapter 1.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Bytes before the first element.
const HEADER: usize = 128;
/// The most that all compressed elements of a file may inflate to. Cars196 takes 8 MB.
const MAX_INFLATED: u64 = 32 << 20;
/// How deep cells and structs may be nested.
const MAX_DEPTH: usize = 16;
/// The longest field name of a struct, MATLAB's own limit with the final zero.
const MAX_FIELD_NAME: usize = 64;

/// A variable, or what stands in a cell or field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Array {
    /// Numbers of any kind, column by column.
    Numbers(Vec<f64>),
    /// One line of text.
    Text(String),
    /// A cell array, column by column.
    Cells(Vec<Array>),
    /// A struct array: the fields' names and, element by element, their values.
    Structs { fields: Vec<String>, values: Vec<Array> },
    /// What is none of these, as a sparse matrix.
    Other,
}

impl Array {
    /// The only number there is.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Numbers(values) => match values[..] {
                [value] => Some(value),
                _ => None,
            },
            _ => None,
        }
    }

    /// What it is, in a few words.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Numbers(values) => match values[..] {
                [value] => value.to_string(),
                _ => format!("{} numbers", values.len()),
            },
            Self::Text(text) => format!("'{}'", text.chars().take(60).collect::<String>()),
            Self::Cells(cells) => format!("{} cells", cells.len()),
            Self::Structs { .. } => "a struct".to_owned(),
            Self::Other => "something else".to_owned(),
        }
    }

    /// The text, which may stand in a cell of its own.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Cells(cells) => match &cells[..] {
                [Self::Text(text)] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The variables of a file with their names.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn parse(file: &[u8]) -> Result<Vec<(String, Array)>, String> {
    check_header(file)?;
    let mut cursor = Cursor { bytes: &file[HEADER..] };
    let mut budget = MAX_INFLATED;
    let mut variables = Vec::new();
    while !cursor.bytes.is_empty() {
        let (kind, data) = cursor.element()?;
        match kind {
            kind::COMPRESSED => {
                let inflated = inflate(data, budget)?;
                budget -= inflated.len() as u64;
                let (kind, data) = Cursor { bytes: &inflated }.element()?;
                if kind != kind::MATRIX {
                    return Err(format!("a compressed element holds type {kind}, not an array"));
                }
                variables.push(matrix(data, 0)?);
            }
            kind::MATRIX => variables.push(matrix(data, 0)?),
            other => return Err(format!("found an element of type {other}, expected an array")),
        }
    }
    Ok(variables)
}

/// The types of elements.
mod kind {
    pub(super) const INT8: u32 = 1;
    pub(super) const UINT8: u32 = 2;
    pub(super) const INT16: u32 = 3;
    pub(super) const UINT16: u32 = 4;
    pub(super) const INT32: u32 = 5;
    pub(super) const UINT32: u32 = 6;
    pub(super) const SINGLE: u32 = 7;
    pub(super) const DOUBLE: u32 = 9;
    pub(super) const INT64: u32 = 12;
    pub(super) const UINT64: u32 = 13;
    pub(super) const MATRIX: u32 = 14;
    pub(super) const COMPRESSED: u32 = 15;
    pub(super) const UTF8: u32 = 16;
    pub(super) const UTF16: u32 = 17;
}

fn check_header(file: &[u8]) -> Result<(), String> {
    let Some(header) = file.get(..HEADER) else {
        return Err(format!("it has {} bytes, less than a MAT file's header", file.len()));
    };
    if header.starts_with(b"MATLAB 7.3") {
        return Err("it is of version 7.3 (HDF5), and version 5 to 7 is read: save it with '-v7'"
            .to_owned());
    }
    match &header[124..] {
        [0x00, 0x01, b'I', b'M'] => Ok(()),
        [0x01, 0x00, b'M', b'I'] => {
            Err("it was written by a big-endian machine, which is not read".to_owned())
        }
        _ => Err("it is no MAT file of version 5".to_owned()),
    }
}

fn inflate(data: &[u8], budget: u64) -> Result<Vec<u8>, String> {
    let mut inflated = Vec::new();
    // One byte more than allowed tells what is exactly full from what is too much.
    let mut reader = ZlibDecoder::new(data).take(budget + 1);
    reader.read_to_end(&mut inflated).map_err(|e| format!("a compressed array is broken: {e}"))?;
    if inflated.len() as u64 > budget {
        return Err(format!("its arrays inflate to more than {MAX_INFLATED} bytes"));
    }
    Ok(inflated)
}

/// The bytes that are left.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(|| {
            format!("it is cut off: {count} bytes expected, {} left", self.bytes.len())
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// The next element's type and data.
    fn element(&mut self) -> Result<(u32, &'a [u8]), String> {
        let first = self.word()?;
        let (small, kind) = ((first >> 16) as usize, first & 0xffff);
        if small > 0 {
            // Up to four bytes stand in the tag itself.
            let data = self.take(4)?;
            let data = data.get(..small);
            return Ok((kind, data.ok_or_else(|| format!("{small} bytes in a small element"))?));
        }
        let count = self.word()? as usize;
        let data = self.take(count)?;
        if kind != kind::COMPRESSED {
            // Padded to a multiple of 8; the last element's padding may be missing.
            let padding = count.wrapping_neg() % 8;
            self.bytes = self.bytes.get(padding..).unwrap_or_default();
        }
        Ok((kind, data))
    }

    fn element_of(&mut self, wanted: u32, what: &str) -> Result<&'a [u8], String> {
        match self.element()? {
            (kind, data) if kind == wanted => Ok(data),
            (kind, _) => Err(format!("{what} is of type {kind}, expected {wanted}")),
        }
    }
}

/// An array's name and value.
fn matrix(data: &[u8], depth: usize) -> Result<(String, Array), String> {
    if data.is_empty() {
        return Ok((String::new(), Array::Numbers(Vec::new())));
    }
    if depth > MAX_DEPTH {
        return Err(format!("cells and structs are nested deeper than {MAX_DEPTH}"));
    }
    let mut cursor = Cursor { bytes: data };
    let flags = cursor.element_of(kind::UINT32, "an array's flags")?;
    let class = *flags.first().ok_or("an array has no flags")?;
    let count = elements(cursor.element_of(kind::INT32, "an array's size")?)?;
    let name = cursor.element_of(kind::INT8, "an array's name")?;
    let name = String::from_utf8_lossy(name).into_owned();
    let array = match class {
        1 => Array::Cells(arrays(&mut cursor, count, depth)?),
        2 => structs(&mut cursor, count, depth)?,
        4 => text(&mut cursor)?,
        6..=15 => {
            let (kind, data) = cursor.element()?;
            let numbers = numbers(kind, data)?;
            if numbers.len() != count {
                let there = numbers.len();
                return Err(format!("an array of {count} numbers holds {there}"));
            }
            Array::Numbers(numbers)
        }
        _ => Array::Other,
    };
    Ok((name, array))
}

/// How many elements an array of these dimensions has.
fn elements(dimensions: &[u8]) -> Result<usize, String> {
    let (sides, rest) = dimensions.as_chunks::<4>();
    if sides.len() < 2 || !rest.is_empty() {
        return Err(format!("an array has dimensions of {} bytes", dimensions.len()));
    }
    let sides = sides.iter().map(|side| usize::try_from(i32::from_le_bytes(*side)));
    let product = sides.into_iter().try_fold(1_usize, |all, side| all.checked_mul(side.ok()?));
    product.ok_or_else(|| "an array has negative or too large dimensions".to_owned())
}

/// `count` arrays, each of which takes bytes of its own: no more are kept than are there.
fn arrays(cursor: &mut Cursor<'_>, count: usize, depth: usize) -> Result<Vec<Array>, String> {
    let mut arrays = Vec::new();
    for _ in 0..count {
        let data = cursor.element_of(kind::MATRIX, "what stands in a cell or field")?;
        arrays.push(matrix(data, depth + 1)?.1);
    }
    Ok(arrays)
}

fn structs(cursor: &mut Cursor<'_>, count: usize, depth: usize) -> Result<Array, String> {
    let length = cursor.element_of(kind::INT32, "the length of field names")?;
    let length = length.try_into().map(i32::from_le_bytes).ok();
    let length = length.and_then(|length| usize::try_from(length).ok());
    let length = length.filter(|length| (1..=MAX_FIELD_NAME).contains(length));
    let length = length.ok_or("the names of a struct's fields have no possible length")?;
    let names = cursor.element_of(kind::INT8, "the names of a struct's fields")?;
    if names.len() % length != 0 {
        return Err("the names of a struct's fields are cut off".to_owned());
    }
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let fields: Vec<String> = names.chunks_exact(length).map(name).collect();
    let values = count.checked_mul(fields.len()).ok_or("a struct array is too large")?;
    Ok(Array::Structs { values: arrays(cursor, values, depth)?, fields })
}

fn text(cursor: &mut Cursor<'_>) -> Result<Array, String> {
    let (kind, data) = cursor.element()?;
    let text = match kind {
        kind::UINT16 | kind::UTF16 => {
            let units = data.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        kind::INT8 | kind::UINT8 | kind::UTF8 => String::from_utf8_lossy(data).into_owned(),
        other => return Err(format!("text is of type {other}")),
    };
    Ok(Array::Text(text))
}

/// Numbers, which may be stored in fewer bytes than their array's class has.
fn numbers(kind: u32, data: &[u8]) -> Result<Vec<f64>, String> {
    fn all<const N: usize>(data: &[u8], number: fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }
    Ok(match kind {
        kind::INT8 => all(data, |b: [u8; 1]| f64::from(i8::from_le_bytes(b))),
        kind::UINT8 => all(data, |b: [u8; 1]| f64::from(b[0])),
        kind::INT16 => all(data, |b| f64::from(i16::from_le_bytes(b))),
        kind::UINT16 => all(data, |b| f64::from(u16::from_le_bytes(b))),
        kind::INT32 => all(data, |b| f64::from(i32::from_le_bytes(b))),
        kind::UINT32 => all(data, |b| f64::from(u32::from_le_bytes(b))),
        kind::SINGLE => all(data, |b| f64::from(f32::from_le_bytes(b))),
        kind::DOUBLE => all(data, f64::from_le_bytes),
        kind::INT64 => all(data, |b| i64::from_le_bytes(b) as f64),
        kind::UINT64 => all(data, |b| u64::from_le_bytes(b) as f64),
        other => return Err(format!("numbers are of type {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn matrix(class: u8, sides: [i32; 2], name: &str, content: &[u8]) -> Vec<u8> {
        let sides = sides.map(i32::to_le_bytes).concat();
        let flags = element(kind::UINT32, &[class, 0, 0, 0, 0, 0, 0, 0]);
        let (sides, name) = (element(kind::INT32, &sides), element(kind::INT8, name.as_bytes()));
        element(kind::MATRIX, &[&flags, &sides, &name, content].concat())
    }

    fn file(elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![b' '; 124];
        bytes.extend([0x00, 0x01, b'I', b'M']);
        bytes.extend(elements);
        bytes
    }

    fn number(value: f64) -> Vec<u8> {
        matrix(6, [1, 1], "", &element(kind::DOUBLE, &value.to_le_bytes()))
    }

    fn cells(mut inner: Vec<u8>, depth: usize) -> Vec<u8> {
        for _ in 0..depth {
            inner = matrix(1, [1, 1], "", &inner);
        }
        inner
    }

    #[test]
    fn small_elements_and_stored_types_are_read() {
        // Two bytes of type 2 in the tag itself.
        let small = [0x02, 0x00, 0x02, 0x00, 5, 250, 0, 0];
        let parsed = parse(&file(&matrix(6, [2, 1], "x", &small))).unwrap();
        assert_eq!(parsed, [("x".to_owned(), Array::Numbers(vec![5.0, 250.0]))]);
    }

    #[test]
    fn an_empty_array_and_what_is_not_read_are_no_errors() {
        let empty = element(kind::MATRIX, &[]);
        let sparse = matrix(5, [1, 1], "s", &element(kind::INT32, &[0; 4]));
        let parsed = parse(&file(&[empty, sparse].concat())).unwrap();
        assert_eq!(parsed[0].1, Array::Numbers(Vec::new()));
        assert_eq!(parsed[1].1, Array::Other);
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse(&file(&cells(number(1.0), MAX_DEPTH))).is_ok());
        for depth in [MAX_DEPTH + 1, 5_000] {
            let error = parse(&file(&cells(number(1.0), depth))).unwrap_err();
            assert!(error.contains("nested deeper"), "{error}");
        }
    }

    #[test]
    fn dimensions_that_the_bytes_do_not_hold_are_refused() {
        for class in [1, 6] {
            for sides in [[i32::MAX, i32::MAX], [i32::MAX, 1], [2, 1], [-1, 1]] {
                let content = number(1.0);
                let content =
                    if class == 6 { element(kind::DOUBLE, &1_f64.to_le_bytes()) } else { content };
                assert!(parse(&file(&matrix(class, sides, "x", &content))).is_err(), "{sides:?}");
            }
        }
    }

    #[test]
    fn an_element_that_inflates_without_end_is_refused() {
        let mut bomb = Vec::new();
        let zeros = std::io::repeat(0).take(MAX_INFLATED + 2);
        let mut encoder = flate2::read::ZlibEncoder::new(zeros, flate2::Compression::fast());
        encoder.read_to_end(&mut bomb).unwrap();
        let head = [kind::COMPRESSED.to_le_bytes(), (bomb.len() as u32).to_le_bytes()].concat();
        let error = parse(&file(&[head, bomb].concat())).unwrap_err();
        assert!(error.contains("inflate to more"), "{error}");
    }

    #[test]
    fn each_cut_is_an_error() {
        let names = element(kind::INT8, b"a\0\0\0b\0\0\0");
        let length = element(kind::INT32, &4_i32.to_le_bytes());
        let content = [length, names, number(1.0), number(2.0)].concat();
        let whole = file(&matrix(2, [1, 1], "s", &content));
        let fields = vec!["a".to_owned(), "b".to_owned()];
        let values = vec![Array::Numbers(vec![1.0]), Array::Numbers(vec![2.0])];
        assert_eq!(parse(&whole).unwrap(), [("s".to_owned(), Array::Structs { fields, values })]);
        for cut in HEADER + 1..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "{cut} of {}", whole.len());
        }
    }

    #[test]
    fn headers_of_other_formats_are_told_apart() {
        let mut other = file(&[]);
        other[..10].copy_from_slice(b"MATLAB 7.3");
        assert!(parse(&other).unwrap_err().contains("HDF5"));
        let mut other = file(&[]);
        other[124..].copy_from_slice(&[1, 0, b'M', b'I']);
        assert!(parse(&other).unwrap_err().contains("big-endian"));
        assert!(parse(&[0; 200]).unwrap_err().contains("no MAT file"));
        assert!(parse(b"MATLAB 5.0").unwrap_err().contains("header"));
    }
}
