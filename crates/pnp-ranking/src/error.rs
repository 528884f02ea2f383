//! What can go wrong with numbers and names: embeddings that are not rows of finite values, a
//! setting out of range, a name that is not known, a set that cannot be scored.

/// An error of this crate, with what, where and what to do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RankingError {
    /// Embeddings need at least one column.
    #[error("the embeddings have dimension 0: each needs at least one value")]
    ZeroDimension,
    /// A dimension that no embedding has.
    #[error("the embeddings have dimension {dim}: at most 16777216 values a row are possible")]
    DimensionTooLarge {
        /// The dimension that was named.
        dim: usize,
    },
    /// The values do not fill whole rows.
    #[error("{length} values do not make rows of {dim}: pass rows x dim values, row by row")]
    Ragged {
        /// How many values there are.
        length: usize,
        /// The dimension that was named.
        dim: usize,
    },
    /// A value is NaN or infinite; the first row with such a value is named.
    #[error(
        "embedding {row} has the value {value:e} in column {column}: \
         embeddings must be finite in single precision (did the training diverge?)"
    )]
    NotFinite {
        /// The first row with such a value, from 0.
        row: usize,
        /// Its first such column, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// An embedding is so long that inner products would overflow.
    #[error(
        "embedding {row} has the squared length {squared_norm:e}, too large for inner products: \
         scale the embeddings down or normalise them"
    )]
    TooLarge {
        /// The first such row, from 0.
        row: usize,
        /// Its squared length.
        squared_norm: f64,
    },
    /// More rows than an id of 32 bits can name.
    #[error("{rows} embeddings are more than {} can number", u32::MAX)]
    TooManyRows {
        /// How many there are.
        rows: usize,
    },
    /// Embeddings and labels do not pair up.
    #[error("{embeddings} embeddings but {labels} labels: each embedding needs one label")]
    LabelCount {
        /// How many embeddings there are.
        embeddings: usize,
        /// How many labels there are.
        labels: usize,
    },
    /// Embeddings and ids do not pair up.
    #[error("{embeddings} embeddings but {ids} ids: each embedding needs one id")]
    IdCount {
        /// How many embeddings there are.
        embeddings: usize,
        /// How many ids there are.
        ids: usize,
    },
    /// Embeddings and groups do not pair up.
    #[error("{embeddings} embeddings but {groups} groups: each embedding needs one group")]
    GroupCount {
        /// How many embeddings there are.
        embeddings: usize,
        /// How many groups there are.
        groups: usize,
    },
    /// Two models were scored on other queries, or by other metrics.
    #[error(
        "the two sets of scores, of {first} and {second} queries, are not of the same queries: \
         score both models on the same items with the same labels"
    )]
    OtherQueries {
        /// Queries of the first.
        first: usize,
        /// Queries of the second.
        second: usize,
    },
    /// A batch and what it is ranked against have different dimensions.
    #[error(
        "the batch has dimension {batch}, the references have {references}: \
         both must come from the same model"
    )]
    ReferenceDimension {
        /// Columns of the batch.
        batch: usize,
        /// Columns of the references, the memory or the proxies.
        references: usize,
    },
    /// A batch and the proxies have different dimensions.
    #[error("the batch has dimension {batch}, the proxies have {proxies}: both must be the same")]
    ProxyDimension {
        /// Columns of the batch.
        batch: usize,
        /// Columns of the proxies.
        proxies: usize,
    },
    /// A loss that trains proxies was given none.
    #[error("{loss} ranks against proxies: pass one row for each class")]
    NoProxies {
        /// The loss's name.
        loss: String,
    },
    /// A loss that ranks against proxies only was given references.
    #[error("{loss} ranks items against proxies only: it has no use for references or a memory")]
    ProxiesOnly {
        /// The loss's name.
        loss: String,
    },
    /// A label has no proxy.
    #[error("label {label} has no proxy: there are {classes}, for the labels from 0 up")]
    ProxyClass {
        /// The first such label.
        label: u32,
        /// How many proxies there are.
        classes: usize,
    },
    /// Two losses of a sum want proxies of their own.
    #[error("'{first}' and '{second}' both train proxies: a sum can hold one such loss")]
    TwoProxyLosses {
        /// The first of the two.
        first: String,
        /// The second.
        second: String,
    },
    /// Queries and gallery have different dimensions.
    #[error(
        "the queries have dimension {queries}, the gallery {gallery}: \
         both must come from the same model"
    )]
    DimensionMismatch {
        /// Columns of the queries.
        queries: usize,
        /// Columns of the gallery.
        gallery: usize,
    },
    /// A setting is out of its range.
    #[error("{setting} = {value} is not possible: {rule}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// The value that was given.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// More clusters than there are rows to be in them.
    #[error("{clusters} clusters of {rows} rows: ask for no more clusters than rows")]
    TooManyClusters {
        /// How many clusters were asked for.
        clusters: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// Classes and clusters do not pair up.
    #[error("{labels} labels but {assignment} clusters' ids: each item needs one of both")]
    AssignmentCount {
        /// How many labels there are.
        labels: usize,
        /// How many items have a cluster.
        assignment: usize,
    },
    /// No loss has this name.
    #[error("unknown loss '{name}': the losses are {known}")]
    UnknownLoss {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// A loss is not written as `name(parameter=value, ...):weight`.
    #[error("cannot read the loss '{text}': {reason}; write name(parameter=value, ...):weight")]
    LossSyntax {
        /// What was asked for.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A loss has no such parameter.
    #[error("the loss {loss} has no parameter '{parameter}': it has {known}")]
    UnknownParameter {
        /// The loss's name.
        loss: String,
        /// What was asked for.
        parameter: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// No variant of the PNP loss has this name.
    #[error("unknown variant '{name}': the variants are {known}")]
    UnknownVariant {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// No distance has this name.
    #[error("unknown distance '{name}': the distances are cosine, euclidean")]
    UnknownDistance {
        /// What was asked for.
        name: String,
    },
    /// No metric has this name.
    #[error("unknown metric '{name}': the metrics are {known}")]
    UnknownMetric {
        /// What was asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
    },
    /// Only the queries or only the gallery have ids or groups.
    #[error("only one of queries and gallery has {what}: give them to both, or to none")]
    OneSided {
        /// What it is.
        what: &'static str,
    },
    /// A metric has no value for this set.
    #[error(
        "{name} is not defined here: it needs two classes or more, and one of two items or more; \
         leave it out"
    )]
    Undefined {
        /// The metric's name.
        name: String,
    },
    /// The depth behind `@` is missing or is not a number.
    #[error("the metric '{name}' needs a number: write {pattern} with {rule}")]
    MetricDepth {
        /// What was asked for.
        name: String,
        /// The pattern of the metric it looks like.
        pattern: &'static str,
        /// Which numbers there are.
        rule: &'static str,
    },
    /// A precision deeper than the ranked lists are long.
    #[error(
        "{name} is not defined here: a ranked list has {gallery} items \
         (the set without the query); ask for a smaller depth"
    )]
    DepthBeyondGallery {
        /// The metric's name.
        name: String,
        /// How many items a ranked list has.
        gallery: usize,
    },
    /// Not one query has a positive, so that no ranking metric has a value.
    #[error(
        "none of the {items} items shares its class with another one of its list: \
         ranking metrics need a class with at least two items"
    )]
    NoPositives {
        /// How many items there are.
        items: usize,
    },
    /// A spectrum from a singular value on that is zero or does not exist.
    #[error(
        "rho_spectrum@{m} is not defined here: \
         the embeddings have {rank} singular values above zero; ask for no more"
    )]
    SpectrumDepth {
        /// The depth that was asked for.
        m: i32,
        /// How many singular values are not zero.
        rank: usize,
    },
}
