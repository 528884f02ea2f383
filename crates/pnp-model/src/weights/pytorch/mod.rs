//! Tensors in PyTorch's own files: the zip archive since 1.6, and the older stream of pickles.
//!
//! The parser is our own, because what it reads may be hostile: it only ever points into the
//! file's bytes. A general reader of pickles copies what is fetched twice and joins names as long
//! as a file likes, so a small file can ask for a lot of memory.

mod pickle;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use self::pickle::{Id, Node, Pickle, StorageRef, TensorRef};
use super::stored::Stored;

/// A zip archive, and a pickle of protocol 2 or later, begin like this.
const ZIP: &[u8] = b"PK\x03\x04";
const PICKLE: u8 = 0x80;
/// The newest pickle protocol there is.
const LAST_PROTOCOL: u8 = 5;
/// The number that an older file begins with.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The one version of the older format.
const OLDER_VERSION: i64 = 1001;
/// How deep dictionaries are looked into.
const DEEPEST: usize = 64;
/// How much work and memory the naming of tensors may take for each byte of a pickle.
const MOST_WORK: usize = 16;

/// The tensors by their names: the keys that lead to them, joined by dots.
pub(super) type Tensors = BTreeMap<String, Stored>;

/// Whether a file begins as a zip archive.
pub(super) fn is_zip(file: &[u8]) -> bool {
    file.starts_with(ZIP)
}

/// Whether a file begins as an older one of PyTorch's, or any pickle, does.
pub(super) fn is_pickle(file: &[u8]) -> bool {
    // A safetensors file begins with a length of 8 bytes, which may look like anything, and `{`.
    let protocol = |byte: u8| (2..=LAST_PROTOCOL).contains(&byte);
    matches!(*file, [PICKLE, byte, ..] if protocol(byte))
}

/// Reads an archive: `data.pkl` names the tensors, `data/<key>` are the storages.
pub(super) fn read_zip(file: &[u8]) -> Result<Tensors, String> {
    let entries = entries(file)?;
    let roots = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(|r| r.len());
    let root = root.ok_or("it is an archive, but holds no data.pkl as torch.save writes it")?;
    let order = entries.get(&format!("{root}byteorder"));
    if order.is_some_and(|range| &file[range.clone()] == b"big") {
        return Err("its values are big-endian; save it again on a common machine".into());
    }
    let pickle = &entries[&format!("{root}data.pkl")];
    let pickle = Pickle::read(&file[..pickle.end], pickle.start)?;
    let place = |storage: &StorageRef| -> Result<Range<usize>, String> {
        let key = pickle.name(storage);
        let range = entries.get(&format!("{root}data/{key}"));
        let range = range.ok_or_else(|| format!("its storage '{key}' is missing"))?;
        let length = storage.count.checked_mul(storage.kind.size());
        let end = length.and_then(|length| range.start.checked_add(length));
        let end = end.filter(|&end| end <= range.end);
        let end = end.ok_or_else(|| format!("its storage '{key}' is too short"))?;
        Ok(range.start..end)
    };
    tensors(&pickle, place)
}

/// Where the archive's files are. `torch.save` never compresses, so whatever else does is refused,
/// and with it everything that unpacks to more than the file.
fn entries(file: &[u8]) -> Result<BTreeMap<String, Range<usize>>, String> {
    let broken = |e: zip::result::ZipError| format!("its archive is broken: {e}");
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(broken)?;
    let mut entries = BTreeMap::new();
    let mut left = file.len();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!("'{name}' in it is compressed, which torch.save never does"));
        }
        let start = entry.data_start().and_then(|start| usize::try_from(start).ok());
        let size = usize::try_from(entry.size()).ok();
        let whole = start.zip(size).and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let whole = whole.filter(|whole| whole.end <= file.len());
        // All together are no longer than the file, unless one lies in another.
        let rest = whole.as_ref().and_then(|whole| left.checked_sub(whole.len()));
        let (Some(whole), Some(rest)) = (whole, rest) else {
            return Err(format!("'{name}' does not lie in its archive"));
        };
        left = rest;
        // Files that are saved without checksums have a 0 there.
        let checksum = entry.crc32();
        if checksum != 0 && crc32fast::hash(&file[whole.clone()]) != checksum {
            return Err(format!("the checksum of '{name}' in it is wrong"));
        }
        entries.insert(name, whole);
    }
    Ok(entries)
}

/// Reads an older file: a number, a version, facts about the machine, the tensors' names, the keys
/// of the storages, and these, each behind its count.
pub(super) fn read_older(file: &[u8]) -> Result<Tensors, String> {
    let magic = Pickle::read(file, 0)?;
    if !matches!(magic.root(), Node::Long(range) if magic.bytes(range) == MAGIC) {
        return Err("it is a pickle, but not one of torch.save".into());
    }
    let version = Pickle::read(file, magic.end)?;
    if !matches!(version.root(), Node::Int(OLDER_VERSION)) {
        return Err("its version of the older format is unknown".into());
    }
    let machine = Pickle::read(file, version.end)?;
    if !matches!(machine.get(machine.root(), "little_endian"), Some(Node::Bool(true))) {
        return Err("its values are not little-endian; save it again on a common machine".into());
    }
    let pickle = Pickle::read(file, machine.end)?;
    let keys = Pickle::read(file, pickle.end)?;
    let Node::List(list) = keys.root() else {
        return Err("its list of storages is none".into());
    };
    let named: HashMap<_, &StorageRef> = pickle.storages().map(|s| (pickle.name(s), s)).collect();
    let mut places = HashMap::new();
    let mut at = keys.end;
    for &key in list {
        let key = keys.key(key).ok_or("a storage's key is no short text")?;
        let storage =
            named.get(&key).ok_or_else(|| format!("no tensor has the storage '{key}'"))?;
        let range = older_storage(file, at, storage)
            .map_err(|reason| format!("its storage '{key}' {reason}"))?;
        at = range.end;
        places.insert(key, range);
    }
    tensors(&pickle, |storage: &StorageRef| {
        let key = pickle.name(storage);
        let whole = places.get(&key).ok_or_else(|| format!("its storage '{key}' is missing"))?;
        part(whole, storage).ok_or_else(|| format!("it is beyond the end of its storage '{key}'"))
    })
}

/// Where the values of a storage are that begins at `at` with their count.
fn older_storage(file: &[u8], at: usize, storage: &StorageRef) -> Result<Range<usize>, String> {
    let start = at.saturating_add(8);
    let count = file.get(at..start).and_then(|bytes| bytes.try_into().ok());
    let count = count.map(u64::from_le_bytes).and_then(|count| usize::try_from(count).ok());
    let short = "goes on beyond the end of the file";
    if count.ok_or(short)? != storage.count {
        return Err("has another length than its tensors say".into());
    }
    let length = storage.count.checked_mul(storage.kind.size());
    let end = length.and_then(|length| start.checked_add(length));
    Ok(start..end.filter(|&end| end <= file.len()).ok_or(short)?)
}

/// The part of a storage that a view of it is.
fn part(whole: &Range<usize>, storage: &StorageRef) -> Option<Range<usize>> {
    let Some((offset, count)) = storage.part else { return Some(whole.clone()) };
    let start = offset.checked_mul(storage.kind.size())?.checked_add(whole.start)?;
    let end = count.checked_mul(storage.kind.size())?.checked_add(start)?;
    (end <= whole.end).then_some(start..end)
}

/// Names all tensors and finds their values.
fn tensors(
    pickle: &Pickle,
    place: impl Fn(&StorageRef) -> Result<Range<usize>, String>,
) -> Result<Tensors, String> {
    let mut names =
        Names { pickle, left: pickle.length.saturating_mul(MOST_WORK), found: Vec::new() };
    names.walk(pickle.root(), &mut String::new(), 0)?;
    let mut tensors = Tensors::new();
    for (name, tensor) in names.found {
        let about = |reason: String| format!("tensor '{name}': {reason}");
        let storage = place(&tensor.storage).map_err(about)?;
        let (kind, offset) = (tensor.storage.kind, tensor.offset);
        let (shape, strides) = (tensor.shape.clone(), tensor.strides.clone());
        let stored = Stored::view(kind, shape, strides, offset, storage).map_err(about)?;
        tensors.insert(name, stored);
    }
    Ok(tensors)
}

/// Finds the tensors of nested dictionaries.
struct Names<'a> {
    pickle: &'a Pickle<'a>,
    /// The work that may still be done. A pickle can hold a dictionary in itself, or in many places.
    left: usize,
    found: Vec<(String, &'a TensorRef)>,
}

impl<'a> Names<'a> {
    fn walk(&mut self, node: &'a Node, path: &mut String, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err(format!("its dictionaries are nested deeper than {DEEPEST}"));
        }
        match node {
            Node::Tensor(tensor) => {
                self.spend(path.len() + size_of::<Stored>() + 16 * tensor.shape.len())?;
                self.found.push((path.clone(), &**tensor));
            }
            Node::Dict(entries) => {
                for &(key, value) in entries {
                    self.step(&self.key(key)?, value, path, depth)?;
                }
            }
            Node::List(items) | Node::Tuple(items) => {
                for (index, &item) in items.iter().enumerate() {
                    self.step(&index.to_string(), item, path, depth)?;
                }
            }
            // A whole module: what its `state_dict()` would name.
            Node::Object(state) => {
                let state = self.pickle.node(*state);
                for tables in ["_parameters", "_buffers", "_modules"] {
                    self.spend(if let Node::Dict(entries) = state { entries.len() } else { 1 })?;
                    if let Some(table) = self.pickle.get(state, tables) {
                        self.walk(table, path, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks into the value of a key.
    fn step(
        &mut self,
        key: &str,
        value: Id,
        path: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        self.spend(1 + key.len())?;
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(key);
        self.walk(self.pickle.node(value), path, depth + 1)?;
        path.truncate(length);
        Ok(())
    }

    /// The name of a key: a text or a number; others do not occur in a state dict.
    fn key(&self, id: Id) -> Result<Cow<'a, str>, String> {
        match self.pickle.node(id) {
            Node::Int(number) => Ok(number.to_string().into()),
            Node::Text(_) => {
                self.pickle.text(id).map(Cow::from).ok_or_else(|| "a key is no UTF-8".into())
            }
            _ => Ok("?".into()),
        }
    }

    fn spend(&mut self, work: usize) -> Result<(), String> {
        let left = self.left.checked_sub(work);
        self.left = left.ok_or("its dictionaries repeat without end")?;
        Ok(())
    }
}
