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

mod engine;
mod pnp;
mod sigmoid;

use std::fmt::Debug;

use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::real::Real;

pub use pnp::{PnpLoss, PnpVariant};

/// A loss with its settings, ready for any batch.
///
/// The similarity is the plain inner product: pass L2-normalised embeddings for the cosine.
/// Labels alone say what is positive: any class sizes, any order. The result has the same bits for
/// any number of threads.
pub trait Loss: Debug + Send + Sync {
    /// The loss with its settings as resolved, for records: `PNP-D_q(alpha=4, anneal=0.01)`.
    fn name(&self) -> String;

    /// Value and gradient, similarities in f32, values summed in f64.
    ///
    /// Embeddings `[items, dim]`, one label per item. A batch without any positive pair has the
    /// value 0 and a zero gradient.
    ///
    /// # Errors
    /// [`RankingError::LabelCount`] and [`RankingError::TooLarge`].
    fn forward_f32(
        &self,
        embeddings: &Embeddings<'_, f32>,
        labels: &[u32],
    ) -> Result<LossOutput<f32>, RankingError>;

    /// The same in f64 throughout; slower, for checks.
    fn forward_f64(
        &self,
        embeddings: &Embeddings<'_, f64>,
        labels: &[u32],
    ) -> Result<LossOutput<f64>, RankingError>;
}

/// What a loss makes of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct LossOutput<T> {
    /// The loss: the mean over the queries that have a positive.
    pub value: f64,
    /// The derivative of the value with respect to each value of the embeddings, `[items, dim]`,
    /// row-major. The embeddings are free variables here: nothing is normalised inside.
    pub gradient: Vec<T>,
    /// What the value is a mean over.
    pub counts: LossCounts,
}

/// What a batch held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LossCounts {
    /// Embeddings in the batch.
    pub items: usize,
    /// Queries that entered the mean: items that share their class with another item.
    pub queries: usize,
    /// Items alone in their class: no queries, but negatives of all the others.
    pub lone_queries: usize,
    /// Pairs of a query and another item of its class.
    pub positives: usize,
    /// Pairs of a query and an item of another class.
    pub negatives: usize,
}

impl LossCounts {
    /// The counts with their names, for records and answers.
    pub fn named(&self) -> [(&'static str, usize); 5] {
        [
            ("items", self.items),
            ("queries", self.queries),
            ("lone_queries", self.lone_queries),
            ("positives", self.positives),
            ("negatives", self.negatives),
        ]
    }
}

/// The settings that the constructors in [`LOSSES`] read, each what it needs.
///
/// The defaults are those of the authors' code. The best results of the paper are reported for
/// PNP-D_q: with alpha = 8 according to PyTorch Metric Learning's documentation, with alpha = 4
/// according to the authors' README.
#[derive(Debug, Clone, PartialEq)]
pub struct LossSettings {
    /// The variant of the PNP loss. Default: [`PnpVariant::O`].
    pub variant: PnpVariant,
    /// The exponent of PNP-D_q, 1 to 1,000,000. Default: 1.
    pub alpha: f64,
    /// The bound of PNP-I_b, a millionth to 1,000,000. Default: 2, as in the paper.
    pub b: f64,
    /// The temperature of the sigmoid, a millionth to 1,000,000. Default: 0.01, as in the paper.
    pub anneal: f64,
    /// Whether a query counts among its own positives. Default: true, as in the authors' code.
    pub count_query: bool,
}

impl Default for LossSettings {
    fn default() -> Self {
        Self { variant: PnpVariant::O, alpha: 1.0, b: 2.0, anneal: 0.01, count_query: true }
    }
}

/// A line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct LossEntry {
    /// The name to ask for.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// Checks the settings and makes the loss.
    pub build: fn(&LossSettings) -> Result<Box<dyn Loss>, RankingError>,
}

/// All losses.
pub const LOSSES: &[LossEntry] = &[pnp::ENTRY];

/// Makes the loss of this name.
///
/// ```
/// use pnp_ranking::{Embeddings, loss};
///
/// let settings = loss::LossSettings {
///     variant: "PNP-D_q".parse()?,
///     alpha: 4.0,
///     ..Default::default()
/// };
/// let loss = loss::build("PNP", &settings)?;
/// assert_eq!(loss.name(), "PNP-D_q(alpha=4, anneal=0.01)");
///
/// let values = [1.0, 0.0, 0.8, 0.6, 0.6, 0.8, 0.0, 1.0];
/// let output = loss.forward_f32(&Embeddings::new(&values, 2)?, &[0, 1, 0, 1])?;
/// assert!(output.value > 0.0 && output.value < 1.0);
/// assert_eq!(output.gradient.len(), values.len());
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
///
/// # Errors
/// [`RankingError::UnknownLoss`], or [`RankingError::Setting`] with the rule that is broken.
pub fn build(name: &str, settings: &LossSettings) -> Result<Box<dyn Loss>, RankingError> {
    match LOSSES.iter().find(|entry| entry.name == name) {
        Some(entry) => (entry.build)(settings),
        None => Err(RankingError::UnknownLoss {
            name: name.to_owned(),
            known: LOSSES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The part of a loss that is its own: what one ranked list costs, and how that changes with each
/// similarity.
trait RowKernel<T: Real>: Sync {
    /// Replaces the list's similarities by the derivative of `weight` times its loss with respect
    /// to each, and returns the loss, without the weight.
    ///
    /// The list has at least one positive besides the query.
    fn row(&self, list: RankedList<'_, T>, weight: f64, scratch: &mut Scratch<T>) -> f64;
}

/// One query's similarities to all references.
struct RankedList<'a, T> {
    /// By the references' ids.
    similarities: &'a mut [T],
    /// The query's own id.
    query: usize,
    /// The ids of the query's class, the query's own among them, ascending.
    class: &'a [u32],
}

/// Space that a kernel keeps from one list to the next.
#[derive(Debug)]
struct Scratch<T> {
    /// As many numbers as there are references.
    negatives: Vec<T>,
    /// As many again.
    slopes: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(references: usize) -> Self {
        Self { negatives: vec![T::ZERO; references], slopes: vec![T::ZERO; references] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_loss_lists_the_known_ones() {
        let error = build("Triplet", &LossSettings::default()).unwrap_err();
        assert_eq!(error.to_string(), "unknown loss 'Triplet': the losses are PNP");
    }
}
