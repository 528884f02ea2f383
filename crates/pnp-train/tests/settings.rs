//! Every rule of a setting, one refusal each, before anything is written.

mod common;

use std::path::Path;

use pnp_train::{Silent, StopFlag, TrainConfig, TrainError};

/// Checks that a change of a good configuration is refused, naming `parts`, with nothing written.
fn refused(change: impl FnOnce(&mut TrainConfig), parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 8);
    let mut config = common::config(folder.path());
    change(&mut config);
    let save_path = config.save_path.clone();
    let error =
        pnp_train::train(config, &common::host(), &StopFlag::default(), &mut Silent).unwrap_err();
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    assert!(!save_path.exists(), "something was written");
}

#[test]
fn settings_out_of_range_are_named_with_their_rule() {
    refused(|c| c.source_path = "".into(), &["source_path", "must be given"]);
    refused(|c| c.tv_split_perc = 1.0, &["tv_split_perc = 1", "between 0 and 1"]);
    refused(|c| c.folds = 1, &["folds = 1", "at least 2"]);
    refused(|c| c.fold = 0, &["fold = 0", "from 1 to folds"]);
    refused(|c| (c.folds, c.fold) = (3, 4), &["fold = 4", "from 1 to folds"]);
    refused(|c| (c.folds, c.use_tv_split) = (2, true), &["folds = 2", "use_tv_split"]);
    refused(|c| c.folds = 99, &["folds = 99", "classes to train on"]);
    refused(|c| c.boxes = "yes".into(), &["boxes = yes", "auto, use, ignore"]);
    refused(|c| c.boxes = "use".into(), &["boxes = use", "has no boxes"]);
    refused(|c| c.jpeg_scaling = true, &["jpeg_scaling = true", "jpeg_decoder = turbojpeg"]);
    refused(|c| c.test_fraction = 0.0, &["test_fraction = 0"]);
    let red = |c: &mut TrainConfig| (c.augmentation, c.image_size) = ("red".into(), 257);
    refused(red, &["image_size = 257", "red", "256"]);
    refused(|c| c.image_size = 31, &["image_size = 31", "32 to 4096"]);
    refused(|c| c.eval_resize = 5000, &["eval_resize = 5000"]);
    refused(|c| c.eval_size = 0, &["eval_size = 0"]);
    refused(|c| c.crop_scale = [0.5, 0.4], &["crop_scale = 0.5,0.4"]);
    refused(|c| c.crop_scale = [0.0, 1.0], &["crop_scale = 0,1"]);
    refused(|c| c.crop_ratio = [1.0, f64::INFINITY], &["crop_ratio"]);
    refused(|c| c.flip = 1.5, &["flip = 1.5"]);
    refused(|c| c.flip = f64::NAN, &["flip = NaN"]);
    refused(|c| c.batch_size = 1, &["batch_size = 1"]);
    refused(|c| c.samples_per_class = 1, &["samples_per_class = 1", "positive"]);
    refused(|c| c.super_classes = 0, &["super_classes = 0", "at least 1"]);
    refused(|c| c.hard_neighbours = 0, &["hard_neighbours = 0", "at least 1"]);
    refused(|c| c.hard_images = 0, &["hard_images = 0", "at least 1"]);
    refused(|c| c.data_sampler = "shuffle".into(), &["data_sampler = shuffle", "proxies"]);
    refused(|c| c.data_sampler = "hierarchical".into(), &["hierarchical", "no super-classes"]);
    let crowded = |c: &mut TrainConfig| c.data_sampler = "hard_class".into();
    refused(crowded, &["hard_neighbours = 3", "1 to 1"]);
    refused(|c| c.precision = "f16".into(), &["precision = f16", "f32, bf16"]);
    refused(|c| c.lr = 0.0, &["lr = 0", "positive"]);
    refused(|c| c.lr = f64::NAN, &["lr = NaN"]);
    refused(|c| c.fc_lr = 0.0, &["fc_lr = 0"]);
    refused(|c| c.proxy_lr = 0.0, &["proxy_lr = 0", "multiple of lr"]);
    refused(|c| c.memory = 1 << 33, &["memory = 8589934592"]);
    let proxies_only = |c: &mut TrainConfig| {
        c.loss = "proxy-anchor".into();
        c.memory = 8;
    };
    refused(proxies_only, &["memory = 8", "proxies only"]);
    refused(|c| c.loss = "PNP:1,nothing:2".into(), &["unknown loss 'nothing'", "PNP"]);
    refused(|c| c.decay = -1.0, &["decay = -1"]);
    refused(|c| c.momentum = 1.0, &["momentum = 1"]);
    refused(|c| c.gamma = 0.0, &["gamma = 0"]);
    refused(|c| c.embed_dim = 0, &["embed_dim = 0"]);
    refused(|c| c.n_epochs = 0, &["n_epochs = 0"]);
    refused(|c| c.eval_every = 0, &["eval_every = 0"]);
    refused(|c| c.tau = vec![5, 5], &["tau = [5, 5]", "rise"]);
    refused(|c| c.savename = "../elsewhere".into(), &["savename = ../elsewhere"]);
}

#[test]
fn chunks_are_refused_with_batch_statistics() {
    let change = |c: &mut TrainConfig| {
        c.chunk = 4;
        c.arch = "mobilenet_v2_normalize".into();
    };
    refused(change, &["chunk = 4", "--frozen-batch-norm", "_frozen"]);
}

#[test]
fn unknown_names_list_the_known_ones() {
    refused(|c| c.arch = "mobilenet_v2_frozen_frozen".into(), &["'frozen'", "twice"]);
    refused(|c| c.arch = "vgg16".into(), &["vgg16", "mobilenet_v2", "resnet50"]);
    refused(|c| c.loss = "Ranked".into(), &["Ranked", "PNP"]);
    refused(|c| c.variant = "PNP-X".into(), &["PNP-X", "PNP-D_q"]);
    refused(|c| c.evaluation_metrics = vec!["recall".into()], &["recall"]);
    refused(|c| c.storage_metric = "accuracy".into(), &["accuracy", "recall@k"]);
    refused(
        |c| c.storage_metric = "rho_spectrum@0".into(),
        &["storage_metric = rho_spectrum@0", "a list"],
    );
    refused(|c| c.distance = "manhattan".into(), &["manhattan", "cosine"]);
    refused(|c| c.data_sampler = "any".into(), &["any", "m_per_class"]);
    refused(|c| c.augmentation = "auto".into(), &["auto", "base, adv, big, red"]);
    refused(|c| c.dataset = "cub".into(), &["cub", "online_products"]);
}

#[test]
fn the_exponent_of_d_q_must_be_given() {
    refused(|c| c.alpha = None, &["alpha", "PNP-D_q", "4", "8"]);
    refused(|c| c.alpha = Some(0.5), &["alpha = 0.5"]);
}

#[test]
fn a_batch_must_fit_the_classes() {
    refused(|c| c.batch_size = 10, &["batch_size = 10", "multiple of samples_per_class"]);
    refused(|c| c.batch_size = 20, &["20", "less than one batch"]);
    let change = |c: &mut TrainConfig| (c.batch_size, c.samples_per_class) = (12, 2);
    refused(change, &["classes"]);
}

#[test]
fn weights_must_fit_the_network() {
    refused(|c| c.arch = "resnet18_normalize".into(), &["resnet18", "--weights FILE"]);
    refused(|c| c.weights = "no/such.pth".into(), &["no/such.pth"]);
    let change = |c: &mut TrainConfig| {
        c.arch = "resnet18_normalize".into();
        c.weights = "builtin".into();
    };
    refused(change, &["builtin", "mobilenet_v2"]);
}

#[test]
fn a_weight_file_of_another_network_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes = pnp_model::weights::to_safetensors(&pnp_model::weights::builtin().unwrap());
    std::fs::write(file.path(), bytes).unwrap();
    let change = |c: &mut TrainConfig| {
        c.arch = "resnet18_normalize".into();
        c.weights = file.path().display().to_string();
    };
    refused(change, &["resnet18", "missing", "unexpected"]);
}

#[test]
fn an_unknown_key_of_a_configuration_is_named() {
    let table = "learning_rate = 1".parse().unwrap();
    let error = TrainConfig::from_table(table).unwrap_err();
    assert!(error.to_string().contains("learning_rate"), "{error}");
    assert!(error.is_usage());
}

#[test]
fn the_sides_of_images_that_are_not_given_are_the_augmentations() {
    let sides = |table: &str| {
        let config = TrainConfig::from_table(table.parse().unwrap()).unwrap();
        (config.image_size, config.eval_resize, config.eval_size)
    };
    assert_eq!(sides(""), (224, 256, 224));
    assert_eq!(sides("augmentation = 'adv'"), (224, 256, 224));
    assert_eq!(sides("augmentation = 'big'"), (256, 256, 256));
    assert_eq!(sides("augmentation = 'big'\nimage_size = 200"), (200, 256, 256));
    assert_eq!(sides("augmentation = 'big'\neval_size = 200"), (256, 256, 200));
}

#[test]
fn a_configuration_survives_a_round_trip() {
    let config = TrainConfig { fc_lr: 1e-3, alpha: Some(4.0), ..common::config(Path::new("x")) };
    let table = config.to_toml().parse().unwrap();
    assert_eq!(TrainConfig::from_table(table).unwrap(), config);
}

#[test]
fn an_image_that_does_not_decode_stops_the_run_or_is_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    for broken in ["4_1.png", "5_2.png"] {
        std::fs::write(folder.path().join(broken), "no picture").unwrap();
    }
    let train = |config: TrainConfig| {
        pnp_train::train(config, &common::host(), &StopFlag::default(), &mut Silent)
    };
    let config = TrainConfig { n_epochs: 1, ..common::config(folder.path()) };
    let error = train(config.clone()).unwrap_err();
    assert!(matches!(error, TrainError::BrokenImages { count: 2, .. }), "{error}");
    for name in ["4_1.png", "5_2.png"] {
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(!config.save_path.exists(), "something was written");
    let unchecked =
        TrainConfig { check_images: false, savename: "unchecked".into(), ..config.clone() };
    let error = train(unchecked).unwrap_err();
    assert!(matches!(error, TrainError::Data(_)), "{error}");
    assert!(error.to_string().contains("5_2.png"), "{error}");
    let skip =
        TrainConfig { on_bad_image: pnp_train::BadImage::Skip, savename: "skip".into(), ..config };
    let run = train(skip).unwrap().run;
    let records = pnp_run::RunFolder::open(&run).unwrap().records().unwrap();
    assert_eq!(records.of_split("test")[0].counts["skipped_images"], 1);
    assert!(records.steps.iter().map(|step| step.skipped_images).sum::<usize>() > 0);
}

#[test]
fn an_epoch_of_broken_images_alone_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path(), 12);
    for class in (0..12).step_by(2) {
        for image in 0..4 {
            std::fs::write(folder.path().join(format!("{class}_{image}.png")), "junk").unwrap();
        }
    }
    let config =
        TrainConfig { on_bad_image: pnp_train::BadImage::Skip, ..common::config(folder.path()) };
    let error =
        pnp_train::train(config, &common::host(), &StopFlag::default(), &mut Silent).unwrap_err();
    assert!(matches!(error, TrainError::NothingLearned { epoch: 1, .. }), "{error}");
}

#[test]
fn a_stage_or_a_side_that_the_backbone_does_not_have_is_refused() {
    refused(|c| c.freeze_until = Some("layer1".into()), &["freeze_until = layer1", "stem, stage1"]);
    let side = |c: &mut TrainConfig| {
        (c.arch, c.not_pretrained) = ("bninception".into(), true);
        (c.image_size, c.eval_resize) = (80, 80);
    };
    refused(side, &["image_size = 80", "BN-Inception"]);
    refused(|c| c.norm_epsilon = Some(0.0), &["norm_epsilon = 0", "positive"]);
}

#[test]
fn what_would_have_no_effect_on_the_backbone_is_refused() {
    let vit = |c: &mut TrainConfig| {
        (c.arch, c.not_pretrained) = (String::new(), true);
        (c.backbone, c.norm_epsilon) = (Some("vit_tiny_patch16".into()), Some(0.5));
    };
    refused(vit, &["norm_epsilon = 0.5", "no batch norm"]);
    refused(|c| c.resnet_stride = pnp_train::Stride::V1, &["resnet_stride = v1", "bottlenecks"]);
}

#[test]
fn weights_that_contradict_each_other_are_refused() {
    let both = |c: &mut TrainConfig| (c.weights, c.not_pretrained) = ("a.pth".into(), true);
    refused(both, &["weights = a.pth", "not_pretrained"]);
    refused(|c| c.partial_weights = true, &["partial_weights = true", "from a file"]);
    let absent = |c: &mut TrainConfig| c.weights = "no-such.pth".into();
    refused(absent, &["weights = no-such.pth", "no such file"]);
}
