//! How far a score can be trusted: bootstrap intervals over queries, and whether one model is
//! better than another on the same queries.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::QueryScores;
use crate::error::RankingError;

/// How queries are drawn anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampling {
    /// How often, 100 to 1,000,000. Default: 1,000.
    pub rounds: usize,
    /// The seed of the draws. Default: 0.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { rounds: 1000, seed: 0 }
    }
}

impl Resampling {
    /// Checks the rounds, as is done before any work.
    ///
    /// # Errors
    /// [`RankingError::Setting`].
    pub fn check(&self) -> Result<(), RankingError> {
        if (100..=1_000_000).contains(&self.rounds) {
            return Ok(());
        }
        let rule = "it must be a whole number from 100 to 1000000";
        let value = self.rounds.to_string();
        Err(RankingError::Setting { setting: "rounds", value, rule })
    }

    /// The generator of one round: the same for any number of threads.
    fn rng(&self, round: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(round as u64);
        rng
    }
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The interval of each metric that holds `level` of the means over queries drawn with
/// replacement, as many as there are (the percentile bootstrap of Efron, 1979).
///
/// It answers how the score would vary with other queries of the same kind. It knows nothing of
/// other seeds of a training, nor that queries of one class resemble each other.
///
/// # Errors
/// [`RankingError::Setting`] for a level that is not within 0 and 1, or for the rounds.
pub fn bootstrap(
    scores: &QueryScores,
    level: f64,
    resampling: &Resampling,
) -> Result<Vec<Interval>, RankingError> {
    check_level(level)?;
    resampling.check()?;
    let metrics = scores.metrics().len();
    // Each metric's mean is over the queries that enter it: so are its draws.
    let all: Vec<usize> = (0..scores.queries()).collect();
    let not_lone: Vec<usize> = all.iter().copied().filter(|&q| !scores.is_lone(q)).collect();
    let takes_lone = |metric: &usize| scores.takes_lone(*metric);
    let any_takes_lone = (0..metrics).any(|metric| takes_lone(&metric));
    let means: Vec<Vec<f64>> = (0..resampling.rounds)
        .into_par_iter()
        .map(|round| {
            let mut rng = resampling.rng(round);
            let mut drawn = |from: &[usize]| {
                scores.means_over((0..from.len()).map(|_| from[rng.random_range(0..from.len())]))
            };
            let mut means = drawn(&not_lone);
            if any_takes_lone {
                let over_all = drawn(&all);
                for metric in (0..metrics).filter(takes_lone) {
                    means[metric] = over_all[metric];
                }
            }
            means.into_iter().map(|mean| mean.unwrap_or(0.0)).collect()
        })
        .collect();
    let tail = (1.0 - level) / 2.0;
    let interval = |metric: usize| {
        let mut of: Vec<f64> = means.iter().map(|means| means[metric]).collect();
        of.sort_unstable_by(f64::total_cmp);
        Interval { low: quantile(&of, tail), high: quantile(&of, 1.0 - tail) }
    };
    Ok((0..metrics).map(interval).collect())
}

/// Checks a level, as [`bootstrap`] does before its work.
///
/// # Errors
/// [`RankingError::Setting`] for a level that is not within 0 and 1.
pub fn check_level(level: f64) -> Result<(), RankingError> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    let rule = "it must be a number between 0 and 1, as 0.95";
    Err(RankingError::Setting { setting: "ci", value: level.to_string(), rule })
}

/// The quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * (sorted.len() - 1) as f64;
    let (low, share) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + share * (sorted[high] - sorted[low])
}

/// How the second of two models does beside the first, by one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The metric.
    pub metric: String,
    /// The mean of the first, over the queries that enter.
    pub first: f64,
    /// The mean of the second.
    pub second: f64,
    /// Queries on which the second is better, and worse.
    pub better: usize,
    /// Queries on which it is worse.
    pub worse: usize,
    /// How often a difference at least as large, to either side, would come about if the two were
    /// alike: from sign flips of the queries' differences drawn at random, with one added to both
    /// counts, so never 0.
    pub p_value: f64,
}

/// Compares two models on the same queries by a paired permutation test (Fisher, 1935).
///
/// # Errors
/// [`RankingError::OtherQueries`] if the queries are not the same number with the same lone ones,
/// or the metrics not the same; [`RankingError::Setting`] for the rounds.
pub fn compare(
    first: &QueryScores,
    second: &QueryScores,
    resampling: &Resampling,
) -> Result<Vec<Comparison>, RankingError> {
    resampling.check()?;
    let same_lone =
        || (0..first.queries()).all(|query| first.is_lone(query) == second.is_lone(query));
    if first.metrics() != second.metrics() || first.queries() != second.queries() || !same_lone() {
        let (first, second) = (first.queries(), second.queries());
        return Err(RankingError::OtherQueries { first, second });
    }
    let compare = |metric: usize| {
        let pairs: Vec<(f64, f64)> = (0..first.queries())
            .filter_map(|query| first.score(query, metric).zip(second.score(query, metric)))
            .collect();
        let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
        let count = pairs.len().max(1) as f64;
        Comparison {
            metric: first.metrics()[metric].clone(),
            first: pairs.iter().map(|pair| pair.0).sum::<f64>() / count,
            second: pairs.iter().map(|pair| pair.1).sum::<f64>() / count,
            better: differences.iter().filter(|&&d| d > 0.0).count(),
            worse: differences.iter().filter(|&&d| d < 0.0).count(),
            p_value: p_value(&differences, resampling),
        }
    };
    Ok((0..first.metrics().len()).map(compare).collect())
}

fn p_value(differences: &[f64], resampling: &Resampling) -> f64 {
    // Queries that do not differ have no say.
    let differences: Vec<f64> = differences.iter().copied().filter(|&d| d != 0.0).collect();
    let found = differences.iter().sum::<f64>().abs();
    // Sums in another order differ in their last bits: what is equal but for these is equal.
    let threshold = found - 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let as_large = (0..resampling.rounds)
        .into_par_iter()
        .filter(|&round| {
            let mut rng = resampling.rng(round);
            let mut sum = 0.0;
            for differences in differences.chunks(64) {
                let mut signs = rng.next_u64();
                for &difference in differences {
                    sum += if signs & 1 == 0 { difference } else { -difference };
                    signs >>= 1;
                }
            }
            sum.abs() >= threshold
        })
        .count();
    (1 + as_large) as f64 / (1 + resampling.rounds) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::noise;

    fn scores(values: Vec<f64>) -> QueryScores {
        let lone = vec![false; values.len()];
        QueryScores::new(vec!["mrr".into()], values, lone, vec![false])
    }

    /// Values in 0..1.
    fn uniform(count: usize, seed: u64) -> Vec<f64> {
        noise::<f64>(count, seed).into_iter().map(|v| f64::midpoint(v, 1.0)).collect()
    }

    #[test]
    fn an_interval_is_that_of_the_normal_for_many_queries() {
        let values = uniform(2000, 4);
        let mean = values.iter().sum::<f64>() / 2000.0;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2000.0).sqrt();
        let error = 1.96 * deviation / 2000.0_f64.sqrt();
        let resampling = Resampling { rounds: 4000, seed: 1 };
        let found = bootstrap(&scores(values.clone()), 0.95, &resampling).unwrap()[0];
        assert!((found.low - (mean - error)).abs() < 0.15 * error, "{found:?}, {mean} ± {error}");
        assert!((found.high - (mean + error)).abs() < 0.15 * error, "{found:?}");
        assert_eq!(bootstrap(&scores(values.clone()), 0.95, &resampling).unwrap()[0], found);
        let narrower = bootstrap(&scores(values), 0.5, &resampling).unwrap()[0];
        assert!(narrower.low > found.low && narrower.high < found.high);
    }

    #[test]
    fn lone_queries_are_not_drawn_where_they_do_not_enter() {
        let mut lone = vec![true; 100];
        (lone[3], lone[40]) = (false, false);
        let values = vec![0.8; 200];
        let names = vec!["recall@1".into(), "mAP".into()];
        let scores = QueryScores::new(names, values, lone, vec![false, true]);
        let found = bootstrap(&scores, 0.99, &Resampling::default()).unwrap();
        assert_eq!(found[0], Interval { low: 0.8, high: 0.8 });
    }

    #[test]
    fn equal_scores_have_no_width() {
        let found = bootstrap(&scores(vec![0.25; 50]), 0.9, &Resampling::default()).unwrap();
        assert_eq!(found, [Interval { low: 0.25, high: 0.25 }]);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for level in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(bootstrap(&scores(vec![1.0]), level, &Resampling::default()).is_err());
        }
        let resampling = Resampling { rounds: 99, seed: 0 };
        assert!(bootstrap(&scores(vec![1.0]), 0.9, &resampling).is_err());
        assert!(compare(&scores(vec![1.0]), &scores(vec![1.0]), &resampling).is_err());
    }

    #[test]
    fn p_values_are_those_of_all_sign_flips() {
        // Five differences: 32 flips can be listed.
        let differences = [0.4, -0.1, 0.3, 0.2, 0.35];
        let sum = |signs: u32| {
            let signed = differences.iter().enumerate();
            signed.map(|(i, d)| if signs >> i & 1 == 1 { -d } else { *d }).sum::<f64>()
        };
        let found = sum(0);
        let as_large = (0..32).filter(|&s| sum(s).abs() >= found.abs() - 1e-12).count();
        let exact = as_large as f64 / 32.0;
        let resampling = Resampling { rounds: 20_000, seed: 3 };
        let p = p_value(&differences, &resampling);
        assert!((p - exact).abs() < 0.01, "{p} for {exact}");
    }

    #[test]
    fn a_better_model_is_told_from_an_equal_one() {
        let (first, noise) = (uniform(400, 1), uniform(400, 2));
        let better = first.iter().zip(&noise).map(|(a, n)| a + 0.1 * n).collect();
        let equal: Vec<f64> = first.iter().zip(&noise).map(|(a, n)| a + n - 0.5).collect();
        let resampling = Resampling::default();
        let found = &compare(&scores(first.clone()), &scores(better), &resampling).unwrap()[0];
        assert!(found.p_value < 0.002 && found.worse == 0, "{found:?}");
        let found = &compare(&scores(first.clone()), &scores(equal), &resampling).unwrap()[0];
        assert!(found.p_value > 0.02, "{found:?}");
        let same = &compare(&scores(first.clone()), &scores(first), &resampling).unwrap()[0];
        assert_eq!((same.p_value, same.better, same.worse), (1.0, 0, 0));
    }

    #[test]
    fn other_queries_cannot_be_compared() {
        let resampling = Resampling::default();
        let error = compare(&scores(vec![1.0; 3]), &scores(vec![1.0; 4]), &resampling).unwrap_err();
        assert_eq!(error, RankingError::OtherQueries { first: 3, second: 4 });
    }
}
