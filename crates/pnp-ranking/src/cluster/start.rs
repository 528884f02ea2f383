//! Where the centres stand before the first round.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::assign::{Best, Columns, nearest, offer_columns};
use super::centres::Centres;
use super::points::Points;
use crate::distance::Distance;

/// How many centres of k-means++ are drawn before the rows' weights are brought up to date, by one
/// matrix product.
const PENDING: usize = 256;
/// After as many draws in vain the weights are brought up to date earlier.
const REFUSALS: usize = 256;
/// A squared distance that is such a part of the squared lengths is computed anew from
/// differences: that from inner products would be all rounding.
const CANCELLED: f64 = 1.0 / 1024.0;

/// Different rows, each set of them equally likely.
pub(super) fn random(points: &Points<'_>, clusters: usize, seed: u64) -> (Centres, Vec<Best>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows: Vec<u32> = (0..points.rows() as u32).collect();
    for place in 0..clusters {
        let other = rng.random_range(place as u32..rows.len() as u32);
        rows.swap(place, other as usize);
    }
    let centres = Centres::at(points, &rows[..clusters]);
    let best = nearest(points, &centres);
    (centres, best)
}

/// k-means++ (Arthur and Vassilvitskii, SODA 2007): the first centre is any row; each other one is
/// row `x` with a probability proportional to the cost of `x` with its nearest centre so far.
///
/// Bringing all costs up to date for each new centre would read all rows once per centre. Costs
/// only fall, so a row drawn by old costs and then kept with the probability `new cost / old cost`
/// is drawn exactly as by new ones, and only the rows that are drawn need their new costs. The old
/// ones are renewed for many centres at once. Those products are also the first round's: the
/// nearest centres come along.
pub(super) fn plus_plus(points: &Points<'_>, clusters: usize, seed: u64) -> (Centres, Vec<Best>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = Draw::new(points);
    let first = draw.first(&mut rng);
    draw.take(first);
    while draw.rows.len() < clusters {
        draw.renew();
        if draw.total() == 0.0 {
            draw.fill_up(clusters);
            break;
        }
        let mut refusals = 0;
        // Few at first: the first centres change the costs most.
        let until = clusters.min(draw.rows.len() + draw.rows.len().min(PENDING));
        while draw.rows.len() < until && refusals < REFUSALS {
            match draw.next(&mut rng) {
                Some(row) => draw.take(row),
                None => refusals += 1,
            }
        }
    }
    draw.renew();
    (Centres::at(points, &draw.rows), draw.best)
}

struct Draw<'a> {
    points: &'a Points<'a>,
    /// The centres so far, as rows.
    rows: Vec<u32>,
    /// How many of them the costs know.
    known: usize,
    best: Vec<Best>,
    /// Each row's cost with its nearest known centre, as a squared distance.
    costs: Vec<f64>,
    /// The sum of the costs up to each row.
    sums: Vec<f64>,
}

impl<'a> Draw<'a> {
    fn new(points: &'a Points<'a>) -> Self {
        let best = vec![Best::NONE; points.rows()];
        let costs = vec![f64::INFINITY; points.rows()];
        Self { points, rows: Vec::new(), known: 0, best, costs, sums: Vec::new() }
    }

    /// Any row; one of zeros only where there is no other.
    fn first(&self, rng: &mut ChaCha8Rng) -> u32 {
        let rows = (0..self.points.rows()).filter(|&row| self.points.has_place(row));
        let rows: Vec<u32> = rows.map(|row| row as u32).collect();
        if rows.is_empty() { 0 } else { rows[rng.random_range(0..rows.len())] }
    }

    fn take(&mut self, row: u32) {
        self.rows.push(row);
    }

    /// Brings the costs up to date with the centres taken since the last time.
    fn renew(&mut self) {
        let points = self.points;
        let centres = Centres::at(points, &self.rows[self.known..]);
        let ids = self.known as u32..self.rows.len() as u32;
        let before: Vec<u32> = self.best.iter().map(|best| best.id).collect();
        offer_columns(points, &Columns::numbered(&centres, ids.collect()), &mut self.best);
        self.known = self.rows.len();
        let (rows, best) = (&self.rows, &self.best);
        self.costs.par_iter_mut().enumerate().for_each(|(row, cost)| {
            if best[row].id != before[row] {
                *cost = cost.min(squared_distance(points, row, rows, best[row]));
            }
        });
        self.sums.clear();
        let mut sum = 0.0;
        self.sums.extend(self.costs.iter().map(|cost| {
            sum += cost;
            sum
        }));
    }

    fn total(&self) -> f64 {
        self.sums.last().copied().unwrap_or(0.0)
    }

    /// Draws by the known costs; nothing if the new ones refuse the row.
    fn next(&self, rng: &mut ChaCha8Rng) -> Option<u32> {
        let target = rng.random::<f64>() * self.total();
        let row = self.sums.partition_point(|&sum| sum <= target);
        let known = *self.costs.get(row)?;
        let pending = self.rows[self.known..].iter();
        let cost =
            pending.map(|&centre| self.points.between(row, centre as usize)).fold(known, f64::min);
        (rng.random::<f64>() * known < cost).then_some(row as u32)
    }

    /// Every row stands at a centre: the first rows that are no centre yet are centres as well,
    /// and their clusters will be empty.
    fn fill_up(&mut self, clusters: usize) {
        let mut taken = vec![false; self.points.rows()];
        for &row in &self.rows {
            taken[row as usize] = true;
        }
        let free = (0..).zip(taken).filter(|&(_, taken)| !taken).map(|(row, _)| row);
        self.rows.extend(free.take(clusters - self.rows.len()));
    }
}

/// From a row to its nearest centre; 0 for a row without a place, which makes no good centre.
fn squared_distance(points: &Points<'_>, row: usize, centres: &[u32], best: Best) -> f64 {
    let centre = centres[best.id as usize];
    if !points.has_place(row) {
        return 0.0;
    }
    let own = points.length(row) * points.length(row);
    let other = points.length(centre as usize) * points.length(centre as usize);
    let nearness = f64::from(best.value);
    let square = match points.distance() {
        Distance::Euclidean => own - 2.0 * nearness,
        Distance::Cosine => own + other - 2.0 * nearness,
    };
    if square > CANCELLED * (own + other) { square } else { points.between(row, centre as usize) }
}
