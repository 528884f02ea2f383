//! Files from the Hugging Face hub, through the `hf-hub` crate.
//!
//! A file is downloaded into a folder of its own beside its destination, compared with the SHA-256
//! that the hub states (and those that are pinned), and moved into its place. Whatever fails leaves
//! what was there as it was.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hf_hub::Cache;
use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiError};
use sha2::{Digest, Sha256};

use super::sources::Source;
use crate::failure::Failure;

/// Where the hub is, if not where it usually is, as in Hugging Face's own tools.
const ENDPOINT: &str = "HF_ENDPOINT";
/// The user's key for repositories that need one.
const TOKEN: &str = "HF_TOKEN";
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Puts a source's file at `output` and gives its SHA-256.
pub(super) fn fetch(source: &Source, output: &Path, pinned: &[&str]) -> Result<String, Failure> {
    let write = |e: io::Error| {
        Failure::Work(format!("cannot write '{}': {e}; nothing was kept", output.display()))
    };
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if output.is_dir() || output.file_name().is_none() {
        return Err(Failure::Usage(format!("'{}' is no file to write", output.display())));
    }
    fs::create_dir_all(folder).map_err(write)?;
    // Removed at the end, however it ends. hf-hub's links need an absolute path.
    let folder = folder.canonicalize().map_err(write)?;
    let scratch = tempfile::Builder::new().prefix(".pnp-weights-").tempdir_in(&folder);
    let scratch = scratch.map_err(write)?;
    crate::say!("fetching {}/{} from {}", source.repository, source.file, endpoint());
    let downloaded = download(source, scratch.path())?;
    let checksum = checksum(&downloaded).map_err(write)?;
    compare(source, &checksum, &downloaded, pinned)?;
    File::open(&downloaded).and_then(|file| file.sync_all()).map_err(write)?;
    fs::rename(&downloaded, output).map_err(write)?;
    Ok(checksum)
}

fn endpoint() -> String {
    let set = std::env::var(ENDPOINT).ok().filter(|endpoint| !endpoint.is_empty());
    set.map_or(DEFAULT_ENDPOINT.into(), |endpoint| endpoint.trim_end_matches('/').to_owned())
}

/// Downloads into hf-hub's own layout in `scratch`, and finds the file there under its ETag.
fn download(source: &Source, scratch: &Path) -> Result<PathBuf, Failure> {
    let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
    let api = ApiBuilder::from_cache(Cache::new(scratch.to_owned()))
        .with_endpoint(endpoint())
        .with_token(token)
        .with_progress(false)
        .build();
    let repository = api.map_err(|e| failure(source, e))?.model(source.repository.to_owned());
    let link = repository
        .download_with_progress(source.file, Lines::default())
        .map_err(|e| failure(source, e))?;
    link.canonicalize().map_err(|e| Failure::Work(format!("the downloaded file is gone: {e}")))
}

/// What went wrong, and what to do about it.
fn failure(source: &Source, error: ApiError) -> Failure {
    let what = format!("{}/{}", source.repository, source.file);
    Failure::Work(match error {
        ApiError::RequestError(error) => {
            let text = error.to_string();
            match error.into_response().map(|response| response.status()) {
                Some(404) => format!("the hub has no '{what}' (404): has it moved?"),
                Some(status @ (401 | 403)) => format!(
                    "the hub refuses '{what}' ({status}): set {TOKEN} to a key that may read it"
                ),
                Some(status) => {
                    format!("the hub failed with status {status} on '{what}': try again later")
                }
                None => format!(
                    "cannot reach {}: {text}. Without a network, fetch '{what}' elsewhere and give \
                     the file with --weights; {ENDPOINT} names another hub",
                    endpoint()
                ),
            }
        }
        ApiError::IoError(error) if error.kind() == io::ErrorKind::StorageFull => {
            format!("the disk is full: '{what}' was not kept; free some space or give --output")
        }
        error => {
            format!("the download of '{what}' broke off: {error}; nothing was kept, try again")
        }
    })
}

/// Compares the file with what the hub states, which is its name there, and with what is pinned.
fn compare(source: &Source, checksum: &str, file: &Path, pinned: &[&str]) -> Result<(), Failure> {
    let tag = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stated = (tag.len() == 64 && tag.bytes().all(|b| b.is_ascii_hexdigit())).then_some(tag);
    let expected: Vec<&str> = stated.into_iter().chain(pinned.iter().copied()).collect();
    if expected.is_empty() {
        return Err(Failure::Work(format!(
            "the hub states no SHA-256 for '{}/{}': give the right one with --sha256",
            source.repository, source.file
        )));
    }
    match expected.iter().find(|expected| !expected.eq_ignore_ascii_case(checksum)) {
        None => Ok(()),
        Some(expected) => Err(Failure::Work(format!(
            "the checksum of '{}/{}' is wrong: its SHA-256 is {checksum}, not {expected}; nothing \
             was kept, try again",
            source.repository, source.file
        ))),
    }
}

/// A file's SHA-256 in hexadecimal.
fn checksum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut part = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut part)?;
        if length == 0 {
            let mut text = String::new();
            for byte in hash.finalize() {
                let _ = write!(text, "{byte:02x}");
            }
            return Ok(text);
        }
        hash.update(&part[..length]);
    }
}

/// A line at every tenth of a download.
#[derive(Default)]
struct Lines {
    total: usize,
    done: usize,
    said: usize,
}

impl Progress for Lines {
    fn init(&mut self, size: usize, _: &str) {
        *self = Self { total: size, ..Self::default() };
    }

    fn update(&mut self, size: usize) {
        const PARTS: usize = 10;
        self.done += size;
        let part = self.done.saturating_mul(PARTS) / self.total.max(1);
        if part > self.said {
            self.said = part;
            let million = |bytes: usize| bytes as f64 / 1e6;
            crate::say!("{:.1} of {:.1} MB", million(self.done), million(self.total));
        }
    }

    fn finish(&mut self) {}
}
