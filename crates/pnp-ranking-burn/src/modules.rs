//! The modules of the losses without proxies, which differ in nothing but the loss they hold.

use std::sync::Arc;

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay};
use burn::tensor::{Int, Tensor};
use pnp_ranking::RankingError;
use pnp_ranking::loss::{self, Loss};

use crate::configs::{
    ContrastiveLossConfig, FastApLossConfig, MultiSimilarityLossConfig, PnpLossConfig,
    RecallAtKLossConfig, SmoothApLossConfig, SupApLossConfig, TripletLossConfig,
};
use crate::evaluate::{Batch, evaluate};
use crate::references::References;

/// The methods of a module with a field `loss`, and proxies where `$proxies` of it finds some.
macro_rules! forward {
    ($module:ident, $proxies:expr) => {
        impl $module {
            /// The loss with its settings, as [`RankingLossConfig`](crate::RankingLossConfig) reads
            /// it.
            pub fn name(&self) -> String {
                self.loss.name()
            }

            /// The loss of a batch, each item ranked against all of it.
            ///
            /// # Shapes
            ///
            /// - embeddings: `[batch, dim]`
            /// - labels: `[batch]`
            /// - output: `[1]`
            ///
            /// # Panics
            ///
            /// With the error of [`try_forward`](Self::try_forward).
            #[track_caller]
            pub fn forward(&self, embeddings: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
                crate::modules::or_panic(&*self.loss, self.try_forward(embeddings, labels))
            }

            /// [`forward`](Self::forward) with errors.
            ///
            /// # Errors
            ///
            /// [`RankingError`] for other numbers of embeddings and labels, a value that is not
            /// finite or a row too long for inner products, a label out of range.
            pub fn try_forward(
                &self,
                embeddings: Tensor<2>,
                labels: Tensor<1, Int>,
            ) -> Result<Tensor<1>, RankingError> {
                self.evaluate(&embeddings, &labels, None)
            }

            fn evaluate(
                &self,
                embeddings: &Tensor<2>,
                labels: &Tensor<1, Int>,
                references: Option<&References>,
            ) -> Result<Tensor<1>, RankingError> {
                let proxies: Option<Tensor<2>> = $proxies(self);
                let proxies = proxies.as_ref();
                evaluate(&*self.loss, Batch { embeddings, labels, references, proxies })
            }
        }
    };
}
pub(crate) use forward;

/// The methods with references, for losses that rank against some.
macro_rules! forward_with_references {
    ($module:ident) => {
        impl $module {
            /// The loss of a batch, each item ranked against the batch and other references, or
            /// against those alone.
            ///
            /// # Shapes
            ///
            /// - embeddings: `[batch, dim]`
            /// - labels: `[batch]`
            /// - output: `[1]`
            ///
            /// # Panics
            ///
            /// With the error of
            /// [`try_forward_with_references`](Self::try_forward_with_references).
            #[track_caller]
            pub fn forward_with_references(
                &self,
                embeddings: Tensor<2>,
                labels: Tensor<1, Int>,
                references: References,
            ) -> Tensor<1> {
                let result = self.try_forward_with_references(embeddings, labels, references);
                crate::modules::or_panic(&*self.loss, result)
            }

            /// [`forward_with_references`](Self::forward_with_references) with errors.
            ///
            /// # Errors
            ///
            /// As [`try_forward`](Self::try_forward), of the references too; [`RankingError`] for
            /// references of another dimension or another number of ids.
            #[allow(clippy::needless_pass_by_value, reason = "tensors are passed by value in Burn")]
            pub fn try_forward_with_references(
                &self,
                embeddings: Tensor<2>,
                labels: Tensor<1, Int>,
                references: References,
            ) -> Result<Tensor<1>, RankingError> {
                self.evaluate(&embeddings, &labels, Some(&references))
            }
        }
    };
}
pub(crate) use forward_with_references;

/// What a loss returned, or its error as a panic of the caller's caller.
#[track_caller]
pub(crate) fn or_panic(loss: &dyn Loss, result: Result<Tensor<1>, RankingError>) -> Tensor<1> {
    result.unwrap_or_else(|error| panic!("{}: {error}", loss.name()))
}

/// How a module prints itself: its loss, as it is written.
macro_rules! display {
    ($module:ident $(, $parameter:ident)?) => {
        impl ModuleDisplay for $module {
            fn custom_settings(&self) -> Option<DisplaySettings> {
                DisplaySettings::new().with_new_line_after_attribute(false).optional()
            }

            fn custom_content(&self, content: Content) -> Option<Content> {
                let content = content.add("loss", self.name().as_str());
                $(let content = content.add(stringify!($parameter), &self.$parameter);)?
                content.optional()
            }
        }
    };
}
pub(crate) use display;

macro_rules! module {
    ($(#[$docs:meta])* $module:ident, $config:ident) => {
        $(#[$docs])*
        #[derive(Module, Debug)]
        #[module(custom_display)]
        pub struct $module {
            #[module(skip)]
            loss: Arc<loss::$module>,
        }

        impl $config {
            /// Checks the settings and makes the loss.
            ///
            /// # Errors
            ///
            /// [`RankingError::Setting`] with the first rule that is broken.
            pub fn init(&self) -> Result<$module, RankingError> {
                Ok($module { loss: Arc::new(loss::$module::new(&self.into())?) })
            }
        }

        forward!($module, |_: &Self| None);
        forward_with_references!($module);
        display!($module);
    };
}

module! {
    /// The PNP loss: penalises the negatives that rank before each positive (Li et al., Rethinking
    /// the Optimization of Average Precision: Only Penalizing Negative Instances before Positive
    /// Ones is Enough, AAAI 2022).
    ///
    /// The mean over the queries of the mean over their positives p of f(R(p)), with
    /// `R(p) = Σ_n σ((s_n - s_p) / anneal)` over the negatives n; f is the [variant](crate::PnpVariant).
    ///
    /// Should be created with [`PnpLossConfig`].
    PnpLoss, PnpLossConfig
}

module! {
    /// Smooth-AP: 1 - average precision, with smooth ranks (Brown et al., Smooth-AP: Smoothing the
    /// Path Towards Large-Scale Image Retrieval, ECCV 2020).
    ///
    /// Should be created with [`SmoothApLossConfig`].
    SmoothApLoss, SmoothApLossConfig
}

module! {
    /// FastAP: 1 - average precision over a histogram of distances (Cakir et al., Deep Metric
    /// Learning to Rank, CVPR 2019).
    ///
    /// Made for embeddings of length 1. Should be created with [`FastApLossConfig`].
    FastApLoss, FastApLossConfig
}

module! {
    /// 1 - recall@k with smooth steps, averaged over several k (Patel, Tolias and Matas, Recall@k
    /// Surrogate Loss with Large Batches and Similarity Mixup, CVPR 2022).
    ///
    /// Should be created with [`RecallAtKLossConfig`].
    RecallAtKLoss, RecallAtKLossConfig
}

module! {
    /// SupAP, a smooth upper bound of 1 - average precision, with a calibration of similarities:
    /// together ROADMAP (Ramzi et al., Robust and Decomposable Average Precision for Image
    /// Retrieval, NeurIPS 2021).
    ///
    /// Should be created with [`SupApLossConfig`].
    SupApLoss, SupApLossConfig
}

module! {
    /// The contrastive loss: pulls each positive to the query and pushes away each negative that is
    /// inside a margin; by cosine (Wang et al., Cross-Batch Memory for Embedding Learning, CVPR
    /// 2020) or by Euclidean distance (Hadsell, Chopra and LeCun, Dimensionality Reduction by
    /// Learning an Invariant Mapping, CVPR 2006).
    ///
    /// Made for embeddings of length 1. Should be created with [`ContrastiveLossConfig`].
    ContrastiveLoss, ContrastiveLossConfig
}

module! {
    /// The triplet loss over squared distances, with mining inside the batch (Schroff, Kalenichenko
    /// and Philbin, FaceNet: A Unified Embedding for Face Recognition and Clustering, CVPR 2015).
    ///
    /// Made for embeddings of length 1. Should be created with [`TripletLossConfig`].
    TripletLoss, TripletLossConfig
}

module! {
    /// The multi-similarity loss: soft margins over the pairs that are hard by comparison with the
    /// list's other side (Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep
    /// Metric Learning, CVPR 2019).
    ///
    /// Should be created with [`MultiSimilarityLossConfig`].
    MultiSimilarityLoss, MultiSimilarityLossConfig
}
