//! NumPy's `.npy`: a header, which is a Python expression, and the values.

use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use pnp_ranking::Precision;

use super::stored::{Contents, Element};

/// The longest header that is read, in bytes; NumPy's own are about a hundred.
const MAX_HEADER_BYTES: usize = 1 << 12;
/// How deep its brackets may be nested: a plain array's are two deep, and a parser may take time
/// that grows exponentially with them.
const MAX_NESTING: usize = 4;

/// What a file holds, all of which is there.
pub(super) fn contents(file: &[u8]) -> Result<Contents, String> {
    let contents = promised(file)?;
    if contents.range.end > file.len() {
        return Err(format!("its header promises more than the file's {} bytes", file.len()));
    }
    Ok(contents)
}

/// What the beginning of a file says that it holds.
pub(super) fn promised(file: &[u8]) -> Result<Contents, String> {
    let (start, text) = header(file)?;
    if nesting(text) > MAX_NESTING {
        return Err("its header is not that of a plain array".into());
    }
    // The parser multiplies the sides of the shape unchecked, so they are looked at before: there
    // must be no other shape that it could take.
    if text.matches("shape").count() > 1 {
        return Err("its header is not that of a plain array".into());
    }
    if !sides_are_countable(text).ok_or("its header has no shape")? {
        return Err("its header promises more values than can be counted".into());
    }
    let header = NpyHeader::from_reader(&file[..start])
        .map_err(|_| "its header is not that of a plain array")?;
    let (element, big_endian) = element(&header.dtype());
    let shape: Vec<u64> = header.shape().to_vec();
    let bytes = shape.iter().try_fold(element.bytes(), |n, &side| n.checked_mul(side));
    let end = bytes.and_then(|bytes| usize::try_from(bytes).ok()?.checked_add(start));
    let end = end.ok_or("its header promises more bytes than can be counted")?;
    let columns_first = header.order() == Order::Fortran;
    Ok(Contents { range: start..end, element, shape, columns_first, big_endian })
}

/// Where the values begin, and the text of the header.
fn header(file: &[u8]) -> Result<(usize, &str), String> {
    let cut = || "the file ends before its header does".to_owned();
    if !file.starts_with(b"\x93NUMPY") {
        return Err("it does not begin as an array".into());
    }
    let long = *file.get(6).ok_or_else(cut)? >= 2;
    let (start, length) = if long {
        let bytes = file.get(8..12).and_then(|bytes| bytes.try_into().ok()).ok_or_else(cut)?;
        (12, u32::from_le_bytes(bytes) as usize)
    } else {
        let bytes = file.get(8..10).and_then(|bytes| bytes.try_into().ok()).ok_or_else(cut)?;
        (10, usize::from(u16::from_le_bytes(bytes)))
    };
    if length > MAX_HEADER_BYTES {
        return Err(format!("its header claims {length} bytes"));
    }
    let text = file.get(start..start + length).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| "its header is no text")?;
    Ok((start + length, text))
}

/// What the values are, and whether their bytes stand the other way round.
fn element(kind: &DType) -> (Element, bool) {
    let DType::Plain(plain) = kind else {
        return (Element::Other { bytes: 1, name: kind.descr() }, false);
    };
    let size = plain.size_field();
    let element = match (plain.type_char(), size) {
        (TypeChar::Float, 2) => Element::Float(Precision::F16),
        (TypeChar::Float, 4) => Element::Float(Precision::F32),
        (TypeChar::Float, 8) => Element::Float(Precision::F64),
        (TypeChar::Int, 1 | 2 | 4 | 8) => Element::Int { bytes: size, signed: true },
        (TypeChar::Uint, 1 | 2 | 4 | 8) => Element::Int { bytes: size, signed: false },
        (TypeChar::ByteStr, _) => Element::ByteText { bytes: size },
        (TypeChar::UnicodeStr, _) => Element::Text { characters: size },
        _ => Element::Other { bytes: size, name: kind.descr() },
    };
    (element, plain.endianness() == Endianness::Big)
}

/// The deepest nesting of brackets.
fn nesting(header: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for c in header.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether the product of a shape's sides, empty ones left aside, can be counted. `None` where the
/// header has no shape.
fn sides_are_countable(header: &str) -> Option<bool> {
    let (_, rest) = header.split_once("shape")?;
    let (_, rest) = rest.split_once('(')?;
    let (sides, _) = rest.split_once(')')?;
    let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
    let mut product = Some(1u64);
    for side in sides {
        if !side.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let side = side.parse::<u64>().ok();
        product = product.zip(side).and_then(|(product, side)| product.checked_mul(side.max(1)));
    }
    Some(product.is_some())
}
