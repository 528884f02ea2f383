//! Ranking losses: embeddings and labels in, value and gradient out.
//!
//! A loss is a function of ranked lists: of each query's similarities to the items of its own
//! class and to all others. It knows no network. [`Loss::forward_f32`] returns the value and its
//! gradient with respect to the embeddings in closed form; a trainer feeds that gradient into the
//! network's backward pass.
//!
//! The engine computes the similarities, hands each query's row to the loss, and turns the
//! gradients with respect to the similarities into the one with respect to the embeddings. A new
//! loss is one file with its row kernel, and one line in [`LOSSES`].

mod contrastive;
mod engine;
mod fast_ap;
mod input;
mod lanes;
mod list;
mod lists;
mod log_sum_exp;
mod memory;
mod multi_similarity;
mod normalised_softmax;
mod penalties;
mod pnp;
mod proxies;
mod proxy_anchor;
mod recall_at_k;
mod sigmoid;
mod smooth_ap;
mod spec;
mod sum;
mod sup_ap;
mod triplet;

use std::fmt::Debug;
use std::ops::Range;

use crate::embeddings::Embeddings;
use crate::error::RankingError;

use list::{ListCost, ListLoss, Mean};
use spec::Parameters;

pub use contrastive::{ContrastiveLoss, ContrastiveSettings};
pub use fast_ap::{FastApLoss, FastApSettings};
pub use input::{Items, LossInput};
pub use memory::CrossBatchMemory;
pub use multi_similarity::{MultiSimilarityLoss, MultiSimilaritySettings};
pub use normalised_softmax::{NormalisedSoftmaxLoss, NormalisedSoftmaxSettings};
pub use penalties::{Penalty, penalties};
pub use pnp::{PnpLoss, PnpVariant};
pub use proxies::initial_proxies;
pub use proxy_anchor::{ProxyAnchorLoss, ProxyAnchorSettings};
pub use recall_at_k::{RecallAtKLoss, RecallAtKSettings};
pub use smooth_ap::{SmoothApLoss, SmoothApSettings};
pub use spec::{build, build_pnp};
pub use sum::WeightedSum;
pub use sup_ap::{SupApLoss, SupApSettings};
pub use triplet::{TripletLoss, TripletMining, TripletSettings};

/// A loss with its settings, ready for any batch.
///
/// The similarity is the plain inner product: pass L2-normalised embeddings for the cosine.
/// Labels alone say what is positive: any class sizes, any order. The result has the same bits for
/// any number of threads.
pub trait Loss: Debug + Send + Sync {
    /// The loss with its settings as resolved, for records: `PNP-D_q(alpha=4, anneal=0.01)`.
    fn name(&self) -> String;

    /// Whether it ranks against trained proxies, one for each class, and must be given them.
    fn trains_proxies(&self) -> bool {
        false
    }

    /// How many times faster than the network its authors let the proxies learn.
    fn proxy_rate(&self) -> f64 {
        1.0
    }

    /// Whether it ranks the batch against itself and the references, and not against proxies only.
    fn ranks_references(&self) -> bool {
        true
    }

    /// Value and gradients, similarities in f32, values summed in f64.
    ///
    /// Without any list that enters, the value is 0 and the gradients are zero.
    ///
    /// # Errors
    /// [`RankingError::NoProxies`] for a loss that trains proxies.
    fn compute_f32(&self, input: &LossInput<'_, f32>) -> Result<LossOutput<f32>, RankingError>;

    /// The same in f64 throughout; slower, for checks.
    fn compute_f64(&self, input: &LossInput<'_, f64>) -> Result<LossOutput<f64>, RankingError>;

    /// The derivatives of the value with respect to the similarities of some of the queries,
    /// `[queries, references]`: what [`penalties`] looks at. Zero for pairs that have no part, and
    /// of a loss that ranks against proxies only.
    ///
    /// # Errors
    /// As [`compute_f64`](Self::compute_f64). Panics if there are fewer queries.
    fn slopes_f64(
        &self,
        input: &LossInput<'_, f64>,
        queries: Range<usize>,
    ) -> Result<Vec<f64>, RankingError>;

    /// [`compute_f32`](Self::compute_f32) of a batch by itself: embeddings `[items, dim]`, one
    /// label per item.
    ///
    /// # Errors
    /// [`RankingError::LabelCount`], [`RankingError::TooLarge`], and those of the computation.
    fn forward_f32(
        &self,
        embeddings: &Embeddings<'_, f32>,
        labels: &[u32],
    ) -> Result<LossOutput<f32>, RankingError> {
        self.compute_f32(&LossInput::batch(Items::new(*embeddings, labels)?))
    }

    /// [`compute_f64`](Self::compute_f64) of a batch by itself.
    ///
    /// # Errors
    /// As [`forward_f32`](Self::forward_f32).
    fn forward_f64(
        &self,
        embeddings: &Embeddings<'_, f64>,
        labels: &[u32],
    ) -> Result<LossOutput<f64>, RankingError> {
        self.compute_f64(&LossInput::batch(Items::new(*embeddings, labels)?))
    }
}

/// What a loss makes of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct LossOutput<T> {
    /// The loss: the mean that its definition names.
    pub value: f64,
    /// The derivative of the value with respect to each value of the embeddings, `[items, dim]`,
    /// row-major. The embeddings are free variables here: nothing is normalised inside.
    pub gradient: Vec<T>,
    /// The same for the references, `[references, dim]`, if it was asked for.
    pub reference_gradient: Option<Vec<T>>,
    /// The same for the proxies, `[classes, dim]`, of a loss that trains some: through their
    /// normalisation.
    pub proxy_gradient: Option<Vec<T>>,
    /// What the value is a mean over.
    pub counts: LossCounts,
}

impl<T> LossOutput<T> {
    fn gradients_mut(&mut self) -> impl Iterator<Item = &mut Vec<T>> {
        let others = [&mut self.reference_gradient, &mut self.proxy_gradient];
        std::iter::once(&mut self.gradient).chain(others.into_iter().flatten())
    }
}

/// What a batch held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossCounts {
    /// Embeddings in the batch.
    pub items: usize,
    /// What each of them is ranked against: the batch, other references, or both together.
    pub references: usize,
    /// Queries whose lists entered the mean: for most losses the items with a positive.
    pub queries: usize,
    /// Items without a positive among the references: for most losses no queries, but negatives
    /// of the others all the same.
    pub lone_queries: usize,
    /// Pairs of a query and another item of its class.
    pub positives: usize,
    /// Pairs of a query and an item of another class.
    pub negatives: usize,
    /// Pairs of an item and an older copy of it, left out of the lists.
    pub stale_copies: usize,
    /// What the value is divided by: the queries, or for triplets those that count. A batch of 0
    /// teaches nothing.
    pub terms: usize,
}

impl LossCounts {
    /// The counts with their names, for records and answers.
    pub fn named(&self) -> [(&'static str, usize); 8] {
        [
            ("items", self.items),
            ("references", self.references),
            ("queries", self.queries),
            ("lone_queries", self.lone_queries),
            ("positives", self.positives),
            ("negatives", self.negatives),
            ("stale_copies", self.stale_copies),
            ("terms", self.terms),
        ]
    }
}

/// The settings of the PNP loss; `anneal` and `count_query` hold for every loss that has them.
///
/// The defaults are those of the authors' code. The best results of the paper are reported for
/// PNP-D_q: with alpha = 8 according to PyTorch Metric Learning's documentation, with alpha = 4
/// according to the authors' README.
#[derive(Debug, Clone, PartialEq)]
pub struct PnpSettings {
    /// The variant of the PNP loss. Default: [`PnpVariant::O`].
    pub variant: PnpVariant,
    /// The exponent of PNP-D_q, 1 to 1,000,000. Default: none, and D_q asks for one.
    pub alpha: Option<f64>,
    /// The bound of PNP-I_b, a millionth to 1,000,000. Default: 2, as in the paper.
    pub b: f64,
    /// The temperature of the sigmoid, a millionth to 1,000,000. Default: 0.01, as in the paper.
    pub anneal: f64,
    /// Whether a query counts among its own positives. Default: true, as in the authors' code.
    pub count_query: bool,
}

impl Default for PnpSettings {
    fn default() -> Self {
        Self { variant: PnpVariant::O, alpha: None, b: 2.0, anneal: 0.01, count_query: true }
    }
}

/// A line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct LossEntry {
    /// The name to ask for.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// Whether it trains a proxy for each class.
    pub proxies: bool,
    /// Takes the parameters it has, checks them and makes the loss.
    build: fn(&mut Parameters<'_>) -> Result<Box<dyn Loss>, RankingError>,
}

/// All losses.
pub const LOSSES: &[LossEntry] = &[
    pnp::ENTRY,
    smooth_ap::ENTRY,
    fast_ap::ENTRY,
    recall_at_k::ENTRY,
    sup_ap::ENTRY,
    contrastive::ENTRY,
    triplet::ENTRY,
    multi_similarity::ENTRY,
    normalised_softmax::ENTRY,
    proxy_anchor::ENTRY,
];
