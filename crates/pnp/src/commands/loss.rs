//! `pnp loss`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use pnp_ranking::loss::{Loss, LossCounts};
use pnp_ranking::{Embeddings, class_ids};
use serde::Serialize;

use super::{counts_line, print, print_json};
use crate::array::{self, Matrix};
use crate::cli::LossArgs;
use crate::failure::Failure;
use crate::settings;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    loss: f64,
    name: &'a str,
    counts: BTreeMap<&'static str, usize>,
}

pub(crate) fn run(args: &LossArgs) -> Result<(), Failure> {
    let config = settings::resolve(args.config.as_deref(), [settings::table(&args.loss)?])?;
    let loss = config.build_loss()?;
    let (matrix, dim) = array::read_embeddings(&args.embeddings)?;
    let labels = class_ids(&array::read_labels(&args.labels)?);
    let (value, counts) = match &matrix {
        Matrix::F32(values) => {
            let output = loss.forward_f32(&Embeddings::new(values, dim)?, &labels)?;
            write_gradient(args.grad.as_deref(), dim, &output.gradient)?;
            (output.value, output.counts)
        }
        Matrix::F64(values) => {
            let output = loss.forward_f64(&Embeddings::new(values, dim)?, &labels)?;
            write_gradient(args.grad.as_deref(), dim, &output.gradient)?;
            (output.value, output.counts)
        }
    };
    report(args, loss.as_ref(), value, &counts)
}

fn write_gradient<T: npyz::AutoSerialize + Copy>(
    path: Option<&Path>,
    dim: usize,
    gradient: &[T],
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let rows = gradient.len() / dim.max(1);
    Ok(array::write(path, &[rows as u64, dim as u64], gradient)?)
}

fn report(
    args: &LossArgs,
    loss: &dyn Loss,
    value: f64,
    counts: &LossCounts,
) -> Result<(), Failure> {
    let counts = BTreeMap::from(counts.named());
    let name = loss.name();
    if args.json {
        return print_json(&Answer { loss: value, name: &name, counts });
    }
    let mut text = format!("{name}  {value}\n{}\n", counts_line(&counts));
    if let Some(path) = &args.grad {
        let _ = writeln!(text, "gradient  {}", path.display());
    }
    print(&text)
}
