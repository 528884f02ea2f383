//! The negatives that a loss pushes hardest, as lines.

use std::fmt::Write as _;

use pnp_ranking::loss::Penalty;
use serde::Serialize;

use super::inputs::Inputs;

/// One negative; places count from 0.
#[derive(Serialize)]
pub(super) struct Line {
    query: usize,
    /// `batch` or `references`.
    among: &'static str,
    negative: usize,
    similarity: f64,
    gradient: f64,
    positives_behind: usize,
    positives: usize,
    negatives_before: usize,
}

pub(super) fn lines(penalties: &[Penalty], inputs: &Inputs) -> Vec<Line> {
    let batch = inputs.batch_places();
    let line = |penalty: &Penalty| {
        let in_batch = penalty.reference < batch;
        Line {
            query: penalty.query,
            among: if in_batch { "batch" } else { "references" },
            negative: penalty.reference - if in_batch { 0 } else { batch },
            similarity: penalty.similarity,
            gradient: penalty.slope,
            positives_behind: penalty.positives_behind,
            positives: penalty.positives,
            negatives_before: penalty.negatives_before,
        }
    };
    penalties.iter().map(line).collect()
}

pub(super) fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no negative is pushed\n".into();
    }
    let mut text = String::from("\nthe negatives with the largest gradient of the loss\n");
    let _ = writeln!(
        text,
        "{:>8} {:>12} {:>11} {:>12}  stands before",
        "query", "negative", "similarity", "gradient"
    );
    for line in lines {
        let negative = match line.among {
            "batch" => line.negative.to_string(),
            _ => format!("ref {}", line.negative),
        };
        let _ = writeln!(
            text,
            "{:>8} {negative:>12} {:>11.6} {:>12.4e}  {} of {} positives ({} other negatives stand \
             before it)",
            line.query,
            line.similarity,
            line.gradient,
            line.positives_behind,
            line.positives,
            line.negatives_before,
        );
    }
    text
}
