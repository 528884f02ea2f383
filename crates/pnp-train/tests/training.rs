//! Whole trainings on a small data set: what they leave, that threads change nothing, and chunks only
//! by rounding.

mod common;

use std::fs;

use common::runs::{assert_same, resume, train, train_and_stop};
use pnp_model::weights;
use pnp_run::{Event, RunFolder, Status};
use pnp_train::{Model, Observer, Optimizer, Phase, StopFlag, TrainConfig, TrainError};

/// Hears how long each phase is, and how many threads check and pack.
#[derive(Default)]
struct Phases {
    begun: Vec<(Phase, u64)>,
    threads: Vec<usize>,
}

impl Observer for Phases {
    fn begin(&mut self, phase: &Phase, total: u64, _: u64) {
        self.begun.push((phase.clone(), total));
    }
    fn advance(&mut self, _: u64, _: &str) {
        if matches!(self.begun.last(), Some((Phase::Check | Phase::Pack, _))) {
            self.threads.push(rayon::current_num_threads());
        }
    }
    fn end(&mut self) {}
    fn say(&mut self, _: &str) {}
}

#[test]
fn a_training_leaves_a_whole_run_folder_and_a_usable_model() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let outcome = train(common::config(folder.path())).unwrap();
    assert!(outcome.finished);
    assert_eq!(outcome.selected_on, "test");
    assert_eq!(outcome.untrained.len(), 2);
    assert_eq!(outcome.trained.len(), 2);
    let files = [
        "config.toml",
        "run.json",
        "events.jsonl",
        "summary.txt",
        "csv/train.csv",
        "csv/test_recall.csv",
        "plots/loss.svg",
        "plots/learning_rate.svg",
        "plots/gradient_norm.svg",
        "plots/neighbours.png",
    ];
    for file in files {
        assert!(outcome.run.join(file).is_file(), "{file}");
    }
    let run = RunFolder::open(&outcome.run).unwrap();
    assert_eq!(run.info().status, Status::Finished);
    let model = Model::load(&outcome.run, &common::host().device).unwrap();
    assert_eq!(model.network.config().embed_dim, 16);
}

#[test]
fn a_run_in_bfloat16_goes_its_own_way_near_the_other_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let losses = ["f32", "bf16"].map(|precision| {
        let config = TrainConfig {
            precision: precision.into(),
            savename: precision.into(),
            lr: 1e-4,
            ..common::config(folder.path())
        };
        let outcome = train(config).unwrap();
        assert!(outcome.finished);
        let run = RunFolder::open(&outcome.run).unwrap();
        assert!(run.info().settings.contains(&("precision".into(), precision.into())));
        let events = run.events().unwrap().into_iter().filter_map(|event| match event {
            Event::Step { loss, .. } => Some(loss),
            _ => None,
        });
        events.collect::<Vec<f64>>()
    });
    let [single, rounded] = &losses;
    assert_eq!(single.len(), rounded.len());
    assert_ne!(single, rounded);
    assert!((single[0] - rounded[0]).abs() < 0.05, "{losses:?}");
}

#[test]
fn class_means_are_taken_of_a_few_images_of_each_class() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig {
        data_sampler: "hard_class".into(),
        hard_neighbours: 1,
        hard_images: 2,
        samples_per_class: 2,
        ..common::config(folder.path())
    };
    let mut phases = Phases::default();
    pnp_train::train(config, &common::host(), &StopFlag::default(), &mut phases).unwrap();
    let embedded = |name: &str| {
        let of = |(phase, total): &(Phase, u64)| match phase {
            Phase::Embed { split } if split == name => Some(*total),
            _ => None,
        };
        phases.begun.iter().filter_map(of).collect::<Vec<_>>()
    };
    // Two of the four images of each of 6 classes.
    assert_eq!(embedded("train"), [12; 3]);
    assert_eq!(embedded("test"), [24; 5]);
}

#[test]
fn checks_and_packs_take_as_many_threads_as_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    // The second test split has images of the first: they are packed once.
    let manifest = folder.path().join("manifest.csv");
    let text = fs::read_to_string(&manifest).unwrap();
    let again: Vec<_> = text.lines().filter(|l| l.ends_with("test")).collect();
    fs::write(&manifest, format!("{text}{}-all\n", again.join("-all\n"))).unwrap();
    let config = TrainConfig {
        workers: 3,
        pack: Some(folder.path().join("images.pnp-pack")),
        rebuild_pack: true,
        n_epochs: 1,
        ..common::config(folder.path())
    };
    let mut phases = Phases::default();
    pnp_train::train(config, &common::host(), &StopFlag::default(), &mut phases).unwrap();
    assert_eq!(phases.begun[..2], [(Phase::Pack, 48), (Phase::Check, 72)]);
    assert!(phases.threads.len() >= 2 && phases.threads.iter().all(|&threads| threads == 3));
}

#[test]
fn every_augmentation_trains_and_makes_another_training() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let losses = ["base", "adv", "big", "red"].map(|name| {
        let config = TrainConfig {
            savename: name.into(),
            augmentation: name.into(),
            n_epochs: 1,
            ..common::config(folder.path())
        };
        let run = train(config).unwrap().run;
        let steps = RunFolder::open(&run).unwrap().records().unwrap().steps;
        steps.into_iter().map(|step| step.loss).collect::<Vec<_>>()
    });
    let [base, adv, big, red] = losses;
    assert_ne!(base, adv);
    assert_ne!(base, red);
    // The same at the same side.
    assert_eq!(base, big);
}

#[test]
fn shuffle_trains_proxies_on_every_image() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig {
        data_sampler: "shuffle".into(),
        loss: "proxy-anchor".into(),
        n_epochs: 1,
        batch_size: 10,
        samples_per_class: 1,
        ..common::config(folder.path())
    };
    let run = train(config).unwrap().run;
    // 24 images: two batches of 10 and one of 4.
    assert_eq!(RunFolder::open(&run).unwrap().records().unwrap().steps.len(), 3);
}

#[test]
fn the_memory_and_the_proxies_change_what_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let losses = |name: &str, change: &dyn Fn(&mut TrainConfig)| {
        let mut config =
            TrainConfig { savename: name.into(), n_epochs: 1, ..common::config(folder.path()) };
        change(&mut config);
        let run = train(config).unwrap().run;
        let steps = RunFolder::open(&run).unwrap().records().unwrap().steps;
        steps.into_iter().map(|step| step.loss).collect::<Vec<_>>()
    };
    let alone = losses("alone", &|_| {});
    let with_memory = losses("memory", &|config| config.memory = 16);
    // Nothing is in the memory at the first step.
    assert_eq!(alone[0], with_memory[0]);
    assert_ne!(alone[1], with_memory[1]);
    let late = losses("late", &|config| (config.memory, config.memory_start) = (16, 2));
    assert_eq!(alone[..2], late[..2]);
    assert_ne!(alone[2], late[2]);
    let proxies = |rate: f64| {
        move |config: &mut TrainConfig| {
            config.loss = "normalised-softmax".into();
            config.proxy_lr = rate;
        }
    };
    let (slow, fast) = (losses("slow", &proxies(1e-6)), losses("fast", &proxies(0.1)));
    assert_eq!(slow[0], fast[0]);
    assert_ne!(slow[1], fast[1]);
}

#[test]
fn proxies_that_diverge_stop_the_run_before_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig {
        loss: "proxy-anchor".into(),
        optim: Optimizer::Sgd,
        proxy_lr: 1e38,
        n_epochs: 9,
        ..common::config(folder.path())
    };
    let run = config.save_path.join("manifest/run");
    let error = train(config).unwrap_err();
    let TrainError::Diverged { what: "proxy", step: diverged, .. } = error else {
        panic!("{error}")
    };
    // All steps before are on record, and not that one.
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let steps = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let steps = steps.filter(|event| event["event"] == "step");
    let steps: Vec<u64> = steps.filter_map(|event| event["step"].as_u64()).collect();
    assert_eq!(steps, (0..diverged).collect::<Vec<_>>(), "{events}");
    let text = fs::read_to_string(run.join("summary.txt")).unwrap();
    assert!(text.contains("failed"), "{text}");
    let last = run.join("checkpoints/last/objective.safetensors");
    let proxies = &weights::read(&last).unwrap()["proxies"];
    assert!(proxies.values.iter().all(|value| value.is_finite()));
}

#[test]
fn weights_that_diverge_are_not_saved_and_the_step_is_named() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let diverged = |name: &str, batch_size: usize, eval_every: u64| {
        let config = TrainConfig {
            optim: Optimizer::Sgd,
            lr: 1e300,
            n_epochs: 2,
            eval_every,
            batch_size,
            savename: name.into(),
            ..common::config(folder.path())
        };
        let run = config.save_path.join("manifest").join(name);
        let error = train(config).unwrap_err();
        let TrainError::Diverged { what, epoch: 1, step } = error else { panic!("{error}") };
        let last = weights::read(&run.join("checkpoints/last/model.safetensors")).unwrap();
        assert!(last.values().all(|array| array.values.iter().all(|value| value.is_finite())));
        assert!(fs::read_to_string(run.join("summary.txt")).unwrap().contains("failed"));
        (what, step)
    };
    // All images in one step: its weights are first met by the evaluation, or by the checkpoint.
    let all = 24;
    assert_eq!(diverged("evaluated", all, 1), ("embedding", 0));
    assert_eq!(diverged("saved", all, 2), ("weight", 0));
}

#[test]
fn the_number_of_workers_and_threads_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let runs: Vec<_> = [(1, 1), (3, 2), (2, 5)]
        .into_iter()
        .map(|(workers, threads)| {
            let savename = format!("w{workers}t{threads}");
            let config = TrainConfig { workers, savename, ..common::config(folder.path()) };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(config)).unwrap().run
        })
        .collect();
    assert_same(&runs[0], &runs[1]);
    assert_same(&runs[0], &runs[2]);
}

#[test]
fn chunks_change_the_result_by_rounding_at_most() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let steps = |chunk: usize| {
        let savename = format!("chunk{chunk}");
        // Short steps: at 1e-3 this training is chaotic, and by its third step rounding alone has
        // made another one of it (measured with chunks of 1 to 7: losses from 0.09 to 0.34).
        let config =
            TrainConfig { chunk, n_epochs: 1, lr: 1e-6, savename, ..common::config(folder.path()) };
        let run = train(config).unwrap().run;
        RunFolder::open(&run).unwrap().records().unwrap().steps
    };
    let whole = steps(0);
    // Chunks that divide the batch and chunks that leave a rest.
    for chunk in [1, 2, 3, 4, 5, 6, 7] {
        let chunks = steps(chunk);
        assert_eq!(whole.len(), chunks.len());
        for (a, b) in whole.iter().zip(&chunks) {
            let case = format!("{chunk}: {} and {}", a.loss, b.loss);
            assert!((a.loss - b.loss).abs() < 1e-5 * a.loss, "{case}");
            assert!((a.gradient_norm / b.gradient_norm - 1.0).abs() < 1e-3, "{case}");
        }
    }
}

#[test]
fn batch_norm_that_is_not_frozen_moves_its_statistics() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let statistics = |arch: &str| {
        let config = TrainConfig {
            arch: arch.into(),
            savename: arch.into(),
            n_epochs: 1,
            ..common::config(folder.path())
        };
        let run = train(config).unwrap().run;
        let dict = weights::read(&run.join("checkpoints/last/model.safetensors")).unwrap();
        dict["features.0.1.running_mean"].values.clone()
    };
    let builtin = weights::builtin().unwrap()["features.0.1.running_mean"].values.clone();
    assert_eq!(statistics("mobilenet_v2_frozen_normalize"), builtin);
    assert_ne!(statistics("mobilenet_v2_normalize"), builtin);
}

#[test]
fn frozen_stages_keep_their_bits_and_resume_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    // Batch norm goes by the batch where it is not frozen with its stage.
    let config = |name: &str| TrainConfig {
        arch: "mobilenet_v2_normalize".into(),
        freeze_until: Some("stage5".into()),
        savename: name.into(),
        ..common::config(folder.path())
    };
    let whole = train(config("whole")).unwrap().run;
    let before = weights::builtin().unwrap();
    let after = weights::read(&whole.join("checkpoints/last/model.safetensors")).unwrap();
    let is_frozen = |key: &str| {
        let number = key.strip_prefix("features.").and_then(|rest| rest.split('.').next());
        number.is_some_and(|number| number.parse::<usize>().unwrap() <= 13)
    };
    for (key, array) in &after {
        if is_frozen(key) {
            assert_eq!(array, &before[key], "{key}");
        } else if !key.starts_with("classifier.") {
            assert_ne!(array, &before[key], "{key}");
        }
    }
    let state = weights::read(&whole.join("checkpoints/last/optimizer.safetensors")).unwrap();
    assert!(state.keys().any(|key| key.starts_with("features.14.")));
    assert!(state.keys().all(|key| !is_frozen(key)));
    let summary = RunFolder::open(&whole).unwrap().info().settings.clone();
    assert!(summary.contains(&("frozen stages".into(), "up to stage5".into())), "{summary:?}");

    let stopped = train_and_stop(config("stopped"), 2, 99).run;
    let error = resume(&stopped, "freeze_until = 'stem'", &StopFlag::default()).unwrap_err();
    assert!(error.to_string().contains("--freeze-until"), "{error}");
    assert!(resume(&stopped, "", &StopFlag::default()).unwrap().finished);
    assert_same(&whole, &stopped);
}

#[test]
fn with_a_validation_split_the_test_split_is_measured_before_and_after_only() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 20);
    let config =
        TrainConfig { use_tv_split: true, tv_split_perc: 0.6, ..common::config(folder.path()) };
    let outcome = train(config).unwrap();
    assert_eq!(outcome.selected_on, "validation");
    let records = RunFolder::open(&outcome.run).unwrap().records().unwrap();
    let epochs: Vec<u64> = records.of_split("test").iter().map(|r| r.epoch).collect();
    assert_eq!(epochs, [0, outcome.best_epoch.unwrap()]);
    assert_eq!(records.of_split("val").len(), 4);
}

#[test]
fn a_run_folder_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig { n_epochs: 1, ..common::config(folder.path()) };
    train(config.clone()).unwrap();
    let error = train(config).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
}

#[test]
fn a_learning_rate_that_explodes_ends_the_run_with_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig {
        lr: 1e30,
        arch: "mobilenet_v2_frozen".into(),
        ..common::config(folder.path())
    };
    let error = train(config.clone()).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    let run = config.save_path.join("manifest/run");
    let folder = RunFolder::open(&run).unwrap();
    assert!(matches!(folder.info().status, Status::Failed { .. }));
    // The step that was still good is told, with the norm of its gradient.
    let steps = folder.events().unwrap().into_iter().filter_map(|event| match event {
        Event::Step { step, gradient_norm, .. } => Some((step, gradient_norm)),
        _ => None,
    });
    let steps: Vec<(u64, f64)> = steps.collect();
    assert_eq!(steps.len(), 1);
    assert!(steps[0].0 == 0 && steps[0].1 > 0.0 && steps[0].1.is_finite());
    assert!(Model::load(&run, &common::host().device).is_ok());
}

#[test]
fn the_head_has_a_learning_rate_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let moved = |name: &str, fc_lr: f64| {
        let config = TrainConfig {
            lr: 1e-7,
            fc_lr,
            decay: 0.0,
            n_epochs: 1,
            savename: name.into(),
            ..common::config(folder.path())
        };
        let run = train(config).unwrap().run;
        let first = weights::builtin().unwrap();
        let last = weights::read(&run.join("checkpoints/last/model.safetensors")).unwrap();
        let key = "features.0.0.weight";
        let change = first[key].values.iter().zip(&last[key].values).map(|(a, b)| (a - b).abs());
        (change.fold(0.0f32, f32::max), last["classifier.1.bias"].values.clone())
    };
    let (backbone, same) = moved("same", -1.0);
    let (backbone_too, own) = moved("own", 1e-2);
    // Adam's steps are about as long as the rate.
    assert!(backbone < 1e-6 && backbone_too < 1e-6, "{backbone}, {backbone_too}");
    let head = same.iter().zip(&own).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(head > 5e-3, "{head}");
}

#[test]
fn a_hostile_description_of_a_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let config = TrainConfig { n_epochs: 1, ..common::config(folder.path()) };
    let best = train(config).unwrap().run.join("checkpoints/best");
    let path = best.join("model.json");
    let good = fs::read_to_string(&path).unwrap();
    let changes = [
        ("\"embed_dim\": 16", "\"embed_dim\": 99999999999", "embed_dim"),
        ("\"embed_dim\": 16", "\"embed_dim\": 17", "classifier.1.weight"),
        ("\"eval_size\": 32", "\"eval_size\": 4294967295", "4294967295"),
        ("\"eval_resize\": 32", "\"eval_resize\": 0", "0 pixels"),
        ("\"norm_epsilon\": 0.00001", "\"norm_epsilon\": -1.0", "norm_epsilon"),
        ("mobilenet_v2", "resnet18", "missing"),
        ("\"format\": 1", "\"format\": 2", "format"),
        ("{", "[", "model.json"),
    ];
    for (from, to, part) in changes {
        let good = good.replace("1e-5", "0.00001").replace("1e-05", "0.00001");
        assert!(good.contains(from), "{from} is not in {good}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = Model::load(&best, &common::host().device).unwrap_err().to_string();
        assert!(error.contains(part), "'{part}' is not in: {error}");
    }
}

#[test]
fn a_model_file_that_is_named_is_the_one_that_is_used() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let run = train(TrainConfig { n_epochs: 1, ..common::config(folder.path()) }).unwrap().run;
    let best = run.join("checkpoints/best");
    let mut dict = weights::read(&best.join("model.safetensors")).unwrap();
    dict.get_mut("classifier.1.bias").unwrap().values.fill(0.25);
    let other = best.join("other.safetensors");
    fs::write(&other, weights::to_safetensors(&dict)).unwrap();
    let model = Model::load(&other, &common::host().device).unwrap();
    assert_eq!(model.network.parameters().to_state_dict(), dict);
    assert!(Model::load(&best.join("model.json"), &common::host().device).is_err());
}

#[test]
fn queries_search_the_gallery_and_further_test_splits_are_measured_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data_with_roles(folder.path(), 12);
    let config =
        |name: &str| TrainConfig { savename: name.into(), ..common::config(folder.path()) };
    let whole = train(config("whole")).unwrap();
    assert!(whole.run.join("csv/test-all_recall.csv").is_file());
    assert!(whole.run.join("plots/neighbours.png").is_file());
    let records = RunFolder::open(&whole.run).unwrap().records().unwrap();
    // The further split once, for the picked checkpoint; the main one after every epoch.
    let more = records.of_split("test-all");
    assert_eq!(more.len(), 1);
    assert_eq!(Some(more[0].epoch), whole.best_epoch);
    // 6 classes of 4 images, of which one is a query, two are gallery and one is both.
    assert_eq!(more[0].counts["items"], 24);
    let main = records.of_split("test");
    assert_eq!(main.len(), 4);
    assert!(main.iter().all(|test| test.counts["items"] == 12 && test.counts["queries"] == 12));

    // Stopped while the further split is measured, it ends with the same records. An evaluation
    // of 24 images has 3 batches: those of epochs 0 to 3 and the picture come before.
    let stopped = train_and_stop(config("stopped"), u64::MAX, 5 * 3 + 1);
    assert!(!stopped.finished);
    assert!(resume(&stopped.run, "", &StopFlag::default()).unwrap().finished);
    assert_same(&whole.run, &stopped.run);
}

#[test]
fn a_further_test_split_without_a_findable_query_is_refused_before_training() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data_with_roles(folder.path(), 12);
    let config = common::config(folder.path());
    let manifest = &config.source_path;
    let mut text = std::fs::read_to_string(manifest).unwrap();
    let lines: Vec<String> = text
        .lines()
        .filter(|line| line.contains(",test-all"))
        .take(1)
        .map(|line| line.replace(",test-all", ",test-lone"))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    text += &(lines.concat() + "\n");
    std::fs::write(manifest, text).unwrap();
    let error = train(config.clone()).unwrap_err().to_string();
    assert!(error.contains("test-lone"), "{error}");
    assert!(!config.save_path.exists());
}

#[test]
fn a_fold_of_the_classes_picks_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    let outcome =
        train(TrainConfig { folds: 3, fold: 2, ..common::config(folder.path()) }).unwrap();
    assert_eq!(outcome.selected_on, "validation");
    let records = RunFolder::open(&outcome.run).unwrap().records().unwrap();
    let validation = records.of_split("val");
    // 6 training classes of 4 images in 3 parts.
    assert!(validation.iter().all(|val| val.counts["items"] == 8));
    assert_eq!(validation.len(), 4);
}
