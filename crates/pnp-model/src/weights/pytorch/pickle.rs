//! A reader of the pickles that `torch.save` writes.
//!
//! A pickle is a program for a stack machine. Python's runs whatever it calls; this one knows the
//! few calls that make up a state dict (tensors, parameters, ordered dictionaries) and takes
//! anything else for an object that it does not look into. Nothing is executed.
//!
//! What a pickle can ask for is bounded by its own length: a step makes at most one node and reads
//! at least a byte, texts stay where they are in the file, what is fetched from the memo is the
//! same node again (so nothing is copied, and a list can hold itself), and there are
//! [`MOST_STEPS`] steps at most.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::super::value_kind::ValueKind;

/// As many steps as are taken: a state dict needs about 40 for a tensor.
const MOST_STEPS: usize = 1 << 21;
/// Bytes of the longest name of a storage; PyTorch numbers them.
const LONGEST_KEY: usize = 256;
/// As many dimensions as a tensor may have; a convolution of volumes has 5.
const MOST_DIMENSIONS: usize = 16;

/// The place of a node.
pub(super) type Id = u32;

/// A value of a pickle.
#[derive(Debug)]
pub(super) enum Node {
    /// What nothing here depends on: None, a real, bytes, an unknown call.
    Opaque,
    Bool(bool),
    Int(i64),
    /// A whole number beyond 64 bits: where its bytes are.
    Long(Range<usize>),
    /// A text: where it is.
    Text(Range<usize>),
    Global(Global),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Keys and values, in order.
    Dict(Vec<(Id, Id)>),
    /// An object of an unknown class with its attributes.
    Object(Id),
    Storage(Box<StorageRef>),
    Tensor(Box<TensorRef>),
}

/// What is called or named.
#[derive(Debug, Clone, Copy)]
pub(super) enum Global {
    OrderedDict,
    /// `torch.Size`, a tuple.
    Size,
    Tensor,
    /// A parameter: its tensor and things that do not matter.
    Parameter,
    /// A tensor of a class of its own: the call that makes the plain tensor, and its arguments.
    FromType,
    Storage(ValueKind),
    Unknown,
}

/// Where a tensor's values are.
#[derive(Debug, Clone, Copy)]
pub(super) struct StorageRef {
    key: Id,
    pub(super) kind: ValueKind,
    /// How many values the storage has.
    pub(super) count: usize,
    /// Of an old file's view of a storage: from which value on, and how many.
    pub(super) part: Option<(usize, usize)>,
}

/// A tensor: a view of a storage.
#[derive(Debug)]
pub(super) struct TensorRef {
    pub(super) storage: StorageRef,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    file: &'a [u8],
    nodes: Vec<Node>,
    root: Id,
    /// Where the next thing in the file begins.
    pub(super) end: usize,
    /// Its bytes.
    pub(super) length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that begins at `start`.
    pub(super) fn read(file: &'a [u8], start: usize) -> Result<Self, String> {
        let mut machine = Machine {
            file,
            at: start,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        for _ in 0..MOST_STEPS {
            let before = machine.at;
            let op = machine.byte()?;
            if op == b'.' {
                let root = machine.pop()?;
                let (nodes, end) = (machine.nodes, machine.at);
                return Ok(Self { file, nodes, root, end, length: end - start });
            }
            machine.step(op).map_err(|e| format!("the pickle is broken at byte {before}: {e}"))?;
        }
        Err(format!("its pickle takes more than {MOST_STEPS} steps"))
    }

    pub(super) fn root(&self) -> &Node {
        self.node(self.root)
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    /// All storages that are named.
    pub(super) fn storages(&self) -> impl Iterator<Item = &StorageRef> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// A text, if that is what it is and it is one.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        std::str::from_utf8(text(self.file, self.node(id))?).ok()
    }

    /// The text or number that names a storage.
    pub(super) fn key(&self, id: Id) -> Option<Cow<'a, str>> {
        match self.node(id) {
            Node::Int(number) => Some(number.to_string().into()),
            Node::Text(range) if range.len() <= LONGEST_KEY => self.text(id).map(Cow::from),
            _ => None,
        }
    }

    /// The name of a storage.
    pub(super) fn name(&self, storage: &StorageRef) -> Cow<'a, str> {
        self.key(storage.key).unwrap_or("?".into())
    }

    /// The bytes of a range that a node names.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &'a [u8] {
        &self.file[range.clone()]
    }

    /// The value of a dictionary's key: the last of that name.
    pub(super) fn get(&self, node: &Node, key: &str) -> Option<&Node> {
        let Node::Dict(entries) = node else { return None };
        let is_key = |id: Id| text(self.file, self.node(id)) == Some(key.as_bytes());
        let found = entries.iter().rev().find(|&&(k, _)| is_key(k));
        found.map(|&(_, value)| self.node(value))
    }
}

/// A text's bytes, which may be none of UTF-8.
fn text<'a>(file: &'a [u8], node: &Node) -> Option<&'a [u8]> {
    let Node::Text(range) = node else { return None };
    Some(&file[range.clone()])
}

struct Machine<'a> {
    file: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Step = Result<(), String>;

impl Machine<'_> {
    /// One instruction; the names are those of Python's `pickletools`.
    fn step(&mut self, op: u8) -> Step {
        match op {
            // PROTO, FRAME
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            // MARK, POP, POP_MARK, DUP
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_to_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' => self.push(Node::Opaque),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'G' => {
                self.skip(8)?;
                self.push(Node::Opaque)
            }
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.whole_number(op),
            b'U' | b'T' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => self.string(op),
            b')'
            | 0x85..=0x87
            | b't'
            | b']'
            | b'l'
            | b'a'
            | b'e'
            | b'}'
            | b'd'
            | b's'
            | b'u'
            | 0x8f
            | 0x90
            | 0x91 => self.container(op),
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(op),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'Q' => self.call(op),
            _ => Err(format!("the instruction {op:#04x} is none that PyTorch writes")),
        }
    }

    /// BININT, BININT1, BININT2, LONG1, LONG4.
    fn whole_number(&mut self, op: u8) -> Step {
        let value = match op {
            b'J' => i64::from(i32::from_le_bytes(self.array()?)),
            b'K' => i64::from(self.byte()?),
            b'M' => i64::from(u16::from_le_bytes(self.array()?)),
            _ => {
                let length = if op == 0x8a { self.byte()?.into() } else { self.length4()? };
                let range = self.range(length)?;
                let Some(value) = small_long(&self.file[range.clone()]) else {
                    return self.push(Node::Long(range));
                };
                value
            }
        };
        self.push(Node::Int(value))
    }

    /// SHORT_BINSTRING, BINSTRING, BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, and bytes: BINBYTES,
    /// SHORT_BINBYTES, BINBYTES8, BYTEARRAY8.
    fn string(&mut self, op: u8) -> Step {
        let length = match op {
            b'U' | 0x8c | b'C' => self.byte()?.into(),
            b'T' | b'X' | b'B' => self.length4()?,
            _ => usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|e| e.to_string())?,
        };
        let range = self.range(length)?;
        let bytes = matches!(op, b'B' | b'C' | 0x8e | 0x96);
        self.push(if bytes { Node::Opaque } else { Node::Text(range) })
    }

    /// Tuples, lists, dictionaries; a set is an object that is not looked into.
    fn container(&mut self, op: u8) -> Step {
        match op {
            b')' => self.push(Node::Tuple(Vec::new())),
            // TUPLE1 to TUPLE3
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..op {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items))
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Tuple(items))
            }
            b']' => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Node::List(items))
            }
            // APPEND, APPENDS
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(items)
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Node::Dict(pairs(&items)?))
            }
            // SETITEM, SETITEMS
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)
            }
            // EMPTY_SET, ADDITEMS, FROZENSET
            0x8f => self.push(Node::Opaque),
            0x90 => self.pop_to_mark().map(|_| ()),
            _ => {
                self.pop_to_mark()?;
                self.push(Node::Opaque)
            }
        }
    }

    /// PUT, BINPUT, LONG_BINPUT, MEMOIZE; GET, BINGET, LONG_BINGET.
    fn memory(&mut self, op: u8) -> Step {
        let index = match op {
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?),
            0x94 => self.memo.len() as u32,
            _ => {
                let line = self.line()?;
                let number = std::str::from_utf8(&self.file[line]).ok();
                number.and_then(|n| n.parse().ok()).ok_or("a place in the memo is no number")?
            }
        };
        if matches!(op, b'g' | b'h' | b'j') {
            let id = self.memo.get(&index).copied();
            self.stack.push(id.ok_or_else(|| format!("nothing was put at {index}"))?);
        } else {
            let top = self.top()?;
            self.memo.insert(index, top);
        }
        Ok(())
    }

    /// GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, NEWOBJ_EX, BUILD, BINPERSID.
    fn call(&mut self, op: u8) -> Step {
        match op {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = global(&self.file[module], &self.file[name]);
                self.push(Node::Global(global))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let part = |id: Id| text(self.file, &self.nodes[id as usize]);
                let (module, name) = part(module).zip(part(name)).ok_or("a global has no name")?;
                let global = global(module, name);
                self.push(Node::Global(global))
            }
            // A call, and an object made of its class.
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.reduce(callable, arguments)
            }
            0x92 => {
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.reduce(class, arguments)
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()? as usize;
                // A state dict's own attributes say which version each module is of.
                if matches!(self.nodes[object], Node::Opaque) {
                    self.nodes[object] = Node::Object(state);
                }
                Ok(())
            }
            _ => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Node::Storage(Box::new(storage)))
            }
        }
    }

    /// What calling a global gives, as far as it is known.
    fn reduce(&mut self, callable: Id, arguments: Id) -> Step {
        let Node::Global(global) = self.nodes[callable as usize] else {
            return self.push(Node::Opaque);
        };
        let Node::Tuple(fields) = &self.nodes[arguments as usize] else {
            return Err("the arguments of a call are no tuple".into());
        };
        match (global, &fields[..]) {
            (Global::OrderedDict, []) => self.push(Node::Dict(Vec::new())),
            (Global::OrderedDict, &[items, ..]) => {
                let entries = self.listed_pairs(items)?;
                self.push(Node::Dict(entries))
            }
            // The tensor or tuple itself: the same node again.
            (Global::Size | Global::Parameter, &[inner, ..]) => {
                self.stack.push(inner);
                Ok(())
            }
            (Global::Tensor, &[storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(storage, offset, shape, strides)?;
                self.push(Node::Tensor(Box::new(tensor)))
            }
            // The inner call may be of any kind but this one again, so this ends.
            (Global::FromType, &[inner, _, inner_arguments, ..]) => {
                if matches!(self.nodes[inner as usize], Node::Global(Global::FromType)) {
                    return Err("a tensor's class is that of another".into());
                }
                self.reduce(inner, inner_arguments)
            }
            (Global::Unknown | Global::Storage(_), _) => self.push(Node::Opaque),
            _ => Err("a call has too few arguments".into()),
        }
    }

    fn tensor(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<TensorRef, String> {
        let Node::Storage(storage) = &self.nodes[storage as usize] else {
            return Err("a tensor has values of a type that is not read".into());
        };
        Ok(TensorRef {
            storage: **storage,
            offset: self.count(offset)?,
            shape: self.counts(shape)?,
            strides: self.counts(strides)?,
        })
    }

    /// `('storage', type, key, place, count)`, and of old files a view.
    fn storage(&self, id: Id) -> Result<StorageRef, String> {
        let Node::Tuple(fields) = &self.nodes[id as usize] else {
            return Err("a storage is named by no tuple".into());
        };
        let &[_, kind, key, _, count, ref view @ ..] = &fields[..] else {
            return Err("a storage is named by too few fields".into());
        };
        let Node::Global(Global::Storage(kind)) = self.nodes[kind as usize] else {
            return Err("a storage has values of a type that is not read".into());
        };
        let part = match view.first().map(|&view| &self.nodes[view as usize]) {
            Some(Node::Tuple(view)) => {
                let &[_, offset, count] = &view[..] else {
                    return Err("a storage's view has not three fields".into());
                };
                Some((self.count(offset)?, self.count(count)?))
            }
            _ => None,
        };
        Ok(StorageRef { key, kind, count: self.count(count)?, part })
    }

    fn count(&self, id: Id) -> Result<usize, String> {
        match self.nodes[id as usize] {
            Node::Int(value) => usize::try_from(value).map_err(|_| format!("{value} is no count")),
            _ => Err("a count is no whole number".into()),
        }
    }

    /// A tuple of counts, of no more than a tensor's dimensions.
    fn counts(&self, id: Id) -> Result<Vec<usize>, String> {
        match &self.nodes[id as usize] {
            Node::Tuple(ids) if ids.len() <= MOST_DIMENSIONS => {
                ids.iter().map(|&id| self.count(id)).collect()
            }
            _ => Err("a shape is no short tuple".into()),
        }
    }

    /// The entries of a list of pairs, as Python 2 wrote an ordered dictionary.
    /// They are taken out of it, so that a list fetched again and again fills memory once.
    fn listed_pairs(&mut self, items: Id) -> Result<Vec<(Id, Id)>, String> {
        let (Node::List(items) | Node::Tuple(items)) = &mut self.nodes[items as usize] else {
            return Err("an ordered dictionary is made of no list".into());
        };
        let items = std::mem::take(items);
        let pair = |&item: &Id| match &self.nodes[item as usize] {
            Node::List(pair) | Node::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err("an ordered dictionary is not made of pairs".to_owned()),
        };
        items.iter().map(pair).collect()
    }

    fn append(&mut self, items: Vec<Id>) -> Step {
        let list = self.top()? as usize;
        match &mut self.nodes[list] {
            Node::List(list) => list.extend(items),
            // A subclass of a list.
            Node::Opaque | Node::Object(_) => {}
            _ => return Err("something is appended to what is no list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Step {
        let entries = pairs(items)?;
        let dict = self.top()? as usize;
        match &mut self.nodes[dict] {
            Node::Dict(dict) => dict.extend(entries),
            // A subclass of a dictionary, such as `defaultdict`.
            object @ Node::Opaque => *object = Node::Dict(entries),
            Node::Object(_) => {}
            _ => return Err("a key is set in what is no dictionary".into()),
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Step {
        let id = Id::try_from(self.nodes.len()).map_err(|_| "it has too many values")?;
        self.stack.push(id);
        self.nodes.push(node);
        Ok(())
    }

    fn top(&self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let above = self.stack.get(floor..).and_then(<[Id]>::last);
        above.copied().ok_or_else(|| "the stack is empty".into())
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("there is no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    fn length4(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let range = self.range(N)?;
        Ok(self.file[range].try_into().expect("as many bytes as were asked for"))
    }

    fn skip(&mut self, length: usize) -> Step {
        self.range(length).map(|_| ())
    }

    /// The next bytes.
    fn range(&mut self, length: usize) -> Result<Range<usize>, String> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.file.len());
        let end = end.ok_or("the file ends within it")?;
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    /// The bytes up to the end of the line.
    fn line(&mut self) -> Result<Range<usize>, String> {
        const LONGEST: usize = 4096;
        let rest = &self.file[self.at..];
        let length = rest.iter().take(LONGEST).position(|&byte| byte == b'\n');
        let range = self.range(length.ok_or("a line does not end")?)?;
        self.skip(1)?;
        Ok(range)
    }
}

/// Keys and values in turn.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a key has no value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// A whole number of up to 8 bytes, two's complement.
fn small_long(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|&last| last >= 0x80);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

/// What is known under a name.
fn global(module: &[u8], name: &[u8]) -> Global {
    match (module, name) {
        (b"collections", b"OrderedDict") => Global::OrderedDict,
        (b"torch", b"Size") => Global::Size,
        (b"torch._utils", b"_rebuild_tensor" | b"_rebuild_tensor_v2") => Global::Tensor,
        (b"torch._utils", b"_rebuild_parameter" | b"_rebuild_parameter_with_state") => {
            Global::Parameter
        }
        (b"torch._tensor", b"_rebuild_from_type" | b"_rebuild_from_type_v2") => Global::FromType,
        (b"torch" | b"torch.cuda", storage) => {
            kind(storage).map_or(Global::Unknown, Global::Storage)
        }
        _ => Global::Unknown,
    }
}

/// The values of a class of storages.
fn kind(storage: &[u8]) -> Option<ValueKind> {
    Some(match storage {
        b"HalfStorage" => ValueKind::F16,
        b"BFloat16Storage" => ValueKind::Bf16,
        b"FloatStorage" => ValueKind::F32,
        b"DoubleStorage" => ValueKind::F64,
        b"LongStorage" => ValueKind::Other("i64", 8),
        b"IntStorage" => ValueKind::Other("i32", 4),
        b"ShortStorage" => ValueKind::Other("i16", 2),
        b"CharStorage" => ValueKind::Other("i8", 1),
        b"ByteStorage" => ValueKind::Other("u8", 1),
        b"BoolStorage" => ValueKind::Other("bool", 1),
        b"ComplexFloatStorage" => ValueKind::Other("complex64", 8),
        b"ComplexDoubleStorage" => ValueKind::Other("complex128", 16),
        _ => return None,
    })
}
