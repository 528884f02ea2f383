//! Which negatives a loss pushes hardest, and before how many positives they stand.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Loss, LossInput};
use crate::error::RankingError;

/// How many slopes are held at once, if that is 512 queries or more.
const SLOPES: usize = 1 << 24;
/// How many candidates are held beside those that will be told.
const SPARE: usize = 4096;

/// A negative and how hard it is pushed away from its query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalty {
    /// The query's place in the batch.
    pub query: usize,
    /// The negative's place among the references.
    pub reference: usize,
    /// Their similarity.
    pub similarity: f64,
    /// The derivative of the loss with respect to it: how fast the loss falls as it falls.
    pub slope: f64,
    /// How many of the query's positives the negative stands before; equal similarities rank by
    /// place. The query itself is not counted.
    pub positives_behind: usize,
    /// How many positives the query has.
    pub positives: usize,
    /// How many other negatives stand before this one.
    pub negatives_before: usize,
}

/// The negatives with the largest positive slope, largest first, at most `most` of them. Equal
/// slopes come by query and reference.
///
/// # Errors
/// Those of the loss.
pub fn penalties(
    loss: &dyn Loss,
    input: &LossInput<'_, f64>,
    most: usize,
) -> Result<Vec<Penalty>, RankingError> {
    let (queries, references) = (input.batch.len(), input.reference_count());
    let block = (SLOPES / references.max(1)).max(512);
    let by_slope = |a: &(f64, usize, usize), b: &(f64, usize, usize)| {
        b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
    };
    let mut found: Vec<(f64, usize, usize)> = Vec::new();
    // Later pairs have to be above this: at equal slopes the earlier ones come first.
    let mut bar = 0.0;
    for first in (0..queries).step_by(block) {
        let slopes = loss.slopes_f64(input, first..queries.min(first + block))?;
        for (query, row) in (first..).zip(slopes.chunks(references.max(1))) {
            let label = input.batch.labels()[query];
            let above = row.iter().enumerate().filter(|&(_, &slope)| slope > bar);
            let negatives = above.filter(|&(place, _)| input.reference(place).1 != label);
            found.extend(negatives.map(|(place, &slope)| (slope, query, place)));
            if found.len() > most.saturating_add(SPARE) {
                found.sort_unstable_by(by_slope);
                found.truncate(most);
                bar = found.last().map_or(0.0, |least| least.0);
            }
        }
    }
    found.sort_unstable_by(by_slope);
    found.truncate(most);
    Ok(explain_all(input, &found))
}

/// Explains pairs of a slope, a query and a place, each query's list once.
fn explain_all(input: &LossInput<'_, f64>, found: &[(f64, usize, usize)]) -> Vec<Penalty> {
    let mut of_query: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, &(_, query, _)) in found.iter().enumerate() {
        of_query.entry(query).or_default().push(i);
    }
    let of_query: Vec<(usize, Vec<usize>)> = of_query.into_iter().collect();
    let explained: Vec<Vec<(usize, Penalty)>> = of_query
        .par_iter()
        .map(|(query, of)| {
            let list = List::of(input, *query);
            of.iter().map(|&i| (i, list.explain(found[i].0, found[i].2))).collect()
        })
        .collect();
    let mut penalties: Vec<(usize, Penalty)> = explained.into_iter().flatten().collect();
    penalties.sort_unstable_by_key(|(i, _)| *i);
    penalties.into_iter().map(|(_, penalty)| penalty).collect()
}

/// One query's list in full.
struct List {
    query: usize,
    /// Of each reference.
    similarities: Vec<f64>,
    /// The places of the positives.
    positives: Vec<usize>,
    /// The places of the negatives.
    negatives: Vec<usize>,
}

impl List {
    fn of(input: &LossInput<'_, f64>, query: usize) -> Self {
        let row = input.batch.embeddings().row(query);
        let to = |place| row.iter().zip(input.reference(place).0).map(|(a, b)| a * b).sum();
        let references = 0..input.reference_count();
        let label = input.batch.labels()[query];
        let in_list = references.clone().filter(|&place| input.takes_part(query, place));
        let (positives, negatives) = in_list.partition(|&place| input.reference(place).1 == label);
        Self { query, similarities: references.map(to).collect(), positives, negatives }
    }

    fn explain(&self, slope: f64, reference: usize) -> Penalty {
        let similarity = self.similarities[reference];
        let order = |&&place: &&usize| {
            similarity.total_cmp(&self.similarities[place]).then(place.cmp(&reference))
        };
        let behind = self.positives.iter().filter(|place| order(place) == Ordering::Greater);
        let before = self.negatives.iter().filter(|place| order(place) == Ordering::Less);
        Penalty {
            query: self.query,
            reference,
            similarity,
            slope,
            positives_behind: behind.count(),
            positives: self.positives.len(),
            negatives_before: before.count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embeddings::Embeddings;
    use crate::loss::{Items, PnpSettings, build};

    /// Points on the circle.
    fn at(angles: &[f64]) -> Vec<f64> {
        angles
            .iter()
            .flat_map(|degrees| [degrees.to_radians().cos(), degrees.to_radians().sin()])
            .collect()
    }

    #[test]
    fn the_hardest_negative_is_told_with_what_it_stands_before() {
        // From item 0: a positive at 10 degrees, negatives at 5 and 30, a positive at 20, a
        // negative far away.
        let values = at(&[0.0, 10.0, 5.0, 30.0, 20.0, 180.0]);
        let labels = [1, 1, 2, 2, 1, 3];
        let batch = Items::new(Embeddings::new(&values, 2).unwrap(), &labels).unwrap();
        let input = LossInput::batch(batch);
        let loss =
            build("PNP-O(anneal=0.001, count_query=false)", &PnpSettings::default()).unwrap();
        let all = penalties(loss.as_ref(), &input, 100).unwrap();
        assert!(all.windows(2).all(|pair| pair[0].slope >= pair[1].slope));
        let from_0: Vec<&Penalty> = all.iter().filter(|p| p.query == 0).collect();
        assert_eq!((from_0[0].reference, from_0[0].positives_behind), (2, 2));
        assert_eq!((from_0[0].positives, from_0[0].negatives_before), (2, 0));
        let far = all.iter().find(|p| p.query == 0 && p.reference == 5);
        assert_eq!(far, None, "a negative behind all positives is not pushed");
        let third = all.iter().find(|p| p.query == 0 && p.reference == 3);
        if let Some(third) = third {
            assert_eq!((third.positives_behind, third.negatives_before), (0, 1));
        }
        assert_eq!(penalties(loss.as_ref(), &input, 2).unwrap(), all[..2]);
    }

    #[test]
    fn slopes_are_those_of_the_value() {
        let values = at(&[0.0, 10.0, 5.0, 30.0, 20.0, 41.0]);
        let labels = [1, 1, 2, 2, 1, 2];
        for text in ["PNP-D_s(anneal=0.1)", "PNP-O(anneal=0.1):0.5,PNP-I_u(anneal=0.1)"] {
            let loss = build(text, &PnpSettings::default()).unwrap();
            let batch = Items::new(Embeddings::new(&values, 2).unwrap(), &labels).unwrap();
            let output = loss.compute_f64(&LossInput::batch(batch)).unwrap();
            let g = loss.slopes_f64(&LossInput::batch(batch), 0..6).unwrap();
            assert_eq!(loss.slopes_f64(&LossInput::batch(batch), 2..4).unwrap(), g[12..24]);
            for i in 0..6 {
                for d in 0..2 {
                    let sum: f64 =
                        (0..6).map(|j| (g[i * 6 + j] + g[j * 6 + i]) * values[j * 2 + d]).sum();
                    assert!((sum - output.gradient[i * 2 + d]).abs() < 1e-12);
                }
            }
        }
    }
}
