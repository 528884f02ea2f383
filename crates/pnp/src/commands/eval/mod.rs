//! `pnp eval`: scores of a trained model on a data set, or of embeddings in files.

mod comparing;
mod listing;
mod metrics;
mod per_class;
mod report;
mod sets;

use pnp_ranking::RankingError;
use pnp_ranking::cluster::KMeansStart;
use pnp_ranking::metric::{
    DEFAULT_METRICS, Distance, EvalOptions, Evaluation, Metric, Resampling, bootstrap, check_level,
    evaluate_sets,
};

use self::report::Answer;
use self::sets::Sets;
use super::using;
use crate::cli::EvalArgs;
use crate::failure::Failure;
use crate::outputs;
use crate::settings::MetricFlags;

pub(crate) fn run(args: &EvalArgs) -> Result<(), Failure> {
    if args.list {
        return metrics::list(args.json);
    }
    let asked = Asked::parse(&args.metrics)?;
    let options = options(args, asked.distance.unwrap_or(Distance::Cosine));
    check_request(args, &asked)?;
    let resampling = Resampling { rounds: args.rounds, seed: args.resampling_seed };
    resampling.check()?;
    args.ci.map_or(Ok(()), check_level)?;
    if let [first, second] = &args.compare[..] {
        let metrics = asked.metrics.map_or_else(default_metrics, Ok)?;
        return comparing::run(args, [first, second], &metrics, &options, &resampling);
    }
    if !args.embeddings.is_empty() {
        if let (Some(k), Some(out)) = (args.neighbours, &args.out) {
            return listing::run(args, k, out, options.distance);
        }
        let metrics = asked.metrics.map_or_else(default_metrics, Ok)?;
        return files(args, &metrics, &options, &resampling);
    }
    model(args, asked, &resampling)
}

/// Refuses what would be ignored, and what would be written over.
fn check_request(args: &EvalArgs, asked: &Asked) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::Usage(message.to_owned()));
    if args.model.is_none() {
        let of_models = crate::settings::table(&args.using.data)?;
        if let Some(setting) = of_models.keys().next() {
            let flag = setting.replace('_', "-");
            return usage(&format!("--{flag} is for a model: embeddings are scored as they are"));
        }
        if args.using.device != "cpu" {
            return usage("--device is for a model: embeddings are scored on the processor");
        }
    }
    let ranked = asked.metrics.as_ref().is_none_or(|all| all.iter().any(Metric::is_ranked));
    if !ranked && (args.ci.is_some() || args.worst.is_some() || args.per_class.is_some()) {
        return usage(
            "--ci, --worst and --per-class are of ranking metrics, which every query has a score \
             by: ask for one, as recall@1",
        );
    }
    let table = args.per_class.as_ref();
    if table.is_some_and(|path| path.extension().is_none_or(|extension| extension != "csv")) {
        return usage("--per-class writes a .csv file: name it so");
    }
    let source = args.using.data.source_path.as_ref();
    let manifest = source.map(|source| source.join("manifest.csv"));
    let inputs = sets::inputs(args).chain(&args.model).chain(source).chain(&manifest);
    outputs::check(inputs, table.into_iter())
}

/// Scores a model.
fn model(args: &EvalArgs, asked: Asked, resampling: &Resampling) -> Result<(), Failure> {
    let Some(model) = &args.model else {
        return Err(Failure::Usage("give a model, or --embeddings and --labels".into()));
    };
    let used = using::embed(model, &args.using)?;
    let metrics = asked.metrics.map_or_else(|| used.config.metrics(), Ok)?;
    let options = options(args, asked.distance.map_or_else(|| used.config.distance(), Ok)?);
    let evaluation = pnp_train::score(&used.embedded, &metrics, &options)?;
    let mut answer = Answer::new(None, &evaluation, options.distance);
    answer.count("skipped_images", used.embedded.skipped.len());
    let names = used.set.class_names();
    let queries = used.embedded.queries();
    let class = |&row: &usize| names[used.embedded.labels[row] as usize].clone();
    let classes: Vec<String> = queries.iter().map(class).collect();
    if used.embedded.roles.is_some() {
        answer.count("gallery", used.embedded.gallery().len());
    }
    if let Some(categories) = used.set.categories() {
        let category = |&row: &usize| categories[used.embedded.indices[row] as usize].to_owned();
        answer.categories(&evaluation, &queries.iter().map(category).collect::<Vec<_>>());
    }
    add_more(&mut answer, args, &evaluation, &classes, resampling)?;
    report::print_answers(&[answer], args.json, args.csv)
}

/// Scores embeddings from files, set by set.
fn files(
    args: &EvalArgs,
    metrics: &[Metric],
    options: &EvalOptions,
    resampling: &Resampling,
) -> Result<(), Failure> {
    let names = sets::names(&args.embeddings);
    if args.per_class.is_some() && names.len() > 1 {
        return Err(Failure::Usage("--per-class is of one query set: give one".into()));
    }
    // All are opened before any is scored.
    let sets = (0..names.len()).map(|place| Sets::read(args, place));
    let sets: Vec<Sets> = sets.collect::<Result<_, _>>()?;
    let mut answers = Vec::new();
    for (sets, name) in sets.iter().zip(&names) {
        let evaluated = |coarse: bool| -> Result<Evaluation, Failure> {
            let queries = sets.queries.evaluated(coarse)?;
            let gallery = sets.gallery.as_ref().map(|set| set.evaluated(coarse)).transpose()?;
            Ok(evaluate_sets(&queries, gallery.as_ref(), metrics, options)?)
        };
        let evaluation = evaluated(false)?;
        let name = (names.len() > 1).then(|| name.clone());
        let mut answer = Answer::new(name, &evaluation, options.distance);
        if sets.has_coarse {
            answer.coarse(&evaluated(true).map_err(|e| e.about("by the coarse labels"))?);
        }
        if let Some(categories) = &sets.categories {
            answer.categories(&evaluation, categories);
        }
        add_more(&mut answer, args, &evaluation, &sets.classes, resampling)?;
        answers.push(answer);
    }
    report::print_answers(&answers, args.json, args.csv)
}

/// Intervals and tables of classes, where they are asked for.
fn add_more(
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
    match &args.per_class {
        Some(path) => per_class::write(path, evaluation, classes),
        None => Ok(()),
    }
}

fn options(args: &EvalArgs, distance: Distance) -> EvalOptions {
    let start = match args.clustering_start.as_str() {
        "random" => KMeansStart::Random,
        _ => KMeansStart::PlusPlus,
    };
    EvalOptions { distance, seed: args.clustering_seed, start }
}

/// What the flags ask for; what they leave open is the run's own setting, or the default.
struct Asked {
    metrics: Option<Vec<Metric>>,
    distance: Option<Distance>,
}

impl Asked {
    fn parse(flags: &MetricFlags) -> Result<Self, Failure> {
        let parse = |names: &Vec<String>| {
            let mut metrics: Vec<Metric> = Vec::new();
            for name in names {
                let metric = Metric::parse(name)?;
                if !metrics.contains(&metric) {
                    metrics.push(metric);
                }
            }
            Ok::<_, RankingError>(metrics)
        };
        Ok(Self {
            metrics: flags.evaluation_metrics.as_ref().map(parse).transpose()?,
            distance: flags.distance.as_deref().map(str::parse).transpose()?,
        })
    }
}

fn default_metrics() -> Result<Vec<Metric>, RankingError> {
    DEFAULT_METRICS.iter().map(|name| Metric::parse(name)).collect()
}
