//! An evaluation as text, JSON or CSV.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pnp_ranking::metric::{Evaluation, Interval};
use pnp_run::{is_fraction, score_table};
use serde::Serialize;

use super::super::{counts_line, print, print_json};
use crate::failure::Failure;

/// Everything that is told.
#[derive(Serialize)]
pub(super) struct Answer {
    metrics: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    intervals: BTreeMap<String, [f64; 2]>,
    /// The share of resampled means that the intervals hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<f64>,
    /// The scores by the coarser labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    coarse: Option<BTreeMap<String, f64>>,
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
    pub(super) fn new(evaluation: &Evaluation, distance: String) -> Self {
        Self {
            metrics: evaluation.scores.iter().cloned().collect(),
            intervals: BTreeMap::new(),
            level: None,
            coarse: None,
            categories: None,
            worst_classes: None,
            worst_by: None,
            counts: BTreeMap::from(evaluation.counts.named()),
            distance,
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

    pub(super) fn print(&self, json: bool, csv: bool) -> Result<(), Failure> {
        if json {
            return print_json(self);
        }
        if csv { print(&self.csv()) } else { print(&self.text()) }
    }

    /// A line for each metric, and for each of every category.
    fn csv(&self) -> String {
        let mut text = String::from("set,metric,value,low,high\n");
        for (name, value) in &self.order {
            let ends = self.intervals.get(name);
            let [low, high] =
                ends.map_or([String::new(), String::new()], |e| e.map(|x| x.to_string()));
            let _ = writeln!(text, "all,{name},{value},{low},{high}");
        }
        let coarse = self.coarse.iter().map(|scores| ("coarse".to_owned(), scores));
        let categories = self.categories.iter().flatten();
        let categories = categories.map(|(name, scores)| (format!("category {name}"), scores));
        for (set, scores) in coarse.chain(categories) {
            let set = if set.contains([',', '"', '\n']) {
                format!("\"{}\"", set.replace('"', "\"\""))
            } else {
                set
            };
            for (name, value) in scores {
                let _ = writeln!(text, "{set},{name},{value},,");
            }
        }
        text
    }

    fn text(&self) -> String {
        let in_order = |scores: &BTreeMap<String, f64>| -> Vec<(String, f64)> {
            let names = self.order.iter().map(|(name, _)| name);
            names.filter_map(|name| Some((name.clone(), *scores.get(name)?))).collect()
        };
        let low: Vec<(String, f64)> = self.ends(0);
        let high: Vec<(String, f64)> = self.ends(1);
        let mut columns: Vec<(&str, &[(String, f64)])> = vec![("score in %", &self.order)];
        if self.level.is_some() {
            columns.extend([("from", &low[..]), ("to", &high[..])]);
        }
        let coarse = self.coarse.as_ref().map(in_order);
        columns.extend(coarse.as_deref().map(|scores| ("coarse labels", scores)));
        let mut text = score_table(&columns);
        if let Some(categories) = &self.categories {
            let tables: Vec<(&str, Vec<(String, f64)>)> =
                categories.iter().map(|(name, scores)| (name.as_str(), in_order(scores))).collect();
            for tables in tables.chunks(6) {
                let columns: Vec<_> = tables.iter().map(|(n, scores)| (*n, &scores[..])).collect();
                let _ = write!(text, "\nby category\n{}", score_table(&columns));
            }
        }
        if let (Some(worst), Some(metric)) = (&self.worst_classes, &self.worst_by) {
            let _ = writeln!(text, "\nthe classes with the lowest {metric}");
            for (class, score) in worst {
                let shown = if is_fraction(metric) { 100.0 * score } else { *score };
                let _ = writeln!(text, "{shown:>8.2}  {class}");
            }
        }
        let interval = self.level.map_or_else(String::new, |level| {
            format!("; from, to: bootstrap interval of {level} over queries")
        });
        let counts = counts_line(&self.counts);
        let _ = writeln!(text, "\n{counts}; distance {}{interval}", self.distance);
        text
    }

    fn ends(&self, end: usize) -> Vec<(String, f64)> {
        let names = self.order.iter().map(|(name, _)| name);
        names.filter_map(|name| Some((name.clone(), self.intervals.get(name)?[end]))).collect()
    }
}
