//! The program as a user meets it: train, stop, resume, eval, embed, and wrong requests.

mod common;

use std::fs;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use common::{json, pnp, read_npy, root, stderr, stdout, train, write_data};

#[test]
fn a_model_is_trained_scored_and_put_to_use() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let output = train(folder.path(), "first").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in ["untrained", "trained (epoch", "recall@1", "plots/neighbours.png", "summary.txt"] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    assert!(stderr(&output).contains("epoch 2/2"), "{}", stderr(&output));

    let run = "runs/manifest/first";
    let eval = |more: &[&str]| {
        let output = pnp()
            .current_dir(folder.path())
            .args(["eval", run, "--json"])
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        json(&output)
    };
    let scores = eval(&["--metrics", "map@r", "recall@1"]);
    let recorded = fs::read_to_string(folder.path().join(run).join("events.jsonl")).unwrap();
    let map = scores["metrics"]["map@r"].as_f64().unwrap();
    assert!(recorded.contains(&format!("{map}")), "{map} was not recorded: {recorded}");
    assert_eq!(scores["counts"]["items"], 24);
    assert_eq!(eval(&["--split", "train"])["counts"]["items"], 24);
    let by_checkpoint = pnp()
        .current_dir(folder.path())
        .args(["eval", "runs/manifest/first/checkpoints/best/model.safetensors", "--json"])
        .args(["--metrics", "map@r", "recall@1"])
        .output()
        .unwrap();
    assert_eq!(json(&by_checkpoint), scores);

    let output = pnp()
        .current_dir(folder.path())
        .args(["embed", run, "--out", "embedded", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(json(&output)["images"], 24);
    let (shape, values) = read_npy::<f32>(&folder.path().join("embedded/embeddings.npy"));
    assert_eq!(shape, [24, 16]);
    let norm: f32 = values[..16].iter().map(|v| v * v).sum();
    assert!((norm - 1.0).abs() < 1e-5);
    let items = fs::read_to_string(folder.path().join("embedded/items.csv")).unwrap();
    assert!(items.starts_with("row,path,label,class\n0,1_0.png,0,class 1\n"), "{items}");
    let output = pnp()
        .current_dir(folder.path())
        .args(["eval", "--embeddings", "embedded/embeddings.npy"])
        .args(["--labels", "embedded/labels.npy", "--json", "--metrics", "map@r", "recall@1"])
        .output()
        .unwrap();
    assert_eq!(json(&output)["metrics"], scores["metrics"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_step_saves_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let whole = train(folder.path(), "whole").args(["--n-epochs", "40"]).output().unwrap();
    assert!(whole.status.success(), "{}", stderr(&whole));

    let mut command = Process::new(assert_cmd::cargo::cargo_bin("pnp"));
    let prepared = train(folder.path(), "stopped");
    command.current_dir(folder.path()).args(prepared.get_args()).args(["--n-epochs", "40"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let events = folder.path().join("runs/manifest/stopped/events.jsonl");
    let deadline = Instant::now() + Duration::from_mins(2);
    while !fs::read_to_string(&events).is_ok_and(|text| text.contains("\"event\":\"step\"")) {
        assert!(Instant::now() < deadline, "no step was recorded");
        std::thread::sleep(Duration::from_millis(10));
    }
    let interrupted = Process::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("go on with: pnp train --resume runs/manifest/stopped"),
        "{}",
        stderr(&output)
    );
    let resumed = pnp()
        .current_dir(folder.path())
        .args(["train", "--resume", "runs/manifest/stopped"])
        .output()
        .unwrap();
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    for kind in ["best", "last"] {
        let model = |run: &str| {
            let path = format!("runs/manifest/{run}/checkpoints/{kind}/model.safetensors");
            fs::read(folder.path().join(path)).unwrap()
        };
        assert!(model("whole") == model("stopped"), "the {kind} model differs");
    }
}

#[cfg(unix)]
#[test]
fn a_training_goes_on_when_nobody_reads_its_progress() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let mut command = Process::new(assert_cmd::cargo::cargo_bin("pnp"));
    command.current_dir(folder.path()).args(train(folder.path(), "quiet").get_args());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success());
    assert!(folder.path().join("runs/manifest/quiet/plots/neighbours.png").is_file());
}

#[test]
fn the_old_command_resolves_as_it_stands() {
    let output = pnp()
        .args("train --loss PNP --seed 0 --bs 384 --data_sampler class_random".split(' '))
        .args("--samples_per_class 4 --arch resnet50_frozen_normalize".split(' '))
        .args("--source ../retrieval_dataset --n_epochs 400 --lr 1e-5 --embed_dim 512".split(' '))
        .args("--evaluate_on_gpu --dataset online_products --variant PNP-D_q --alpha 4".split(' '))
        .arg("--dry-run")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let config: toml::Table = stdout(&output).parse().unwrap();
    let expected: toml::Table = r#"
        dataset = "online_products"
        source_path = "../retrieval_dataset"
        data_sampler = "class_random"
        samples_per_class = 4
        batch_size = 384
        arch = "resnet50_frozen_normalize"
        embed_dim = 512
        loss = "PNP"
        variant = "PNP-D_q"
        alpha = 4.0
        n_epochs = 400
        lr = 1e-5
        decay = 4e-4
        seed = 0
        tau = [120, 220, 250, 280]
    "#
    .parse()
    .unwrap();
    for (key, value) in expected {
        assert_eq!(config[&key], value, "{key}");
    }
}

#[test]
fn the_configurations_of_the_repository_resolve() {
    for file in fs::read_dir(root().join("configs")).unwrap() {
        let file = file.unwrap().path();
        let output = pnp().args(["train", "--dry-run", "--config"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{file:?}: {}", stderr(&output));
    }
}

#[test]
fn a_flag_is_stronger_than_the_file_and_the_file_than_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let text = "source-path = \"x\"\nlr = 0.5\nembed_dim = 64\n";
    fs::write(folder.path().join("c.toml"), text).unwrap();
    let output = pnp()
        .current_dir(folder.path())
        .args(["train", "--config", "c.toml", "--dry-run", "--embed-dim", "32"])
        .output()
        .unwrap();
    let config: toml::Table = stdout(&output).parse().unwrap();
    assert_eq!(config["source_path"].as_str(), Some("x"));
    assert_eq!(config["lr"].as_float(), Some(0.5));
    assert_eq!(config["embed_dim"].as_integer(), Some(32));
    assert_eq!(config["batch_size"].as_integer(), Some(112));
}

#[test]
fn augmentation_and_sampler_are_shown_as_resolved() {
    let output = pnp()
        .args("train --source-path x --dry-run --augmentation big --exif-rotation".split(' '))
        .args("--data_sampler hard_class --hard-neighbours 5 --super-classes 1".split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let config: toml::Table = stdout(&output).parse().unwrap();
    assert_eq!(config["augmentation"].as_str(), Some("big"));
    assert_eq!(config["image_size"].as_integer(), Some(256));
    assert_eq!(config["eval_size"].as_integer(), Some(256));
    assert_eq!(config["exif_rotation"].as_bool(), Some(true));
    assert_eq!(config["data_sampler"].as_str(), Some("hard_class"));
    assert_eq!(config["hard_neighbours"].as_integer(), Some(5));
    assert_eq!(config["super_classes"].as_integer(), Some(1));
}

#[test]
fn wrong_requests_end_with_status_2_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    fs::write(folder.path().join("bad.toml"), "lr = = 1").unwrap();
    fs::write(folder.path().join("unknown.toml"), "learning_rate = 1").unwrap();
    let cases: [(&[&str], &str); 22] = [
        (&["--jpeg-scaling"], "jpeg_decoder = turbojpeg"),
        (&["--jpeg-decoder", "mozjpeg"], "mozjpeg"),
        (&["--augmentation", "auto"], "base, adv, big, red"),
        (&["--data-sampler", "shuffle"], "proxies"),
        (&["--batch-size", "16", "--samples-per-class", "2"], "classes"),
        (&["--batch-size", "10"], "10"),
        (&["--batch-size", "64"], "less than one batch"),
        (&["--arch", "vgg16"], "vgg16"),
        (&["--freeze-until", "layer1"], "stem, stage1"),
        (&["--arch", "bninception", "--image-size", "80"], "BN-Inception"),
        (&["--device", "abacus"], "abacus"),
        (&["--device", "cuda"], "cuda"),
        (&["--miner_rho_distance_lower_cutoff", "1"], "read by nothing"),
        (&["--wandb_key", "secret"], "nothing is sent"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--metrics", "recal@1"], "recal@1"),
        (&["--config", "bad.toml"], "bad.toml"),
        (&["--config", "unknown.toml"], "learning_rate"),
        (&["--crop-scale", "0.5"], "configuration"),
        (&["--embed-dim", "18446744073709551615"], "18446744073709551615"),
        (&["--embed-dim", "99999999"], "65536"),
        (&["--eval-size", "64"], "eval_resize"),
    ];
    for (args, part) in cases {
        let output = train(folder.path(), "wrong").args(args).output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: '{part}' is not in: {text}");
        assert!(!folder.path().join("runs").exists(), "{args:?} wrote something");
    }
}

#[test]
fn data_that_is_not_there_or_broken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = write_data(folder.path());
    let good = fs::read_to_string(&manifest).unwrap();
    let cases = [
        (good.replace("4_1.png", "gone.png"), "gone.png"),
        (good.replace(",test", ",train"), "test"),
        (good.replace(",test", ",tset"), "tset"),
        (good.replace("path,label,split", "file,label,split"), "path"),
        ("path,label,split\n".into(), "train"),
    ];
    for (text, part) in cases {
        fs::write(&manifest, text).unwrap();
        let output = train(folder.path(), "broken").output().unwrap();
        let text = stderr(&output);
        assert!(!output.status.success() && text.contains(part), "'{part}' is not in: {text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(!folder.path().join("runs").exists());
    }
    fs::write(&manifest, good).unwrap();
    let output = pnp().args(["train", "--source-path", "no/such/data"]).output().unwrap();
    assert!(stderr(&output).contains("no/such/data"), "{}", stderr(&output));
}

#[test]
fn what_is_no_run_or_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["train", "--resume", "nowhere"][..], &["eval", "nowhere"]] {
        let output = pnp().current_dir(folder.path()).args(args).output().unwrap();
        assert!(!output.status.success());
        let text = stderr(&output);
        assert!(text.contains("nowhere"), "{text}");
        assert_eq!(text.matches("os error").count(), 0, "{text}");
    }
}

#[test]
fn the_networks_are_listed_with_their_stages() {
    let output = pnp().args(["networks", "--json"]).output().unwrap();
    let answer = json(&output);
    let networks = answer["networks"].as_array().unwrap();
    let named = |name: &str| networks.iter().find(|network| network["name"] == name).unwrap();
    assert_eq!(named("bn_inception")["aliases"][0], "bninception");
    assert_eq!(named("bn_inception")["input"], "caffe");
    assert_eq!(named("googlenet")["input"], "half");
    assert_eq!(named("resnet50")["features"], 2048);
    assert_eq!(named("resnet50")["parameters"], 23_508_032);
    assert_eq!(named("mobilenet_v2")["builtin_weights"], true);
    let output = pnp().arg("networks").output().unwrap();
    let text = stdout(&output);
    for network in networks {
        let stages = network["stages"].as_array().unwrap().iter();
        let stages: Vec<&str> = stages.map(|stage| stage.as_str().unwrap()).collect();
        assert!(text.contains(network["name"].as_str().unwrap()), "{text}");
        assert!(text.contains(&stages.join(", ")), "{text}");
    }
}

#[test]
fn devices_and_version_are_told() {
    let output = pnp().args(["devices", "--json"]).output().unwrap();
    assert_eq!(json(&output)["devices"][0]["name"], "cpu");
    let output = pnp().arg("--version").output().unwrap();
    assert_eq!(stdout(&output), format!("pnp {}\n", env!("CARGO_PKG_VERSION")));
}

/// A decoder's pixels are part of a run: it is in the record, and no other takes its place in silence.
#[cfg(not(feature = "turbojpeg"))]
#[test]
fn a_run_by_a_decoder_that_the_build_lacks_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let output = train(folder.path(), "pure").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let run = folder.path().join("runs/manifest/pure");
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("jpeg_decoder = \"zune\"\n"), "{config}");
    let config = config.replace("jpeg_decoder = \"zune\"", "jpeg_decoder = \"turbojpeg\"");
    fs::write(run.join("config.toml"), config).unwrap();
    let run = run.to_str().unwrap();
    let of = |args: &[&str]| pnp().current_dir(folder.path()).args(args).output().unwrap();
    for args in [&["train", "--resume", run, "--n-epochs", "3"][..], &["eval", run]] {
        let output = of(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains("--features turbojpeg"), "{args:?}: {text}");
    }
    let output = of(&["eval", run, "--jpeg-decoder", "zune"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_network_that_diverged_embeds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    // One step an epoch; the weights after the first are huge, and are not evaluated.
    let output = train(folder.path(), "huge")
        .args(["--lr", "1e30", "--batch-size", "24", "--eval-every", "2"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not finite at epoch 2, step 1"), "{}", stderr(&output));
    let output = pnp()
        .current_dir(folder.path())
        .args(["embed", "runs/manifest/huge/checkpoints/last", "--out", "embedded"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("did the training diverge?"), "{}", stderr(&output));
    assert!(!folder.path().join("embedded/embeddings.npy").exists());
}
