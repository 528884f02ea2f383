//! The records as plots: SVG, the same bytes for the same records.

mod axis;
mod chart;
mod curve;
mod functions;

use axis::{Kind, drawable};
use chart::{Chart, Marker, PALETTE, Series};
use curve::{Point, smooth, thin, window};
use plotters::style::RGBColor;

pub use functions::{FunctionPanel, function_curves};

use crate::error::RunError;
use crate::records::{Records, StepRecord};
use crate::score_table::is_fraction;

/// Into how many stretches a curve over steps is thinned: about as many as a plot has pixels.
const STRETCHES: usize = 640;
/// Up to how many epochs each has its marker.
const MARKED_EPOCHS: usize = 40;
/// The first colour of the palette, far lighter: for what a curve is smoothed from.
const PALE: RGBColor = RGBColor(0xb3, 0xd1, 0xe6);

/// Every plot: its file name and its SVG.
pub(crate) fn all(records: &Records) -> Result<Vec<(String, String)>, RunError> {
    let mut plots = vec![
        ("loss.svg".to_owned(), steps(records, "Training loss", "loss", |s| s.loss, true)),
        (
            "learning_rate.svg".into(),
            steps(records, "Learning rate", "learning rate", |s| s.learning_rate, false),
        ),
        (
            "gradient_norm.svg".into(),
            steps(records, "Gradient norm", "gradient norm (L2)", |s| s.gradient_norm, true),
        ),
    ];
    for split in records.splits() {
        for family in records.families(split) {
            let metrics = records.metrics(split, family);
            let (scores, others): (Vec<&str>, Vec<&str>) =
                metrics.into_iter().partition(|metric| is_fraction(metric));
            for (what, metrics) in [("scores", scores), ("structure", others)] {
                if !metrics.is_empty() {
                    let chart = epochs(records, split, family, &metrics, what == "scores");
                    plots.push((format!("{what}_{split}_{family}.svg"), chart));
                }
            }
        }
    }
    plots.into_iter().map(|(name, chart)| Ok((name, chart.svg()?))).collect()
}

/// A quantity over the steps; one that is `noisy` has a smoothed curve over it.
fn steps(
    records: &Records,
    title: &str,
    y_label: &str,
    value: fn(&StepRecord) -> f64,
    noisy: bool,
) -> Chart {
    let point = |step: &StepRecord| (step.step as f64, drawable(value(step)));
    let points: Vec<Point> = records.steps.iter().map(point).collect();
    let gaps = points.iter().filter(|(_, y)| y.is_nan()).count();
    let window = window(points.len());
    let curve = |name: String, points, color, width| Series {
        name,
        points,
        color,
        width,
        marker: Marker::None,
    };
    let raw = thin(&points, STRETCHES);
    let series = if noisy && window > 1 {
        let smoothed = smooth(&points, window, STRETCHES);
        vec![
            curve("each step".into(), raw, PALE, 1.0),
            curve(format!("mean of {window} steps"), smoothed, PALETTE[0], 2.0),
        ]
    } else {
        vec![curve(y_label.to_owned(), raw, PALETTE[0], 1.75)]
    };
    Chart {
        title: title.into(),
        subtitle: if gaps == 0 { String::new() } else { format!("not a number at {gaps} steps") },
        x_label: step_label(records),
        y_label: y_label.into(),
        y_kind: Kind::Real,
        series,
        mark: None,
    }
}

/// The horizontal axis of steps, with an epoch's length where all have the same.
fn step_label(records: &Records) -> String {
    match records.epochs.as_slice() {
        [first, rest @ ..] if rest.iter().all(|epoch| epoch.steps == first.steps) => {
            format!("step ({} per epoch)", first.steps)
        }
        _ => "step".into(),
    }
}

/// Metrics over the epochs; `fractions` in percent.
fn epochs(
    records: &Records,
    split: &str,
    family: &str,
    metrics: &[&str],
    fractions: bool,
) -> Chart {
    let evaluations = records.of_split(split);
    let scale = if fractions { 100.0 } else { 1.0 };
    let series = metrics.iter().enumerate().map(|(i, metric)| {
        let value = |e: &crate::records::EvaluationRecord| {
            e.score(family, metric).map_or(f64::NAN, |value| drawable(scale * value))
        };
        Series {
            name: (*metric).to_owned(),
            points: evaluations.iter().map(|e| (e.epoch as f64, value(e))).collect(),
            color: PALETTE[i % PALETTE.len()],
            width: 1.75,
            marker: marker(i, evaluations.len()),
        }
    });
    let mark = |best: &crate::records::BestCheckpoint| {
        (best.epoch as f64, format!("best {}: epoch {}", best.metric, best.epoch))
    };
    Chart {
        title: format!("{} on {split}", if fractions { "Scores" } else { "Structure" }),
        subtitle: family.to_owned(),
        x_label: "epoch (0: untrained)".into(),
        y_label: if fractions { "score (%)" } else { "value" }.into(),
        y_kind: if fractions { Kind::Percent } else { Kind::Real },
        series: series.collect(),
        mark: records.best.as_ref().map(mark),
    }
}

/// The marker of the `i`-th curve: colours come again after the palette's last, with another one.
fn marker(i: usize, epochs: usize) -> Marker {
    const MARKERS: [Marker; 4] = [Marker::Dot, Marker::Ring, Marker::Square, Marker::Diamond];
    match i / PALETTE.len() {
        0 if epochs > MARKED_EPOCHS => Marker::None,
        round => MARKERS[round % MARKERS.len()],
    }
}
