//! How well a clustering agrees with the classes.

use crate::error::RankingError;

/// How many items of each class are in each cluster. All scores are symmetric in the two, except
/// [`purity`](Self::purity), and have the same bits when classes or clusters are renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contingency {
    items: u64,
    /// The class and cluster pairs that occur, by their sizes, ascending.
    cells: Vec<Cell>,
    /// The size of each class, ascending.
    classes: Vec<u64>,
    /// The size of each cluster, ascending.
    clusters: Vec<u64>,
    /// The sum over the clusters of the items of their largest class.
    majority: u64,
}

/// The items that are in one class and in one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    /// How many there are.
    items: u64,
    /// How many the class has.
    class: u64,
    /// How many the cluster has.
    cluster: u64,
}

impl Contingency {
    /// Counts. Labels and clusters are any numbers; clusters without items do not matter.
    ///
    /// # Errors
    /// [`RankingError::AssignmentCount`] if the two are not equally many.
    pub fn new(labels: &[u32], assignment: &[u32]) -> Result<Self, RankingError> {
        if labels.len() != assignment.len() {
            let (labels, assignment) = (labels.len(), assignment.len());
            return Err(RankingError::AssignmentCount { labels, assignment });
        }
        let mut pairs: Vec<(u32, u32)> =
            assignment.iter().copied().zip(labels.iter().copied()).collect();
        pairs.sort_unstable();
        let class_sizes = sizes(labels);
        let mut cells = Vec::new();
        let (mut clusters, mut majority) = (Vec::new(), 0);
        for cluster in pairs.chunk_by(|a, b| a.0 == b.0) {
            let size = cluster.len() as u64;
            let mut largest = 0;
            for cell in cluster.chunk_by(|a, b| a.1 == b.1) {
                let items = cell.len() as u64;
                largest = largest.max(items);
                cells.push(Cell { items, class: size_of(&class_sizes, cell[0].1), cluster: size });
            }
            clusters.push(size);
            majority += largest;
        }
        cells.sort_unstable();
        clusters.sort_unstable();
        let mut classes: Vec<u64> = class_sizes.into_iter().map(|(_, size)| size).collect();
        classes.sort_unstable();
        Ok(Self { items: labels.len() as u64, cells, classes, clusters, majority })
    }

    /// Normalised mutual information, with the mean of the two entropies as the norm (as
    /// scikit-learn's default): 0 where the clusters say nothing about the classes, 1 where both
    /// part the items in the same way. 1 for no items.
    pub fn nmi(&self) -> f64 {
        if self.identical() {
            return 1.0;
        }
        let entropy = self.entropy(&self.classes).midpoint(self.entropy(&self.clusters));
        // Not 0: with one class and one cluster, the two would be identical.
        (self.mutual_information() / entropy).clamp(0.0, 1.0)
    }

    /// Adjusted mutual information (Vinh, Epps and Bailey, JMLR 2010), with the mean of the two
    /// entropies as the maximum: what the clusters say about the classes beyond what clusters of
    /// these sizes say by chance. 1 where both are the same, about 0 by chance, possibly below.
    pub fn ami(&self) -> f64 {
        if self.identical() {
            return 1.0;
        }
        if self.classes.len() == 1 || self.clusters.len() == 1 {
            return 0.0;
        }
        let entropies = self.entropy(&self.classes).midpoint(self.entropy(&self.clusters));
        let by_chance = self.expected_information();
        // Both differences vanish where there is no room for chance, as with clusters of one item
        // each; scikit-learn's rule then gives the quotient of two least numbers.
        let above = |difference: f64| difference.signum() * difference.abs().max(f64::EPSILON);
        above(self.mutual_information() - by_chance) / above(entropies - by_chance)
    }

    /// F1 over pairs of items: precision is the part of the pairs in one cluster that are in one
    /// class, recall the part of the pairs in one class that are in one cluster. The PyTorch
    /// code's `f1` is the same: it names each cluster by the item nearest to its centre, which
    /// no two clusters share, and then counts pairs. 1 where neither side has any pair.
    pub fn pairwise_f1(&self) -> f64 {
        let both: u128 = self.cells.iter().map(|cell| pairs(cell.items)).sum();
        let all = |sizes: &[u64]| sizes.iter().map(|&size| pairs(size)).sum::<u128>();
        let sides = all(&self.classes) + all(&self.clusters);
        if sides == 0 { 1.0 } else { (2 * both) as f64 / sides as f64 }
    }

    /// The part of the items that belong to the largest class of their cluster. It rises with the
    /// number of clusters. 1 for no items.
    pub fn purity(&self) -> f64 {
        if self.items == 0 { 1.0 } else { self.majority as f64 / self.items as f64 }
    }

    /// Each class is one cluster, and the other way round.
    fn identical(&self) -> bool {
        self.cells.len() == self.classes.len() && self.cells.len() == self.clusters.len()
    }

    /// In nats.
    fn entropy(&self, sizes: &[u64]) -> f64 {
        let all = self.items as f64;
        sizes.iter().map(|&size| size as f64 / all * (all / size as f64).ln()).sum()
    }

    /// In nats.
    fn mutual_information(&self) -> f64 {
        let all = self.items as f64;
        let part = |cell: &Cell| {
            let (items, class, cluster) =
                (cell.items as f64, cell.class as f64, cell.cluster as f64);
            items / all * (all / class * (items / cluster)).ln()
        };
        self.cells.iter().map(part).sum()
    }

    /// The mean of the mutual information over all ways to fill classes and clusters of these
    /// sizes, in nats. Classes and clusters enter by their sizes alone, so each pair of sizes is
    /// computed once.
    fn expected_information(&self) -> f64 {
        let factorials = log_factorials(self.items);
        let (classes, clusters) = (distinct(&self.classes), distinct(&self.clusters));
        let mut sum = 0.0;
        for &(class, same_class) in &classes {
            for &(cluster, same_cluster) in &clusters {
                let times = same_class as f64 * same_cluster as f64;
                sum += times * self.expected_cell(class, cluster, &factorials);
            }
        }
        sum
    }

    /// What one class and one cluster of these sizes are expected to contribute: the number of
    /// items in both follows the hypergeometric distribution.
    fn expected_cell(&self, class: u64, cluster: u64, log_factorials: &[f64]) -> f64 {
        let log = |n: u64| log_factorials[n as usize];
        let all = self.items;
        let of_sizes = log(class) + log(all - class) + log(cluster) + log(all - cluster) - log(all);
        let least = (class + cluster).saturating_sub(all).max(1);
        let part = |items: u64| {
            let of_items = log(items)
                + log(class - items)
                + log(cluster - items)
                + log(all + items - class - cluster);
            let probability = (of_sizes - of_items).exp();
            let share = items as f64 / all as f64;
            share * (all as f64 / class as f64 * (items as f64 / cluster as f64)).ln() * probability
        };
        (least..=class.min(cluster)).map(part).sum()
    }
}

/// Each label with how often it occurs, ascending.
fn sizes(labels: &[u32]) -> Vec<(u32, u64)> {
    let mut sorted = labels.to_vec();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64)).collect()
}

fn size_of(sizes: &[(u32, u64)], label: u32) -> u64 {
    sizes.binary_search_by_key(&label, |&(label, _)| label).map_or(0, |place| sizes[place].1)
}

/// Each size with how often it occurs, of ascending sizes.
fn distinct(sizes: &[u64]) -> Vec<(u64, usize)> {
    sizes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
}

/// How many pairs of `n` items there are.
fn pairs(n: u64) -> u128 {
    u128::from(n) * u128::from(n.saturating_sub(1)) / 2
}

/// ln n! for `0..=n`, with what each sum loses carried on.
fn log_factorials(n: u64) -> Vec<f64> {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    let next = |i: u64| {
        let term = (i as f64).ln() - lost;
        let next = sum + term;
        lost = (next - sum) - term;
        sum = next;
        sum
    };
    std::iter::once(0.0).chain((1..=n).map(next)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(labels: &[u32], assignment: &[u32]) -> [f64; 4] {
        let contingency = Contingency::new(labels, assignment).unwrap();
        let (f1, purity) = (contingency.pairwise_f1(), contingency.purity());
        [contingency.nmi(), contingency.ami(), f1, purity]
    }

    #[test]
    fn labels_and_clusters_must_pair_up() {
        let error = Contingency::new(&[1, 2], &[0, 0, 1]).unwrap_err();
        assert_eq!(error, RankingError::AssignmentCount { labels: 2, assignment: 3 });
        assert_eq!(error.to_string(), "2 labels but 3 clusters' ids: each item needs one of both");
    }

    #[test]
    fn scores_by_hand() {
        // Clusters of (2 of a, 1 of b), (1 of b), (2 of b).
        let labels = [0, 0, 1, 1, 1, 1];
        let contingency = Contingency::new(&labels, &[5, 5, 5, 2, 9, 9]).unwrap();
        assert_eq!(contingency.purity(), 5.0 / 6.0);
        // 2 pairs in both, 7 in the classes, 4 in the clusters.
        assert_eq!(contingency.pairwise_f1(), 4.0 / 11.0);
        let ln = |x: f64| x.ln() / 6.0;
        let information = 2.0 * ln(2.0) + ln(0.5) + ln(1.5) + 2.0 * ln(1.5);
        let classes = 2.0 * ln(3.0) + 4.0 * ln(1.5);
        let clusters = 3.0 * ln(2.0) + ln(6.0) + 2.0 * ln(3.0);
        let expected = 2.0 * information / (classes + clusters);
        assert!((contingency.nmi() - expected).abs() < 1e-15);
    }

    #[test]
    fn no_items_are_alike() {
        assert_eq!(scores(&[], &[]), [1.0; 4]);
    }

    #[test]
    fn expected_information_is_the_mean_over_all_orders() {
        fn orders(rest: &mut Vec<u32>, done: &mut Vec<u32>, each: &mut dyn FnMut(&[u32])) {
            if rest.is_empty() {
                return each(done);
            }
            for i in 0..rest.len() {
                done.push(rest.remove(i));
                orders(rest, done, each);
                rest.insert(i, done.pop().unwrap());
            }
        }
        let (labels, mut clusters) = ([0, 0, 0, 1, 1, 2, 2], vec![0, 0, 0, 0, 1, 1, 2]);
        let expected = Contingency::new(&labels, &clusters).unwrap().expected_information();
        let (mut sum, mut count) = (0.0, 0);
        orders(&mut clusters, &mut Vec::new(), &mut |order| {
            sum += Contingency::new(&labels, order).unwrap().mutual_information();
            count += 1;
        });
        assert!((sum / f64::from(count) - expected).abs() < 1e-12);
    }

    #[test]
    fn logarithms_of_factorials_keep_their_digits() {
        // By Stirling's series, whose next term is below 1e-16.
        let n = 60_502.0_f64;
        let stirling = n * n.ln() - n + (std::f64::consts::TAU * n).ln() / 2.0 + 1.0 / (12.0 * n);
        let ours = log_factorials(60_502)[60_502];
        assert!((ours / stirling - 1.0).abs() < 4e-16, "{ours} for {stirling}");
    }

    proptest! {
        #[test]
        fn scores_are_parts_and_do_not_know_names(
            pairs in prop::collection::vec((0_u32..6, 0_u32..5), 1..60),
            names in Just((0..6).collect::<Vec<u32>>()).prop_shuffle(),
        ) {
            let (labels, assignment): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
            let all = scores(&labels, &assignment);
            for (score, least) in all.into_iter().zip([0.0, -1.0, 0.0, 0.0]) {
                prop_assert!((least..=1.0).contains(&score), "{all:?}");
            }
            let renamed = |ids: &[u32]| -> Vec<u32> {
                ids.iter().map(|&id| names[id as usize] * 1000).collect()
            };
            prop_assert_eq!(scores(&renamed(&labels), &renamed(&assignment)), all);
            prop_assert_eq!(scores(&labels, &renamed(&labels)), [1.0; 4]);
            let turned = scores(&assignment, &labels);
            for i in 0..3 {
                prop_assert!((turned[i] - all[i]).abs() < 1e-12);
            }
            let backwards = |ids: &[u32]| ids.iter().rev().copied().collect::<Vec<_>>();
            prop_assert_eq!(scores(&backwards(&labels), &backwards(&assignment)), all);
        }
    }
}
