//! How wide classes are and how far apart, by the cosine distance `1 - cos`.
//!
//! The mean distance between `m` unit vectors follows from their scatter around their mean:
//! `sum over i of |u_i - mean|² = (1/m) · sum over pairs of |u_i - u_j|²`, and half of
//! `|u_i - u_j|²` is the cosine distance. The scatter is updated item by item (Welford 1962) and
//! blocks of classes are merged (Chan, Golub and LeVeque 1983), so that nothing cancels: equal
//! embeddings are at a distance of exactly 0.

use rayon::prelude::*;

use super::inner;
use crate::classes::Classes;
use crate::error::RankingError;
use crate::rows::Rows;

/// Classes are cut into at most so many blocks, whatever the number of threads.
const BLOCKS: usize = 256;

/// A distance that is no more than rounding: that of an angle of 1e-14 or so.
const SAME_DIRECTION: f64 = 1e-28;

/// How wide the classes of a set are and how far apart: cosine distances, 0 to 2.
///
/// An embedding or a class mean of zeros has no direction: its distance to every other is 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassDistances {
    /// `dists@intra`: the mean, over the classes of at least two items, of the mean distance
    /// between two different items of the class. `None` if there is no such class.
    pub intra: Option<f64>,
    /// `dists@inter`: the mean distance between the means of two different classes. The mean of a
    /// class is that of its embeddings as they are, not of their directions: of raw embeddings,
    /// the long ones count more. A class of one item counts with it. `None` if there is one class.
    pub inter: Option<f64>,
    /// Classes of one item, which are left out of `intra`.
    pub lone_classes: usize,
    /// Each class, by label.
    pub classes: Vec<ClassDistance>,
}

impl ClassDistances {
    /// `dists@intra_over_inter`: the smaller, the better the classes are told apart. `None` if one
    /// of the two is not defined, or if all class means have the same direction.
    pub fn intra_over_inter(&self) -> Option<f64> {
        Some(self.intra? / self.inter.filter(|&inter| inter > SAME_DIRECTION)?)
    }
}

/// One class of [`ClassDistances`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassDistance {
    /// Its label.
    pub label: u32,
    /// How many items it has.
    pub items: usize,
    /// The mean distance between two different items; `None` if it has one.
    pub intra: Option<f64>,
    /// The mean distance of its mean to those of the other classes; `None` if there are none.
    pub inter: Option<f64>,
}

/// Measures the classes of a set; labels are class ids, one per embedding.
///
/// The work is two passes over the embeddings. Classes are taken by label and items by id, and
/// summed in f64, so that a permutation of the items changes no more than the last bits.
///
/// ```
/// use pnp_ranking::Embeddings;
/// use pnp_ranking::structure::class_distances;
///
/// let values = [1.0, 0.0, 0.0, 1.0, -2.0, 0.0];
/// let distances = class_distances(&Embeddings::new(&values, 2)?, &[7, 7, 9])?;
/// assert_eq!(distances.intra, Some(1.0));
/// assert_eq!(distances.lone_classes, 1);
/// # Ok::<(), pnp_ranking::RankingError>(())
/// ```
///
/// # Errors
/// [`RankingError::LabelCount`] if there is not one label per embedding.
pub fn class_distances<'a>(
    embeddings: impl Into<Rows<'a>>,
    labels: &[u32],
) -> Result<ClassDistances, RankingError> {
    let rows = embeddings.into();
    rows.check_labels(labels)?;
    let sorted = Classes::new(labels);
    let members = members(&sorted);
    let block = members.len().div_ceil(BLOCKS).max(1);
    let dim = rows.dim();

    let measured: Vec<(Vec<Option<f64>>, Spread)> = members
        .par_chunks(block)
        .map(|classes| {
            let (mut means, mut row) = (Spread::new(dim), RowSpace::new(dim));
            let intra = classes.iter().map(|class| {
                means.add(class_mean(&rows, class, &mut row));
                intra(&rows, class, &mut row)
            });
            (intra.collect(), means)
        })
        .collect();
    let mut means = Spread::new(dim);
    let mut intra = Vec::with_capacity(members.len());
    for (block, block_means) in measured {
        intra.extend(block);
        means.merge(&block_means);
    }

    let inter = members.par_chunks(block).flat_map_iter(|classes| {
        let mut row = RowSpace::new(dim);
        let inter = |class| means.distance_to_others(class_mean(&rows, class, &mut row));
        classes.iter().copied().map(inter).collect::<Vec<_>>()
    });
    let inter: Vec<Option<f64>> = inter.collect();
    let classes = members.iter().zip(intra.iter().zip(inter)).map(|(class, (&intra, inter))| {
        ClassDistance { label: labels[class[0] as usize], items: class.len(), intra, inter }
    });
    let lone_classes = intra.iter().filter(|intra| intra.is_none()).count();
    let wide = (intra.len() - lone_classes) as f64;
    Ok(ClassDistances {
        intra: (wide > 0.0).then(|| intra.iter().flatten().sum::<f64>() / wide),
        inter: means.mean_distance(),
        lone_classes,
        classes: classes.collect(),
    })
}

/// The items of each class.
fn members(classes: &Classes) -> Vec<&[u32]> {
    let mut members = Vec::with_capacity(classes.len());
    let mut rest = classes.items();
    while let Some(&item) = rest.first() {
        let (class, others) = rest.split_at(classes.places_of(item as usize).len());
        members.push(class);
        rest = others;
    }
    members
}

/// Memory for one row.
struct RowSpace {
    stored: Vec<f32>,
    wide: Vec<f64>,
}

impl RowSpace {
    fn new(dim: usize) -> Self {
        Self { stored: vec![0.0; dim], wide: vec![0.0; dim] }
    }
}

/// The mean distance between two different items of a class.
fn intra(rows: &Rows<'_>, class: &[u32], RowSpace { stored, wide }: &mut RowSpace) -> Option<f64> {
    if class.len() < 2 {
        return None;
    }
    let mut spread = Spread::new(wide.len());
    for &item in class {
        rows.read(item as usize, stored);
        for (wide, &value) in wide.iter_mut().zip(&*stored) {
            *wide = f64::from(value);
        }
        spread.add(direction(wide));
    }
    spread.mean_distance()
}

/// The direction of the mean of the embeddings of a class.
fn class_mean<'a>(
    rows: &Rows<'_>,
    class: &[u32],
    RowSpace { stored, wide }: &'a mut RowSpace,
) -> Option<&'a [f64]> {
    wide.fill(0.0);
    for &item in class {
        rows.read(item as usize, stored);
        for (sum, &value) in wide.iter_mut().zip(&*stored) {
            *sum += f64::from(value);
        }
    }
    direction(wide)
}

/// The vector scaled to length 1 in place; nothing for a vector of zeros.
fn direction(row: &mut [f64]) -> Option<&[f64]> {
    let length = inner(row, row).sqrt();
    if length == 0.0 {
        return None;
    }
    for value in row.iter_mut() {
        *value /= length;
    }
    Some(row)
}

/// Directions summed up by their mean and their scatter around it.
#[derive(Debug)]
struct Spread {
    mean: Vec<f64>,
    /// The sum of the squared distances of the directions to their mean.
    scatter: f64,
    directions: usize,
    /// Vectors of zeros.
    zeros: usize,
    /// Scratch.
    difference: Vec<f64>,
}

impl Spread {
    fn new(dim: usize) -> Self {
        let zeros = vec![0.0; dim];
        Self { mean: zeros.clone(), scatter: 0.0, directions: 0, zeros: 0, difference: zeros }
    }

    /// Takes in one vector, of length 1 or, where there is none, of zeros.
    fn add(&mut self, direction: Option<&[f64]>) {
        match direction {
            Some(direction) => self.shift(direction, 0.0, 1),
            None => self.zeros += 1,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.zeros += other.zeros;
        if other.directions > 0 {
            self.shift(&other.mean, other.scatter, other.directions);
        }
    }

    /// Takes in `directions` with this mean and scatter.
    fn shift(&mut self, mean: &[f64], scatter: f64, directions: usize) {
        let total = self.directions + directions;
        let share = directions as f64 / total as f64;
        let old = self.mean.iter_mut().zip(mean);
        for (difference, (old, new)) in self.difference.iter_mut().zip(old) {
            *difference = new - *old;
            *old += *difference * share;
        }
        let apart = inner(&self.difference, &self.difference);
        self.scatter += scatter + apart * share * self.directions as f64;
        self.directions = total;
    }

    /// The mean distance between two different ones of the vectors.
    fn mean_distance(&self) -> Option<f64> {
        let (directions, all) = (self.directions as f64, (self.directions + self.zeros) as f64);
        // Over ordered pairs: those of two directions, then those with a zero.
        let sum = directions * self.scatter + self.zeros as f64 * (all - 1.0 + directions);
        (all > 1.0).then(|| (sum / (all * (all - 1.0))).min(2.0))
    }

    /// The mean distance of one of the vectors to all others.
    fn distance_to_others(&self, direction: Option<&[f64]>) -> Option<f64> {
        let (directions, zeros) = (self.directions as f64, self.zeros as f64);
        let others = directions + zeros - 1.0;
        let Some(direction) = direction else { return (others > 0.0).then_some(1.0) };
        let differences = self.mean.iter().zip(direction).map(|(mean, value)| value - mean);
        let apart: f64 = differences.map(|difference| difference * difference).sum();
        let sum = f64::midpoint(directions * apart, self.scatter) + zeros;
        (others > 0.0).then(|| (sum / others).min(2.0))
    }
}
