//! k-means: as many centres as asked for, each the mean of the rows that are nearest to it.

use rayon::prelude::*;

use super::assign::{Best, follow};
use super::centres::{Members, fill_empty};
use super::points::Points;
use super::start;
use crate::distance::Distance;
use crate::error::RankingError;
use crate::rows::Rows;

/// Where the centres stand at the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum KMeansStart {
    /// At rows drawn one after the other, each with a probability proportional to its cost with
    /// the centres so far (k-means++, Arthur and Vassilvitskii, SODA 2007). It costs no more than
    /// a random start: the products are those of the first round.
    #[default]
    PlusPlus,
    /// At different rows, all equally likely.
    Random,
}

/// What to make of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KMeansOptions {
    /// How many clusters, from 1 to the number of rows. The PyTorch code takes as many as there
    /// are classes.
    pub clusters: usize,
    /// At most how often the centres move, from 1. The PyTorch code takes 20.
    pub iterations: usize,
    /// The draw of the start.
    pub seed: u64,
    /// How the centres are drawn.
    pub start: KMeansStart,
    /// [`Distance::Cosine`] is spherical k-means: rows of length 1, and centres brought to length
    /// 1 in each round.
    pub distance: Distance,
}

impl KMeansOptions {
    /// 20 iterations from k-means++ by cosine, seed 0.
    pub fn new(clusters: usize) -> Self {
        Self {
            clusters,
            iterations: 20,
            seed: 0,
            start: KMeansStart::default(),
            distance: Distance::default(),
        }
    }

    fn check(&self, rows: usize) -> Result<(), RankingError> {
        let refuse = |setting, value: usize, rule| {
            Err(RankingError::Setting { setting, value: value.to_string(), rule })
        };
        if self.clusters == 0 {
            return refuse("clusters", 0, "ask for at least one cluster");
        }
        if self.iterations == 0 {
            return refuse("iterations", 0, "let the centres move at least once");
        }
        if self.clusters > rows {
            return Err(RankingError::TooManyClusters { clusters: self.clusters, rows });
        }
        Ok(())
    }
}

/// The rows in clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Clustering {
    /// The cluster of each row: that of the nearest of [`centroids`](Self::centroids), the lower
    /// one where two are equally near.
    pub assignment: Vec<u32>,
    /// `[clusters, dim]`, row-major; for the cosine of length 1.
    pub centroids: Vec<f32>,
    /// How many rows each cluster has. One may be empty: after the last iteration, or because
    /// there are fewer different rows than clusters.
    pub sizes: Vec<u32>,
    /// The sum over the rows of the squared distance to the centroid, or of 1 - cos.
    pub cost: f64,
    /// How often the centres moved, with the time when none of them did.
    pub iterations: usize,
    /// Whether the last iteration moved no centre: more of them would change nothing.
    pub converged: bool,
    /// How often an empty cluster was given a new centre.
    pub reseeded: usize,
}

/// Lloyd's k-means. In each iteration every row joins the cluster of its nearest centre, then every
/// centre moves to the mean of its rows (for the cosine, to the mean's direction). It ends when no
/// centre moves, or after [`KMeansOptions::iterations`]; the rows are then assigned to the final
/// centres.
///
/// - *Ties* go to the lower cluster. Nearness is computed in f32, means in f64.
/// - *An empty cluster*, before its centre would move, is given the row that is farthest from its
///   own centre, the lower row on ties; several empty clusters, in order, are given the next rows.
///   Only rows that are not at their centre and not alone in their cluster are taken.
/// - *Fewer different rows than clusters* leave the clusters in excess empty.
/// - *A row of zeros* has no direction: under the cosine it goes to cluster 0 and costs 1.
///
/// The result is exactly that of the plain method, which multiplies all rows with all centres in
/// each iteration, though most of that work is left out where bounds show that it decides nothing.
/// It has the same bits for any number of threads.
///
/// # Errors
/// [`RankingError::Setting`] for no clusters or no iterations, [`RankingError::TooManyClusters`],
/// [`RankingError::TooLarge`].
pub fn k_means<'a>(
    embeddings: impl Into<Rows<'a>>,
    options: &KMeansOptions,
) -> Result<Clustering, RankingError> {
    let rows = embeddings.into();
    options.check(rows.rows())?;
    let points = Points::new(rows, options.distance)?;
    let (mut centres, mut best) = match options.start {
        KMeansStart::PlusPlus => start::plus_plus(&points, options.clusters, options.seed),
        KMeansStart::Random => start::random(&points, options.clusters, options.seed),
    };
    let (mut iterations, mut converged, mut reseeded) = (0, false, 0);
    let mut assignment = Vec::new();
    while iterations < options.iterations && !converged {
        iterations += 1;
        let before = std::mem::replace(&mut assignment, ids(&best));
        reseeded += fill_empty(&points, &centres, &mut assignment);
        let changed = changed_clusters(&before, &assignment, options.clusters);
        let members = Members::new(&assignment, options.clusters);
        let moved = centres.moved(&points, &members, &changed);
        converged = moved.values() == centres.values();
        if !converged {
            follow(&points, &centres, &moved, &mut best);
            centres = moved;
        }
    }
    let assignment = ids(&best);
    let mut sizes = vec![0; options.clusters];
    for &cluster in &assignment {
        sizes[cluster as usize] += 1;
    }
    // Collected first: the order of the sum must not depend on the threads.
    let costs: Vec<f64> = assignment
        .par_iter()
        .enumerate()
        .map(|(row, &cluster)| points.cost(row, centres.centre(cluster as usize)))
        .collect();
    let cost = points.restore_cost(costs.iter().sum());
    let mut centroids = centres.into_values();
    points.restore(&mut centroids);
    Ok(Clustering { assignment, centroids, sizes, cost, iterations, converged, reseeded })
}

fn ids(best: &[Best]) -> Vec<u32> {
    best.iter().map(|best| best.id).collect()
}

/// Which clusters gained or lost a row; all, where there was no assignment before.
fn changed_clusters(before: &[u32], after: &[u32], clusters: usize) -> Vec<bool> {
    let mut changed = vec![before.is_empty(); clusters];
    for (&before, &after) in before.iter().zip(after) {
        if before != after {
            changed[before as usize] = true;
            changed[after as usize] = true;
        }
    }
    changed
}
