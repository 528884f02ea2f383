//! `pnp weights get`: the one command that uses the network.

use std::path::PathBuf;

use clap::Args;

use super::sources::{self, Source};
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Which weights, as `pnp weights list` names them
    name: String,
    /// File to write [default: NAME.safetensors in the user's cache folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// SHA-256 that the file must have, beside what the hub states
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Option<String>,
}

pub(super) fn run(args: &GetArgs) -> Result<(), Failure> {
    let source = sources::find(&args.name).ok_or_else(|| {
        let known: Vec<&str> = sources::all().map(|source| source.name).collect();
        Failure::Usage(format!(
            "there are no weights '{}': those that can be fetched are {}",
            args.name,
            known.join(", ")
        ))
    })?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => cache()?.join(format!("{}.safetensors", source.name)),
    };
    fetch(source, args, &output)
}

#[cfg(feature = "hub")]
fn fetch(source: &Source, args: &GetArgs, output: &std::path::Path) -> Result<(), Failure> {
    let pinned: Vec<&str> = source.sha256.into_iter().chain(args.sha256.as_deref()).collect();
    let checksum = super::hub::fetch(source, output, &pinned)?;
    super::super::print(&format!(
        "weights  {}\nfrom     {}/{} ({}; {})\nSHA-256  {checksum}\n\n\
         Use them with: pnp train --arch {}_frozen_normalize --weights {} …\n",
        output.display(),
        source.repository,
        source.file,
        source.origin,
        source.licence,
        source.backbone,
        output.display()
    ))
}

#[cfg(not(feature = "hub"))]
fn fetch(source: &Source, _: &GetArgs, output: &std::path::Path) -> Result<(), Failure> {
    Err(Failure::Usage(format!(
        "this program was built without the feature 'hub': fetch {} of {} yourself, put it at '{}' \
         and give that with --weights",
        source.file,
        source.repository,
        output.display()
    )))
}

/// The folder in which a user's programs keep what can be fetched again.
fn cache() -> Result<PathBuf, Failure> {
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = if cfg!(windows) {
        named("LOCALAPPDATA")
    } else {
        named("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
    };
    let folder = folder.filter(|folder| folder.is_absolute());
    let folder = folder.ok_or_else(|| {
        Failure::Usage("no home folder is known to put the weights in: give --output FILE".into())
    })?;
    Ok(folder.join("pnp").join("weights"))
}

/// A SHA-256 in hexadecimal, small letters.
fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("a SHA-256 has 64 hexadecimal digits".into())
}
