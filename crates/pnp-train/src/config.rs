//! Every setting of a training: its name, its default, and what it becomes; `rules.rs` has the rule
//! that each must keep.
//!
//! A configuration is one flat table whose keys are the command line's long flags with `_` for
//! `-`. Defaults are the old code's but for those that say what it had.

use std::path::PathBuf;

use pnp_data::decode::{JpegDecoder, JpegOptions};
use pnp_data::{Boxes, DatasetOptions, Fold, OnBadImage, ValidationSplit, sampler, transform};
use pnp_model::{BackboneOptions, HeadKind, NetworkConfig, Precision, ResNetStride};
use pnp_ranking::loss::{self, Loss, PnpSettings, PnpVariant};
use pnp_ranking::metric::{DEFAULT_METRICS, Distance, Metric};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::network::{NetworkSettings, known};

/// Sides of images that are possible, in pixels.
pub(crate) const SIDES: std::ops::RangeInclusive<u32> = 32..=4096;

/// All settings of a training.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent flag of the command line"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    // Data.
    /// Name of the data set's reader; empty: told from what `source_path` is.
    pub dataset: String,
    /// The data set's file or folder, or for `online_products` the folder that holds it.
    pub source_path: PathBuf,
    /// Whether a validation split is cut from the training split.
    pub use_tv_split: bool,
    /// Whether that split divides every class's images instead of the classes.
    pub tv_split_by_samples: bool,
    /// Share of the training split that stays for training, within 0..1.
    pub tv_split_perc: f64,
    /// Parts into which the training classes are dealt, one of which validates; 0: none does.
    pub folds: usize,
    /// The part that validates, from 1 to `folds`.
    pub fold: usize,
    /// Whether images are cut to the boxes that the data set has for them: `auto` (as the field
    /// does), `use` or `ignore`.
    pub boxes: String,
    /// Share of the classes of a plain folder that is held out for the test, within 0..1.
    pub test_fraction: f64,
    /// What an undecodable image does: `stop` or `skip`.
    pub on_bad_image: BadImage,
    /// The decoder of JPEG files: `zune`, or `turbojpeg` in builds that have it. The pixels differ by
    /// a level or two.
    pub jpeg_decoder: JpegCodec,
    /// Whether a large crop is decoded at a half, a quarter or an eighth of its size and resized from
    /// there: faster, and other pixels. Needs `turbojpeg`.
    pub jpeg_scaling: bool,
    /// A pack of the images that training and evaluation read instead of the files (see
    /// [`pnp_data::pack`]); its pixels are not those of the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pack: Option<PathBuf>,
    /// Whether a new training makes a pack that is missing, damaged or stale anew: with its own
    /// settings, or of RGB bytes at the larger of `eval_resize` and `image_size`. Nothing else does.
    pub rebuild_pack: bool,
    /// Whether every image is decoded once before the run begins.
    pub check_images: bool,
    /// Which transforms training images get: `base`, `adv`, `big` or `red`; see
    /// [`pnp_data::transform::AUGMENTATIONS`].
    pub augmentation: String,
    /// Whether images are turned as their EXIF orientations say; the old code ignored these.
    pub exif_rotation: bool,
    /// Side of a training image in pixels.
    pub image_size: u32,
    /// Length of the shorter side before the central crop of an evaluated image, in pixels.
    pub eval_resize: u32,
    /// Side of the central crop of an evaluated image, in pixels.
    pub eval_size: u32,
    /// Range of a training crop's share of the image's area, within 0..=1; `red` has no use for it.
    pub crop_scale: [f64; 2],
    /// Range of a training crop's width over its height; `red` has no use for it.
    pub crop_ratio: [f64; 2],
    /// Probability that a training image is mirrored.
    pub flip: f64,
    /// Threads that decode and augment; 0: one per core. Changes no result.
    pub workers: usize,
    /// Name of the sampler; the old code's default was `class_random`.
    pub data_sampler: String,
    /// Images of a class in a batch, at least 2 unless positives come from elsewhere; default 4,
    /// the old code's was 2.
    pub samples_per_class: usize,
    /// Images in a batch.
    pub batch_size: usize,
    /// Super-classes in a batch of the sampler `hierarchical`.
    pub super_classes: usize,
    /// Classes that come with each class that the sampler `hard_class` draws: those with the
    /// nearest means.
    pub hard_neighbours: usize,
    /// Images of each class, at most, that `hard_class` takes its means of: so many are embedded
    /// at each evaluation, drawn by the seed.
    pub hard_images: usize,

    // Network.
    /// Shorthand for the settings that follow: a backbone and its suffixes, as
    /// `resnet50_frozen_normalize`, which was the old default; see [`crate::Arch`]. Empty: they
    /// stand for themselves, and the default is the network whose weights are built in.
    pub arch: String,
    /// Name of the backbone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<String>,
    /// Whether batch norm keeps its running statistics and normalises by them; its γ and β train
    /// all the same. Default: yes, unless `arch` is given without `_frozen`, or the backbone has
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_batch_norm: Option<bool>,
    /// How features become one vector, a name of [`pnp_model::Pool`]; default: `cls` for a
    /// transformer, `avg` for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The layers that make an embedding of it, a name of [`pnp_model::HeadKind`].
    pub head: String,
    /// The random weights of these layers, a name of [`pnp_model::HeadInit`]; default `uniform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_init: Option<String>,
    /// Whether embeddings are divided by their length. Default: yes, unless `arch` is given without
    /// `_normalize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// What the backbone expects of an image's values, a name of [`pnp_model::InputConvention`], or
    /// `auto`: what most weights of this backbone do.
    pub input_norm: String,
    /// Length of an embedding.
    pub embed_dim: usize,
    /// Pretrained weights: a file, `builtin`, or `auto` (the built-in ones where there are any,
    /// else `<backbone>.safetensors`, `<backbone>.pth` or `<backbone>-*.pth` in `weights/` or in
    /// `<source_path>/weights/`).
    pub weights: String,
    /// Starts from random weights.
    pub not_pretrained: bool,
    /// Takes what fits of a weight file and leaves the rest of the backbone random, where a file
    /// that does not fit whole is otherwise refused.
    pub partial_weights: bool,
    /// Where a ResNet bottleneck takes its stride: `torchvision` or `v1`.
    pub resnet_stride: Stride,
    /// The ε of batch norm; none: the one that the backbone's weights were trained with. A
    /// transformer has no batch norm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_epsilon: Option<f64>,
    /// The last of the backbone's stages that are not trained, from the first one on; none: all are
    /// trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_until: Option<String>,
    /// What the backbone computes in, a name of [`pnp_model::Precision`]: `f32` or `bf16`.
    pub precision: String,

    // Loss.
    /// The loss: `PNP`, `contrastive(margin=0.4)`, or a weighted sum, `PNP:1.0,contrastive:0.1`;
    /// [`pnp_ranking::loss::build`] says how it is read.
    pub loss: String,
    /// PNP's variant.
    pub variant: String,
    /// PNP-D_q's exponent. There is no default for D_q: the paper's documents and its code differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// PNP-I_b's b.
    pub b: f64,
    /// The sigmoid's temperature.
    pub anneal: f64,
    /// Whether a query counts among its own positives.
    pub count_query: bool,
    /// Embeddings of earlier batches that a batch is ranked against as well; 0: none.
    pub memory: usize,
    /// Steps before the memory is used: it fills from the first one on. Cross-batch memory's paper
    /// waits until the embeddings drift slowly, 1,000 steps in its code.
    pub memory_start: u64,
    /// Learning rate of the proxies of a loss that trains some; negative: as its authors have it,
    /// 100 times `lr` for proxy-anchor, `lr` for normalised-softmax.
    pub proxy_lr: f64,

    // Training.
    /// Epochs to train.
    pub n_epochs: u64,
    /// Seed of everything random.
    pub seed: u64,
    /// `adam` or `sgd` (with momentum).
    pub optim: Optimizer,
    /// Learning rate.
    pub lr: f64,
    /// Learning rate of the embedding head; negative: the same as `lr`.
    pub fc_lr: f64,
    /// Weight decay, added to the gradient of every trained parameter.
    pub decay: f64,
    /// Momentum of `sgd`.
    pub momentum: f64,
    /// `step` or `none`.
    pub scheduler: Scheduler,
    /// Factor of the learning rate at each milestone.
    pub gamma: f64,
    /// Milestones: epochs before which the learning rate is multiplied.
    pub tau: Vec<u64>,
    /// Images embedded at once; 0: the whole batch. Smaller chunks need less memory: the loss is
    /// over the whole batch all the same, and the gradient agrees up to rounding.
    pub chunk: usize,

    // Evaluation.
    /// Metrics after each epoch; default: those of the ranking crate under their new names, the
    /// old code had 26 under its own.
    pub evaluation_metrics: Vec<String>,
    /// Metric by which the best checkpoint is picked; the old code's was `e_recall@1`.
    pub storage_metric: String,
    /// Distance of the metrics that do not name one: `cosine` or `euclidean`.
    pub distance: String,
    /// Images embedded at once when evaluating; 0: as many as suit the device.
    pub eval_batch_size: usize,
    /// Epochs between evaluations.
    pub eval_every: u64,

    // Records.
    /// Folder under which runs are kept.
    pub save_path: PathBuf,
    /// The run's name; empty: made of network, loss and seed, with a number where it is taken.
    pub savename: String,
}

/// What an undecodable image does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadImage {
    /// It stops the run.
    Stop,
    /// It is replaced (training) or left out (evaluation), and counted.
    Skip,
}

/// A decoder of JPEG files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JpegCodec {
    /// `zune-jpeg`.
    Zune,
    /// libjpeg-turbo.
    Turbojpeg,
}

/// Where a ResNet bottleneck takes its stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stride {
    /// The 3×3 convolution.
    Torchvision,
    /// The first 1×1 convolution.
    V1,
}

/// The optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with PyTorch's defaults.
    Adam,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// The learning rate's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// Multiplied by `gamma` at each milestone of `tau`.
    Step,
    /// Constant.
    None,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            dataset: String::new(),
            source_path: PathBuf::new(),
            use_tv_split: false,
            tv_split_by_samples: false,
            tv_split_perc: 0.8,
            folds: 0,
            fold: 1,
            boxes: "auto".into(),
            test_fraction: 0.5,
            on_bad_image: BadImage::Stop,
            jpeg_decoder: JpegCodec::Zune,
            jpeg_scaling: false,
            pack: None,
            rebuild_pack: false,
            check_images: true,
            augmentation: "base".into(),
            exif_rotation: false,
            image_size: 224,
            eval_resize: 256,
            eval_size: 224,
            crop_scale: [0.08, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            workers: 0,
            data_sampler: "m_per_class".into(),
            samples_per_class: 4,
            batch_size: 112,
            super_classes: 2,
            hard_neighbours: 3,
            hard_images: 8,
            arch: String::new(),
            backbone: None,
            frozen_batch_norm: None,
            pool: None,
            head: HeadKind::default().to_string(),
            head_init: None,
            normalize: None,
            input_norm: "auto".into(),
            embed_dim: 128,
            weights: "auto".into(),
            not_pretrained: false,
            partial_weights: false,
            resnet_stride: Stride::Torchvision,
            norm_epsilon: None,
            freeze_until: None,
            precision: Precision::default().to_string(),
            loss: "PNP".into(),
            variant: PnpVariant::O.to_string(),
            alpha: None,
            b: 2.0,
            anneal: 0.01,
            count_query: true,
            memory: 0,
            memory_start: 0,
            proxy_lr: -1.0,
            n_epochs: 150,
            seed: 1,
            optim: Optimizer::Adam,
            lr: 1e-5,
            fc_lr: -1.0,
            decay: 4e-4,
            momentum: 0.9,
            scheduler: Scheduler::Step,
            gamma: 0.3,
            tau: vec![120, 220, 250, 280],
            chunk: 0,
            evaluation_metrics: DEFAULT_METRICS.iter().map(|&m| m.to_owned()).collect(),
            storage_metric: "recall@1".into(),
            distance: "cosine".into(),
            eval_batch_size: 0,
            eval_every: 1,
            save_path: "training_results".into(),
            savename: String::new(),
        }
    }
}

impl TrainConfig {
    /// Reads a table of settings; what it does not name keeps its default. The sides of images that
    /// it does not name are those of its augmentation.
    ///
    /// # Errors
    ///
    /// [`TrainError::Config`]: an unknown key, or a value of another type.
    pub fn from_table(table: toml::Table) -> Result<Self, TrainError> {
        let names = |key: &str| table.contains_key(key);
        let (sized, cropped) = (names("image_size"), names("eval_size"));
        let mut config: Self = table.try_into().map_err(|e: toml::de::Error| {
            // The message names the value, its second line the key.
            TrainError::Config(e.to_string().trim().replace('\n', " "))
        })?;
        // An unknown name is refused when the settings are checked, with all others.
        if let Ok(entry) = transform::augmentation(&config.augmentation) {
            if !sized {
                config.image_size = entry.side;
            }
            if !cropped {
                config.eval_size = entry.side;
            }
        }
        Ok(config)
    }

    /// All settings as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a flat table of plain values always serialises")
    }

    /// The network's settings as they stand with `arch`.
    ///
    /// # Errors
    ///
    /// Unknown names, contradictions, and what the backbone does not have.
    pub fn network_settings(&self) -> Result<NetworkSettings, TrainError> {
        NetworkSettings::resolve(self)
    }

    /// The same configuration with every setting of the network written out, `arch` included.
    ///
    /// # Errors
    ///
    /// Those of [`Self::network_settings`].
    pub fn resolved(mut self) -> Result<Self, TrainError> {
        let network = self.network_settings()?;
        if self.arch.is_empty() {
            self.arch = network.shorthand().to_string();
        }
        self.backbone = Some(network.backbone.name.into());
        self.frozen_batch_norm = Some(network.frozen);
        self.pool = Some(network.pool.to_string());
        self.head_init = Some(network.head_init.to_string());
        self.normalize = Some(network.normalize);
        network.input.name().clone_into(&mut self.input_norm);
        Ok(self)
    }

    /// The network's configuration.
    ///
    /// # Errors
    ///
    /// Those of [`Self::network_settings`].
    pub fn network(&self) -> Result<NetworkConfig, TrainError> {
        let network = self.network_settings()?;
        Ok(NetworkConfig {
            backbone: network.backbone.name.into(),
            options: BackboneOptions {
                resnet_stride: match self.resnet_stride {
                    Stride::Torchvision => ResNetStride::Torchvision,
                    Stride::V1 => ResNetStride::V1,
                },
                norm_epsilon: self.norm_epsilon,
            },
            embed_dim: self.embed_dim,
            frozen: network.frozen,
            pool: network.pool,
            head: network.head,
            head_init: network.head_init,
            normalize: network.normalize,
            input: Some(network.input),
            freeze_until: self.freeze_until.clone(),
        })
    }

    /// What the backbone computes in.
    ///
    /// # Errors
    ///
    /// A name that is none.
    pub fn precision(&self) -> Result<Precision, TrainError> {
        let names = Precision::ALL.map(Precision::name);
        known("precision", &self.precision, &names, Precision::parse)
    }

    /// The loss, with the settings that it reads.
    pub fn build_loss(&self) -> Result<Box<dyn Loss>, TrainError> {
        Ok(loss::build(&self.loss, &self.pnp()?)?)
    }

    /// The settings of PNP, some of which hold for other losses too.
    pub fn pnp(&self) -> Result<PnpSettings, TrainError> {
        Ok(PnpSettings {
            variant: self.variant.parse()?,
            alpha: self.alpha,
            b: self.b,
            anneal: self.anneal,
            count_query: self.count_query,
        })
    }

    /// The metrics to compute: those asked for, and the one that picks the best checkpoint.
    pub fn metrics(&self) -> Result<Vec<Metric>, TrainError> {
        let mut metrics = Vec::new();
        for name in self.evaluation_metrics.iter().chain([&self.storage_metric]) {
            let metric = Metric::parse(name)?;
            if !metrics.contains(&metric) {
                metrics.push(metric);
            }
        }
        Ok(metrics)
    }

    /// The distance of the metrics that do not name one.
    pub fn distance(&self) -> Result<Distance, TrainError> {
        Ok(self.distance.parse()?)
    }

    /// Where the data set is and how it is split.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`]: an unknown choice of `boxes`.
    pub fn dataset(&self) -> Result<DatasetOptions, TrainError> {
        Ok(DatasetOptions {
            name: (!self.dataset.is_empty()).then(|| self.dataset.clone()),
            source: self.source_path.clone(),
            validation: self.use_tv_split.then_some(ValidationSplit {
                fraction_train: self.tv_split_perc,
                by_samples: self.tv_split_by_samples,
            }),
            fold: (self.folds > 0).then_some(Fold { folds: self.folds, fold: self.fold }),
            boxes: self.boxes()?,
            test_fraction: self.test_fraction,
            seed: self.seed,
        })
    }

    /// Whether images are cut to their boxes.
    pub(crate) fn boxes(&self) -> Result<Boxes, TrainError> {
        Boxes::parse(&self.boxes).ok_or_else(|| TrainError::Setting {
            setting: "boxes",
            value: self.boxes.clone(),
            rule: format!("one of {}", Boxes::NAMES.join(", ")),
        })
    }

    /// What happens to training images.
    ///
    /// # Errors
    ///
    /// An augmentation that is not there.
    pub fn train_transform(&self) -> Result<transform::TrainTransform, TrainError> {
        let crop = transform::RandomResizedCrop {
            scale: self.crop_scale.into(),
            ratio: self.crop_ratio.into(),
        };
        Ok(transform::TrainTransform {
            size: self.image_size,
            flip: self.flip,
            exif_rotation: self.exif_rotation,
            jpeg: self.jpeg(),
            ..transform::augmentation(&self.augmentation)?.transform(crop)
        })
    }

    /// What happens to evaluated images.
    pub fn eval_transform(&self) -> transform::EvalTransform {
        transform::EvalTransform {
            resize: self.eval_resize,
            crop: self.eval_size,
            exif_rotation: self.exif_rotation,
            jpeg: self.jpeg(),
        }
    }

    /// How JPEG files are decoded; this build need not be able to.
    pub fn jpeg(&self) -> JpegOptions {
        let decoder = match self.jpeg_decoder {
            JpegCodec::Zune => JpegDecoder::Zune,
            JpegCodec::Turbojpeg => JpegDecoder::Turbo,
        };
        JpegOptions { decoder, scaling: self.jpeg_scaling }
    }

    /// The sampler's settings.
    pub fn sampler(&self) -> sampler::SamplerSettings {
        sampler::SamplerSettings {
            batch_size: self.batch_size,
            samples_per_class: self.samples_per_class,
            super_classes: self.super_classes,
            hard_neighbours: self.hard_neighbours,
            hard_images: self.hard_images,
            seed: self.seed,
        }
    }

    /// What the loader does with an undecodable image.
    pub fn on_bad_image(&self) -> OnBadImage {
        match self.on_bad_image {
            BadImage::Stop => OnBadImage::Stop,
            BadImage::Skip => OnBadImage::Skip,
        }
    }

    /// Threads that decode and augment.
    pub fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.workers == 0 { cores() } else { self.workers }
    }
}
