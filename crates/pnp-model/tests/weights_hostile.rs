//! Weight files that were made to do harm: whatever is in them, reading ends in an error or in
//! values that the file really holds, without a panic and with memory in proportion to the file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use pnp_model::ModelError;
use pnp_model::weights::{Array, StateDict, WeightFile, to_safetensors};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// One test at a time, so that the count is its own.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(
            NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size(),
            Ordering::Relaxed,
        );
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Reads a file's bytes whole, and checks what that took.
fn read(bytes: &[u8]) -> Result<StateDict, ModelError> {
    const FOR_EACH_BYTE: usize = 256;
    const ANYWAY: usize = 1 << 20;
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let file = WeightFile::parse(bytes.to_vec(), Path::new("hostile"));
    let dict = file.and_then(|file| file.state_dict());
    let took = PEAK.load(Ordering::Relaxed) - before;
    let allowed = FOR_EACH_BYTE * bytes.len() + ANYWAY;
    assert!(took <= allowed, "{took} bytes for a file of {}", bytes.len());
    dict
}

fn refused(bytes: &[u8]) -> String {
    match read(bytes) {
        Err(ModelError::Format { reason, .. }) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

fn golden(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/weights").join(file);
    std::fs::read(path).unwrap()
}

fn safetensors() -> Vec<u8> {
    let array = |n: usize| Array { shape: vec![n], values: vec![0.5; n] };
    to_safetensors(&StateDict::from([("a".to_owned(), array(3)), ("b".to_owned(), array(5))]))
}

/// A pickle, instruction by instruction.
#[derive(Default, Clone)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        Self(vec![0x80, 2])
    }

    fn op(mut self, ops: &[u8]) -> Self {
        self.0.extend(ops);
        self
    }

    fn text(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    fn int(self, value: i64) -> Self {
        self.op(&[0x8a, 8]).op(&value.to_le_bytes())
    }

    fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |pickle, &value| pickle.int(value)).op(b"t")
    }

    fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    /// A view of `count` floats, the storage '0'.
    fn tensor(self, count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        let storage = self.global("torch._utils", "_rebuild_tensor_v2").op(b"((").text("storage");
        let storage = storage.global("torch", "FloatStorage").text("0").text("cpu").int(count);
        storage.op(b"tQ").int(offset).ints(shape).ints(strides).op(b"\x89NtR")
    }

    fn done(self) -> Vec<u8> {
        self.op(b".").0
    }
}

/// A file of the older format around a pickle, with a storage of these bytes.
fn older(body: &[u8], count: u64, storage: &[u8]) -> Vec<u8> {
    let magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let mut file = Pickle::new().op(&[0x8a, 10]).op(&magic).done();
    file.extend(Pickle::new().int(1001).done());
    file.extend(Pickle::new().op(b"}").text("little_endian").op(b"\x88s").done());
    file.extend(body);
    file.extend(Pickle::new().op(b"]").text("0").op(b"a").done());
    file.extend(count.to_le_bytes());
    file.extend(storage);
    file
}

fn one_tensor(count: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let body = Pickle::new().op(b"}").text("w").tensor(count, offset, shape, strides).op(b"s");
    older(&body.done(), count as u64, &[0; 24])
}

#[test]
fn the_files_that_the_tests_below_spoil_are_whole() {
    let _alone = alone();
    assert_eq!(read(&one_tensor(6, 0, &[2, 3], &[3, 1])).unwrap()["w"].values, [0.0; 6]);
    for file in ["zip.pth", "older.pth", "nested.pth", "training.pth.tar", "module.pth"] {
        read(&golden(file)).unwrap();
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let _alone = alone();
    let files = ["zip.pth", "older.pth", "training.pth.tar", "module.pth"].map(golden);
    for whole in files.iter().chain([&safetensors()]) {
        for length in 0..whole.len() {
            refused(&whole[..length]);
        }
    }
}

#[test]
fn flipped_bytes_never_panic_and_ask_for_no_memory() {
    let _alone = alone();
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let files = ["zip.pth", "older.pth", "training.pth.tar", "dino.pth", "module.pth"].map(golden);
    for whole in files.iter().chain([&safetensors()]) {
        for _ in 0..1500 {
            let mut spoilt = whole.clone();
            for _ in 0..=rng.next_u32() % 4 {
                let place = rng.next_u32() as usize % spoilt.len();
                spoilt[place] = rng.next_u32() as u8;
            }
            // An error or values: both are fine.
            let _ = read(&spoilt);
        }
    }
}

#[test]
fn the_checksums_of_an_archive_are_compared() {
    let _alone = alone();
    let mut spoilt = golden("zip.pth");
    let value = 1.875f32.to_le_bytes();
    let place = spoilt.windows(4).position(|bytes| bytes == value).unwrap();
    spoilt[place] ^= 1;
    let reason = refused(&spoilt);
    assert!(reason.contains("checksum of 'zip/data/"), "{reason}");
}

#[test]
fn a_tensor_outside_its_storage_is_refused() {
    let _alone = alone();
    for (offset, shape, strides) in [
        (1, &[2, 3][..], &[3, 1][..]),
        (0, &[2, 4], &[3, 1]),
        (0, &[2, 3], &[4, 1]),
        (i64::MAX, &[1], &[1]),
        (0, &[i64::MAX, i64::MAX], &[1, 1]),
        (0, &[2], &[i64::MAX]),
    ] {
        let reason = refused(&one_tensor(6, offset, shape, strides));
        assert!(reason.contains("does not lie in its storage"), "{reason}");
    }
    for (offset, shape) in [(-1, &[2][..]), (0, &[-2])] {
        let reason = refused(&one_tensor(6, offset, shape, &[1]));
        assert!(reason.contains("is no count"), "{reason}");
    }
}

#[test]
fn a_storage_longer_than_the_file_is_refused() {
    let _alone = alone();
    for count in [7, 1 << 40, i64::MAX] {
        let reason = refused(&one_tensor(count, 0, &[count], &[1]));
        assert!(reason.contains("beyond the end of the file"), "{reason}");
    }
    let body = Pickle::new().op(b"}").text("w").tensor(6, 0, &[6], &[1]).op(b"s").done();
    let reason = refused(&older(&body, 5, &[0; 24]));
    assert!(reason.contains("another length"), "{reason}");
}

#[test]
fn a_view_that_repeats_values_without_end_is_refused() {
    let _alone = alone();
    for shape in [&[1 << 30][..], &[1 << 20, 1 << 20], &[i64::MAX, 2]] {
        let strides = vec![0; shape.len()];
        let reason = refused(&one_tensor(6, 0, shape, &strides));
        let expected = ["claim far more values", "more values than can be counted"];
        assert!(expected.iter().any(|part| reason.contains(part)), "{reason}");
    }
    let many = [1; 17];
    assert!(refused(&one_tensor(6, 0, &many, &many)).contains("no short tuple"));
}

#[test]
fn a_pickle_that_holds_itself_ends() {
    let _alone = alone();
    // A list with itself in it, and a dictionary under a key of itself.
    let one = Pickle::new().op(b"}q\x00").text("t").tensor(6, 0, &[6], &[1]).op(b"s").text("w");
    let list = one.clone().op(b"]q\x01h\x01as");
    let dict = one.op(b"h\x00s");
    for body in [list, dict] {
        let reason = refused(&older(&body.done(), 6, &[0; 24]));
        assert!(reason.contains("nested deeper") || reason.contains("without end"), "{reason}");
    }
}

#[test]
fn dictionaries_that_double_level_by_level_end() {
    let _alone = alone();
    let mut body = Pickle::new().op(b"}").text("w").tensor(6, 0, &[6], &[1]).op(b"sq\x00");
    for level in 0..60u8 {
        let [below, here] = [level, level + 1];
        let pair = body.op(b"0}").text("a").op(&[b'h', below, b's']);
        body = pair.text("b").op(&[b'h', below, b's', b'q', here]);
    }
    let reason = refused(&older(&body.done(), 6, &[0; 24]));
    assert!(reason.contains("without end"), "{reason}");
}

#[test]
fn a_long_name_before_many_tensors_is_not_copied_for_each() {
    let _alone = alone();
    let long = "n".repeat(100_000);
    let mut body = Pickle::new().op(b"}").text(&long).op(b"}(");
    body = body.text("w").tensor(6, 0, &[6], &[1]).op(b"q\x00");
    for number in 0..20_000i64 {
        body = body.int(number).op(b"h\x00");
    }
    let reason = refused(&older(&body.op(b"us").done(), 6, &[0; 24]));
    assert!(reason.contains("without end"), "{reason}");
}

#[test]
fn a_list_that_is_fetched_again_and_again_fills_memory_once() {
    let _alone = alone();
    let mut body = Pickle::new().op(b"](");
    for _ in 0..10_000 {
        body = body.op(b"NN\x86");
    }
    body = body.op(b"eq\x00");
    for _ in 0..10_000 {
        body = body.global("collections", "OrderedDict").op(b"h\x00\x85R");
    }
    refused(&older(&body.done(), 0, &[]));
}

#[test]
fn a_stack_of_marks_and_deep_lists_are_refused() {
    let _alone = alone();
    let one = Pickle::new().op(b"}").text("t").tensor(6, 0, &[6], &[1]).op(b"s").text("w");
    let deep = one.op(&vec![b']'; 100_000]).op(&vec![b'a'; 99_999]).op(b"s").done();
    let reason = refused(&older(&deep, 6, &[0; 24]));
    assert!(reason.contains("nested deeper"), "{reason}");
    for body in [Pickle::new().op(&vec![b'('; 100_000]), Pickle::new().op(b"((((tttt").op(b"0000")]
    {
        let reason = refused(&older(&body.done(), 0, &[]));
        assert!(reason.contains("the stack is empty"), "{reason}");
    }
}

#[test]
fn a_call_is_not_made() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let command = format!("touch {}", made.display());
    let body = Pickle::new().global("os", "system").op(b"(").text(&command).op(b"tR").done();
    let reason = refused(&older(&body, 0, &[]));
    assert!(reason.contains("no tensor has the storage"), "{reason}");
    assert!(!made.exists());
}

#[test]
fn instructions_and_values_that_pytorch_does_not_write_are_refused_by_name() {
    let _alone = alone();
    let reason = refused(&older(&Pickle::new().op(&[0x82]).done(), 0, &[]));
    assert!(reason.contains("the instruction 0x82"), "{reason}");
    let strange = Pickle::new().op(b"((").text("storage").global("torch", "QInt8Storage");
    let strange = strange.text("0").text("cpu").int(0).op(b"tQ").done();
    let reason = refused(&older(&strange, 0, &[]));
    assert!(reason.contains("of a type that is not read"), "{reason}");
}

/// Where the entries of an archive's directory begin.
fn directory(archive: &[u8]) -> Vec<usize> {
    let signatures = archive.windows(4).enumerate();
    signatures.filter(|(_, bytes)| bytes == b"PK\x01\x02").map(|(place, _)| place).collect()
}

#[test]
fn a_compressed_archive_is_refused_before_it_is_unpacked() {
    let _alone = alone();
    let mut archive = golden("zip.pth");
    let entry = directory(&archive)[0];
    archive[entry + 10] = 8;
    let reason = refused(&archive);
    assert!(reason.contains("is compressed"), "{reason}");
}

#[test]
fn archive_entries_that_lie_outside_or_over_each_other_are_refused() {
    let _alone = alone();
    let whole = golden("zip.pth");
    for entry in directory(&whole) {
        let mut longer = whole.clone();
        for size in [20, 24] {
            longer[entry + size..entry + size + 4].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        }
        refused(&longer);
        // All of the file, for each of the entries.
        let mut over = whole.clone();
        for entry in directory(&whole) {
            let size = (whole.len() as u32 / 2).to_le_bytes();
            over[entry + 20..entry + 24].copy_from_slice(&size);
            over[entry + 24..entry + 28].copy_from_slice(&size);
            over[entry + 42..entry + 46].copy_from_slice(&0u32.to_le_bytes());
            // No checksum to compare.
            over[entry + 16..entry + 20].copy_from_slice(&0u32.to_le_bytes());
        }
        refused(&over);
    }
}

#[test]
fn a_safetensors_header_that_lies_is_refused() {
    let _alone = alone();
    let file = |header: &str, values: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(vec![0; values]);
        bytes
    };
    for header in [
        r#"{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#,
        r#"{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}"#,
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
        "{}",
    ] {
        refused(&file(header, 8));
    }
    refused(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat());
}

#[test]
#[cfg(unix)]
fn a_device_is_not_read() {
    let _alone = alone();
    let error = WeightFile::open(Path::new("/dev/zero")).unwrap_err();
    assert!(matches!(error, ModelError::Io { .. }), "{error}");
}
