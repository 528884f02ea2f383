//! `pnp eval`.

use std::collections::BTreeMap;
use std::path::Path;

use pnp_ranking::metric::{DEFAULT_METRICS, Distance, EvalOptions, Evaluation, Metric};
use pnp_ranking::{Embeddings, RankingError, class_ids, metric};
use pnp_run::score_table;
use serde::Serialize;

use super::{counts_line, print, print_json, using};
use crate::array::{self, Matrix};
use crate::cli::EvalArgs;
use crate::failure::Failure;
use crate::settings::MetricFlags;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    metrics: BTreeMap<&'a str, f64>,
    counts: BTreeMap<&'a str, usize>,
    distance: String,
}

pub(crate) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let asked = Asked::parse(&args.metrics)?;
    let (evaluation, distance, skipped) = match (&args.model, &args.embeddings, &args.labels) {
        (_, Some(embeddings), Some(labels)) => {
            let metrics = asked.metrics.map_or_else(default_metrics, Ok)?;
            let distance = asked.distance.unwrap_or(Distance::Cosine);
            (files(embeddings, labels, &metrics, distance)?, distance, None)
        }
        (Some(model), ..) => {
            let used = using::embed(model, &args.using)?;
            let metrics = asked.metrics.map_or_else(|| used.config.metrics(), Ok)?;
            let distance = asked.distance.map_or_else(|| used.config.distance(), Ok)?;
            let evaluation = pnp_train::score(&used.embedded, &metrics, distance)?;
            (evaluation, distance, Some(used.embedded.skipped.len()))
        }
        _ => return Err(Failure::Usage("give a model, or --embeddings and --labels".into())),
    };
    let mut counts = BTreeMap::from(evaluation.counts.named());
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

/// What the flags ask for; what they leave open is the run's own setting, or the default.
struct Asked {
    metrics: Option<Vec<Metric>>,
    distance: Option<Distance>,
}

impl Asked {
    fn parse(flags: &MetricFlags) -> Result<Self, Failure> {
        let parse = |names: &Vec<String>| names.iter().map(|name| Metric::parse(name)).collect();
        Ok(Self {
            metrics: flags.evaluation_metrics.as_ref().map(parse).transpose()?,
            distance: flags.distance.as_deref().map(str::parse).transpose()?,
        })
    }
}

fn default_metrics() -> Result<Vec<Metric>, RankingError> {
    DEFAULT_METRICS.iter().map(|name| Metric::parse(name)).collect()
}

fn files(
    embeddings: &Path,
    labels: &Path,
    metrics: &[Metric],
    distance: Distance,
) -> Result<Evaluation, Failure> {
    let (matrix, dim) = array::read_embeddings(embeddings)?;
    let labels = class_ids(&array::read_labels(labels)?);
    let values = match matrix {
        Matrix::F32(values) => values,
        // Rankings are computed in f32, as the old code's searches were.
        Matrix::F64(values) => {
            Embeddings::new(&values, dim).map_err(|e| in_file(embeddings, &e))?;
            values.into_iter().map(|value| value as f32).collect()
        }
    };
    let embeddings = Embeddings::new(&values, dim).map_err(|e| in_file(embeddings, &e))?;
    Ok(metric::evaluate(&embeddings, &labels, metrics, &EvalOptions { distance })?)
}

fn in_file(path: &Path, error: &RankingError) -> Failure {
    Failure::Work(format!("'{}': {error}", path.display()))
}
