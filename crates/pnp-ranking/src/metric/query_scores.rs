//! Every query's scores, and the tables that are made of them.

use std::collections::BTreeMap;

/// The scores of all queries by all metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryScores {
    metrics: Vec<String>,
    /// `[queries, metrics]`.
    values: Vec<f64>,
    /// Whether a query has no positive.
    lone: Vec<bool>,
    /// Whether a metric takes lone queries in, with 0.
    takes_lone: Vec<bool>,
}

impl QueryScores {
    pub(super) fn new(
        metrics: Vec<String>,
        values: Vec<f64>,
        lone: Vec<bool>,
        takes_lone: Vec<bool>,
    ) -> Self {
        debug_assert_eq!(values.len(), lone.len() * metrics.len());
        Self { metrics, values, lone, takes_lone }
    }

    /// The metrics' names.
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// How many queries there are, lone ones included.
    pub fn queries(&self) -> usize {
        self.lone.len()
    }

    /// A query's score by the metric at a place in [`metrics`](Self::metrics); none where the
    /// metric leaves the query out.
    pub fn score(&self, query: usize, metric: usize) -> Option<f64> {
        let enters = !self.lone[query] || self.takes_lone[metric];
        enters.then(|| self.values[query * self.metrics.len() + metric])
    }

    /// Whether the metric at a place takes queries without a positive in, with 0.
    pub fn takes_lone(&self, metric: usize) -> bool {
        self.takes_lone[metric]
    }

    /// Whether a query has no positive.
    pub fn is_lone(&self, query: usize) -> bool {
        self.lone[query]
    }

    /// The mean of each metric over the queries that enter; 0 if none does.
    pub(super) fn means(&self) -> Vec<(String, f64)> {
        let means = self.means_over(0..self.queries());
        self.metrics
            .iter()
            .cloned()
            .zip(means.into_iter().map(|mean| mean.unwrap_or(0.0)))
            .collect()
    }

    /// The mean of each metric over some of the queries; none where no query enters.
    pub fn means_over(&self, queries: impl Iterator<Item = usize>) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0_usize); self.metrics.len()];
        for query in queries {
            for (metric, (sum, count)) in sums.iter_mut().enumerate() {
                if let Some(score) = self.score(query, metric) {
                    *sum += score;
                    *count += 1;
                }
            }
        }
        sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / count as f64)).collect()
    }

    /// The means over the queries of each kind: of each class, given labels, or of each category.
    /// Kinds ascending.
    ///
    /// Panics if there is not one kind for each query.
    pub fn by<K: Ord + Copy>(&self, kinds: &[K]) -> Vec<(K, Vec<Option<f64>>)> {
        assert_eq!(kinds.len(), self.queries(), "one kind for each query");
        let mut queries: BTreeMap<K, Vec<usize>> = BTreeMap::new();
        for (query, &kind) in kinds.iter().enumerate() {
            queries.entry(kind).or_default().push(query);
        }
        queries.into_iter().map(|(kind, of)| (kind, self.means_over(of.into_iter()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> QueryScores {
        let metrics = vec!["recall@1".into(), "mAP".into()];
        let values = vec![1.0, 0.5, 0.0, 0.0, 0.0, 0.25, 1.0, 0.75];
        QueryScores::new(metrics, values, vec![false, true, false, false], vec![false, true])
    }

    #[test]
    fn lone_queries_enter_where_the_metric_takes_them() {
        let scores = scores();
        assert_eq!((scores.score(1, 0), scores.score(1, 1)), (None, Some(0.0)));
        let expected = [("recall@1".to_owned(), 2.0 / 3.0), ("mAP".to_owned(), 1.5 / 4.0)];
        assert_eq!(scores.means(), expected);
    }

    #[test]
    fn kinds_have_means_of_their_own() {
        let found = scores().by(&["b", "a", "b", "c"]);
        let expected = vec![
            ("a", vec![None, Some(0.0)]),
            ("b", vec![Some(0.5), Some(0.375)]),
            ("c", vec![Some(1.0), Some(0.75)]),
        ];
        assert_eq!(found, expected);
    }
}
