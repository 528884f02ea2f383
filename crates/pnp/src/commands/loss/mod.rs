//! `pnp loss`: the value of a loss and its gradient, what it pushes, its curves.

mod curves;
mod inputs;
mod penalties;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use pnp_ranking::Real;
use pnp_ranking::loss::{LOSSES, Loss, LossInput, LossOutput, Penalty, PnpSettings, build};
use serde::Serialize;

use self::inputs::{Inputs, Precision};
use super::{counts_line, print, print_json};
use crate::array;
use crate::cli::LossArgs;
use crate::failure::Failure;
use crate::{outputs, settings};

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    loss: f64,
    name: &'a str,
    counts: BTreeMap<&'static str, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    penalties: Option<Vec<penalties::Line>>,
}

pub(crate) fn run(args: &LossArgs) -> Result<(), Failure> {
    let config = settings::resolve(args.config.as_deref(), [settings::table(&args.loss)?])?;
    if args.list {
        return list(args.json);
    }
    if let Some(path) = &args.curves {
        return curves::draw(args, &config, path);
    }
    let loss = config.build_loss()?;
    refuse_what_would_be_ignored(args, loss.as_ref())?;
    let inputs = Inputs::read(args, loss.as_ref())?;
    let (value, counts) = if inputs.is_wide() {
        compute::<f64>(args, loss.as_ref(), &inputs)?
    } else {
        compute::<f32>(args, loss.as_ref(), &inputs)?
    };
    let penalties = match args.penalties {
        Some(most) => Some(inputs.with_input(|input: &LossInput<'_, f64>| {
            pnp_ranking::loss::penalties(loss.as_ref(), input, most)
        })?),
        None => None,
    };
    report(args, &inputs, loss.as_ref(), value, counts, penalties)
}

/// Files and flags that this loss has no use for.
fn refuse_what_would_be_ignored(args: &LossArgs, loss: &dyn Loss) -> Result<(), Failure> {
    let name = loss.name();
    let ranks = args.references.is_some() || args.penalties.is_some();
    if ranks && !loss.ranks_references() {
        return Err(Failure::Usage(format!(
            "{name} ranks items against proxies only: --references and --penalties do not apply"
        )));
    }
    if args.proxies.is_none() && loss.trains_proxies() {
        return Err(Failure::Usage(format!(
            "{name} ranks against proxies: give them with --proxies FILE, a row for each label"
        )));
    }
    if args.proxies.is_some() && !loss.trains_proxies() {
        return Err(Failure::Usage(format!("{name} has no proxies: leave --proxies out")));
    }
    refuse_lost_files(args)?;
    if args.penalties == Some(0) {
        return Err(Failure::Usage("penalties = 0 is not possible: ask for at least one".into()));
    }
    Ok(())
}

/// Outputs that would replace an input, or each other.
fn refuse_lost_files(args: &LossArgs) -> Result<(), Failure> {
    let inputs = [
        &args.embeddings,
        &args.labels,
        &args.ids,
        &args.references,
        &args.reference_labels,
        &args.reference_ids,
        &args.proxies,
        &args.config,
    ];
    let outputs = [&args.grad, &args.reference_grad, &args.proxy_grad];
    outputs::check(inputs.into_iter().flatten(), outputs.into_iter().flatten())
}

/// Computes, writes the gradients that are asked for, and returns value and counts.
fn compute<T: Precision>(
    args: &LossArgs,
    loss: &dyn Loss,
    inputs: &Inputs,
) -> Result<(f64, BTreeMap<&'static str, usize>), Failure> {
    let wants_references = args.reference_grad.is_some();
    let output: LossOutput<T> = inputs.with_input(|input: &LossInput<'_, T>| {
        let input = if wants_references { input.with_reference_gradient() } else { *input };
        T::compute(loss, &input)
    })?;
    let dim = inputs.embeddings.dim();
    write_gradient(args.grad.as_deref(), dim, Some(&output.gradient))?;
    write_gradient(args.reference_grad.as_deref(), dim, output.reference_gradient.as_deref())?;
    write_gradient(args.proxy_grad.as_deref(), dim, output.proxy_gradient.as_deref())?;
    Ok((output.value, BTreeMap::from(output.counts.named())))
}

fn write_gradient<T: Real + npyz::AutoSerialize>(
    path: Option<&Path>,
    dim: usize,
    gradient: Option<&[T]>,
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let Some(gradient) = gradient else {
        let path = path.display();
        return Err(Failure::Usage(format!("this loss has no gradient for '{path}'")));
    };
    let rows = gradient.len() / dim.max(1);
    Ok(array::write(path, &[rows as u64, dim as u64], gradient)?)
}

fn report(
    args: &LossArgs,
    inputs: &Inputs,
    loss: &dyn Loss,
    value: f64,
    counts: BTreeMap<&'static str, usize>,
    penalties: Option<Vec<Penalty>>,
) -> Result<(), Failure> {
    let name = loss.name();
    let penalties = penalties.map(|found| penalties::lines(&found, inputs));
    if args.json {
        return print_json(&Answer { loss: value, name: &name, counts, penalties });
    }
    let mut text = format!("{name}  {value}\n{}\n", counts_line(&counts));
    for (what, path) in [
        ("gradient", &args.grad),
        ("gradient of the references", &args.reference_grad),
        ("gradient of the proxies", &args.proxy_grad),
    ] {
        if let Some(path) = path {
            let _ = writeln!(text, "{what}  {}", path.display());
        }
    }
    if let Some(lines) = penalties {
        text += &penalties::table(&lines);
    }
    print(&text)
}

/// A loss in the list.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    /// As it is without parameters.
    default: String,
    /// Its parameters with their defaults.
    parameters: BTreeMap<&'static str, String>,
    summary: &'static str,
    proxies: bool,
}

fn list(json: bool) -> Result<(), Failure> {
    let settings = PnpSettings::default();
    let listed = LOSSES.iter().map(|entry| {
        let default = build(entry.name, &settings)?.name();
        let parameters = entry.parameters(&settings)?.into_iter().collect();
        let (name, summary, proxies) = (entry.name, entry.summary, entry.proxies);
        Ok(Listed { name, default, parameters, summary, proxies })
    });
    let listed = listed.collect::<Result<Vec<_>, Failure>>()?;
    if json {
        return print_json(&listed);
    }
    let mut text = String::new();
    for Listed { name, parameters, summary, .. } in listed {
        let parameters = parameters.iter().map(|(name, default)| format!("{name}={default}"));
        let parameters = parameters.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "{name}({parameters})\n    {summary}");
    }
    print(&text)
}
