//! What a loss of ranked lists is: one query's list in, its cost and the slopes out.
//!
//! Most losses here are of this kind. Such a loss implements [`ListLoss`] and is a
//! [`Loss`](super::Loss) by that: the engine makes the lists and turns slopes into gradients.

use std::fmt::Debug;
use std::ops::Range;

use super::{Loss, LossInput, LossOutput, engine};
use crate::error::RankingError;
use crate::real::Real;

/// A loss that is a mean over ranked lists.
pub trait ListLoss: Debug + Send + Sync {
    /// The loss with its settings, in the form that [`build`](super::build) reads.
    fn describe(&self) -> String;

    /// Whether the query itself stands among its positives, where it is in its own list.
    fn counts_query(&self) -> bool {
        false
    }

    /// Whether a list without a positive besides the query costs something.
    fn takes_lone_queries(&self) -> bool {
        false
    }

    /// What the sum over the lists is divided by.
    fn mean(&self) -> Mean {
        Mean::OverQueries
    }

    /// What the list costs, with its derivatives added to `slopes`, which are zero at entry.
    ///
    /// Compiled for the processor's vectors if it and all it calls are `#[inline(always)]`.
    fn list<T: Real>(
        &self,
        list: &RankedList<'_, T>,
        slopes: &mut Slopes<'_, T>,
        scratch: &mut Scratch<T>,
    ) -> ListCost;
}

/// What a loss averages over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mean {
    /// The queries whose lists enter.
    OverQueries,
    /// The terms that the lists report in [`ListCost::terms`].
    OverTerms,
}

/// One query's similarities.
#[derive(Debug)]
pub struct RankedList<'a, T> {
    /// To the references of its class, by ascending place.
    pub positives: &'a [T],
    /// Which of the positives is the query itself, if it is one.
    pub query: Option<usize>,
    /// To all references, by place; minus infinity where the reference is no negative.
    pub negatives: &'a [T],
    /// How many negatives there are.
    pub negative_count: usize,
}

/// The derivatives of a list's cost with respect to its similarities, at the same places.
#[derive(Debug)]
pub struct Slopes<'a, T> {
    /// As many as there are positives.
    pub positives: &'a mut [T],
    /// As many as there are references; what stands at a reference that is no negative is dropped.
    pub negatives: &'a mut [T],
}

/// What a list costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ListCost {
    /// The cost.
    pub value: f64,
    /// How many terms it is the sum of, for [`Mean::OverTerms`].
    pub terms: usize,
}

impl ListCost {
    /// A cost that is one term.
    pub(super) fn one(value: f64) -> Self {
        Self { value, terms: 1 }
    }
}

/// Space that a loss may use within a list; its contents mean nothing at entry.
#[derive(Debug)]
pub struct Scratch<T> {
    /// As many numbers as there are references.
    pub slopes: Vec<T>,
    /// As many numbers as there are positives.
    pub positives: Vec<T>,
    /// As many again.
    pub positive_slopes: Vec<T>,
    /// Wide sums, as many as the loss makes room for.
    pub sums: Vec<f64>,
}

impl<T: Real> Scratch<T> {
    pub(super) fn new(references: usize) -> Self {
        Self {
            slopes: vec![T::ZERO; references],
            positives: Vec::new(),
            positive_slopes: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Makes room for a list's positives.
    pub(super) fn fit(&mut self, positives: usize) {
        self.positives.resize(positives, T::ZERO);
        self.positive_slopes.resize(positives, T::ZERO);
    }
}

impl<L: ListLoss> Loss for L {
    fn name(&self) -> String {
        self.describe()
    }

    fn compute_f32(&self, input: &LossInput<'_, f32>) -> Result<LossOutput<f32>, RankingError> {
        engine::compute(self, input)
    }

    fn compute_f64(&self, input: &LossInput<'_, f64>) -> Result<LossOutput<f64>, RankingError> {
        engine::compute(self, input)
    }

    fn slopes_f64(
        &self,
        input: &LossInput<'_, f64>,
        queries: Range<usize>,
    ) -> Result<Vec<f64>, RankingError> {
        engine::slopes(self, input, queries)
    }
}
