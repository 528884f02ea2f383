//! `pnp eval --compare a b`: is the second model better on the same queries?

use std::fmt::Write as _;
use std::path::Path;

use pnp_ranking::metric::{
    Comparison, EvalOptions, Evaluation, Metric, Resampling, compare, evaluate_sets,
};
use serde::Serialize;

use super::super::{print, print_json};
use super::sets::Sets;
use crate::cli::EvalArgs;
use crate::failure::Failure;

#[derive(Serialize)]
struct Line {
    metric: String,
    first: f64,
    second: f64,
    queries_better: usize,
    queries_worse: usize,
    p_value: f64,
}

pub(super) fn run(
    args: &EvalArgs,
    [first, second]: [&Path; 2],
    metrics: &[Metric],
    options: &EvalOptions,
    resampling: &Resampling,
) -> Result<(), Failure> {
    if let Some(metric) = metrics.iter().find(|metric| !metric.is_ranked()) {
        return Err(Failure::Usage(format!(
            "{metric} has no score for each query, so nothing to compare by: leave it out"
        )));
    }
    let sets = [Sets::of_model(args, first, 0)?, Sets::of_model(args, second, 1)?];
    let scored = |sets: &Sets| -> Result<Evaluation, Failure> {
        let set = sets.queries.evaluated(false)?;
        let gallery = sets.gallery.as_ref().map(|set| set.evaluated(false)).transpose()?;
        Ok(evaluate_sets(&set, gallery.as_ref(), metrics, options)?)
    };
    let (a, b) = (scored(&sets[0])?, scored(&sets[1])?);
    let found = compare(&a.queries, &b.queries, resampling)?;
    if args.json {
        let lines: Vec<Line> = found.into_iter().map(line).collect();
        return print_json(&lines);
    }
    print(&table(&found, [first, second], resampling))
}

fn line(found: Comparison) -> Line {
    Line {
        metric: found.metric,
        first: found.first,
        second: found.second,
        queries_better: found.better,
        queries_worse: found.worse,
        p_value: found.p_value,
    }
}

fn table(found: &[Comparison], [first, second]: [&Path; 2], resampling: &Resampling) -> String {
    let mut text = format!(
        "{:<16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}\n",
        "in %", "first", "second", "gain", "better", "worse", "p"
    );
    for c in found {
        let [a, b] = [c.first, c.second].map(|score| 100.0 * score);
        let _ = writeln!(
            text,
            "{:<16} {a:>9.2} {b:>9.2} {:>+9.2} {:>9} {:>9} {:>9.4}",
            c.metric,
            b - a,
            c.better,
            c.worse,
            c.p_value
        );
    }
    let _ = writeln!(
        text,
        "\nfirst {}, second {}; better, worse: queries; p: paired permutation test, {} rounds",
        first.display(),
        second.display(),
        resampling.rounds
    );
    text
}
