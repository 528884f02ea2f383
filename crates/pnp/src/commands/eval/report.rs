//! An evaluation as text, JSON or CSV.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pnp_ranking::metric::{Distance, Evaluation, Interval};
use pnp_run::{is_fraction, score_table};
use serde::Serialize;

use super::super::{counts_line, print, print_json};
use crate::failure::Failure;

/// Everything that is told of one query set.
#[derive(Serialize)]
pub(super) struct Answer {
    /// Its name, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<String>,
    metrics: BTreeMap<String, f64>,
    /// What is a list of numbers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lists: BTreeMap<String, Vec<f64>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    intervals: BTreeMap<String, [f64; 2]>,
    /// The share of resampled means that the intervals hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<f64>,
    /// The scores by the coarser labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    coarse: Option<BTreeMap<String, f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coarse_counts: Option<BTreeMap<&'static str, usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    categories: Option<BTreeMap<String, BTreeMap<String, f64>>>,
    /// The classes with the lowest scores by the first ranking metric, the lowest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_classes: Option<Vec<(String, f64)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_by: Option<String>,
    counts: BTreeMap<&'static str, usize>,
    distance: String,
    /// The metrics in the order asked for.
    #[serde(skip)]
    order: Vec<(String, f64)>,
}

impl Answer {
    pub(super) fn new(set: Option<String>, evaluation: &Evaluation, distance: Distance) -> Self {
        Self {
            set,
            metrics: evaluation.scores.iter().cloned().collect(),
            lists: evaluation.lists.iter().cloned().collect(),
            intervals: BTreeMap::new(),
            level: None,
            coarse: None,
            coarse_counts: None,
            categories: None,
            worst_classes: None,
            worst_by: None,
            counts: BTreeMap::from(evaluation.counts.named()),
            distance: distance.to_string(),
            order: evaluation.scores.clone(),
        }
    }

    pub(super) fn count(&mut self, name: &'static str, count: usize) {
        self.counts.insert(name, count);
    }

    /// Intervals of the ranking metrics.
    pub(super) fn intervals(&mut self, level: f64, metrics: &[String], intervals: &[Interval]) {
        self.level = Some(level);
        let pairs = metrics.iter().zip(intervals);
        self.intervals = pairs.map(|(name, of)| (name.clone(), [of.low, of.high])).collect();
    }

    pub(super) fn coarse(&mut self, evaluation: &Evaluation) {
        self.coarse = Some(evaluation.scores.iter().cloned().collect());
        self.coarse_counts = Some(BTreeMap::from(evaluation.counts.named()));
    }

    /// The means over the queries of each category.
    pub(super) fn categories(&mut self, evaluation: &Evaluation, categories: &[String]) {
        let kinds: Vec<&str> = categories.iter().map(String::as_str).collect();
        let metrics = evaluation.queries.metrics();
        let of = |means: Vec<Option<f64>>| {
            let pairs = metrics.iter().cloned().zip(means);
            pairs.filter_map(|(name, mean)| Some((name, mean?))).collect()
        };
        let tables = evaluation.queries.by(&kinds).into_iter();
        self.categories = Some(tables.map(|(kind, means)| (kind.to_owned(), of(means))).collect());
    }

    /// The classes that do worst by the first metric.
    pub(super) fn worst(&mut self, evaluation: &Evaluation, classes: &[String], most: usize) {
        let kinds: Vec<&str> = classes.iter().map(String::as_str).collect();
        let tables = evaluation.queries.by(&kinds).into_iter();
        let mut scored: Vec<(String, f64)> = tables
            .filter_map(|(kind, means)| Some((kind.to_owned(), (*means.first()?)?)))
            .collect();
        scored.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        scored.truncate(most);
        self.worst_classes = Some(scored);
        self.worst_by = evaluation.queries.metrics().first().cloned();
    }

    /// A line for each metric, and for each of every category.
    fn csv(&self, text: &mut String) {
        let of = |part: &str| {
            let set =
                self.set.as_deref().map_or_else(|| part.to_owned(), |s| format!("{s} {part}"));
            if set.contains([',', '"', '\n']) {
                format!("\"{}\"", set.replace('"', "\"\""))
            } else {
                set
            }
        };
        for (name, value) in &self.order {
            let ends = self.intervals.get(name);
            let [low, high] =
                ends.map_or([String::new(), String::new()], |e| e.map(|x| x.to_string()));
            let _ = writeln!(text, "{},{name},{value},{low},{high}", of("all"));
        }
        for (name, values) in &self.lists {
            for (place, value) in (1..).zip(values) {
                let _ = writeln!(text, "{},{name}[{place}],{value},,", of("all"));
            }
        }
        let coarse = self.coarse.iter().map(|scores| ("coarse".to_owned(), scores));
        let categories = self.categories.iter().flatten();
        let categories = categories.map(|(name, scores)| (format!("category {name}"), scores));
        for (part, scores) in coarse.chain(categories) {
            for (name, value) in self.in_order(scores) {
                let _ = writeln!(text, "{},{name},{value},,", of(&part));
            }
        }
        if let (Some(worst), Some(metric)) = (&self.worst_classes, &self.worst_by) {
            for (class, score) in worst {
                let _ = writeln!(text, "{},{metric},{score},,", of(&format!("class {class}")));
            }
        }
    }

    /// The columns of the table of scores.
    fn columns(&self) -> Vec<(String, Vec<(String, f64)>)> {
        let headed = |heading: &str| match &self.set {
            Some(set) if heading == SCORE => set.clone(),
            Some(set) => format!("{set} {heading}"),
            None => heading.to_owned(),
        };
        let mut columns = vec![(headed(SCORE), self.order.clone())];
        if self.level.is_some() {
            columns.extend([(headed("from"), self.ends(0)), (headed("to"), self.ends(1))]);
        }
        let coarse = self.coarse.as_ref().map(|scores| self.in_order(scores));
        columns.extend(coarse.map(|scores| (headed("coarse labels"), scores)));
        columns
    }

    /// What stands below that table.
    fn details(&self) -> String {
        let mut text = String::new();
        let set = self.set.as_ref().map_or_else(String::new, |set| format!("{set}: "));
        if let Some(categories) = &self.categories {
            let tables: Vec<(&str, Vec<(String, f64)>)> = categories
                .iter()
                .map(|(name, scores)| (name.as_str(), self.in_order(scores)))
                .collect();
            for tables in tables.chunks(6) {
                let columns: Vec<_> = tables.iter().map(|(n, scores)| (*n, &scores[..])).collect();
                let _ = write!(text, "\n{set}by category\n{}", score_table(&columns));
            }
        }
        if let (Some(worst), Some(metric)) = (&self.worst_classes, &self.worst_by) {
            let _ = writeln!(text, "\n{set}the classes with the lowest {metric}");
            for (class, score) in worst {
                let shown = if is_fraction(metric) { 100.0 * score } else { *score };
                let _ = writeln!(text, "{shown:>8.2}  {class}");
            }
        }
        for (name, values) in &self.lists {
            let first: Vec<String> =
                values.iter().take(5).map(|value| format!("{value:.4}")).collect();
            let more = if values.len() > 5 { " …" } else { "" };
            let (count, first) = (values.len(), first.join(" "));
            let _ = writeln!(text, "\n{set}{name}: {count} values, {first}{more} (all: --json)");
        }
        let interval = self.level.map_or_else(String::new, |level| {
            format!("; from, to: bootstrap interval of {level} over queries")
        });
        let counts = counts_line(&self.counts);
        let _ = writeln!(text, "\n{set}{counts}; distance {}{interval}", self.distance);
        if let Some(counts) = &self.coarse_counts {
            let _ = writeln!(text, "{set}by coarse labels: {}", counts_line(counts));
        }
        text
    }

    /// Scores in the order that was asked for.
    fn in_order(&self, scores: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
        let names = self.order.iter().map(|(name, _)| name);
        names.filter_map(|name| Some((name.clone(), *scores.get(name)?))).collect()
    }

    fn ends(&self, end: usize) -> Vec<(String, f64)> {
        let names = self.order.iter().map(|(name, _)| name);
        names.filter_map(|name| Some((name.clone(), self.intervals.get(name)?[end]))).collect()
    }
}

/// The heading of scores where there is one set.
const SCORE: &str = "score in %";

/// Several query sets.
#[derive(Serialize)]
struct Several<'a> {
    sets: &'a [Answer],
}

/// Prints what is told of one query set, or of several side by side.
pub(super) fn print_answers(answers: &[Answer], json: bool, csv: bool) -> Result<(), Failure> {
    if json {
        return match answers {
            [one] => print_json(one),
            sets => print_json(&Several { sets }),
        };
    }
    if csv {
        let mut text = String::from("set,metric,value,low,high\n");
        for answer in answers {
            answer.csv(&mut text);
        }
        return print(&text);
    }
    let columns: Vec<_> = answers.iter().flat_map(Answer::columns).collect();
    let columns: Vec<_> = columns.iter().map(|(name, of)| (name.as_str(), &of[..])).collect();
    let details: String = answers.iter().map(Answer::details).collect();
    print(&(score_table(&columns) + &details))
}
