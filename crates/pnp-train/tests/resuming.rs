//! Trainings that were stopped, killed or finished go on to the same bits, and nothing that would make
//! them other runs is accepted.

mod common;

use std::fs;
use std::path::Path;

use common::runs::{assert_same, resume, train, train_and_stop};
use pnp_model::weights;
use pnp_run::{Event, RunFolder, Status};
use pnp_train::{Optimizer, StopFlag, TrainConfig, TrainError};

#[test]
fn memory_and_proxies_resume_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = |name: &str| TrainConfig {
        savename: name.into(),
        loss: "PNP:1.0,proxy-anchor:0.5".into(),
        memory: 20,
        memory_start: 2,
        ..common::config(folder.path())
    };
    let whole = train(config("whole")).unwrap();
    for steps in [1, 4, 6] {
        let stopped = train_and_stop(config(&format!("stopped_{steps}")), steps, 99);
        assert!(!stopped.finished);
        assert!(resume(&stopped.run, "", &StopFlag::default()).unwrap().finished);
        assert_same(&whole.run, &stopped.run);
    }
    let objective = whole.run.join("checkpoints/last/objective.safetensors");
    let objective = weights::read(&objective).unwrap();
    assert_eq!(objective["proxies"].shape, [6, 16]);
    assert_eq!(objective["memory.embeddings"].shape, [20, 16]);
}

#[test]
fn a_sampler_that_goes_by_class_means_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = |name: &str| TrainConfig {
        savename: name.into(),
        data_sampler: "hard_class".into(),
        hard_neighbours: 1,
        hard_images: 2,
        samples_per_class: 2,
        ..common::config(folder.path())
    };
    let whole = train(config("whole")).unwrap();
    let last = |run: &Path| fs::read(run.join("checkpoints/last/sampler.safetensors")).unwrap();
    // In the middle of an epoch before and after there are means, and in the evaluation of the
    // training split that gives them.
    for (steps, evaluations) in [(1, 99), (4, 99), (7, 99), (99, 2), (99, 4)] {
        let stopped =
            train_and_stop(config(&format!("stopped_{steps}_{evaluations}")), steps, evaluations);
        assert!(!stopped.finished);
        assert!(resume(&stopped.run, "", &StopFlag::default()).unwrap().finished);
        assert_same(&whole.run, &stopped.run);
        assert_eq!(last(&whole.run), last(&stopped.run));
    }
    let means = whole.run.join("checkpoints/last/sampler.safetensors");
    assert_eq!(weights::read(&means).unwrap()["class_means"].shape, [6, 16]);
    // The means decide: from the second epoch on it is another training than by m_per_class.
    let plain = TrainConfig { data_sampler: "m_per_class".into(), ..config("plain") };
    let plain = train(plain).unwrap();
    let losses = |run: &Path| {
        let steps = RunFolder::open(run).unwrap().records().unwrap().steps;
        steps.into_iter().map(|step| step.loss).collect::<Vec<_>>()
    };
    let (hard, plain) = (losses(&whole.run), losses(&plain.run));
    assert_eq!(hard[..3], plain[..3]);
    assert_ne!(hard[3..], plain[3..]);
}

#[test]
fn an_extended_run_records_each_split_once_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data_with_roles(folder.path(), 12);
    for folds in [0, 2] {
        let config = TrainConfig {
            savename: format!("folds_{folds}"),
            folds,
            n_epochs: 1,
            samples_per_class: 4,
            batch_size: 8,
            // Nothing gets better: the first epoch stays the best one.
            lr: 1e-12,
            ..common::config(folder.path())
        };
        let first = train(config).unwrap();
        let extended = resume(&first.run, "n_epochs = 2", &StopFlag::default()).unwrap();
        assert_eq!((first.best_epoch, extended.best_epoch), (Some(1), Some(1)));
        assert_eq!(first.trained, extended.trained);
        let events = RunFolder::open(&extended.run).unwrap().events().unwrap();
        let mut measured: Vec<(String, u64)> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Evaluation { split, epoch, .. } => Some((split, epoch)),
                _ => None,
            })
            .collect();
        measured.sort();
        let all = measured.len();
        measured.dedup();
        assert_eq!(measured.len(), all, "{measured:?}");
        assert!(measured.contains(&("test-all".to_owned(), 1)), "{measured:?}");
    }
}

#[test]
fn changed_super_classes_are_other_data_to_a_run_that_draws_by_them() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let manifest = folder.path().join("manifest.csv");
    let plain = fs::read_to_string(&manifest).unwrap();
    let with_groups = |second: u32| {
        let lines = plain.lines().enumerate().map(|(line, text)| match line {
            0 => format!("{text},super_label\n"),
            _ if line <= 24 => format!("{text},1\n"),
            _ if line <= 40 => format!("{text},2\n"),
            _ => format!("{text},{second}\n"),
        });
        fs::write(&manifest, lines.collect::<String>()).unwrap();
    };
    for (sampler, is_other) in [("hierarchical", true), ("m_per_class", false)] {
        with_groups(2);
        let config = TrainConfig {
            savename: sampler.into(),
            data_sampler: sampler.into(),
            ..common::config(folder.path())
        };
        let stopped = train_and_stop(config, 1, 99);
        with_groups(1);
        let resumed = resume(&stopped.run, "", &StopFlag::default());
        match resumed {
            Err(TrainError::OtherData { .. }) => assert!(is_other, "{sampler}"),
            Ok(outcome) => assert!(outcome.finished && !is_other, "{sampler}"),
            Err(error) => panic!("{sampler}: {error}"),
        }
    }
}

#[test]
fn a_checkpoint_without_its_class_means_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig {
        data_sampler: "hard_class".into(),
        hard_neighbours: 1,
        samples_per_class: 2,
        ..common::config(folder.path())
    };
    let stopped = train_and_stop(config, 4, 99);
    let means = stopped.run.join("checkpoints/last/sampler.safetensors");
    let other = weights::Array { shape: vec![1], values: vec![0.0] };
    let other = weights::StateDict::from([("other".to_owned(), other)]);
    fs::write(&means, weights::to_safetensors(&other)).unwrap();
    let error = resume(&stopped.run, "", &StopFlag::default()).unwrap_err().to_string();
    assert!(error.contains("sampler.safetensors") && error.contains("class_means"), "{error}");
    fs::remove_file(&means).unwrap();
    let error = resume(&stopped.run, "", &StopFlag::default()).unwrap_err().to_string();
    assert!(error.contains("sampler.safetensors"), "{error}");
}

#[test]
fn a_checkpoint_whose_memory_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig { memory: 10, ..common::config(folder.path()) };
    let stopped = train_and_stop(config, 4, 99);
    let last = stopped.run.join("checkpoints/last");
    let path = last.join("objective.safetensors");
    let bytes = fs::read(&path).unwrap();
    for (damaged, message) in [
        (&bytes[..bytes.len() / 2], "objective.safetensors"),
        (&fs::read(last.join("model.safetensors")).unwrap()[..], "'memory.labels' is missing"),
    ] {
        fs::write(&path, damaged).unwrap();
        let error = resume(&stopped.run, "", &StopFlag::default()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let error = resume(&stopped.run, "", &StopFlag::default()).unwrap_err().to_string();
    assert!(error.contains("objective.safetensors"), "{error}");
    fs::write(&path, bytes).unwrap();
    assert!(resume(&stopped.run, "", &StopFlag::default()).unwrap().finished);
}

#[test]
fn a_stopped_and_resumed_training_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    for optim in [Optimizer::Adam, Optimizer::Sgd] {
        let config = |name: &str| TrainConfig {
            savename: format!("{name}_{optim:?}"),
            optim,
            ..common::config(folder.path())
        };
        let whole = train(config("whole")).unwrap();
        // An epoch has 3 steps: in the middle of an epoch, after an epoch, in the first
        // evaluation, and in the evaluation after the first epoch.
        for (steps, evaluations) in [(4, 99), (6, 99), (99, 1), (99, 2)] {
            let name = format!("stopped_{steps}_{evaluations}");
            let stopped = train_and_stop(config(&name), steps, evaluations);
            assert!(!stopped.finished);
            let status = RunFolder::open(&stopped.run).unwrap().info().status.clone();
            assert_eq!(status, Status::Interrupted);
            let resumed = resume(&stopped.run, "", &StopFlag::default()).unwrap();
            assert!(resumed.finished);
            assert_eq!(resumed.trained, whole.trained);
            assert_same(&whole.run, &stopped.run);
        }
    }
}

#[test]
fn a_killed_training_goes_on_from_its_last_checkpoint_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let whole = train(common::config(folder.path())).unwrap();
    let config = TrainConfig { savename: "killed".into(), ..common::config(folder.path()) };
    let stopped = train_and_stop(config, 6, 99);
    // As a kill leaves it: events beyond the checkpoint, the last one torn.
    let events = stopped.run.join("events.jsonl");
    let mut text = fs::read_to_string(&events).unwrap();
    let step = text.lines().find(|line| line.contains("\"step\":5")).unwrap().to_owned();
    text += &step.replace("\"step\":5", "\"step\":6").replace("\"epoch\":2", "\"epoch\":3");
    text += "\n{\"event\":\"step\",\"epo";
    fs::write(&events, text).unwrap();
    resume(&stopped.run, "", &StopFlag::default()).unwrap();
    assert_same(&whole.run, &stopped.run);
}

#[test]
fn an_optimiser_state_of_what_is_frozen_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let run = train_and_stop(common::config(folder.path()), 2, 99).run;
    let path = run.join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("freeze_until = \"stem\"\n{text}")).unwrap();
    let error = resume(&run, "", &StopFlag::default()).unwrap_err().to_string();
    assert!(error.contains("'features.0.") && error.contains("nothing that is trained"), "{error}");
}

#[test]
fn more_epochs_may_be_asked_for_but_nothing_that_changes_the_run() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig { n_epochs: 1, ..common::config(folder.path()) };
    let run = train(config).unwrap().run;
    let go = |overrides: &str| resume(&run, overrides, &StopFlag::default());
    assert!(matches!(go(""), Err(TrainError::Finished(_))));
    assert!(matches!(go("lr = 0.5"), Err(TrainError::FixedByRun(flag)) if flag == "lr"));
    assert!(go("n_epochs = 3\nworkers = 2").unwrap().finished);
    let whole = train(TrainConfig { savename: "whole".into(), ..common::config(folder.path()) });
    assert_same(&run, &whole.unwrap().run);
}

#[test]
fn a_run_of_another_data_set_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let stopped = train_and_stop(common::config(folder.path()), 2, 99);
    let before = fs::read(stopped.run.join("events.jsonl")).unwrap();
    let manifest = folder.path().join("manifest.csv");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("class 3,", "class 5,")).unwrap();
    let error = resume(&stopped.run, "", &StopFlag::default()).unwrap_err();
    assert!(matches!(error, TrainError::OtherData { .. }), "{error}");
    assert_eq!(fs::read(stopped.run.join("events.jsonl")).unwrap(), before);
}

#[test]
fn a_resumed_run_needs_its_pretrained_weights_no_more_and_keeps_its_summary_true() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let file = folder.path().join("w.safetensors");
    fs::write(&file, weights::to_safetensors(&weights::builtin().unwrap())).unwrap();
    let config =
        TrainConfig { weights: file.display().to_string(), ..common::config(folder.path()) };
    let run = train_and_stop(config, 4, 99).run;
    fs::remove_file(&file).unwrap();
    let error = resume(&run, "n_epochs = 1", &StopFlag::default()).unwrap_err().to_string();
    assert!(error.contains("n_epochs = 1") && error.contains("epoch 2"), "{error}");
    assert!(resume(&run, "n_epochs = 4", &StopFlag::default()).unwrap().finished);
    let info = RunFolder::open(&run).unwrap().info().clone();
    let setting = |name: &str| info.settings.iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert_eq!(setting("epochs"), "4");
    assert_eq!(setting("weights"), file.display().to_string());
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let whole = train(common::config(folder.path())).unwrap();
    let config = TrainConfig { savename: "killed".into(), ..common::config(folder.path()) };
    let run = train_and_stop(config, 99, 1).run;
    fs::remove_dir_all(run.join("checkpoints/last")).unwrap();
    assert!(resume(&run, "", &StopFlag::default()).unwrap().finished);
    assert_same(&whole.run, &run);
}

#[test]
fn a_run_folder_that_is_not_whole_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let run = train_and_stop(common::config(folder.path()), 4, 99).run;
    let events = run.join("events.jsonl");
    let good = fs::read_to_string(&events).unwrap();
    let lines: Vec<&str> = good.lines().filter(|line| !line.contains("\"step\":1,")).collect();
    fs::write(&events, lines.join("\n") + "\n").unwrap();
    let error = resume(&run, "", &StopFlag::default()).unwrap_err().to_string();
    assert!(error.contains("not whole"), "{error}");
    fs::write(&events, good).unwrap();
    fs::remove_dir_all(run.join("checkpoints/best")).unwrap();
    let error = resume(&run, "", &StopFlag::default()).unwrap_err().to_string();
    assert!(error.contains("best"), "{error}");
}

#[test]
fn a_run_whose_data_moved_says_where_to_say_it() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let run = train_and_stop(common::config(folder.path()), 4, 99).run;
    fs::rename(folder.path().join("manifest.csv"), folder.path().join("other.csv")).unwrap();
    let error = resume(&run, "", &StopFlag::default()).unwrap_err();
    assert!(matches!(error, TrainError::DataMoved { .. }), "{error}");
    let moved = folder.path().join("other.csv");
    let overrides = format!("source_path = {:?}", moved.display().to_string());
    assert!(resume(&run, &overrides, &StopFlag::default()).unwrap().finished);
}

#[test]
fn a_run_whose_optimiser_has_not_moved_yet_resumes() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    // Nothing of the training split is readable: the first step has no query and moves nothing.
    let broken = |readable: bool| {
        for class in (0..12).step_by(2) {
            for image in 0..4 {
                let (from, to) = if readable { ("away", "png") } else { ("png", "away") };
                let path = |kind: &str| folder.path().join(format!("{class}_{image}.{kind}"));
                fs::rename(path(from), path(to)).unwrap();
                if !readable {
                    let size = fs::metadata(path("away")).unwrap().len();
                    fs::write(path("png"), vec![0; size as usize]).unwrap();
                }
            }
        }
    };
    broken(false);
    let config =
        TrainConfig { on_bad_image: pnp_train::BadImage::Skip, ..common::config(folder.path()) };
    let run = train_and_stop(config, 1, 99).run;
    broken(true);
    let outcome = resume(&run, "", &StopFlag::default()).unwrap();
    assert!(outcome.finished);
    let records = RunFolder::open(&run).unwrap().records().unwrap();
    assert_eq!((records.steps[0].queries, records.steps[1].queries), (0, 8));
}
