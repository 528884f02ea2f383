//! Settings by flag: every key of the configuration as an optional flag. A flag is stronger than
//! the file given with `--config`, which is stronger than the default.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use pnp_model::weights::BUILTIN_BACKBONE;
use pnp_train::TrainConfig;
use serde::Serialize;

use crate::failure::Failure;

/// The longest configuration that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Flags about which images of a data set form its splits; their heading is that of the flags
/// around them.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct SplitFlags {
    /// Reader of the data set, as `pnp data list` names it [default: told from the path]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<String>,
    /// Cut a validation split from the training split, and pick the best epoch on it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    use_tv_split: Option<bool>,
    /// Cut it from every class's images instead of cutting off classes
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tv_split_by_samples: Option<bool>,
    /// Share of the training split that stays for training [default: 0.8]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tv_split_perc: Option<f64>,
    /// Deal the training classes into K parts by the seed and validate on one (see --fold); 0: none
    #[arg(long, value_name = "K")]
    #[serde(skip_serializing_if = "Option::is_none")]
    folds: Option<u32>,
    /// The part that validates, from 1 to K [default: 1]
    #[arg(long, value_name = "I")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fold: Option<u32>,
    /// Cut images to the data set's boxes: auto (as the field does), use or ignore [default: auto]
    #[arg(long, value_name = "auto|use|ignore")]
    #[serde(skip_serializing_if = "Option::is_none")]
    boxes: Option<String>,
    /// Share of a plain folder's classes that is held out for the test [default: 0.5]
    #[arg(long, value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    test_fraction: Option<f64>,
}

/// Flags about the data set.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataFlags {
    /// A CSV manifest, a folder of class folders, or the folder that holds the data set
    #[arg(long, alias = "source", value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_path: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    splits: SplitFlags,
    /// What an undecodable image does: stop or skip [default: stop]
    #[arg(long, value_name = "stop|skip")]
    #[serde(skip_serializing_if = "Option::is_none")]
    on_bad_image: Option<String>,
    /// Decoder of JPEG files: zune, or turbojpeg where the build has it (its pixels differ by a level
    /// or two) [default: zune]
    #[arg(long, value_name = "zune|turbojpeg")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jpeg_decoder: Option<String>,
    /// Decode large crops of JPEG files at 1/2, 1/4 or 1/8 of their size, as far as they stay above the
    /// output's; needs turbojpeg
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    jpeg_scaling: Option<bool>,
    /// Read images from this pack instead of their files (see `pnp data pack`): they are resized
    /// before they are cropped
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pack: Option<PathBuf>,
    /// Make the pack anew where it is missing, damaged or stale, when a training begins
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuild_pack: Option<bool>,
    /// Decode every image once before a training begins [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    check_images: Option<bool>,
    /// Threads that decode and augment; they change no result [default: one per core]
    #[arg(long, alias = "kernels", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<u32>,
}

/// Flags about pictures and batches.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Images and batches")]
pub(crate) struct BatchFlags {
    /// Transforms of training images: base (RandomResizedCrop and flip), adv (base, some grey and
    /// jittered colours), big (base at 256 pixels) or red (Resize, RandomCrop and flip)
    /// [default: base]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    augmentation: Option<String>,
    /// Turn images as their EXIF orientations say
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    exif_rotation: Option<bool>,
    /// Side of a training image in pixels [default: 224; 256 with big]
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    image_size: Option<u32>,
    /// Shorter side of an evaluated image before its central crop [default: 256]
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_resize: Option<u32>,
    /// Side of an evaluated image's central crop [default: 224; 256 with big]
    #[arg(long, value_name = "PIXELS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_size: Option<u32>,
    /// Range of a training crop's share of the area [default: 0.08,1]
    #[arg(long, value_name = "MIN,MAX", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    crop_scale: Option<Vec<f64>>,
    /// Range of a training crop's width over height [default: 0.75,1.3333]
    #[arg(long, value_name = "MIN,MAX", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    crop_ratio: Option<Vec<f64>>,
    /// Probability that a training image is mirrored [default: 0.5]
    #[arg(long, value_name = "P")]
    #[serde(skip_serializing_if = "Option::is_none")]
    flip: Option<f64>,
    /// How batches are drawn: m_per_class, class_random (the old draw), hierarchical (classes of a
    /// few super-classes), hard_class (classes with those that are nearest) or shuffle (every image
    /// once) [default: m_per_class]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_sampler: Option<String>,
    /// Images of a class in a batch [default: 4]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    samples_per_class: Option<u32>,
    /// Images in a batch [default: 112]
    #[arg(long, alias = "bs", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u32>,
    /// Super-classes in a batch of hierarchical [default: 2]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    super_classes: Option<u32>,
    /// Nearest classes that come with each class that hard_class draws [default: 3]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    hard_neighbours: Option<u32>,
    /// Images of each class, at most, that hard_class takes its means of at each evaluation
    /// [default: 8]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    hard_images: Option<u32>,
}

/// Flags about the network.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkFlags {
    /// Shorthand: a backbone and its suffixes _frozen, _normalize, _double (--pool avg+max) and _he
    /// (--head-init he), as resnet50_frozen_normalize
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    arch: Option<String>,
    #[arg(long, value_name = "NAME", help = backbones())]
    #[serde(skip_serializing_if = "Option::is_none")]
    backbone: Option<String>,
    /// Leave the running statistics of batch norm as they are and normalise by them; its weights
    /// train all the same [default: true, or as --arch says]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen_batch_norm: Option<bool>,
    /// How features become one vector: avg, max, avg+max (their sum), gem (generalised mean, its
    /// exponent trained) or cls (the class token of a transformer) [default: avg; cls for a
    /// transformer]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    /// What makes an embedding of it: linear, layernorm+linear (a layer norm without weights first)
    /// or mlp (two linear layers with a ReLU between, as wide as the features) [default: linear]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
    /// Random weights of the head: uniform (PyTorch's) or he (normal, no bias) [default: uniform]
    #[arg(long, value_name = "uniform|he")]
    #[serde(skip_serializing_if = "Option::is_none")]
    head_init: Option<String>,
    /// Divide embeddings by their length [default: true, or as --arch says]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    normalize: Option<bool>,
    /// What the weights expect of pixels: imagenet (torchvision, DINO, DeiT), half (-1 to 1: timm's
    /// ViTs), caffe (BN-Inception), or auto (by the backbone) [default: auto]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    input_norm: Option<String>,
    /// Length of an embedding [default: 128]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    embed_dim: Option<u32>,
    /// Pretrained weights: a file (safetensors, .pth), builtin, or auto [default: auto]
    #[arg(long, value_name = "FILE|builtin|auto")]
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<String>,
    /// Start from random weights
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    not_pretrained: Option<bool>,
    /// Take what fits of a weight file and leave the rest random, instead of refusing it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_weights: Option<bool>,
    /// Where a ResNet bottleneck takes its stride: torchvision or v1 [default: torchvision]
    #[arg(long, value_name = "torchvision|v1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    resnet_stride: Option<String>,
    /// The ε of batch norm [default: the backbone's, 1e-5 or 1e-3]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    norm_epsilon: Option<f64>,
    /// Leave the backbone's stages up to this one as they are, their batch norms included, and train
    /// the rest; `pnp networks` lists the stages [default: train all]
    #[arg(long, value_name = "STAGE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    freeze_until: Option<String>,
    /// What the backbone computes in: f32, or bf16 with sums in single precision, for GPUs that
    /// have it (the CPU is slower by it) [default: f32]
    #[arg(long, value_name = "f32|bf16")]
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<String>,
}

/// The help of `--backbone`.
fn backbones() -> String {
    let names = pnp_model::backbone::BACKBONES.iter().map(|entry| entry.name);
    let (names, default) = (names.collect::<Vec<_>>().join(", "), BUILTIN_BACKBONE);
    format!("Backbone: {names} [default: {default}]")
}

/// Flags about the loss.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Loss")]
pub(crate) struct LossFlags {
    /// The loss, as name(parameter=value, ...), or a sum of several with weights, as
    /// "PNP:1.0,contrastive:0.1"; `pnp loss --list` shows them [default: PNP]
    #[arg(long, value_name = "LOSS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<String>,
    /// PNP's variant: PNP-O, PNP-I_u, PNP-I_b, PNP-D_s or PNP-D_q [default: PNP-O]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    /// The exponent of PNP-D_q, 1 or more; has no default there
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    /// The b of PNP-I_b [default: 2]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    b: Option<f64>,
    /// The sigmoid's temperature [default: 0.01]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    anneal: Option<f64>,
    /// Whether a query counts among its own positives, as in the authors' code [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    count_query: Option<bool>,
}

impl LossFlags {
    /// Whether a loss or a variant is named.
    pub(crate) fn names_a_loss(&self) -> bool {
        self.loss.is_some() || self.variant.is_some()
    }
}

/// Flags about what a loss keeps from step to step.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Loss")]
pub(crate) struct ObjectiveFlags {
    /// Embeddings of earlier batches that a batch is ranked against as well; 0: none [default: 0]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u32>,
    /// Steps before the memory is used; it fills from the first one on [default: 0]
    #[arg(long, value_name = "STEPS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_start: Option<u32>,
    /// Learning rate of the proxies of a loss that trains some; negative: as its authors have it, a
    /// multiple of --lr [default: -1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_lr: Option<f64>,
}

/// Flags about the optimisation.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Training")]
pub(crate) struct TrainingFlags {
    /// Epochs [default: 150]
    #[arg(long, alias = "epochs", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    n_epochs: Option<u32>,
    /// Seed of everything random [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// Optimiser: adam or sgd [default: adam]
    #[arg(long, value_name = "adam|sgd")]
    #[serde(skip_serializing_if = "Option::is_none")]
    optim: Option<String>,
    /// Learning rate [default: 1e-5]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    lr: Option<f64>,
    /// Learning rate of the embedding head; negative: that of --lr [default: -1]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    fc_lr: Option<f64>,
    /// Weight decay of every trained parameter [default: 4e-4]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    decay: Option<f64>,
    /// Momentum of sgd [default: 0.9]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    momentum: Option<f64>,
    /// Schedule of the learning rate: step or none [default: step]
    #[arg(long, value_name = "step|none")]
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduler: Option<String>,
    /// Factor of the learning rate at each milestone [default: 0.3]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    gamma: Option<f64>,
    /// Milestones: epochs done when the rate falls [default: 120 220 250 280]
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    tau: Option<Vec<u32>>,
    /// Images embedded at once in a step, for batches too large for the device; the loss is over
    /// the whole batch, the gradient agrees up to rounding [default: all]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<u32>,
}

/// Flags about evaluation.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Evaluation")]
pub(crate) struct MetricFlags {
    /// Metrics to compute, as recall@1 map@r e_recall@1
    #[arg(long, alias = "metrics", value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) evaluation_metrics: Option<Vec<String>>,
    /// Distance of the metrics that do not name one: cosine or euclidean [default: cosine]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) distance: Option<String>,
}

/// Flags about evaluation and records during a training.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Evaluation")]
pub(crate) struct RecordFlags {
    #[arg(help = "Metric by which the best epoch is picked [default: recall@1]")]
    #[arg(long, alias = "storage-metrics", value_name = "NAME", num_args = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_metric: Option<String>,
    /// Images embedded at once when evaluating [default: as many as suit the device]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_batch_size: Option<u32>,
    /// Epochs between evaluations [default: 1]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    eval_every: Option<u32>,
    /// Folder under which runs are kept [default: training_results]
    #[arg(long, value_name = "FOLDER", help_heading = "Records")]
    #[serde(skip_serializing_if = "Option::is_none")]
    save_path: Option<PathBuf>,
    /// The run's name [default: made of network, loss and seed]
    #[arg(long, value_name = "NAME", help_heading = "Records")]
    #[serde(skip_serializing_if = "Option::is_none")]
    savename: Option<String>,
}

/// Old flags that are accepted and change nothing here.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct IdleFlags {
    #[arg(long, hide = true)]
    evaluate_on_gpu: bool,
    #[arg(long, hide = true, num_args = 1.., value_parser = ["discriminative"])]
    evaltypes: Option<Vec<String>>,
}

/// The flags that were given, as configuration keys.
pub(crate) fn table(flags: &impl Serialize) -> Result<toml::Table, Failure> {
    // A path that is no UTF-8 cannot be kept in a configuration.
    toml::Table::try_from(flags)
        .map_err(|e| Failure::Usage(format!("the value of a flag cannot be kept: {e}")))
}

/// The settings of a configuration file; keys may be spelled with `-` or `_`.
pub(crate) fn read_file(path: &Path) -> Result<toml::Table, Failure> {
    let refuse = |reason: &dyn std::fmt::Display| {
        Failure::Usage(format!("cannot read the configuration '{}': {reason}", path.display()))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| refuse(&e))?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|e| refuse(&e))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(refuse(&"it is too long for one"));
    }
    let table: toml::Table = text.parse().map_err(|e| {
        Failure::Usage(format!("the configuration '{}' is no TOML: {e}", path.display()))
    })?;
    Ok(table.into_iter().map(|(key, value)| (key.replace('-', "_"), value)).collect())
}

/// Default, file, flags, in rising strength.
pub(crate) fn resolve(
    file: Option<&Path>,
    flags: impl IntoIterator<Item = toml::Table>,
) -> Result<TrainConfig, Failure> {
    let file = file.map(read_file).transpose()?.unwrap_or_default();
    let table = pnp_train::overlaid(file, flags.into_iter().flatten().collect());
    Ok(TrainConfig::from_table(table)?)
}
