//! Metrics by name: what is asked for on a command line or in a configuration.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use super::{METRICS, MetricEntry, Score, class_structure};
use crate::distance::Distance;
use crate::error::RankingError;

/// The largest `k`.
const MAX_DEPTH: u32 = 999_999_999;
/// What a `k` may be.
const DEPTHS: &str = "a whole number k from 1 up, of at most nine digits";

/// A metric that was asked for by name.
#[derive(Debug, Clone)]
pub struct Metric {
    pub(super) name: String,
    pub(super) entry: &'static MetricEntry,
    /// 0 for names without one.
    pub(super) depth: usize,
    /// The m of `rho_spectrum@m`.
    pub(super) from: Option<i32>,
}

impl Metric {
    /// Reads a name: one of [`METRICS`], with a whole number for its `k`.
    ///
    /// ```
    /// use pnp_ranking::metric::Metric;
    ///
    /// assert_eq!(Metric::parse("recall@10")?.family(), "recall");
    /// assert_eq!(Metric::parse("r_precision")?.name(), "r-precision");
    /// assert!(Metric::parse("recall@0").is_err());
    /// # Ok::<(), pnp_ranking::RankingError>(())
    /// ```
    ///
    /// # Errors
    /// [`RankingError::MetricDepth`] if the depth is missing or wrong,
    /// [`RankingError::UnknownMetric`].
    pub fn parse(name: &str) -> Result<Self, RankingError> {
        let name = if name == "r_precision" { "r-precision" } else { name };
        if let Some(entry) = METRICS.iter().find(|entry| entry.name == name && !entry.takes_depth())
        {
            return Ok(Self { name: name.to_owned(), entry, depth: 0, from: None });
        }
        let (stem, depth) = name.split_once('@').unwrap_or((name, ""));
        if stem == "rho_spectrum" {
            return Self::parse_spectrum(name, depth);
        }
        let Some(entry) = METRICS.iter().find(|entry| entry.name.strip_suffix("@k") == Some(stem))
        else {
            let known: Vec<&str> = METRICS.iter().map(|entry| entry.name).collect();
            return Err(RankingError::UnknownMetric {
                name: name.to_owned(),
                known: known.join(", "),
            });
        };
        let digits = !depth.is_empty() && depth.bytes().all(|byte| byte.is_ascii_digit());
        match depth.parse::<u32>() {
            Ok(k) if digits && (1..=MAX_DEPTH).contains(&k) => {
                Ok(Self { name: format!("{stem}@{k}"), entry, depth: k as usize, from: None })
            }
            _ => {
                let (name, pattern) = (name.to_owned(), entry.name);
                Err(RankingError::MetricDepth { name, pattern, rule: DEPTHS })
            }
        }
    }

    fn parse_spectrum(name: &str, from: &str) -> Result<Self, RankingError> {
        let entry = &class_structure::RHO_SPECTRUM;
        let from = from.parse::<i32>().map_err(|_| {
            let (name, pattern) = (name.to_owned(), entry.name);
            let rule = "a whole number m, also 0 or negative, of at most nine digits";
            RankingError::MetricDepth { name, pattern, rule }
        })?;
        Ok(Self { name: format!("rho_spectrum@{from}"), entry, depth: 0, from: Some(from) })
    }

    /// The name in its usual form.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether each query has a score of its own, and the metric is their mean.
    pub fn is_ranked(&self) -> bool {
        matches!(self.entry.score, Score::Ranks(_))
    }

    /// Whether it is a list of numbers and no score, as `rho_spectrum@0` is.
    pub fn is_list(&self) -> bool {
        self.from == Some(0)
    }

    /// The metrics it belongs with, for tables and plots, as `recall` or `clustering`.
    pub fn family(&self) -> &'static str {
        self.entry.family
    }
}

impl MetricEntry {
    /// The distance that the name says; without one, that of the
    /// [options](super::EvalOptions::distance) is taken.
    pub fn distance(&self) -> Option<Distance> {
        self.distance
    }

    fn takes_depth(&self) -> bool {
        self.name.ends_with("@k") || self.name.ends_with("@m")
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Metric {}

impl Hash for Metric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl FromStr for Metric {
    type Err = RankingError;

    fn from_str(name: &str) -> Result<Self, RankingError> {
        Self::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::DEFAULT_METRICS;

    #[test]
    fn names_are_read_back_and_belong_to_families() {
        for (name, usual, family) in [
            ("recall@1", "recall@1", "recall"),
            ("recall@010", "recall@10", "recall"),
            ("e_precision@50", "e_precision@50", "precision"),
            ("map@r", "map@r", "map"),
            ("map@1000", "map@1000", "map"),
            ("map", "map", "map"),
            ("mAP", "mAP", "map"),
            ("c_mAP_lim", "c_mAP_lim", "map"),
            ("mrr", "mrr", "mrr"),
            ("r_precision", "r-precision", "r_precision"),
        ] {
            let metric = Metric::parse(name).unwrap();
            assert_eq!((metric.name(), metric.family()), (usual, family));
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
    }

    #[test]
    fn every_entry_and_default_can_be_asked_for() {
        for entry in METRICS {
            let name = entry.name.replace("@k", "@3").replace("@m", "@-1");
            assert_eq!(Metric::parse(&name).unwrap().name(), name);
            assert!(!entry.summary.is_empty());
        }
        for name in DEFAULT_METRICS {
            assert_eq!(Metric::parse(name).unwrap().name(), *name);
        }
    }

    #[test]
    fn a_missing_or_wrong_depth_is_refused() {
        for name in ["recall", "recall@", "recall@0", "recall@-1", "recall@+1", "recall@1.5"] {
            let error = Metric::parse(name).unwrap_err();
            let expected =
                RankingError::MetricDepth { name: name.into(), pattern: "recall@k", rule: DEPTHS };
            assert_eq!(error, expected);
        }
        assert!(matches!(Metric::parse("map@0"), Err(RankingError::MetricDepth { .. })));
        assert!(matches!(Metric::parse("map@99999999999"), Err(RankingError::MetricDepth { .. })));
    }

    #[test]
    fn unknown_names_are_refused() {
        for name in ["accuracy@10", "Recall@1", "mrr@5", "dists@width", "nmi@3", ""] {
            let error = Metric::parse(name).unwrap_err();
            assert!(matches!(error, RankingError::UnknownMetric { .. }), "{error}");
        }
    }

    #[test]
    fn the_spectrum_is_asked_for_from_a_value_on() {
        assert_eq!(Metric::parse("rho_spectrum@-1").unwrap().name(), "rho_spectrum@-1");
        assert!(Metric::parse("rho_spectrum@0").unwrap().is_list());
        assert!(!Metric::parse("rho_spectrum@2").unwrap().is_list());
        let error = Metric::parse("rho_spectrum@x").unwrap_err();
        assert!(matches!(error, RankingError::MetricDepth { .. }), "{error}");
    }
}
