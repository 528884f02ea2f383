//! Tables, plots and the summary made from a run.

mod common;

use std::fs;
use std::path::Path;

use common::{checkpoint, evaluation, events, run, step};
use pnp_run::{Event, RunFolder, Score, Status};

/// The rows of a table, its heading first.
fn table(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
}

/// Checks that the elements of an SVG document open and close in order.
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').expect("every tag ends");
        assert!(!text.contains('>'), "{text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split_whitespace().next().unwrap().trim_end_matches('/');
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(svg.starts_with("<svg ") && !svg.contains("NaN") && !svg.contains("inf"));
}

fn plots(run: &RunFolder) -> Vec<(String, String)> {
    run.write_plots().unwrap();
    let entries = fs::read_dir(run.path().join("plots")).unwrap();
    let mut plots: Vec<(String, String)> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    plots.sort();
    plots
}

#[test]
fn tables_hold_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = events(2);
    events.push(Event::Evaluation {
        epoch: 3,
        split: "val".into(),
        scores: vec![
            Score::new("recall@1", "cosine", f64::NAN),
            Score::new("a,\"b\"", "cosine", 1e-9),
        ],
        lists: [].into(),
        counts: [].into(),
        seconds: 0.0,
    });
    let run = run(&folder.path().join("run"), &events);
    run.write_tables().unwrap();
    let csv = run.path().join("csv");

    let train = table(&csv.join("train.csv"));
    assert_eq!(train.len(), 21);
    assert_eq!(train[0][..4], ["epoch", "step", "loss", "gradient_norm"]);
    assert_eq!(train[3][2].parse::<f64>().unwrap().to_bits(), (1.0_f64 / 3.0).to_bits());
    assert_eq!(train[20], ["2", "19", "0.05", "19.1", "1e-5", "0.25", "32", "1", "0"]);
    let epochs = table(&csv.join("epochs.csv"));
    assert_eq!(
        epochs[1..],
        [["1", "10", "0.5", "2.5", "128.0"], ["2", "10", "0.5", "2.5", "128.0"]]
    );
    let cosine = table(&csv.join("val_cosine.csv"));
    assert_eq!(cosine[0], ["epoch", "recall@1", "map@r", "dists@intra", "a,\"b\""]);
    assert_eq!(cosine[1], ["0", "0.5", "0.25", "0.3", ""]);
    assert_eq!(cosine[4], ["3", "NaN", "", "", "1e-9"]);
    let clustering = table(&csv.join("val_clustering.csv"));
    assert_eq!(clustering.len(), 4, "an epoch without the family has no row");
}

#[test]
fn plots_are_well_formed_and_name_their_series() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("run"), &events(3));
    let plots = plots(&run);
    let names: Vec<&str> = plots.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "gradient_norm.svg",
            "learning_rate.svg",
            "loss.svg",
            "scores_val_clustering.svg",
            "scores_val_cosine.svg",
            "structure_val_cosine.svg",
        ]
    );
    for (_, svg) in &plots {
        assert_well_formed(svg);
    }
    for (plot, texts) in [
        (1, &["Learning rate", "×10⁻⁵"][..]),
        (2, &["Training loss", "each step", "mean of 3", "step (10 per epoch)"]),
        (4, &["recall@1", "map@r", "score (%)", "best recall@1: epoch 3"]),
        (5, &["Structure on val", "value"]),
    ] {
        for text in texts {
            assert!(plots[plot].1.contains(text), "{} lacks {text}", plots[plot].0);
        }
    }
}

#[test]
fn the_same_events_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| {
        let run = run(&folder.path().join(name), &events(3));
        run.write_tables().unwrap();
        (plots(&run), fs::read(run.path().join("csv/train.csv")).unwrap())
    };
    assert_eq!(read("a"), read("b"));
}

#[test]
fn plots_stand_any_data() {
    let folder = tempfile::tempdir().unwrap();
    let with = |step_number: u64, value: f64| match step(step_number) {
        Event::Step { epoch, step, seconds, queries, lone_queries, skipped_images, .. } => {
            let (loss, gradient_norm, learning_rate) = (value, value, value);
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
            }
        }
        other => other,
    };
    let named = Event::Evaluation {
        epoch: 0,
        split: "test".into(),
        scores: vec![Score::new("a<b&\"c\">", "odd", 0.5), Score::new("none", "odd", f64::NAN)],
        lists: [].into(),
        counts: [].into(),
        seconds: 0.0,
    };
    let cases: Vec<Vec<Event>> = vec![
        vec![],
        vec![with(0, 1.0), evaluation(0)],
        (0..30).map(|i| with(i, 0.25)).collect(),
        (0..30).map(|i| with(i, if i % 3 == 0 { f64::NAN } else { i as f64 })).collect(),
        (0..30).map(|i| with(i, f64::NAN)).collect(),
        vec![with(0, f64::INFINITY), with(1, f64::MAX), with(2, f64::MIN), with(3, 5e-324)],
        vec![with(u64::MAX, 0.0), with(0, -1.0)],
        vec![named],
    ];
    for (i, events) in cases.iter().enumerate() {
        let run = run(&folder.path().join(i.to_string()), events);
        let plots = plots(&run);
        assert!(plots.len() >= 3);
        for (_, svg) in &plots {
            assert_well_formed(svg);
        }
        run.write_tables().unwrap();
        run.write_summary().unwrap();
    }
}

#[test]
fn a_long_run_has_small_plots() {
    let folder = tempfile::tempdir().unwrap();
    let noisy = |i: u64| match step(i) {
        Event::Step { epoch, step, seconds, queries, lone_queries, skipped_images, .. } => {
            let loss = 1.0 + (i * 7_919 % 1_000) as f64 / 1_000.0;
            Event::Step {
                epoch,
                step,
                loss,
                gradient_norm: loss,
                learning_rate: loss,
                seconds,
                queries,
                lone_queries,
                skipped_images,
            }
        }
        other => other,
    };
    let events: Vec<Event> = (0..100_000).map(noisy).collect();
    let run = run(&folder.path().join("run"), &events);
    for (name, svg) in plots(&run) {
        assert!(svg.len() < 100_000, "{name} has {} bytes", svg.len());
    }
}

#[test]
fn the_summary_says_what_matters() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = events(2);
    events.extend([step(20), Event::Resumed { epoch: 3, step: 21 }, evaluation(3)]);
    events.push(Event::Note { message: "one image was broken".into() });
    let mut run = run(&folder.path().join("first"), &events);
    run.set_status(Status::Finished).unwrap();
    let path = run.write_summary().unwrap();
    let text = fs::read_to_string(path).unwrap();
    for line in [
        "first on emoji: finished",
        "started      2023-11-14 22:13:20 UTC",
        "device       CPU",
        "seed         1",
        "data set     emoji, digest 5f2c",
        "trained      2 whole epochs, 21 steps, resumed once",
        "time         5.2 s training, 6.0 s evaluating",
        "best         epoch 2 by recall@1 = 70.00%",
        "selected on  validation",
        "loss  PNP-D_q",
        "metric       untrained  best (epoch 2)  last (epoch 3)",
        "recall@1        50.00%          70.00%          80.00%",
        "dists@intra     0.3000          0.3000          0.3000",
        "val: lone queries      3",
        "- one image was broken",
    ] {
        assert!(text.lines().any(|l| l == line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn the_summary_says_when_the_best_epoch_was_picked_on_test() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run(&folder.path().join("run"), &[checkpoint("best", 1)]);
    run.update(|info| info.selected_on = "test".into()).unwrap();
    let text = fs::read_to_string(run.write_summary().unwrap()).unwrap();
    assert!(text.contains("Selected on test") && text.contains("selected on  test"), "{text}");
}
