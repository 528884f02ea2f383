//! The ranking losses of [`pnp_ranking`] as [Burn](burn) modules.
//!
//! Each loss has a configuration with `init` and a module whose `forward` takes embeddings
//! `[batch, dim]` and labels `[batch]` and returns the loss `[1]`, to be added to others and sent
//! backward as any tensor. [`RankingLoss`] is whatever is written, a weighted sum included.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::{Device, Int, Tensor};
//! use pnp_ranking_burn::{PnpLossConfig, PnpVariant, RankingLossConfig};
//!
//! let device = Device::flex().autodiff();
//! let model = LinearConfig::new(3, 2).init(&device);
//! let images = [[0.1, 0.9, 0.2], [0.8, 0.3, 0.1], [0.4, 0.7, 0.3], [0.9, 0.1, 0.5]];
//! let images = Tensor::<2>::from_floats(images, &device);
//! let labels = Tensor::<1, Int>::from_ints([0, 1, 0, 1], &device);
//!
//! let embeddings = model.forward(images);
//! let norm = embeddings.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
//! let embeddings = embeddings / norm;
//!
//! let pnp = PnpLossConfig::new().with_variant(PnpVariant::Dq).with_alpha(Some(4.0)).init()?;
//! let mixed = RankingLossConfig::new("PNP-I_u:1.0,contrastive:0.1".into()).init()?;
//! let loss = pnp.forward(embeddings.clone(), labels.clone()) + mixed.forward(embeddings, labels);
//!
//! let gradients = loss.backward();
//! assert!(model.weight.grad(&gradients).is_some());
//! # Ok::<(), pnp_ranking::RankingError>(())
//! ```
//!
//! # What all of them have in common
//!
//! - **The similarity is the inner product** of the embeddings as they come: normalise them for the
//!   cosine. Labels alone say what is positive: any class sizes, in any order.
//! - **The ranking is computed on the host**, from the closed forms of [`pnp_ranking`], whatever the
//!   device: embeddings and labels are read back, and value and gradient go up. This waits for the
//!   device. The gradient is bit for bit that of
//!   [`compute_f32`](pnp_ranking::loss::Loss::compute_f32), the value that one's in f32.
//! - **Precision.** f64 embeddings are ranked in f64, all others in f32, and the loss is a tensor of
//!   that type; the gradient of f16 and bf16 embeddings is narrowed where it reaches them, after the
//!   loss was scaled.
//! - **Derivatives are of first order**, as all of Burn's. Embeddings without autodiff are fine: the
//!   loss is then a plain value.
//! - **Labels and ids** may have any integer type. A label is a whole number from 0 to 4294967295.
//! - A batch without any list to rank has the loss 0, and a gradient of zeros.
//!
//! # Panics and errors
//!
//! `init` returns [`RankingError`] for a setting out of its range. `forward` panics with the message
//! of what `try_forward` returns: other numbers of embeddings and labels, a value that is not
//! finite, with its row, a label without a proxy. Both panic if the device cannot be read.

mod choices;
mod configs;
mod evaluate;
mod modules;
mod proxies;
mod references;
mod written;

pub use choices::{Distance, PnpVariant, TripletMining};
pub use configs::{
    ContrastiveLossConfig, FastApLossConfig, MultiSimilarityLossConfig, PnpLossConfig,
    RecallAtKLossConfig, SmoothApLossConfig, SupApLossConfig, TripletLossConfig,
};
pub use modules::{
    ContrastiveLoss, FastApLoss, MultiSimilarityLoss, PnpLoss, RecallAtKLoss, SmoothApLoss,
    SupApLoss, TripletLoss,
};
pub use pnp_ranking::RankingError;
pub use proxies::{
    NormalisedSoftmaxLoss, NormalisedSoftmaxLossConfig, ProxiesConfig, ProxyAnchorLoss,
    ProxyAnchorLossConfig,
};
pub use references::References;
pub use written::{RankingLoss, RankingLossConfig};
