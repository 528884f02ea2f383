//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::data::DataCommand;
use crate::commands::weights::WeightsCommand;
use crate::settings::{
    BatchFlags, DataFlags, IdleFlags, LossFlags, MetricFlags, NetworkFlags, ObjectiveFlags,
    RecordFlags, TrainingFlags,
};

/// Train, evaluate and use image-retrieval models with ranking losses.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model and record the run in a folder
    Train(Box<TrainArgs>),
    /// Score a trained model on a data set, or embeddings in a file
    Eval(Box<EvalArgs>),
    /// Embed a data set into .npy files
    Embed(Box<EmbedArgs>),
    /// Write a trained model for other programs: ONNX, or safetensors
    Export(Box<ExportArgs>),
    /// Compute a loss and its gradient on embeddings in a file
    Loss(Box<LossArgs>),
    /// List, look into, audit, convert and pack data sets
    #[command(subcommand)]
    Data(DataCommand),
    /// Look into weight files, list and fetch pretrained weights
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// List the backbones with what they are
    Networks(NetworksArgs),
    /// List the devices that this program can use
    Devices(DevicesArgs),
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct TrainArgs {
    /// TOML file of settings; a flag is stronger
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Go on with a run folder that was stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "dry_run"])]
    pub(crate) resume: Option<PathBuf>,
    /// Print the resolved settings and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Device of the network: cpu, or a GPU as `pnp devices` lists it
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: String,
    #[command(flatten)]
    pub(crate) data: DataFlags,
    #[command(flatten)]
    pub(crate) batch: BatchFlags,
    #[command(flatten)]
    pub(crate) network: NetworkFlags,
    #[command(flatten)]
    pub(crate) loss: LossFlags,
    #[command(flatten)]
    pub(crate) objective: ObjectiveFlags,
    #[command(flatten)]
    pub(crate) training: TrainingFlags,
    #[command(flatten)]
    pub(crate) metrics: MetricFlags,
    #[command(flatten)]
    pub(crate) records: RecordFlags,
    #[command(flatten)]
    pub(crate) idle: IdleFlags,
}

/// Which images a trained model is used on.
#[derive(Debug, Args)]
pub(crate) struct UseArgs {
    /// Split to use: train, val, test, or a further test split as test-1600
    #[arg(long, value_name = "NAME", default_value = "test")]
    pub(crate) split: String,
    /// Device of the network: cpu, or a GPU as `pnp devices` lists it
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub(crate) device: String,
    /// What the network computes in: f32 or bf16
    #[arg(long, value_name = "f32|bf16", default_value = "f32")]
    pub(crate) precision: String,
    /// Images embedded at once; 0: as many as suit the device
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=65536))]
    pub(crate) eval_batch_size: u32,
    /// Seed of a plain folder's split, of folds and of drawn galleries [default: the run's, or 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Data set. What is not given is the run's; with a --source-path of another than the run's,
    /// what says how that one is read and divided, and its pack, stay out
    #[command(flatten)]
    pub(crate) data: DataFlags,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct EvalArgs {
    /// Run folder (its best checkpoint), checkpoint folder, or model.safetensors in one
    #[arg(required_unless_present_any = ["embeddings", "compare", "list"])]
    pub(crate) model: Option<PathBuf>,
    /// List the metrics with what they are
    #[arg(long, conflicts_with_all = ["model", "embeddings", "compare", "ci", "worst", "per_class",
          "csv"])]
    pub(crate) list: bool,
    /// Embeddings to score instead, one a row: .npy, .npz or .safetensors of f16, bf16, f32 or f64
    /// (FILE:NAME names one of several arrays); several files are several query sets
    #[arg(long, value_name = "FILE", conflicts_with = "model", num_args = 1..,
          required_unless_present_any = ["model", "compare", "list"])]
    pub(crate) embeddings: Vec<PathBuf>,
    /// Their labels: whole numbers or text in such a file, or a column of a .csv ('label', or
    /// FILE:COLUMN)
    #[arg(long, value_name = "FILE", conflicts_with = "model", num_args = 1..,
          required_unless_present_any = ["model", "neighbours", "list"])]
    pub(crate) labels: Vec<PathBuf>,
    /// Rank these instead of the other embeddings
    #[arg(long, value_name = "FILE", conflicts_with = "model", num_args = 1..)]
    pub(crate) gallery: Vec<PathBuf>,
    /// The gallery's labels
    #[arg(long, value_name = "FILE", requires = "gallery", num_args = 1..)]
    pub(crate) gallery_labels: Vec<PathBuf>,
    /// An id for each query: items with the query's own id are left out of its list
    #[arg(long, value_name = "FILE", requires = "labels", conflicts_with = "model", num_args = 1..)]
    pub(crate) ids: Vec<PathBuf>,
    /// The gallery's ids
    #[arg(long, value_name = "FILE", requires_all = ["gallery", "ids"], num_args = 1..)]
    pub(crate) gallery_ids: Vec<PathBuf>,
    /// A group for each query, as its camera: items of its class and group are left out
    #[arg(long, value_name = "FILE", requires = "labels", conflicts_with = "model", num_args = 1..)]
    pub(crate) groups: Vec<PathBuf>,
    /// The gallery's groups
    #[arg(long, value_name = "FILE", requires_all = ["gallery", "groups"], num_args = 1..)]
    pub(crate) gallery_groups: Vec<PathBuf>,
    /// Coarser labels, as super-classes: the same metrics by these as well
    #[arg(long, value_name = "FILE", requires = "labels", conflicts_with = "model", num_args = 1..)]
    pub(crate) coarse_labels: Vec<PathBuf>,
    /// The gallery's coarser labels
    #[arg(long, value_name = "FILE", requires_all = ["gallery", "coarse_labels"], num_args = 1..)]
    pub(crate) gallery_coarse_labels: Vec<PathBuf>,
    /// A category for each query: scores of each beside those of all
    #[arg(long, value_name = "FILE", requires = "labels", conflicts_with = "model", num_args = 1..)]
    pub(crate) categories: Vec<PathBuf>,
    /// Give each score the interval that holds this share of bootstrap means over queries
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.95")]
    pub(crate) ci: Option<f64>,
    /// List the N classes that do worst by the first metric
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10")]
    pub(crate) worst: Option<usize>,
    /// Write a table of every class's scores here (.csv)
    #[arg(long, value_name = "FILE")]
    pub(crate) per_class: Option<PathBuf>,
    /// Seed of the clustering
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) clustering_seed: u64,
    /// Where the clustering starts: k-means++ or random
    #[arg(long, value_name = "NAME", default_value = "k-means++",
          value_parser = ["k-means++", "random"])]
    pub(crate) clustering_start: String,
    /// Compare two models' embeddings of the same items: is the second better?
    #[arg(long, value_name = "FILE", num_args = 2, requires = "labels",
          conflicts_with_all = ["embeddings", "model", "ci", "worst", "per_class", "csv",
          "coarse_labels", "categories", "out"])]
    pub(crate) compare: Vec<PathBuf>,
    /// Rounds of --ci and --compare
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) rounds: usize,
    /// Seed of their draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) resampling_seed: u64,
    /// Write the K nearest of each query to --out instead of scoring
    #[arg(long, value_name = "K", requires_all = ["embeddings", "out"],
          conflicts_with_all = ["model", "labels", "gallery_labels", "ids", "groups", "coarse_labels", "categories", "ci",
          "worst", "per_class", "compare", "json", "csv", "evaluation_metrics"])]
    pub(crate) neighbours: Option<usize>,
    /// Where the neighbours go: .npy of ids, with their similarities or distances beside it
    #[arg(long, value_name = "FILE", requires = "neighbours")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    #[command(flatten)]
    pub(crate) metrics: MetricFlags,
    #[command(flatten)]
    pub(crate) using: UseArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct EmbedArgs {
    /// Run folder (its best checkpoint), checkpoint folder, or model.safetensors in one
    pub(crate) model: PathBuf,
    /// Folder for embeddings.npy, labels.npy and items.csv
    #[arg(long, short, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) using: UseArgs,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct ExportArgs {
    /// Run folder (its best checkpoint), checkpoint folder, or model.safetensors in one
    pub(crate) model: PathBuf,
    /// Format: onnx (the network, ready to run) or safetensors (its weights under PyTorch's key
    /// names) [default: by the file's ending]
    #[arg(long, value_name = "onnx|safetensors")]
    pub(crate) format: Option<ExportFormat>,
    /// File to write; its metadata say how images are made ready for the network
    #[arg(long, short, alias = "out", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `pnp export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// The network, ready to run.
    Onnx,
    /// Its weights.
    Safetensors,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(crate) struct LossArgs {
    /// Embeddings, one a row, taken as they are: .npy, .npz or .safetensors
    #[arg(long, value_name = "FILE", required_unless_present_any = ["curves", "list"])]
    pub(crate) embeddings: Option<PathBuf>,
    /// Their labels: whole numbers in such a file
    #[arg(long, value_name = "FILE", required_unless_present_any = ["curves", "list"])]
    pub(crate) labels: Option<PathBuf>,
    /// Their ids: whole numbers; references with an item's own id are left out of its list
    #[arg(long, value_name = "FILE", requires = "reference_ids")]
    pub(crate) ids: Option<PathBuf>,
    /// Write the gradient with respect to the embeddings here (.npy; f64 of f64, else f32)
    #[arg(long, value_name = "FILE", requires = "embeddings")]
    pub(crate) grad: Option<PathBuf>,
    /// Rank the items against these as well, as against a memory of earlier batches (.npy)
    #[arg(long, value_name = "FILE", requires_all = ["reference_labels", "embeddings"])]
    pub(crate) references: Option<PathBuf>,
    /// The references' labels
    #[arg(long, value_name = "FILE", requires = "references")]
    pub(crate) reference_labels: Option<PathBuf>,
    /// The references' ids
    #[arg(long, value_name = "FILE", requires_all = ["references", "ids"])]
    pub(crate) reference_ids: Option<PathBuf>,
    /// Rank the items against the references and not against each other
    #[arg(long, requires = "references")]
    pub(crate) references_only: bool,
    /// Write the gradient with respect to the references here
    #[arg(long, value_name = "FILE", requires = "references")]
    pub(crate) reference_grad: Option<PathBuf>,
    /// Proxies of a loss that trains some: .npy, row c is that of label c
    #[arg(long, value_name = "FILE", requires = "embeddings")]
    pub(crate) proxies: Option<PathBuf>,
    /// Write the gradient with respect to the proxies here
    #[arg(long, value_name = "FILE", requires = "proxies")]
    pub(crate) proxy_grad: Option<PathBuf>,
    /// List the N negatives that the loss pushes hardest, and before how many positives they stand
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20",
          requires = "embeddings")]
    pub(crate) penalties: Option<usize>,
    /// Draw f(R), the cost of R negatives before a positive, and its slope, of the variants of PNP
    /// that --loss or --variant names, or of all, into this SVG file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["embeddings", "labels", "ids",
          "grad", "references", "reference_labels", "reference_ids", "references_only",
          "reference_grad", "proxies", "proxy_grad", "penalties"])]
    pub(crate) curves: Option<PathBuf>,
    /// How far the curves go
    #[arg(
        long,
        value_name = "R",
        default_value_t = 5.0, allow_hyphen_values = true,
          requires = "curves", conflicts_with_all = ["embeddings", "list"])]
    pub(crate) curves_to: f64,
    /// List the losses with their parameters
    #[arg(long, conflicts_with_all = ["embeddings", "labels", "curves", "grad", "penalties",
          "references", "proxies"])]
    pub(crate) list: bool,
    /// Print one JSON object
    #[arg(long, conflicts_with = "curves")]
    pub(crate) json: bool,
    /// TOML file of settings; a flag is stronger
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) loss: LossFlags,
}

#[derive(Debug, Args)]
pub(crate) struct NetworksArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
