//! `pnp eval`.

mod comparing;
mod listing;
mod report;
mod sets;

use std::path::Path;

use pnp_ranking::RankingError;
use pnp_ranking::metric::{
    DEFAULT_METRICS, Distance, EvalOptions, Evaluation, Metric, Resampling, bootstrap, check_level,
    evaluate_sets,
};

use self::report::Answer;
use self::sets::Sets;
use super::using;
use crate::cli::EvalArgs;
use crate::failure::Failure;
use crate::settings::MetricFlags;

pub(crate) fn run(args: &EvalArgs) -> Result<(), Failure> {
    let asked = Asked::parse(&args.metrics)?;
    let distance = asked.distance.unwrap_or(Distance::Cosine);
    let resampling = Resampling { rounds: args.rounds, seed: args.resampling_seed };
    resampling.check()?;
    args.ci.map_or(Ok(()), check_level)?;
    if let [first, second] = &args.compare[..] {
        let metrics = asked.metrics.map_or_else(default_metrics, Ok)?;
        return comparing::run(args, [first, second], &metrics, distance, &resampling);
    }
    if let Some(embeddings) = &args.embeddings {
        if let (Some(k), Some(out)) = (args.neighbours, &args.out) {
            return listing::run(args, embeddings, k, out, distance);
        }
        let metrics = asked.metrics.map_or_else(default_metrics, Ok)?;
        return files(args, embeddings, &metrics, distance, &resampling);
    }
    let Some(model) = &args.model else {
        return Err(Failure::Usage("give a model, or --embeddings and --labels".into()));
    };
    let used = using::embed(model, &args.using)?;
    let metrics = asked.metrics.map_or_else(|| used.config.metrics(), Ok)?;
    let distance = asked.distance.map_or_else(|| used.config.distance(), Ok)?;
    let evaluation = pnp_train::score(&used.embedded, &metrics, distance)?;
    let mut answer = Answer::new(&evaluation, distance.to_string());
    answer.count("skipped_images", used.embedded.skipped.len());
    let names = used.set.class_names();
    let classes = used.embedded.labels.iter().map(|&label| names[label as usize].clone());
    let classes: Vec<String> = classes.collect();
    add_confidence(&mut answer, args, &evaluation, &classes, &resampling)?;
    answer.print(args.json, args.csv)
}

/// Scores embeddings from files.
fn files(
    args: &EvalArgs,
    embeddings: &Path,
    metrics: &[Metric],
    distance: Distance,
    resampling: &Resampling,
) -> Result<(), Failure> {
    let sets = Sets::read(args, embeddings)?;
    let evaluated = |coarse: bool| -> Result<Evaluation, Failure> {
        let queries = sets.queries.evaluated(coarse)?;
        let gallery = sets.gallery.as_ref().map(|set| set.evaluated(coarse)).transpose()?;
        Ok(evaluate_sets(
            &queries,
            gallery.as_ref(),
            metrics,
            &EvalOptions { distance, ..EvalOptions::default() },
        )?)
    };
    let evaluation = evaluated(false)?;
    let mut answer = Answer::new(&evaluation, distance.to_string());
    if sets.has_coarse {
        answer.coarse(&evaluated(true)?);
    }
    if let Some(categories) = &sets.categories {
        answer.categories(&evaluation, categories);
    }
    add_confidence(&mut answer, args, &evaluation, &sets.classes, resampling)?;
    answer.print(args.json, args.csv)
}

/// Intervals and the worst classes, where they are asked for.
fn add_confidence(
    answer: &mut Answer,
    args: &EvalArgs,
    evaluation: &Evaluation,
    classes: &[String],
    resampling: &Resampling,
) -> Result<(), Failure> {
    if let Some(level) = args.ci {
        let intervals = bootstrap(&evaluation.queries, level, resampling)?;
        answer.intervals(level, evaluation.queries.metrics(), &intervals);
    }
    if let Some(most) = args.worst {
        answer.worst(evaluation, classes, most);
    }
    Ok(())
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
