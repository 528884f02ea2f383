//! `pnp weights inspect`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use pnp_model::weights::{self, Fitting, WeightFile};
use pnp_train::TrainError;
use serde::{Deserialize, Serialize};

use super::super::{print, print_json};
use crate::failure::Failure;

/// Backbones that are shown to a person.
const SHOWN: usize = 3;
/// The longest description of a checkpoint that is read, in bytes.
const LONGEST: u64 = 1 << 16;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Weight file: safetensors, or PyTorch's .pth, .pt or .pth.tar
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    file: String,
    format: String,
    /// How many values all tensors have.
    values: usize,
    nested_in: Vec<String>,
    beside: Vec<String>,
    metadata: BTreeMap<String, String>,
    checkpoint: Option<Checkpoint>,
    fits: Vec<Fits>,
    tensors: Vec<Tensor>,
}

#[derive(Serialize)]
struct Tensor {
    key: String,
    #[serde(rename = "type")]
    kind: &'static str,
    shape: Vec<usize>,
}

/// A backbone and what of it is there.
#[derive(Serialize)]
struct Fits {
    backbone: &'static str,
    /// Whose key names the file has.
    names: &'static str,
    matched: usize,
    wanted: usize,
    missing: Vec<String>,
    unexpected: Vec<String>,
    misshapen: Vec<Misshapen>,
    #[serde(skip)]
    said: String,
}

#[derive(Serialize)]
struct Misshapen {
    key: String,
    expected: Vec<usize>,
    found: Vec<usize>,
}

/// What the `model.json` beside a checkpoint of ours says.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    backbone: String,
    embed_dim: usize,
}

pub(super) fn run(args: &InspectArgs) -> Result<(), Failure> {
    if !args.file.exists() {
        return Err(Failure::Usage(format!("there is no file '{}'", args.file.display())));
    }
    let file = WeightFile::open(&args.file).map_err(TrainError::from)?;
    let answer = answer(&args.file, &file);
    if args.json { print_json(&answer) } else { print(&text(&answer)) }
}

fn answer(path: &Path, file: &WeightFile) -> Answer {
    let tensors = file.tensors();
    let floats = tensors.iter().filter(|(_, stored)| stored.kind().is_float());
    let shapes = floats.map(|(key, stored)| (key.as_str(), stored.shape())).collect();
    Answer {
        file: path.display().to_string(),
        format: file.format().to_string(),
        values: tensors.values().map(weights::Stored::count).sum(),
        nested_in: file.nested_in().to_vec(),
        beside: file.beside().to_vec(),
        metadata: file.facts().clone(),
        checkpoint: checkpoint(path),
        fits: weights::fits(&shapes).into_iter().map(fits).collect(),
        tensors: tensors
            .iter()
            .map(|(key, stored)| Tensor {
                key: key.clone(),
                kind: stored.kind().name(),
                shape: stored.shape().to_vec(),
            })
            .collect(),
    }
}

fn fits(fitting: Fitting) -> Fits {
    let said = fitting.report.to_string();
    let misshapen = fitting.report.misshapen.into_iter();
    Fits {
        backbone: fitting.backbone.name,
        names: fitting.names.unwrap_or("its own"),
        matched: fitting.matched,
        wanted: fitting.wanted,
        missing: fitting.report.missing,
        unexpected: fitting.report.unexpected,
        misshapen: misshapen
            .map(|(key, expected, found)| Misshapen { key, expected, found })
            .collect(),
        said,
    }
}

/// The description beside a checkpoint of ours, if that is what the file is.
fn checkpoint(path: &Path) -> Option<Checkpoint> {
    let mut text = String::new();
    let description = File::open(path.with_file_name("model.json")).ok()?;
    description.take(LONGEST).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The answer for a person.
fn text(answer: &Answer) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for tensor in &answer.tensors {
        *kinds.entry(tensor.kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let mut text = format!(
        "file        {}\nformat      {}\ntensors     {} ({}), {} values\n",
        answer.file,
        answer.format,
        answer.tensors.len(),
        kinds.join(", "),
        answer.values
    );
    if !answer.nested_in.is_empty() {
        line(&mut text, "nested in", &answer.nested_in.join(", "));
    }
    if let Some(first) = answer.beside.first() {
        let beside = format!("{} tensors, such as {first}", answer.beside.len());
        line(&mut text, "beside them", &beside);
    }
    for (key, value) in &answer.metadata {
        line(&mut text, "says", &format!("{key} = {value}"));
    }
    line(
        &mut text,
        "checkpoint",
        &match &answer.checkpoint {
            Some(c) => format!("of pnp: {}, embeddings of {} values", c.backbone, c.embed_dim),
            None => "not of pnp".into(),
        },
    );
    if answer.fits.is_empty() {
        line(&mut text, "fits", "no backbone: no tensor has the name and shape of one of theirs");
    }
    for fits in answer.fits.iter().take(SHOWN) {
        let Fits { backbone, names, matched, wanted, said, .. } = fits;
        let label = if matched == wanted { "fits" } else { "fits partly" };
        let value =
            format!("{backbone} ({names} key names), {matched} of {wanted} tensors; {said}");
        line(&mut text, label, &value);
    }
    text.push('\n');
    for Tensor { key, kind, shape } in &answer.tensors {
        let _ = writeln!(text, "{key:56} {kind:6} {shape:?}");
    }
    text
}

fn line(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "{label:11} {value}");
}
