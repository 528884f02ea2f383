//! `pnp export`.

mod facts;

use std::collections::BTreeMap;
use std::path::Path;

use pnp_model::onnx::{self, OnnxFacts};
use pnp_model::weights;
use pnp_run::atomic;
use pnp_train::{Model, TrainError};
use serde::Serialize;

use super::using::run_folder;
use super::{print, print_json};
use crate::cli::{ExportArgs, ExportFormat};
use crate::failure::Failure;
use crate::{device, outputs};

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    file: String,
    format: &'static str,
    bytes: usize,
    facts: BTreeMap<String, String>,
}

pub(crate) fn run(args: &ExportArgs) -> Result<(), Failure> {
    if !args.model.exists() {
        return Err(Failure::Usage(format!("there is no model '{}'", args.model.display())));
    }
    let format = format(args)?;
    outputs::check([&args.model].into_iter(), [&args.output].into_iter())?;
    refuse_in_checkpoint(&args.output)?;
    let model = Model::load(&args.model, &device::first()?)?;
    let mut facts = facts::of(&model, run_folder(&args.model).as_deref())?;
    let bytes = match format {
        ExportFormat::Onnx => to_onnx(&model, &facts)?,
        ExportFormat::Safetensors => {
            // What readers of the format look for to know whose tensors these are.
            facts.insert("format".into(), "pt".into());
            let dict = model.network.parameters().to_state_dict();
            weights::to_safetensors_with_facts(&dict, &facts)
        }
    };
    atomic::write(&args.output, &bytes)?;
    report(args, format, bytes.len(), facts)
}

/// The format that was asked for, or that the file's ending says.
fn format(args: &ExportArgs) -> Result<ExportFormat, Failure> {
    let ending = args.output.extension().and_then(|ending| ending.to_str());
    match (args.format, ending) {
        (Some(format), _) => Ok(format),
        (None, Some("onnx")) => Ok(ExportFormat::Onnx),
        (None, Some("safetensors")) => Ok(ExportFormat::Safetensors),
        (None, _) => Err(Failure::Usage(format!(
            "'{}' ends in neither .onnx nor .safetensors: say which with --format",
            args.output.display()
        ))),
    }
}

/// A checkpoint is replaced as a whole, and its own weights must not be written over.
fn refuse_in_checkpoint(output: &Path) -> Result<(), Failure> {
    if !output.with_file_name("model.json").exists() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "'{}' would be in a checkpoint, whose files come and go together: give another folder",
        output.display()
    )))
}

fn to_onnx(model: &Model, facts: &BTreeMap<String, String>) -> Result<Vec<u8>, Failure> {
    let summary = summary(model, facts);
    let header = OnnxFacts {
        side: model.transform.crop as usize,
        version: env!("CARGO_PKG_VERSION"),
        summary: &summary,
        facts,
    };
    Ok(onnx::to_onnx(&model.network, &header).map_err(TrainError::from)?)
}

/// What the model is, in one sentence.
fn summary(model: &Model, facts: &BTreeMap<String, String>) -> String {
    let config = model.network.config();
    let length = if config.normalize { " of length 1" } else { "" };
    let from = facts.get("dataset").map_or(String::new(), |set| format!(", trained on {set}"));
    format!(
        "Image embeddings for retrieval: {} to {} values{length}{from}. The metadata say how an \
         image is made ready.",
        config.backbone, config.embed_dim
    )
}

fn report(
    args: &ExportArgs,
    format: ExportFormat,
    bytes: usize,
    facts: BTreeMap<String, String>,
) -> Result<(), Failure> {
    let name = match format {
        ExportFormat::Onnx => "onnx",
        ExportFormat::Safetensors => "safetensors",
    };
    let file = args.output.display().to_string();
    if args.json {
        return print_json(&Answer { file, format: name, bytes, facts });
    }
    let model = args.model.display();
    let lines = facts.iter().map(|(key, value)| format!("  {key:20} {value}\n"));
    print(&format!(
        "'{model}' written as {name}, {bytes} bytes\nfile  {file}\nfacts\n{}",
        lines.collect::<String>()
    ))
}
