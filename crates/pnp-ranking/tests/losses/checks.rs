//! What is checked of every loss of ranked lists, given its formula.
//!
//! The formula gets plain lists, made here by comparing labels and ids one by one, and gives the
//! value in f64. The gradient is checked against finite differences of it.

use pnp_ranking::Embeddings;
use pnp_ranking::loss::{Items, Loss, LossInput, LossOutput};

pub(crate) const DIM: usize = 4;

/// One query's similarities, by what the references are to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    /// To itself, where it is among the references.
    pub(crate) itself: Option<f64>,
    /// To the others of its class.
    pub(crate) positives: Vec<f64>,
    /// To the items of other classes.
    pub(crate) negatives: Vec<f64>,
}

impl List {
    /// The positives, with the query itself among them if it counts and is there.
    pub(crate) fn positives_with_query(&self, count_query: bool) -> Vec<f64> {
        let itself = self.itself.filter(|_| count_query);
        self.positives.iter().copied().chain(itself).collect()
    }
}

/// A loss, written out slowly.
pub(crate) type Formula<'a> = &'a dyn Fn(&[List]) -> f64;

/// What to hold a loss to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tolerance {
    /// Share of a gradient's entries that may be skipped since a kink or a jump is near.
    pub(crate) skipped: f64,
    /// How far f32 may be from f64, in units of the value and of the largest gradient entry.
    pub(crate) narrow: f64,
}

/// No kinks.
pub(crate) const SMOOTH: Tolerance = Tolerance { skipped: 0.0, narrow: 3e-5 };
/// Hinges and choices: some entries stand on a kink.
pub(crate) const KINKED: Tolerance = Tolerance { skipped: 0.05, narrow: 3e-5 };

/// Embeddings with labels and ids.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) values: Vec<f64>,
    pub(crate) labels: Vec<u32>,
    pub(crate) ids: Vec<u64>,
}

impl Set {
    /// Unit rows with labels below `classes`, from a seed; ids count from `first_id`.
    pub(crate) fn random(items: usize, classes: u64, seed: u64, first_id: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = move || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
        };
        let mut values = Vec::new();
        for _ in 0..items {
            let row: Vec<f64> =
                (0..DIM).map(|_| next() as f64 / (1_u64 << 52) as f64 - 1.0).collect();
            let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            values.extend(row.iter().map(|v| v / norm));
        }
        let labels = (0..items).map(|_| (next() % classes) as u32).collect();
        Self { values, labels, ids: (first_id..).take(items).collect() }
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * DIM..(i + 1) * DIM]
    }

    fn narrow(&self) -> Vec<f32> {
        self.values.iter().map(|&v| v as f32).collect()
    }
}

/// How a batch is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    Batch,
    References,
    Both,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn lists(batch: &Set, references: &Set, against: Against) -> Vec<List> {
    (0..batch.labels.len())
        .map(|q| {
            let mut list = List::default();
            let mut take = |label: u32, similarity: f64| {
                if label == batch.labels[q] {
                    list.positives.push(similarity);
                } else {
                    list.negatives.push(similarity);
                }
            };
            if against != Against::References {
                for r in (0..batch.labels.len()).filter(|&r| r != q) {
                    take(batch.labels[r], dot(batch.row(q), batch.row(r)));
                }
            }
            if against != Against::Batch {
                for r in 0..references.labels.len() {
                    if references.ids[r] != batch.ids[q] {
                        take(references.labels[r], dot(batch.row(q), references.row(r)));
                    }
                }
            }
            if against != Against::References {
                list.itself = Some(dot(batch.row(q), batch.row(q)));
            }
            list
        })
        .collect()
}

macro_rules! compute {
    ($loss:expr, $function:ident, $batch:expr, $batch_values:expr, $references:expr,
     $reference_values:expr, $against:expr) => {{
        let batch = Embeddings::new($batch_values, DIM).unwrap();
        let batch = Items::new(batch, &$batch.labels).unwrap().with_ids(&$batch.ids).unwrap();
        let references = Embeddings::new($reference_values, DIM).unwrap();
        let references = Items::new(references, &$references.labels).unwrap();
        let references = references.with_ids(&$references.ids).unwrap();
        let input = match $against {
            Against::Batch => LossInput::batch(batch),
            Against::References => LossInput::against(batch, references).unwrap(),
            Against::Both => LossInput::batch_and(batch, references).unwrap(),
        };
        $loss.$function(&input.with_reference_gradient()).unwrap()
    }};
}

fn wide(loss: &dyn Loss, batch: &Set, references: &Set, against: Against) -> LossOutput<f64> {
    let values = (&batch.values, &references.values);
    compute!(loss, compute_f64, batch, values.0, references, values.1, against)
}

fn narrow(loss: &dyn Loss, batch: &Set, references: &Set, against: Against) -> LossOutput<f32> {
    let (values, others) = (batch.narrow(), references.narrow());
    compute!(loss, compute_f32, batch, &values, references, &others, against)
}

/// What one list costs, by the similarities of a query to what it is ranked against.
///
/// The gradient of the references has at [`DIM`] · place the derivative with respect to the
/// similarity there: positives first, then negatives.
pub(crate) fn one_list(loss: &dyn Loss, positives: &[f64], negatives: &[f64]) -> LossOutput<f64> {
    let at = |&s: &f64| [s, (1.0 - s * s).sqrt(), 0.0, 0.0];
    let values: Vec<f64> = positives.iter().chain(negatives).flat_map(at).collect();
    let labels: Vec<u32> = positives.iter().map(|_| 0).chain(negatives.iter().map(|_| 1)).collect();
    let query = Items::new(Embeddings::new(&[1.0, 0.0, 0.0, 0.0], DIM).unwrap(), &[0]).unwrap();
    let references = Items::new(Embeddings::new(&values, DIM).unwrap(), &labels).unwrap();
    let input = LossInput::against(query, references).unwrap();
    loss.compute_f64(&input.with_reference_gradient()).unwrap()
}

/// Asserts that each entry is near, in units of the largest expected one, which is `least` at least.
pub(crate) fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, least: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = largest(expected).max(least);
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        // Not `>=`: NaN is to fail.
        assert!((a - b).abs() < tolerance * scale, "{what}, entry {i}: {a} for {b} of {scale}");
    }
}

pub(crate) fn wide_of(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

pub(crate) fn largest<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// The derivative, unless a kink is near.
fn derivative(at: impl Fn(f64) -> f64) -> Option<f64> {
    let step = |h: f64| (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
    let (coarse, fine) = (step(2e-5), step(7e-6));
    ((coarse - fine).abs() <= 3e-6 * (1.0 + coarse.abs())).then_some(fine)
}

/// All checks of a loss.
pub(crate) fn all(loss: &dyn Loss, formula: Formula<'_>, tolerance: Tolerance) {
    for seed in 1..=12 {
        let items = 4 + 2 * seed as usize;
        let batch = Set::random(items, 2 + seed / 2, seed, 0);
        // Some references are copies of the batch's items, under a label of their own.
        let references = Set::random(9, 2 + seed / 2, 100 + seed, items as u64 - 4);
        for against in [Against::Batch, Against::References, Against::Both] {
            value_and_gradient(loss, formula, tolerance, &batch, &references, against);
            narrow_is_near_wide(loss, tolerance, &batch, &references, against);
        }
        for against in [Against::Batch, Against::References, Against::Both] {
            order_and_names_do_not_matter(loss, &batch, &references, against);
        }
    }
    degenerate_batches(loss, formula);
    nothing_to_rank_is_zero(loss);
    hostile_values_stay_finite(loss);
}

fn value_and_gradient(
    loss: &dyn Loss,
    formula: Formula<'_>,
    tolerance: Tolerance,
    batch: &Set,
    references: &Set,
    against: Against,
) {
    let output = wide(loss, batch, references, against);
    let expected = formula(&lists(batch, references, against));
    let what = format!("{}, {against:?} of {}", loss.name(), batch.labels.len());
    assert!(
        (output.value - expected).abs() < 1e-9 * (1.0 + expected.abs()),
        "{what}: {} for {expected}",
        output.value
    );
    let mut skipped = 0;
    let mut check = |gradient: &[f64], at: &dyn Fn(usize, f64) -> f64| {
        let scale = largest(gradient).max(1e-2);
        for (i, &ours) in gradient.iter().enumerate() {
            match derivative(|h| at(i, h)) {
                None => skipped += 1,
                Some(expected) => assert!(
                    (ours - expected).abs() < 2e-5 * scale,
                    "{what}, entry {i}: {ours} for {expected}"
                ),
            }
        }
    };
    check(&output.gradient, &|i, h| {
        let mut batch = batch.clone();
        batch.values[i] += h;
        formula(&lists(&batch, references, against))
    });
    match output.reference_gradient {
        None => assert_eq!(against, Against::Batch),
        Some(gradient) => check(&gradient, &|i, h| {
            let mut references = references.clone();
            references.values[i] += h;
            formula(&lists(batch, &references, against))
        }),
    }
    let entries = (batch.values.len() + references.values.len()) as f64;
    assert!(f64::from(skipped) <= tolerance.skipped * entries, "{what}: {skipped} kinks");
}

fn narrow_is_near_wide(
    loss: &dyn Loss,
    tolerance: Tolerance,
    batch: &Set,
    references: &Set,
    against: Against,
) {
    // Both from the same numbers.
    let same = |set: &Set| {
        let values = set.values.iter().map(|&v| f64::from(v as f32)).collect();
        Set { values, ..set.clone() }
    };
    let (batch, references) = (same(batch), same(references));
    let (ours, expected) =
        (narrow(loss, &batch, &references, against), wide(loss, &batch, &references, against));
    assert_eq!(ours.counts, expected.counts);
    let apart = (ours.value - expected.value).abs();
    assert!(apart < tolerance.narrow * (1e-2 + expected.value.abs()), "{}: {apart}", loss.name());
    let near = |ours: &[f32], expected: &[f64]| {
        assert_near(&wide_of(ours), expected, tolerance.narrow, 1e-2, &loss.name());
    };
    near(&ours.gradient, &expected.gradient);
    match (&ours.reference_gradient, &expected.reference_gradient) {
        (Some(ours), Some(expected)) => near(ours, expected),
        (ours, expected) => assert_eq!(ours.is_some(), expected.is_some()),
    }
}

fn order_and_names_do_not_matter(loss: &dyn Loss, batch: &Set, references: &Set, against: Against) {
    let moved = |set: &Set, by: usize| {
        let items = set.labels.len();
        let order: Vec<usize> = (0..items).map(|i| (i + by) % items).rev().collect();
        let moved = Set {
            values: order.iter().flat_map(|&i| set.row(i).to_vec()).collect(),
            labels: order.iter().map(|&i| 1000 - 7 * set.labels[i]).collect(),
            ids: order.iter().map(|&i| 5 * set.ids[i] + 1).collect(),
        };
        (moved, order)
    };
    let ((moved, order), (others, _)) = (moved(batch, 3), moved(references, 2));
    let (before, after) =
        (wide(loss, batch, references, against), wide(loss, &moved, &others, against));
    assert!((before.value - after.value).abs() < 1e-12 * (1.0 + before.value.abs()));
    assert_eq!(before.counts, after.counts);
    let scale = largest(&before.gradient).max(1e-9);
    for (place, &i) in order.iter().enumerate() {
        for d in 0..DIM {
            let (a, b) = (before.gradient[i * DIM + d], after.gradient[place * DIM + d]);
            assert!((a - b).abs() < 1e-9 * scale, "{}", loss.name());
        }
    }
}

/// Nothing, one item, lone items, one class, equal embeddings, duplicates.
fn degenerate_batches(loss: &dyn Loss, formula: Formula<'_>) {
    let set = |values: Vec<f64>, labels: Vec<u32>| {
        let ids = (0..labels.len() as u64).collect();
        Set { values, labels, ids }
    };
    let some = Set::random(8, 9, 77, 0).values;
    let twins: Vec<f64> = some[..4 * DIM].repeat(2);
    for batch in [
        set(vec![], vec![]),
        set(some[..DIM].to_vec(), vec![3]),
        set(some.clone(), (0..8).collect()),
        set(some.clone(), vec![5; 8]),
        set(some[..DIM].repeat(8), vec![0, 0, 1, 1, 1, 2, 2, 3]),
        set(twins.clone(), vec![0, 1, 0, 1, 0, 1, 0, 1]),
        set(twins, vec![0, 0, 0, 0, 1, 1, 1, 1]),
    ] {
        let output = wide(loss, &batch, &batch, Against::Batch);
        let expected = formula(&lists(&batch, &batch, Against::Batch));
        let what = format!("{} of {:?}", loss.name(), batch.labels);
        assert!(
            (output.value - expected).abs() < 1e-9 * (1.0 + expected.abs()),
            "{what}: {} for {expected}",
            output.value
        );
        assert_eq!(output.gradient.len(), batch.values.len());
        assert!(output.gradient.iter().all(|g| g.is_finite()), "{what}");
        if output.counts.queries == 0 {
            assert_eq!((output.value, largest(&output.gradient)), (0.0, 0.0), "{what}");
        }
        let output = narrow(loss, &batch, &batch, Against::Batch);
        assert!(output.value.is_finite(), "{what}");
        assert!(output.gradient.iter().all(|g| g.is_finite()), "{what}");
    }
}

/// No references at all.
fn nothing_to_rank_is_zero(loss: &dyn Loss) {
    let (batch, none) = (Set::random(5, 2, 3, 0), Set::random(0, 1, 1, 0));
    let output = wide(loss, &batch, &none, Against::References);
    assert_eq!((output.value, output.counts.queries, output.counts.terms), (0.0, 0, 0));
    assert_eq!(output.gradient, vec![0.0; batch.values.len()]);
    assert_eq!(output.reference_gradient, Some(vec![]));
    let (both, alone) =
        (wide(loss, &batch, &none, Against::Both), wide(loss, &batch, &none, Against::Batch));
    assert_eq!(both.value, alone.value);
}

/// Embeddings that are far from unit length.
pub(crate) fn hostile_values_stay_finite(loss: &dyn Loss) {
    for scale in [0.0, 1e-18, 1e-3, 1e3, 1e6] {
        let mut batch = Set::random(24, 6, 5, 0);
        batch.values.iter_mut().for_each(|v| *v *= scale);
        let output = narrow(loss, &batch, &batch, Against::Batch);
        let what = format!("{} at {scale}", loss.name());
        assert!(output.value.is_finite(), "{what}: {}", output.value);
        assert!(output.gradient.iter().all(|g| g.is_finite()), "{what}");
    }
}
