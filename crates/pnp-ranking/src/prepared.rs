//! Rows made ready to be ranked: coordinates in which f32 tells near from far, and panels of rows
//! whose inner products give the order of either distance.
//!
//! The *nearness* of a reference r to a query q falls as the distance grows: for the cosine
//! `<q, r> / |r|`, for the Euclidean distance `<q, r> - |r|²/2`. It is computed in f32, and only
//! compared for one query at a time, so that a factor of the query's does not matter. Rows are
//! scaled by powers of two to lengths from 1 to 2, which loses nothing and keeps products in range.
//!
//! A Euclidean distance is a small difference of large numbers where rows are far from the origin
//! and close together. It does not change when the same vector is taken off all rows, so the mean
//! is where rounding would tell. The cosine is in the same trouble where all rows point nearly one
//! way, as those of a collapsed network do; since `|u - v|²/2 = 1 - cos` at length 1, it is then
//! ranked as the Euclidean distance of the directions, with their mean taken off.

use std::ops::Range;

use rayon::prelude::*;

use crate::distance::Distance;
use crate::error::RankingError;
use crate::product::{Matrix, Update, multiply};
use crate::rows::Rows;

/// The coordinates in which two sets are compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Whether rows are brought to length 1 first.
    directions: bool,
    /// What is taken off every row, if anything.
    origin: Option<Vec<f32>>,
    /// The longest row of both has a length from `2^unit` to `2^(unit + 1)`.
    unit: i32,
}

/// Rows this many times farther from the origin than from their mean, in squares, are centred: at
/// less, the products lose under two of f32's twenty-four bits.
const FAR: f64 = 8.0;
/// Rows summed up at once for the mean.
const MEAN_BLOCK: usize = 4096;
/// A row is scaled by no less than two to this power beside the longest one.
const SHORTEST: i32 = -60;
/// The powers of two that a row may be scaled by: within f32, and so are values divided by them.
const POWERS: Range<i32> = -120..63;

impl Frame {
    /// Coordinates for some distances, for several at once where they do for both.
    ///
    /// # Errors
    /// [`RankingError::TooLarge`].
    pub(crate) fn of(
        queries: &Rows<'_>,
        gallery: &Rows<'_>,
        distances: &[Distance],
    ) -> Result<Vec<(Self, Vec<Distance>)>, RankingError> {
        if distances.is_empty() {
            return Ok(Vec::new());
        }
        let plain = Self::plain(queries, gallery)?;
        let (mut frames, mut left) = (Vec::new(), Vec::new());
        for &distance in distances {
            match Self::centred(queries, gallery, distance) {
                Some(frame) => frames.push((frame, vec![distance])),
                None => left.push(distance),
            }
        }
        if !left.is_empty() {
            frames.push((plain, left));
        }
        Ok(frames)
    }

    /// The rows as they are.
    ///
    /// # Errors
    /// [`RankingError::TooLarge`].
    pub(crate) fn plain(queries: &Rows<'_>, gallery: &Rows<'_>) -> Result<Self, RankingError> {
        let longest = |rows: &Rows<'_>| -> Result<f64, RankingError> {
            Ok(rows.squared_norms()?.into_iter().fold(0.0, f64::max))
        };
        let squared = longest(queries)?.max(longest(gallery)?);
        Ok(Self { directions: false, origin: None, unit: power_below(squared) })
    }

    /// The rows, or for the cosine their directions, as seen from the gallery's mean, if that is
    /// much farther from the origin than the rows are from it. Rows of zeros have no direction, so
    /// with one of them the cosine is left alone.
    pub(crate) fn centred(
        queries: &Rows<'_>,
        gallery: &Rows<'_>,
        distance: Distance,
    ) -> Option<Self> {
        let directions = distance == Distance::Cosine;
        let mut frame = Self { directions, origin: None, unit: 0 };
        let count = gallery.rows() as f64;
        if count < 2.0 {
            return None;
        }
        let (sums, squares) = moments(gallery, &frame);
        let mean: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        let squared_mean: f64 = mean.iter().map(|m| m * m).sum();
        let spread = squares / count - squared_mean;
        if squared_mean <= FAR * spread.max(0.0) {
            return None;
        }
        // On a grid no finer than the spread, so that taking it off rounds no values that stand
        // on a grid themselves, as whole numbers do: what is equally near stays so.
        let grid = 2.0_f64.powi(power_below(spread / gallery.dim() as f64));
        let on_grid = |m: f64| if spread > 0.0 { (m / grid).round() * grid } else { m };
        frame.origin = Some(mean.into_iter().map(|m| on_grid(m) as f32).collect());
        // The longest row, and whether there is one of zeros.
        let ends = |rows: &Rows<'_>| {
            let of_row = |row: &mut Vec<f32>, i| {
                rows.read(i, row);
                let is_zero = row.iter().all(|&value| value == 0.0);
                frame.apply(row);
                (squared_length(row), is_zero)
            };
            let each = (0..rows.rows()).into_par_iter().map_init(|| vec![0.0; rows.dim()], of_row);
            each.reduce(|| (0.0, false), |a, b| (f64::max(a.0, b.0), a.1 || b.1))
        };
        let (own, other) = (ends(queries), ends(gallery));
        if directions && (own.1 || other.1) {
            return None;
        }
        frame.unit = power_below(own.0.max(other.0));
        Some(frame)
    }

    /// Whether rows in the usual range are left as they are.
    pub(crate) fn is_plain(&self) -> bool {
        const USUAL: Range<i32> = -20..21;
        self.origin.is_none() && !self.directions && USUAL.contains(&self.unit)
    }

    /// Brings a row into these coordinates; its unit is still that of the row.
    fn apply(&self, row: &mut [f32]) {
        let origin = self.origin.as_deref().unwrap_or_default();
        if !self.directions {
            take_off(origin, row);
            return;
        }
        let length = squared_length(row).sqrt();
        let length = if length > 0.0 { length } else { 1.0 };
        // In f64, so that what is left after the origin is rounded once.
        for (i, value) in row.iter_mut().enumerate() {
            let origin = origin.get(i).map_or(0.0, |&origin| f64::from(origin));
            *value = (f64::from(*value) / length - origin) as f32;
        }
    }

    /// Brings a row into these coordinates, in units of the longest row.
    pub(crate) fn bring(&self, row: &mut [f32]) {
        self.apply(row);
        let unit = 2.0_f32.powi(self.unit);
        for value in row {
            *value /= unit;
        }
    }

    /// Takes a row of the Euclidean frame back to where it was.
    pub(crate) fn restore(&self, row: &mut [f32]) {
        let unit = self.unit();
        for (i, value) in row.iter_mut().enumerate() {
            let origin = self.origin.as_ref().map_or(0.0, |origin| f64::from(origin[i]));
            *value = (f64::from(*value) * unit + origin) as f32;
        }
    }

    /// The unit of lengths.
    pub(crate) fn unit(&self) -> f64 {
        2.0_f64.powi(self.unit)
    }
}

/// The sum of the rows, and that of their squared lengths; always added up in the same order.
fn moments(rows: &Rows<'_>, frame: &Frame) -> (Vec<f64>, f64) {
    let starts: Vec<usize> = (0..rows.rows()).step_by(MEAN_BLOCK).collect();
    let blocks: Vec<(Vec<f64>, f64)> = starts
        .into_par_iter()
        .map(|start| {
            let (mut sums, mut squares) = (vec![0.0; rows.dim()], 0.0);
            let mut row = vec![0.0; rows.dim()];
            for i in start..(start + MEAN_BLOCK).min(rows.rows()) {
                rows.read(i, &mut row);
                frame.apply(&mut row);
                sums.iter_mut().zip(&row).for_each(|(sum, &value)| *sum += f64::from(value));
                squares += squared_length(&row);
            }
            (sums, squares)
        })
        .collect();
    let mut all = (vec![0.0; rows.dim()], 0.0);
    for (sums, squares) in blocks {
        all.0.iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
        all.1 += squares;
    }
    all
}

fn squared_length(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

fn take_off(origin: &[f32], row: &mut [f32]) {
    for (value, origin) in row.iter_mut().zip(origin) {
        *value -= origin;
    }
}

/// The largest power of two that is no longer than a row of this squared length; 0 for none.
fn power_below(squared_norm: f64) -> i32 {
    let exponent = if squared_norm > 0.0 { squared_norm.sqrt().log2().floor() as i32 } else { 0 };
    exponent.clamp(POWERS.start, POWERS.end - 1)
}

/// What is known of each row of a set in some order; the rows themselves are read in panels.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    rows: Rows<'a>,
    /// The row at each place.
    order: &'a [u32],
    frame: &'a Frame,
    /// The power of two that each row is divided by.
    powers: Vec<i8>,
    /// The same beside that of the longest row.
    scales: Vec<f32>,
    /// One over the length of each scaled row; 0 for a row of zeros.
    inverse_norms: Vec<f32>,
    /// `|r|²/2` of each row, in units of the frame.
    half_norms: Vec<f32>,
}

/// A set in panels of whole tiles, read one at a time; the last one is kept.
#[derive(Debug)]
pub(crate) struct Panels<'a> {
    prepared: &'a Prepared<'a>,
    places: Vec<Range<usize>>,
    held: Option<(usize, Panel)>,
}

impl<'a> Panels<'a> {
    /// Panels of at most so many values, but of one tile of rows at least.
    pub(crate) fn new(prepared: &'a Prepared<'a>, tile: usize, values: usize) -> Self {
        let rows = (values / prepared.dim() / tile).max(1) * tile;
        let starts = (0..prepared.len()).step_by(rows);
        let places = starts.map(|start| start..(start + rows).min(prepared.len())).collect();
        Self { prepared, places, held: None }
    }

    /// How many panels there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The panel at a place in their order.
    pub(crate) fn read(&mut self, i: usize) -> &Panel {
        let held = self.held.take().filter(|(held, _)| *held == i);
        let panel = held.map_or_else(|| self.prepared.panel(self.places[i].clone()), |held| held.1);
        &self.held.insert((i, panel)).1
    }
}

/// Scaled rows of neighbouring places.
#[derive(Debug, Default)]
pub(crate) struct Panel {
    values: Vec<f32>,
    dim: usize,
    places: Range<usize>,
}

impl<'a> Prepared<'a> {
    /// Looks at each row once.
    pub(crate) fn new(rows: Rows<'a>, order: &'a [u32], frame: &'a Frame) -> Self {
        let squared_norms: Vec<f64> = order
            .par_iter()
            .map_init(
                || vec![0.0; rows.dim()],
                |row, &item| {
                    rows.read(item as usize, row);
                    frame.apply(row);
                    squared_length(row)
                },
            )
            .collect();
        let unit = frame.unit;
        let shortest = (unit + SHORTEST).max(POWERS.start);
        let of = |squared: &f64| {
            let norm = squared.sqrt();
            let power = if norm > 0.0 { power_below(*squared).clamp(shortest, unit) } else { unit };
            let inverse = if norm > 0.0 { 2.0_f64.powi(power) / norm } else { 0.0 };
            let half = squared / 2.0 * 4.0_f64.powi(-unit);
            (power as i8, 2.0_f32.powi(power - unit), inverse as f32, half as f32)
        };
        let mut prepared = Self {
            rows,
            order,
            frame,
            powers: Vec::with_capacity(order.len()),
            scales: Vec::with_capacity(order.len()),
            inverse_norms: Vec::with_capacity(order.len()),
            half_norms: Vec::with_capacity(order.len()),
        };
        for (power, scale, inverse, half) in squared_norms.iter().map(of) {
            prepared.powers.push(power);
            prepared.scales.push(scale);
            prepared.inverse_norms.push(inverse);
            prepared.half_norms.push(half);
        }
        prepared
    }

    /// The rows as they were.
    pub(crate) fn rows(&self) -> Rows<'a> {
        self.rows
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many values each has.
    pub(crate) fn dim(&self) -> usize {
        self.rows.dim()
    }

    /// Reads the rows at some places, on all threads.
    pub(crate) fn panel(&self, places: Range<usize>) -> Panel {
        let dim = self.dim();
        let mut values = vec![0.0; places.len() * dim];
        let rows = values.par_chunks_exact_mut(dim).zip(places.clone());
        rows.for_each(|(row, place)| self.read(place, row));
        Panel { values, dim, places }
    }

    /// Reads the rows at some places into a panel that is used again.
    pub(crate) fn fill(&self, places: Range<usize>, panel: &mut Panel) {
        let dim = self.dim();
        panel.values.resize(places.len() * dim, 0.0);
        for (row, place) in panel.values.chunks_exact_mut(dim).zip(places.clone()) {
            self.read(place, row);
        }
        (panel.dim, panel.places) = (dim, places);
    }

    fn read(&self, place: usize, row: &mut [f32]) {
        self.rows.read(self.order[place] as usize, row);
        self.frame.apply(row);
        let scale = 2.0_f32.powi(self.powers[place].into());
        for value in row {
            *value /= scale;
        }
    }

    /// Turns a query's products with references of `gallery` into their nearness.
    #[inline(always)]
    pub(crate) fn nearness(
        &self,
        query: usize,
        gallery: &Self,
        references: Range<usize>,
        distance: Distance,
        products: &[f32],
        out: &mut [f32],
    ) {
        let products = products.iter().zip(out);
        match distance {
            Distance::Cosine if !self.frame.directions => {
                for ((&p, out), inverse) in products.zip(&gallery.inverse_norms[references]) {
                    // Adding 0 makes 0 of -0, which sorts before it.
                    *out = p * inverse + 0.0;
                }
            }
            Distance::Cosine | Distance::Euclidean => {
                // All divided by the query's scale. A scale is no less than 2^-60 and half a
                // square no more than 2, so nothing leaves the range of f32.
                let inverse = 1.0 / self.scales[query];
                let scales = gallery.scales[references.clone()].iter();
                let references = scales.zip(&gallery.half_norms[references]);
                for ((&p, out), (scale, half)) in products.zip(references) {
                    *out = p * scale - half * inverse + 0.0;
                }
            }
        }
    }

    /// How far a nearness to a query may be from what it would be without rounding.
    pub(crate) fn rounding(&self, query: usize, distance: Distance) -> f32 {
        // A sum of products in f32, in any order, of rows that are rounded themselves.
        let relative = (self.dim() + 8) as f32 * f32::EPSILON;
        let inverse_norm = self.inverse_norms[query];
        let length = if inverse_norm > 0.0 { 1.0 / inverse_norm } else { 0.0 };
        if distance == Distance::Cosine && !self.frame.directions {
            return relative * length;
        }
        // No reference is longer than two units.
        relative * (2.0 * length + 2.0 / self.scales[query])
    }
}

impl Panel {
    /// Which places it holds.
    pub(crate) fn places(&self) -> Range<usize> {
        self.places.clone()
    }

    /// The inner products of its rows at these places with `others`' rows at those, `[rows,
    /// columns]`, into `out`: what [`Prepared::nearness`] is made of.
    ///
    /// Panics if a place is not in its panel, which is a bug of this crate.
    pub(crate) fn products(
        &self,
        rows: Range<usize>,
        others: &Self,
        columns: Range<usize>,
        out: &mut Vec<f32>,
    ) {
        out.resize(rows.len() * columns.len(), 0.0);
        multiply(self.matrix(rows), others.matrix(columns).transposed(), out, Update::Set);
    }

    fn matrix(&self, places: Range<usize>) -> Matrix<'_, f32> {
        let first = places.start - self.places.start;
        Matrix::from_rows(&self.values, self.dim).rows_from(first, places.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::noise;

    /// The order of all rows as seen from the first, nearest first.
    fn order(values: &[f32], distance: Distance) -> Vec<usize> {
        let rows = Rows::f32(values, 2).unwrap();
        let frame = Frame::plain(&rows, &rows).unwrap();
        order_in(&frame, rows, distance)
    }

    fn nearness(frame: &Frame, rows: Rows<'_>, query: usize, distance: Distance) -> Vec<f32> {
        let ids: Vec<u32> = (0..rows.rows() as u32).collect();
        let prepared = Prepared::new(rows, &ids, frame);
        let panel = prepared.panel(0..ids.len());
        let (mut products, mut nearness) = (Vec::new(), vec![0.0; ids.len()]);
        panel.products(query..query + 1, &panel, 0..ids.len(), &mut products);
        prepared.nearness(query, &prepared, 0..ids.len(), distance, &products, &mut nearness);
        nearness
    }

    fn order_in(frame: &Frame, rows: Rows<'_>, distance: Distance) -> Vec<usize> {
        let nearness = nearness(frame, rows, 0, distance);
        let rows = nearness.len();
        let mut order: Vec<usize> = (0..rows).collect();
        order.sort_by(|&a, &b| f32::total_cmp(&nearness[b], &nearness[a]).then(a.cmp(&b)));
        order
    }

    #[test]
    fn nearness_orders_by_the_distance() {
        let values = [1.0_f32, 0.0, 3.0, 4.0, 0.0, 0.0, 2.0, -0.5];
        assert_eq!(order(&values, Distance::Cosine), [0, 3, 1, 2]);
        assert_eq!(order(&values, Distance::Euclidean), [0, 2, 3, 1]);
    }

    #[test]
    fn lengths_far_from_one_keep_the_order() {
        for scale in [1e-30_f32, 1e-12, 1e12, 1e18] {
            let values = [1.0_f32, 0.0, 3.0, 4.0, 0.0, 0.0, 2.0, -0.5].map(|v| v * scale);
            assert_eq!(order(&values, Distance::Cosine), [0, 3, 1, 2], "{scale}");
        }
        // A long row has the direction it has, and is far away.
        let values = [1e-3_f32, 1e-3, 1e15, 1e15, 1e-3, -1e-3, 2e-3, 1e-3];
        assert_eq!(order(&values, Distance::Cosine), [0, 1, 3, 2]);
        assert_eq!(order(&values, Distance::Euclidean), [0, 3, 2, 1]);
    }

    #[test]
    fn a_reference_far_away_is_one_all_the_same() {
        // By the Euclidean distance from the first, the others leave the range of f32.
        let values = [1e-3_f32, 0.0, 1e18, 0.0, -1e18, 0.0];
        let rows = Rows::f32(&values, 2).unwrap();
        let frame = Frame::plain(&rows, &rows).unwrap();
        let nearness = nearness(&frame, rows, 0, Distance::Euclidean);
        assert!(nearness.iter().all(|nearness| nearness.is_finite()), "{nearness:?}");
    }

    #[test]
    fn equal_rows_are_equally_near() {
        let values = [0.3_f32, 0.7, 0.9, 0.1, 0.9, 0.1, 0.3, 0.7];
        for distance in [Distance::Cosine, Distance::Euclidean] {
            assert_eq!(order(&values, distance), [0, 3, 1, 2]);
        }
    }

    #[test]
    fn the_shortest_rows_keep_their_euclidean_order() {
        // Squares of these lengths are no f32 any more.
        let values = [1.0_f32, 0.0, 0.9, 0.3, 3.0, 0.1, 1.4, 0.0].map(|v| v * 1e-25);
        assert_eq!(order(&values, Distance::Euclidean), [0, 1, 3, 2]);
        assert_eq!(order(&values, Distance::Cosine), [0, 3, 2, 1]);
    }

    #[test]
    fn rows_far_from_the_origin_are_told_apart_from_their_mean() {
        const DIM: usize = 16;
        let near: Vec<f32> = noise(200 * DIM, 3);
        let values: Vec<f32> = near.iter().map(|v| 10.0 + 0.02 * v).collect();
        let rows = Rows::f32(&values, DIM).unwrap();
        let frame = Frame::centred(&rows, &rows, Distance::Euclidean).expect("far from the origin");
        let exact = |i: usize| -> f64 {
            let (a, b) = (&values[..DIM], &values[i * DIM..(i + 1) * DIM]);
            a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
        };
        let mut expected: Vec<usize> = (0..200).collect();
        expected.sort_by(|&a, &b| exact(a).total_cmp(&exact(b)));
        assert_eq!(order_in(&frame, rows, Distance::Euclidean), expected);
        let plain = Frame::plain(&rows, &rows).unwrap();
        assert_ne!(order_in(&plain, rows, Distance::Euclidean), expected);
    }

    #[test]
    fn rows_around_the_origin_stay_where_they_are() {
        let values: Vec<f32> = noise(300, 5);
        let rows = Rows::f32(&values, 3).unwrap();
        let one = Rows::f32(&values[..3], 3).unwrap();
        let none = Rows::f32(&[], 3).unwrap();
        for distance in [Distance::Cosine, Distance::Euclidean] {
            for rows in [&rows, &one, &none] {
                assert_eq!(Frame::centred(rows, rows, distance), None);
            }
        }
    }

    #[test]
    fn rows_that_point_nearly_one_way_are_told_apart() {
        const DIM: usize = 64;
        let values: Vec<f32> = noise::<f32>(200 * DIM, 3).iter().map(|v| 1.0 + 3e-4 * v).collect();
        let rows = Rows::f32(&values, DIM).unwrap();
        let wide = |i: usize| values[i * DIM..(i + 1) * DIM].iter().map(|&v| f64::from(v));
        let inner = |i, j| wide(i).zip(wide(j)).map(|(a, b)| a * b).sum::<f64>();
        let cosine = |i: usize| inner(0, i) / inner(i, i).sqrt();
        let mut expected: Vec<usize> = (0..200).collect();
        expected.sort_by(|&a, &b| cosine(b).total_cmp(&cosine(a)));
        let frame = Frame::centred(&rows, &rows, Distance::Cosine).expect("nearly one way");
        let found = order_in(&frame, rows, Distance::Cosine);
        let swapped = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(swapped < 10, "{swapped} places differ");
        let plain = Frame::plain(&rows, &rows).unwrap();
        assert_ne!(order_in(&plain, rows, Distance::Cosine)[..10], expected[..10]);
        // A row of zeros is at cosine 0 to all.
        let with_zero: Vec<f32> = values.iter().copied().chain([0.0; DIM]).collect();
        let rows = Rows::f32(&with_zero, DIM).unwrap();
        assert_eq!(Frame::centred(&rows, &rows, Distance::Cosine), None);
    }

    #[test]
    fn a_frame_takes_back_what_it_brought() {
        let values: Vec<f32> = noise::<f32>(300, 5).iter().map(|v| 1e-30 * (40.0 + v)).collect();
        let rows = Rows::f32(&values, 3).unwrap();
        let frame = Frame::centred(&rows, &rows, Distance::Euclidean).unwrap();
        let mut row = [0.0; 3];
        rows.read(7, &mut row);
        let before = row;
        frame.bring(&mut row);
        assert!(row.iter().any(|value| value.abs() > 1e-2), "{row:?}");
        frame.restore(&mut row);
        for (a, b) in row.iter().zip(before) {
            assert!((a - b).abs() <= 1e-6 * b, "{a} for {b}");
        }
    }

    #[test]
    fn a_panel_filled_again_is_one_read_anew() {
        let values: Vec<f32> = noise(90, 5);
        let rows = Rows::f32(&values, 3).unwrap();
        let frame = Frame::plain(&rows, &rows).unwrap();
        let ids: Vec<u32> = (0..30).rev().collect();
        let prepared = Prepared::new(rows, &ids, &frame);
        let (whole, mut part) = (prepared.panel(0..30), Panel::default());
        for places in [4..29, 7..9] {
            prepared.fill(places.clone(), &mut part);
            let (mut a, mut b) = (Vec::new(), Vec::new());
            part.products(7..9, &whole, 0..30, &mut a);
            whole.products(7..9, &whole, 0..30, &mut b);
            assert_eq!(a, b);
        }
    }
}
