//! `pnp eval`.

use std::collections::BTreeMap;
use std::path::Path;

use pnp_ranking::metric::{DEFAULT_METRICS, Distance, EvalCounts, EvalOptions, Evaluation, Metric};
use pnp_ranking::{Embeddings, class_ids, metric};
use pnp_run::score_table;
use serde::Serialize;

use super::{counts_line, print, print_json, using};
use crate::array::{self, Matrix};
use crate::cli::EvalArgs;
use crate::failure::Failure;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    metrics: BTreeMap<&'a str, f64>,
    counts: BTreeMap<&'a str, usize>,
    distance: String,
}

pub(crate) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let names: Vec<String> = args
        .metrics
        .evaluation_metrics
        .clone()
        .unwrap_or_else(|| DEFAULT_METRICS.iter().map(|&name| name.to_owned()).collect());
    let metrics: Result<Vec<Metric>, _> = names.iter().map(|name| Metric::parse(name)).collect();
    let metrics = metrics?;
    let distance: Distance =
        args.metrics.distance.as_deref().map_or(Ok(Distance::Cosine), str::parse)?;
    let (evaluation, skipped) = match (&args.model, &args.embeddings, &args.labels) {
        (_, Some(embeddings), Some(labels)) => {
            (files(embeddings, labels, &metrics, distance)?, None)
        }
        (Some(model), ..) => {
            let used = using::embed(model, &args.using)?;
            let evaluation = pnp_train::score(&used.embedded, &metrics, distance)?;
            (evaluation, Some(used.embedded.skipped.len()))
        }
        _ => return Err(Failure::Usage("give a model, or --embeddings and --labels".into())),
    };
    let mut counts = counts(&evaluation.counts);
    counts.extend(skipped.map(|skipped| ("skipped_images", skipped)));
    if args.json {
        let metrics = evaluation.scores.iter().map(|(name, value)| (name.as_str(), *value));
        return print_json(&Answer {
            metrics: metrics.collect(),
            counts,
            distance: distance.to_string(),
        });
    }
    let table = score_table(&[("score in %", &evaluation.scores)]);
    print(&format!("{table}\n{}; distance {distance}\n", counts_line(&counts)))
}

fn files(
    embeddings: &Path,
    labels: &Path,
    metrics: &[Metric],
    distance: Distance,
) -> Result<Evaluation, Failure> {
    let (matrix, dim) = array::read_embeddings(embeddings).map_err(anyhow::Error::new)?;
    let labels = class_ids(&array::read_labels(labels).map_err(anyhow::Error::new)?);
    let values = match matrix {
        Matrix::F32(values) => values,
        // Rankings are computed in f32, as the old code's searches were.
        Matrix::F64(values) => values.into_iter().map(|value| value as f32).collect(),
    };
    let embeddings = Embeddings::new(&values, dim)?;
    Ok(metric::evaluate(&embeddings, &labels, metrics, &EvalOptions { distance })?)
}

fn counts(counts: &EvalCounts) -> BTreeMap<&'static str, usize> {
    BTreeMap::from([
        ("items", counts.items),
        ("classes", counts.classes),
        ("queries", counts.queries),
        ("lone_queries", counts.lone_queries),
        ("duplicates", counts.duplicates),
        ("ties", counts.ties),
    ])
}
