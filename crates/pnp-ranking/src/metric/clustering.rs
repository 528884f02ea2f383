//! How well clusters agree with the classes: k-means with as many clusters as the evaluated set has
//! classes, 20 iterations.

use super::{Distance, Lone, MetricEntry, Score};
use crate::cluster::Contingency;

/// The registry's lines. The plain names cluster by Euclidean distance, as the PyTorch code did;
/// those with `c_` by the cosine, with centres of length 1.
pub(super) const NMI: MetricEntry = MetricEntry {
    name: "nmi",
    summary: "normalised mutual information of classes and k-means clusters, by the arithmetic \
              mean of the entropies, as scikit-learn's",
    score: Score::Clusters(Contingency::nmi),
    ..EUCLIDEAN
};
pub(super) const AMI: MetricEntry = MetricEntry {
    name: "ami",
    summary: "mutual information adjusted for chance, as scikit-learn's",
    score: Score::Clusters(Contingency::ami),
    ..EUCLIDEAN
};
pub(super) const F1: MetricEntry = MetricEntry {
    name: "f1",
    summary: "F1 over pairs of items: together in a cluster against together in a class",
    score: Score::Clusters(Contingency::pairwise_f1),
    ..EUCLIDEAN
};
pub(super) const PURITY: MetricEntry = MetricEntry {
    name: "purity",
    summary: "share of items that are of their cluster's most frequent class",
    score: Score::Clusters(Contingency::purity),
    ..EUCLIDEAN
};
pub(super) const C_NMI: MetricEntry =
    MetricEntry { name: "c_nmi", summary: "nmi over spherical k-means", ..spherical(NMI) };
pub(super) const C_AMI: MetricEntry =
    MetricEntry { name: "c_ami", summary: "ami over spherical k-means", ..spherical(AMI) };
pub(super) const C_F1: MetricEntry =
    MetricEntry { name: "c_f1", summary: "f1 over spherical k-means", ..spherical(F1) };
pub(super) const C_PURITY: MetricEntry =
    MetricEntry { name: "c_purity", summary: "purity over spherical k-means", ..spherical(PURITY) };

const EUCLIDEAN: MetricEntry = MetricEntry {
    name: "",
    family: "clustering",
    summary: "",
    distance: Some(Distance::Euclidean),
    lone: Lone::Zero,
    within_gallery: false,
    score: Score::Clusters(Contingency::nmi),
};

const fn spherical(entry: MetricEntry) -> MetricEntry {
    MetricEntry { distance: Some(Distance::Cosine), ..entry }
}
