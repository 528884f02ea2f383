//! The events of a run put in order, for tables, plots and summaries.

use std::collections::BTreeMap;

use crate::event::{Event, Score};

/// What a run recorded, in order. Where something was recorded twice (an evaluation that a resumed
/// run did again) the later record counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Every step, by number.
    pub steps: Vec<StepRecord>,
    /// Every epoch, by number.
    pub epochs: Vec<EpochRecord>,
    /// Every evaluation, by epoch, then by the order in which the splits first appeared.
    pub evaluations: Vec<EvaluationRecord>,
    /// The best checkpoint there is.
    pub best: Option<BestCheckpoint>,
    /// How often the run was resumed.
    pub resumed: usize,
    /// What was noted.
    pub notes: Vec<String>,
}

/// One optimiser step; see [`Event::Step`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the event's")]
pub struct StepRecord {
    pub epoch: u64,
    pub step: u64,
    pub loss: f64,
    pub gradient_norm: f64,
    pub learning_rate: f64,
    pub seconds: f64,
    pub queries: usize,
    pub lone_queries: usize,
    pub skipped_images: usize,
}

/// One epoch; see [`Event::Epoch`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the event's")]
pub struct EpochRecord {
    pub epoch: u64,
    pub steps: u64,
    pub mean_loss: f64,
    pub seconds: f64,
    pub images_per_second: f64,
}

/// One evaluation; see [`Event::Evaluation`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the event's")]
pub struct EvaluationRecord {
    pub epoch: u64,
    pub split: String,
    pub scores: Vec<Score>,
    pub counts: BTreeMap<String, usize>,
    pub seconds: f64,
}

/// The best checkpoint; see [`Event::Checkpoint`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are the event's")]
pub struct BestCheckpoint {
    pub epoch: u64,
    pub step: u64,
    pub metric: String,
    pub score: f64,
}

impl EvaluationRecord {
    /// The value of a metric of a family, if it was measured.
    pub fn score(&self, family: &str, name: &str) -> Option<f64> {
        let is_it = |score: &&Score| score.family == family && score.name == name;
        self.scores.iter().find(is_it).map(|score| score.value)
    }

    /// The lower or upper ends of the intervals of a family's scores, where they have any.
    pub fn ends(&self, family: &str, upper: bool) -> Vec<(String, f64)> {
        let scores = self.scores.iter().filter(|score| score.family == family);
        let end = |score: &Score| Some((score.name.clone(), score.interval?[usize::from(upper)]));
        scores.filter_map(end).collect()
    }

    /// The scores of a family, in order.
    pub fn family(&self, family: &str) -> Vec<(String, f64)> {
        let scores = self.scores.iter().filter(|score| score.family == family);
        scores.map(|score| (score.name.clone(), score.value)).collect()
    }
}

impl Records {
    /// Puts events in order.
    pub fn new(events: &[Event]) -> Self {
        let mut sorter = Sorter::default();
        for event in events {
            sorter.add(event);
        }
        sorter.finish()
    }

    /// The evaluated splits, in the order in which they first appeared.
    pub fn splits(&self) -> Vec<&str> {
        first_seen(self.evaluations.iter().map(|evaluation| evaluation.split.as_str()))
    }

    /// The evaluations of a split, by epoch.
    pub fn of_split(&self, split: &str) -> Vec<&EvaluationRecord> {
        self.evaluations.iter().filter(|evaluation| evaluation.split == split).collect()
    }

    /// The metric families measured on a split.
    pub fn families(&self, split: &str) -> Vec<&str> {
        let evaluations = self.of_split(split);
        let scores = evaluations.iter().flat_map(|evaluation| &evaluation.scores);
        first_seen(scores.map(|score| score.family.as_str()))
    }

    /// The metrics of a family measured on a split.
    pub fn metrics(&self, split: &str, family: &str) -> Vec<&str> {
        let evaluations = self.of_split(split);
        let scores = evaluations.iter().flat_map(|evaluation| &evaluation.scores);
        first_seen(scores.filter(|score| score.family == family).map(|score| score.name.as_str()))
    }
}

/// Every name once, in the order of first appearance.
pub(crate) fn first_seen<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    names.filter(|&name| seen.insert(name)).collect()
}

/// Collects events under the key that makes a later record replace an earlier one.
#[derive(Default)]
struct Sorter {
    steps: BTreeMap<u64, StepRecord>,
    epochs: BTreeMap<u64, EpochRecord>,
    /// Each split's rank of appearance.
    splits: BTreeMap<String, usize>,
    evaluations: BTreeMap<(u64, usize), EvaluationRecord>,
    rest: Records,
}

impl Sorter {
    fn add(&mut self, event: &Event) {
        match event.clone() {
            Event::Step {
                epoch,
                step,
                loss,
                gradient_norm,
                learning_rate,
                seconds,
                queries,
                lone_queries,
                skipped_images,
            } => {
                let record = StepRecord {
                    epoch,
                    step,
                    loss,
                    gradient_norm,
                    learning_rate,
                    seconds,
                    queries,
                    lone_queries,
                    skipped_images,
                };
                self.steps.insert(step, record);
            }
            Event::Epoch { epoch, steps, mean_loss, seconds, images_per_second } => {
                let record = EpochRecord { epoch, steps, mean_loss, seconds, images_per_second };
                self.epochs.insert(epoch, record);
            }
            Event::Evaluation { epoch, split, scores, counts, seconds, lists: _ } => {
                let next = self.splits.len();
                let rank = *self.splits.entry(split.clone()).or_insert(next);
                let record = EvaluationRecord { epoch, split, scores, counts, seconds };
                self.evaluations.insert((epoch, rank), record);
            }
            Event::Checkpoint { epoch, step, kind, metric, score } if kind == "best" => {
                self.rest.best = Some(BestCheckpoint { epoch, step, metric, score });
            }
            Event::Checkpoint { .. } => {}
            Event::Resumed { .. } => self.rest.resumed += 1,
            Event::Note { message } => self.rest.notes.push(message),
        }
    }

    fn finish(self) -> Records {
        Records {
            steps: self.steps.into_values().collect(),
            epochs: self.epochs.into_values().collect(),
            evaluations: self.evaluations.into_values().collect(),
            ..self.rest
        }
    }
}
