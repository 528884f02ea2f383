//! The records of a run: written, read back, torn, broken, rewound.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;

use common::{checkpoint, epoch, evaluation, events, info, run, step};
use pnp_run::{Event, Records, RunError, RunFolder, Score, Status};

#[test]
fn a_run_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results/emoji/first");
    let mut events = events(2);
    events.push(Event::Resumed { epoch: 2, step: 20 });
    events.push(Event::Note { message: "über \"quotes\"\nand lines".into() });
    let mut written = run(&path, &events);
    written.set_status(Status::Failed { message: "out of memory".into() }).unwrap();
    written.update(|info| info.device = "GPU".into()).unwrap();

    let read = RunFolder::open(&path).unwrap();
    assert_eq!(read.events().unwrap(), events);
    assert_eq!(read.config_toml().unwrap(), "seed = 1\n");
    assert_eq!(read.info(), written.info());
    assert_eq!(read.info().device, "GPU");
    assert_eq!(read.info().status, Status::Failed { message: "out of memory".into() });
    assert_eq!(read.checkpoint_dir("best"), path.join("checkpoints/best"));
}

#[test]
fn reals_keep_their_bits_even_those_json_has_no_numbers_for() {
    let folder = tempfile::tempdir().unwrap();
    let values = [0.1 + 0.2, f64::MIN_POSITIVE, -0.0, 1e300, f64::INFINITY, -f64::INFINITY, 3.0];
    let values = values.into_iter().chain([f64::NAN, 2f64.powi(60), 5e-324]);
    let values: Vec<f64> = values.collect();
    let scores = values.iter().map(|&value| Score::new("nmi", "all", value)).collect();
    let (split, counts) = ("test".to_owned(), [].into());
    let event =
        Event::Evaluation { epoch: 0, split, scores, lists: [].into(), counts, seconds: 0.0 };
    let run = run(&folder.path().join("run"), &[event]);
    let events = run.events().unwrap();
    let [Event::Evaluation { scores, .. }] = events.as_slice() else {
        panic!("another event came back");
    };
    let bits = |v: f64| if v.is_nan() { f64::NAN.to_bits() } else { v.to_bits() };
    let read: Vec<u64> = scores.iter().map(|score| bits(score.value)).collect();
    assert_eq!(read, values.into_iter().map(bits).collect::<Vec<_>>());
}

#[test]
fn a_torn_last_line_is_passed_over_and_then_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    drop(run(&path, &[step(0), step(1)]));
    let file = path.join("events.jsonl");
    let whole = fs::read(&file).unwrap();
    OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"event\":\"st").unwrap();

    let mut opened = RunFolder::open(&path).unwrap();
    assert_eq!(opened.events().unwrap(), [step(0), step(1)]);
    assert_ne!(fs::read(&file).unwrap(), whole, "opening changes nothing");
    opened.append(&step(2)).unwrap();
    assert_eq!(opened.events().unwrap(), [step(0), step(1), step(2)]);
    assert!(fs::read(&file).unwrap().starts_with(&whole));
}

#[test]
fn a_broken_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    drop(run(&path, &[step(0), step(1), step(2)]));
    let file = path.join("events.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = [
        "",
        "null",
        "{\"event\":\"step\",\"epoch\":1}",
        "{\"event\":\"dance\"}",
        "{\"event\":\"evaluation\",\"epoch\":0,\"split\":\"../x\",\"scores\":[],\"counts\":{},\
         \"seconds\":0}",
    ];
    for broken in broken {
        fs::write(&file, format!("{}\n{broken}\n{}\n", lines[0], lines[2])).unwrap();
        let error = RunFolder::open(&path).unwrap_err();
        assert!(matches!(error, RunError::Record { line: 2, .. }), "{broken}: {error}");
        assert!(error.to_string().contains("events.jsonl', line 2"), "{error}");
    }
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    drop(run(&path, &[step(0)]));
    let mut file = OpenOptions::new().append(true).open(path.join("events.jsonl")).unwrap();
    file.write_all(&vec![b' '; 3 << 20]).unwrap();
    let error = RunFolder::open(&path).unwrap_err();
    assert!(matches!(error, RunError::Record { line: 2, .. }), "{error}");
}

#[test]
fn events_that_cannot_be_read_back_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run(&folder.path().join("run"), &[]);
    let long = Event::Note { message: "x".repeat(1 << 20) };
    assert!(matches!(run.append(&long), Err(RunError::Unwritable { .. })));
    for (split, family) in [("a/b", "f"), ("", "f"), ("a_b", "f"), ("test", ".."), ("test", "é")] {
        let scores = vec![Score::new("nmi", family, 0.5)];
        let (split, counts) = (split.to_owned(), [].into());
        let event =
            Event::Evaluation { epoch: 0, split, scores, lists: [].into(), counts, seconds: 0.0 };
        assert!(matches!(run.append(&event), Err(RunError::Unwritable { .. })), "{event:?}");
    }
    assert_eq!(run.events().unwrap(), []);
}

#[test]
fn a_resumed_run_has_the_record_of_one_that_ran_through() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let all = events(3);
    // Killed at every place in the third epoch and its end, resumed from the second checkpoint.
    let second = events(2).len();
    for killed_after in second..=all.len() {
        let mut run = run(&path, &all[..killed_after]);
        run.rewind_to(20, 2).unwrap();
        assert_eq!(run.events().unwrap(), events(2));
        for event in &all[second..] {
            run.append(event).unwrap();
        }
        assert_eq!(run.events().unwrap(), all);
        fs::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn rewinding_into_an_epoch_keeps_its_steps() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run(&folder.path().join("run"), &events(2));
    run.rewind_to(15, 1).unwrap();
    let expected: Vec<Event> = events(1).into_iter().chain((10..15).map(step)).collect();
    assert_eq!(run.events().unwrap(), expected);
    run.rewind_to(0, 0).unwrap();
    assert_eq!(run.events().unwrap(), [evaluation(0)]);
}

#[test]
fn a_run_is_never_created_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    drop(run(&path, &[step(0)]));
    let error = RunFolder::create(&path, "", &info()).unwrap_err();
    assert!(matches!(error, RunError::RunExists { .. }));
    let message = error.to_string();
    assert!(message.contains("--resume") && message.contains("--savename"), "{message}");
    assert_eq!(RunFolder::open(&path).unwrap().events().unwrap(), [step(0)]);

    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    RunFolder::create(&other, "", &info()).unwrap();
    fs::remove_file(other.join("run.json")).unwrap();
    let error = RunFolder::create(&other, "", &info()).unwrap_err();
    assert!(matches!(error, RunError::NotEmpty { .. }));
}

#[test]
fn what_is_not_a_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &std::path::Path| RunFolder::open(path).unwrap_err().to_string();
    assert!(refused(&folder.path().join("none")).contains("no such folder"));
    assert!(refused(folder.path()).contains("no run.json"));
    let path = folder.path().join("run");
    drop(run(&path, &[]));
    let json = fs::read_to_string(path.join("run.json")).unwrap();

    fs::write(path.join("run.json"), json.replace("\"seed\": 1", "\"seed\": -1")).unwrap();
    assert!(refused(&path).contains("run.json', line 5"), "{}", refused(&path));
    fs::write(path.join("run.json"), json.replace("\"format\": 1", "\"format\": 9")).unwrap();
    assert!(refused(&path).contains("format 9"));
    fs::write(path.join("run.json"), " ".repeat(2 << 20)).unwrap();
    assert!(refused(&path).contains("at most"));
    fs::remove_file(path.join("events.jsonl")).unwrap();
    assert!(refused(&path).contains("no events.jsonl"));
}

#[test]
fn a_run_has_one_writer_and_any_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let writer = run(&path, &[step(0)]);
    let mut second = RunFolder::open(&path).unwrap();
    assert_eq!(second.events().unwrap(), [step(0)]);
    assert!(matches!(second.append(&step(1)), Err(RunError::Busy { .. })));
    assert!(matches!(second.rewind_to(0, 0), Err(RunError::Busy { .. })));
    drop(writer);
    second.append(&step(1)).unwrap();
    assert_eq!(second.events().unwrap(), [step(0), step(1)]);
}

#[test]
fn records_are_in_order_and_the_later_one_counts() {
    let mut events = events(1);
    events.extend([step(3), step(11), step(10), epoch(1), checkpoint("best", 2)]);
    let mut again = evaluation(1);
    if let Event::Evaluation { scores, .. } = &mut again {
        scores.truncate(1);
    }
    events.push(again);
    let records = Records::new(&events);
    let numbers: Vec<u64> = records.steps.iter().map(|step| step.step).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
    assert_eq!(records.epochs.len(), 1);
    assert_eq!(records.evaluations.len(), 2);
    assert_eq!(records.evaluations[1].scores.len(), 1);
    assert_eq!(records.best.as_ref().map(|best| best.epoch), Some(2));
    assert_eq!(records.splits(), ["val"]);
    assert_eq!(records.families("val"), ["cosine", "clustering"]);
    assert_eq!(records.metrics("val", "cosine"), ["recall@1", "map@r", "dists@intra"]);
}
