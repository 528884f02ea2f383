//! Every setting's rule, checked before anything is done.

use pnp_data::{sampler, transform};
use pnp_model::weights::BUILTIN_BACKBONE;
use pnp_model::{BackboneEntry, NetworkConfig};
use pnp_ranking::metric::Metric;

use crate::config::{SIDES, Stride, TrainConfig};
use crate::error::TrainError;

impl TrainConfig {
    /// Checks each setting against its rule, before anything is done.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] with the setting, the value and the rule, and the errors of the
    /// names it looks up.
    pub fn check(&self) -> Result<(), TrainError> {
        self.check_data()?;
        self.check_training()?;
        self.check_network()?;
        self.check_loss()?;
        self.metrics()?;
        let picks = Metric::parse(&self.storage_metric)?;
        let rule = "the best epoch is picked by one number: this is a list";
        setting("storage_metric", &self.storage_metric, !picks.is_list(), rule)?;
        self.distance()?;
        Ok(())
    }

    fn check_data(&self) -> Result<(), TrainError> {
        let rule = "a data set's file or folder must be given";
        setting("source_path", "", !self.source_path.as_os_str().is_empty(), rule)?;
        for (name, value) in
            [("tv_split_perc", self.tv_split_perc), ("test_fraction", self.test_fraction)]
        {
            setting(name, value, value > 0.0 && value < 1.0, "a share is between 0 and 1")?;
        }
        let rule = "0 for none, or at least 2: one part validates and the others train";
        setting("folds", self.folds, self.folds != 1, rule)?;
        let rule = "a part from 1 to folds";
        let fits = self.fold >= 1 && self.fold <= self.folds.max(1);
        setting("fold", self.fold, fits, rule)?;
        let rule = "a validation split is cut off by use_tv_split already: choose one of both";
        setting("folds", self.folds, self.folds == 0 || !self.use_tv_split, rule)?;
        self.boxes()?;
        self.jpeg().check()?;
        let rule = "a pack holds images as they lie in their files: leave out one of both";
        let packed = self.pack.is_some() && self.exif_rotation;
        setting("exif_rotation", self.exif_rotation, !packed, rule)?;
        let resize = transform::augmentation(&self.augmentation)?.resize.unwrap_or(u32::MAX);
        let rule = "the augmentation red cuts from a shorter side of 256 pixels";
        setting("image_size", self.image_size, self.image_size <= resize, rule)?;
        let sides = [
            ("image_size", self.image_size),
            ("eval_resize", self.eval_resize),
            ("eval_size", self.eval_size),
        ];
        for (name, value) in sides {
            setting(name, value, SIDES.contains(&value), "a side has 32 to 4096 pixels")?;
        }
        let rule = "the central crop is no larger than eval_resize";
        setting("eval_size", self.eval_size, self.eval_size <= self.eval_resize, rule)?;
        let [low, high] = self.crop_scale;
        let rule = "two shares of the area, 0 < smallest <= largest <= 1";
        setting("crop_scale", pair(low, high), 0.0 < low && low <= high && high <= 1.0, rule)?;
        let [low, high] = self.crop_ratio;
        let rule = "two ratios, 0 < smallest <= largest, finite";
        let fits = 0.0 < low && low <= high && high.is_finite();
        setting("crop_ratio", pair(low, high), fits, rule)?;
        let rule = "a probability is between 0 and 1";
        setting("flip", self.flip, (0.0..=1.0).contains(&self.flip), rule)?;
        setting("workers", self.workers, self.workers <= 1024, "at most 1024 threads")?;
        let rule = "at least 1";
        setting("samples_per_class", self.samples_per_class, self.samples_per_class >= 1, rule)?;
        let batch = self.batch_size;
        let rule = "a multiple of samples_per_class";
        setting("batch_size", batch, batch.is_multiple_of(self.samples_per_class), rule)?;
        sampler::find(&self.data_sampler)?;
        let counts = [
            ("super_classes", self.super_classes),
            ("hard_neighbours", self.hard_neighbours),
            ("hard_images", self.hard_images),
        ];
        for (name, value) in counts {
            setting(name, value, value >= 1, "at least 1")?;
        }
        if !self.dataset.is_empty() {
            pnp_data::dataset::find(&self.dataset)?;
        }
        let rule = "a batch has at least two images";
        setting("batch_size", self.batch_size, self.batch_size >= 2, rule)
    }

    fn check_training(&self) -> Result<(), TrainError> {
        let positive = "a positive finite number";
        for (name, value) in [("lr", self.lr), ("gamma", self.gamma)] {
            setting(name, value, value > 0.0 && value.is_finite(), positive)?;
        }
        let rule = "a positive finite number, or a negative one for none of its own";
        setting("fc_lr", self.fc_lr, self.fc_lr != 0.0 && self.fc_lr.is_finite(), rule)?;
        let rule = "a finite number, 0 or more";
        setting("decay", self.decay, self.decay >= 0.0 && self.decay.is_finite(), rule)?;
        let rule = "0 or more and below 1";
        setting("momentum", self.momentum, (0.0..1.0).contains(&self.momentum), rule)?;
        setting("n_epochs", self.n_epochs, self.n_epochs > 0, "at least 1")?;
        setting("eval_every", self.eval_every, self.eval_every > 0, "at least 1")?;
        let rising = self.tau.windows(2).all(|pair| pair[0] < pair[1]);
        setting("tau", format!("{:?}", self.tau), rising, "milestones rise")?;
        let plain = |c: char| c.is_alphanumeric() || "-_.+@".contains(c);
        let named = self.savename.chars().all(plain) && !self.savename.starts_with('.');
        let rule = "a folder's name of letters, digits and -_.+@";
        setting("savename", &self.savename, named, rule)
    }

    fn check_network(&self) -> Result<(), TrainError> {
        let rule = "an embedding has 1 to 65536 values";
        let range = 1..=NetworkConfig::MAX_EMBED_DIM;
        setting("embed_dim", self.embed_dim, range.contains(&self.embed_dim), rule)?;
        let network = self.network_settings()?;
        network.backbone.check_side("image_size", self.image_size)?;
        network.backbone.check_side("eval_size", self.eval_size)?;
        if let Some(stage) = &self.freeze_until {
            network.backbone.stages_until(stage)?;
        }
        self.check_weights(network.backbone.name)?;
        self.check_backbone_options(network.backbone)?;
        self.precision()?;
        let rule = "chunks need frozen batch norm (--frozen-batch-norm, or _frozen of --arch): \
                    statistics of a chunk are not those of the batch";
        setting("chunk", self.chunk, self.chunk == 0 || network.may_be_chunked(), rule)
    }

    /// Refuses what would be of no effect on the backbone, and an ε that is none.
    fn check_backbone_options(&self, backbone: &BackboneEntry) -> Result<(), TrainError> {
        let rule = "only ResNet-50 and ResNet-101 have bottlenecks: leave it out";
        let fits = self.resnet_stride == Stride::Torchvision || backbone.bottlenecks;
        setting("resnet_stride", "v1", fits, rule)?;
        let Some(epsilon) = self.norm_epsilon else { return Ok(()) };
        let rule = "a transformer has no batch norm: leave it out";
        setting("norm_epsilon", epsilon, backbone.has_batch_norm(), rule)?;
        let rule = "a positive finite number";
        setting("norm_epsilon", epsilon, epsilon > 0.0 && epsilon.is_finite(), rule)
    }

    /// Refuses weights that contradict each other or that the backbone does not come with.
    fn check_weights(&self, backbone: &str) -> Result<(), TrainError> {
        let rule = "not_pretrained starts from random weights: leave one of the two out";
        setting("weights", &self.weights, !self.not_pretrained || self.weights == "auto", rule)?;
        let comes_with_them = backbone == BUILTIN_BACKBONE;
        let rule = format!("only {BUILTIN_BACKBONE} comes with weights, {backbone} needs a file");
        setting("weights", &self.weights, self.weights != "builtin" || comes_with_them, &rule)?;
        let reads_a_file = match self.weights.as_str() {
            "builtin" => false,
            "auto" => !comes_with_them,
            _ => true,
        };
        let fits = !self.partial_weights || (reads_a_file && !self.not_pretrained);
        setting("partial_weights", true, fits, "it goes with weights that are read from a file")
    }

    fn check_loss(&self) -> Result<(), TrainError> {
        let loss = self.build_loss()?;
        let rule = "a query needs a positive in its batch: at least 2 (1 will do with a memory, or \
                    a loss that trains proxies)";
        let elsewhere = self.memory > 0 || loss.trains_proxies();
        let enough = self.samples_per_class >= 2 || elsewhere;
        setting("samples_per_class", self.samples_per_class, enough, rule)?;
        let rule = "its batches hold positives by chance alone: it goes with a memory, or a loss \
                    that trains proxies";
        let by_class = sampler::find(&self.data_sampler)?.by_class;
        setting("data_sampler", &self.data_sampler, by_class || elsewhere, rule)?;
        let rule = "a positive finite number, or a negative one for the loss's own multiple of lr";
        setting(
            "proxy_lr",
            self.proxy_lr,
            self.proxy_lr != 0.0 && self.proxy_lr.is_finite(),
            rule,
        )?;
        let rule = "at most 4294967295 embeddings";
        setting("memory", self.memory, u32::try_from(self.memory).is_ok(), rule)?;
        let rule = "this loss ranks items against proxies only: it has no use for a memory";
        setting("memory", self.memory, self.memory == 0 || loss.ranks_references(), rule)
    }
}

/// Refuses a setting that breaks its rule.
fn setting(
    name: &'static str,
    value: impl std::fmt::Display,
    fits: bool,
    rule: &str,
) -> Result<(), TrainError> {
    if fits {
        return Ok(());
    }
    Err(TrainError::Setting { setting: name, value: value.to_string(), rule: rule.to_owned() })
}

fn pair(low: f64, high: f64) -> String {
    format!("{low},{high}")
}
