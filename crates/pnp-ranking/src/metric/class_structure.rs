//! The PyTorch code's numbers about the shape of the set: how wide classes are, how far apart, and
//! how evenly the embeddings use their directions. No scores from 0 to 1.

use super::{Lone, MetricEntry, Score};

/// The registry's lines.
pub(super) const INTRA: MetricEntry = MetricEntry {
    name: "dists@intra",
    summary: "mean over the classes of two items and more of the mean cosine distance between \
              their items",
    score: Score::Classes(|distances| distances.intra),
    ..ENTRY
};
pub(super) const INTER: MetricEntry = MetricEntry {
    name: "dists@inter",
    summary: "mean cosine distance between the means of the classes",
    score: Score::Classes(|distances| distances.inter),
    ..ENTRY
};
pub(super) const INTRA_OVER_INTER: MetricEntry = MetricEntry {
    name: "dists@intra_over_inter",
    summary: "dists@intra over dists@inter: the smaller, the better the classes are told apart",
    score: Score::Classes(crate::structure::ClassDistances::intra_over_inter),
    ..ENTRY
};
pub(super) const RHO_SPECTRUM: MetricEntry = MetricEntry {
    name: "rho_spectrum@m",
    family: "rho_spectrum",
    summary: "divergence between the spectrum of the embeddings from its |m|-th value on and the \
              uniform one: KL(uniform || spectrum) for m > 0, KL(spectrum || uniform) for m < 0",
    score: Score::Spectrum,
    ..ENTRY
};

const ENTRY: MetricEntry = MetricEntry {
    name: "",
    family: "dists",
    summary: "",
    distance: None,
    lone: Lone::Zero,
    within_gallery: false,
    score: Score::Spectrum,
};
