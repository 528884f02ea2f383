//! What happens in a run, as it is recorded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of `events.jsonl`.
///
/// Epochs count from 1, with 0 for the untrained network; steps count from 0 over the whole run.
/// Numbers that are not finite are written as the strings `"NaN"`, `"inf"` and `"-inf"`, which JSON
/// has no numbers for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// One optimiser step.
    Step {
        /// The epoch it belongs to.
        epoch: u64,
        /// Its number in the run.
        step: u64,
        /// The loss before the step.
        #[serde(with = "real")]
        loss: f64,
        /// The Euclidean norm of the gradient over all parameters.
        #[serde(with = "real")]
        gradient_norm: f64,
        /// The learning rate of the backbone.
        #[serde(with = "real")]
        learning_rate: f64,
        /// How long the step took, loading included.
        #[serde(with = "real")]
        seconds: f64,
        /// How many queries counted.
        queries: usize,
        /// How many queries had no positive in the batch and were left out.
        lone_queries: usize,
        /// How many broken images were skipped on the way.
        skipped_images: usize,
    },
    /// The end of an epoch's training.
    Epoch {
        /// Which one.
        epoch: u64,
        /// How many steps it had.
        steps: u64,
        /// The mean of their losses.
        #[serde(with = "real")]
        mean_loss: f64,
        /// How long it took, evaluations excluded.
        #[serde(with = "real")]
        seconds: f64,
        /// How many images it trained on per second.
        #[serde(with = "real")]
        images_per_second: f64,
    },
    /// A split was measured.
    Evaluation {
        /// After which epoch; 0 before training.
        epoch: u64,
        /// Which split: `"test"`, `"val"`, `"train"`; ASCII letters, digits and `-` only.
        split: String,
        /// The scores, in the order in which they are to be shown.
        scores: Vec<Score>,
        /// What was measured and is a list of numbers, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        lists: BTreeMap<String, Vec<f64>>,
        /// What was counted on the way: images, classes, queries without a positive.
        counts: BTreeMap<String, usize>,
        /// How long it took.
        #[serde(with = "real")]
        seconds: f64,
    },
    /// A checkpoint is about to be written.
    Checkpoint {
        /// The epoch in which.
        epoch: u64,
        /// How many steps were done: the number of the next one.
        step: u64,
        /// `"last"` or `"best"`.
        kind: String,
        /// The metric that decides which checkpoint is best.
        metric: String,
        /// Its value.
        #[serde(with = "real")]
        score: f64,
    },
    /// The run went on from a checkpoint.
    Resumed {
        /// The epoch in which.
        epoch: u64,
        /// The first step that is done again or anew.
        step: u64,
    },
    /// Anything a person should know.
    Note {
        /// What.
        message: String,
    },
}

/// One metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The metric, such as `recall@1`.
    pub name: String,
    /// What it belongs to; each family has a table and a plot of its own. ASCII letters, digits,
    /// `-`, `_` and `.` only.
    pub family: String,
    /// The value: a fraction for most metrics.
    #[serde(with = "real")]
    pub value: f64,
    /// Where it may lie, from and to, with other queries of the same kind: 95 % of the means over
    /// queries drawn anew. Where each query has a value of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
}

impl Score {
    /// A metric's value, without an interval.
    pub fn new(name: impl Into<String>, family: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), family: family.into(), value, interval: None }
    }
}

impl Event {
    /// Whether the event may be recorded: the names that become parts of file names must be fit
    /// for that. Returns what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self::Evaluation { split, scores, .. } = self else { return Ok(()) };
        check_name("split", split, "-")?;
        scores.iter().try_for_each(|score| check_name("family", &score.family, "-_."))
    }

    /// Whether the event lies beyond the point at which `next_step` was the next step and
    /// `epoch_done` the last whole epoch. A note has no place of its own: it stays with what
    /// precedes it.
    pub(crate) fn is_after(&self, next_step: u64, epoch_done: u64) -> bool {
        match self {
            Self::Step { step, .. } => *step >= next_step,
            Self::Epoch { epoch, .. } | Self::Evaluation { epoch, .. } => *epoch > epoch_done,
            Self::Checkpoint { step, .. } | Self::Resumed { step, .. } => *step > next_step,
            Self::Note { .. } => false,
        }
    }
}

/// Checks a name that becomes part of a file name.
fn check_name(what: &str, name: &str, extra: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    if (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "{what} = {name:?} is not possible: 1 to 64 ASCII letters, digits and any of \"{extra}\", \
         no leading dot"
    ))
}

/// Reals in JSON, those that are not finite as strings.
mod real {
    use serde::de::{Deserializer, Error, Unexpected, Visitor};
    use serde::ser::Serializer;

    // The signature is serde's.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else {
            serializer.collect_str(value)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_any(Real)
    }

    struct Real;

    impl Visitor<'_> for Real {
        type Value = f64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number, \"NaN\", \"inf\" or \"-inf\"")
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
            Ok(value)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<f64, E> {
            match value {
                "NaN" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                _ => Err(E::invalid_value(Unexpected::Str(value), &self)),
            }
        }
    }
}
