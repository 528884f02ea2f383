//! From ranked lists to a batch: similarities, lists, and the gradient of the embeddings.
//!
//! With `S = Q Rᵀ` for queries Q and references R, and `G = dL/dS`, the gradients are `G R` and
//! `Gᵀ Q`; where the references are the queries, their sum. Work goes panel by panel of queries,
//! and only the panel's rows of S and G are kept, so that memory grows with `items · dim`. A batch
//! against itself that fits into one panel takes one product for both, `(G + Gᵀ) E`.
//!
//! Work is cut by the tiling, never by the number of threads, and every sum has its order: the
//! bits of the result are the same for any number of threads, and for panels of any multiple of 512
//! queries. Whether one panel takes all follows from the shapes alone.

use std::ops::Range;

use rayon::prelude::*;

use super::lists::{Columns, Lists};
use super::{ListLoss, LossCounts, LossInput, LossOutput, Mean};
use crate::error::RankingError;
use crate::product::{DEPTH_BLOCK, Matrix, Update, multiply, multiply_into};
use crate::real::Real;

/// How the work is cut.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    /// Queries in a panel; all of them, or a multiple of [`DEPTH_BLOCK`].
    panel: usize,
    /// Rows that one task takes.
    rows: usize,
}

impl Tiling {
    /// How many similarities one panel may hold: 64 MiB of them in f32.
    const PANEL: usize = 1 << 24;

    fn of(queries: usize, references: usize) -> Self {
        // Larger tasks spend less on packing for the products, smaller ones share out better. The
        // number of threads may have a say, since no bit depends on the rows of a task.
        let rows = queries.div_ceil(2 * rayon::current_num_threads()).clamp(32, 192);
        if queries.saturating_mul(references) <= Self::PANEL {
            return Self { panel: queries, rows };
        }
        // Half as much, since all of it is written anew for each panel.
        let blocks = (Self::PANEL / 2 / references / DEPTH_BLOCK).max(1);
        Self { panel: (blocks * DEPTH_BLOCK).min(queries), rows }
    }
}

/// Value and gradients of a loss.
pub(super) fn compute<T: Real>(
    loss: &impl ListLoss,
    input: &LossInput<'_, T>,
) -> Result<LossOutput<T>, RankingError> {
    let lists = Lists::new(input, loss.counts_query(), loss.takes_lone_queries())?;
    let tiling = Tiling::of(lists.queries(), lists.references());
    Ok(compute_tiled(loss, &lists, input.reference_gradient, tiling))
}

fn compute_tiled<T: Real>(
    loss: &impl ListLoss,
    lists: &Lists<'_, T>,
    reference_gradient: bool,
    tiling: Tiling,
) -> LossOutput<T> {
    let work = Work { lists, rows: tiling.rows, reference_gradient };
    let mut sums = work.gradients(loss, tiling.panel);
    let divisor = match loss.mean() {
        Mean::OverQueries => sums.lists,
        Mean::OverTerms => sums.terms,
    };
    let weight = 1.0 / divisor.max(1) as f64;
    let narrow = T::narrow(weight);
    for gradient in std::iter::once(&mut sums.gradient).chain(&mut sums.reference_gradient) {
        for g in gradient.iter_mut() {
            *g = *g * narrow;
        }
    }
    LossOutput {
        value: sums.value * weight,
        gradient: sums.gradient,
        reference_gradient: sums.reference_gradient,
        proxy_gradient: None,
        counts: LossCounts { terms: divisor, ..lists.counts() },
    }
}

/// The derivatives of the value with respect to the similarities of some queries, a row each.
pub(super) fn slopes<T: Real>(
    loss: &impl ListLoss,
    input: &LossInput<'_, T>,
    queries: Range<usize>,
) -> Result<Vec<T>, RankingError> {
    let lists = Lists::new(input, loss.counts_query(), loss.takes_lone_queries())?;
    let references = lists.references();
    let work = Work { lists: &lists, rows: 64, reference_gradient: false };
    let divisor = match loss.mean() {
        Mean::OverQueries => lists.counts().queries,
        // How many terms there are is known when all lists have been read.
        Mean::OverTerms => {
            let mut g = vec![T::ZERO; DEPTH_BLOCK.min(lists.queries()) * references];
            let panels = (0..lists.queries()).step_by(DEPTH_BLOCK);
            let terms = panels.map(|first| {
                let rows = DEPTH_BLOCK.min(lists.queries() - first);
                let outcomes = work.rank_rows(loss, first, &mut g[..rows * references]);
                outcomes.iter().flatten().map(|cost| cost.terms).sum::<usize>()
            });
            terms.sum()
        }
    };
    let mut g = vec![T::ZERO; queries.len() * references];
    work.rank_rows(loss, queries.start, &mut g);
    let weight = T::narrow(1.0 / divisor.max(1) as f64);
    for slope in &mut g {
        *slope = *slope * weight;
    }
    Ok(g)
}

/// What all lists add up to, not yet divided.
struct Sums<T> {
    value: f64,
    /// Lists that entered.
    lists: usize,
    /// Terms that they reported.
    terms: usize,
    gradient: Vec<T>,
    reference_gradient: Option<Vec<T>>,
}

/// What one query's list came to; `None` if it does not enter.
type Outcome = Option<super::ListCost>;

struct Work<'a, T: Real> {
    lists: &'a Lists<'a, T>,
    /// Rows that one task takes.
    rows: usize,
    reference_gradient: bool,
}

impl<T: Real> Work<'_, T> {
    fn gradients(&self, loss: &impl ListLoss, panel: usize) -> Sums<T> {
        let lists = self.lists;
        let (queries, dim) = (lists.queries(), lists.dim());
        let only_batch = matches!(lists.columns(), [Columns { is_batch: true, .. }]);
        let mut outcomes = Vec::with_capacity(queries);
        let panel = panel.max(1);
        if lists.references() == 0 {
            // No lists at all.
            let gradient = vec![T::ZERO; queries * dim];
            let reference_gradient = self.reference_gradient.then(Vec::new);
            return Sums { value: 0.0, lists: 0, terms: 0, gradient, reference_gradient };
        }
        let (gradient, reference_gradient) = if only_batch && panel >= queries {
            let mut g = vec![T::ZERO; queries * queries];
            outcomes.extend(self.rank_rows(loss, 0, &mut g));
            (self.both_roles(&g), None)
        } else {
            self.by_panels(panel, |first, g| outcomes.extend(self.rank_rows(loss, first, g)))
        };
        debug_assert_eq!(gradient.len(), queries * dim);
        let entered = || outcomes.iter().flatten();
        Sums {
            // Of nothing the sum is -0.
            value: 0.0 + entered().map(|cost| cost.value).sum::<f64>(),
            lists: entered().count(),
            terms: entered().map(|cost| cost.terms).sum(),
            gradient,
            reference_gradient,
        }
    }

    /// `(G + Gᵀ) E`, with all of G in memory.
    fn both_roles(&self, g: &[T]) -> Vec<T> {
        let (items, dim) = (self.lists.queries(), self.lists.dim());
        let mut gradient = vec![T::ZERO; items * dim];
        gradient.par_chunks_mut(self.rows * dim).enumerate().for_each_init(
            Vec::new,
            |both, (task, gradient)| {
                let rows = gradient.len() / dim;
                both.resize(rows * items, T::ZERO);
                add_transposed(g, items, task * self.rows, both);
                let both = Matrix::from_rows(both, items);
                multiply(both, self.lists.embeddings(), gradient, Update::Set);
            },
        );
        gradient
    }

    /// The gradients of queries and references with `panel` rows of G in memory, which `fill`
    /// fills for the queries from its first argument on.
    fn by_panels(
        &self,
        panel: usize,
        mut fill: impl FnMut(usize, &mut [T]),
    ) -> (Vec<T>, Option<Vec<T>>) {
        let lists = self.lists;
        let (queries, references, dim) = (lists.queries(), lists.references(), lists.dim());
        let mut g = vec![T::ZERO; panel * references];
        // Kept apart until the end: so no sum depends on where panels begin.
        let mut as_query = vec![T::ZERO; queries * dim];
        let mut as_reference: Vec<Option<Vec<T>>> = lists
            .columns()
            .iter()
            .map(|part| {
                let wanted = part.is_batch || self.reference_gradient;
                wanted.then(|| vec![T::ZERO; part.embeddings.rows() * dim])
            })
            .collect();
        let panels = (0..queries).step_by(panel).zip(as_query.chunks_mut(panel * dim));
        for (first, as_query) in panels {
            let rows = as_query.len() / dim;
            let g = &mut g[..rows * references];
            fill(first, g);
            let g = Matrix::from_rows(g, references);
            self.add_as_query(g, as_query);
            let panel_queries = lists.embeddings().rows_from(first, rows);
            for (part, out) in lists.columns().iter().zip(&mut as_reference) {
                let Some(out) = out else { continue };
                let g = g.columns_from(part.first, part.embeddings.rows()).transposed();
                out.par_chunks_mut(self.rows * dim).enumerate().for_each(|(task, out)| {
                    let g = g.rows_from(task * self.rows, out.len() / dim);
                    multiply(g, panel_queries, out, Update::Add);
                });
            }
        }
        let mut others = None;
        for (part, as_reference) in lists.columns().iter().zip(as_reference) {
            match as_reference {
                Some(gradient) if part.is_batch => {
                    as_query.iter_mut().zip(&gradient).for_each(|(a, &b)| *a += b);
                }
                gradient => others = gradient,
            }
        }
        (as_query, others)
    }

    /// `out = G R` for a panel.
    fn add_as_query(&self, g: Matrix<'_, T>, out: &mut [T]) {
        let dim = self.lists.dim();
        out.par_chunks_mut(self.rows * dim).enumerate().for_each(|(task, out)| {
            let g = g.rows_from(task * self.rows, out.len() / dim);
            for part in self.lists.columns() {
                let g = g.columns_from(part.first, part.embeddings.rows());
                multiply(g, part.embeddings, out, Update::Add);
            }
        });
    }

    /// Fills `g` with the derivatives of each list's cost with respect to its similarities, a row
    /// for each query from `first` on.
    fn rank_rows(&self, loss: &impl ListLoss, first: usize, g: &mut [T]) -> Vec<Outcome> {
        let lists = self.lists;
        let references = lists.references();
        if references == 0 {
            return Vec::new();
        }
        let outcomes: Vec<Vec<Outcome>> = g
            .par_chunks_mut(self.rows * references)
            .enumerate()
            .map_init(
                || lists.reader(),
                |reader, (task, g)| {
                    let first = first + task * self.rows;
                    let queries = lists.embeddings().rows_from(first, g.len() / references);
                    for part in lists.columns() {
                        let (out, turned) = (&mut g[part.first..], part.embeddings.transposed());
                        multiply_into(queries, turned, out, references, Update::Set);
                    }
                    let rows = g.chunks_exact_mut(references).enumerate();
                    rows.map(|(i, row)| reader.read(loss, first + i, row)).collect()
                },
            )
            .collect();
        outcomes.concat()
    }
}

/// `out = G + Gᵀ` for the rows from `first` on, G being `[side, side]`.
fn add_transposed<T: Real>(g: &[T], side: usize, first: usize, out: &mut [T]) {
    /// Columns taken at once: their lines stay in the first-level cache.
    const COLUMNS: usize = 16;
    let rows = out.len() / side;
    out.copy_from_slice(&g[first * side..(first + rows) * side]);
    for start in (0..side).step_by(COLUMNS) {
        let columns = start..(start + COLUMNS).min(side);
        for (i, out) in out.chunks_exact_mut(side).enumerate() {
            let turned = columns.clone().map(|j| g[j * side + first + i]);
            for (out, turned) in out[columns.clone()].iter_mut().zip(turned) {
                *out += turned;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embeddings::Embeddings;
    use crate::loss::{Items, PnpLoss, PnpSettings, PnpVariant};
    use crate::test_data::unit_rows;

    const DIM: usize = 24;

    fn loss() -> PnpLoss {
        let settings =
            PnpSettings { variant: PnpVariant::Dq, alpha: Some(4.0), ..Default::default() };
        PnpLoss::new(&settings).unwrap()
    }

    /// 1,500 items in classes of 1 to 8, mixed.
    fn batch() -> (Vec<f32>, Vec<u32>) {
        let labels = (0..1500_u32).map(|i| (i * 389 % 1500) / (1 + i % 8)).collect();
        (unit_rows(1500, DIM, 5), labels)
    }

    fn items<'a>(values: &'a [f32], labels: &'a [u32]) -> Items<'a, f32> {
        Items::new(Embeddings::new(values, DIM).unwrap(), labels).unwrap()
    }

    fn tiled(input: &LossInput<'_, f32>, panel: usize, rows: usize) -> LossOutput<f32> {
        let lists = Lists::new(input, true, false).unwrap();
        compute_tiled(&loss(), &lists, input.reference_gradient, Tiling { panel, rows })
    }

    #[test]
    fn the_bits_do_not_depend_on_rows_or_threads() {
        let (values, labels) = batch();
        let input = LossInput::batch(items(&values, &labels));
        let expected = tiled(&input, 1500, 64);
        for (rows, threads) in [(64, 1), (64, 3), (1, 2), (7, 3), (1500, 1)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let output = pool.install(|| tiled(&input, 1500, rows));
            assert_eq!(output, expected, "{rows} rows, {threads} threads");
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_panels() {
        let (values, labels) = batch();
        let (others, other_labels) = (unit_rows(700, DIM, 9), &labels[..700]);
        let alone = LossInput::batch(items(&values, &labels));
        let others = items(&others, other_labels);
        let with_others = LossInput::batch_and(items(&values, &labels), others).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for input in [alone, with_others.with_reference_gradient()] {
            let expected = tiled(&input, 512, 128);
            assert_eq!(tiled(&input, 1024, 128), expected);
            assert_eq!(tiled(&input, 512, 31), expected);
            assert_eq!(pool.install(|| tiled(&input, 512, 100)), expected);
        }
    }

    #[test]
    fn panels_agree_with_the_whole() {
        let (values, labels) = batch();
        let input = LossInput::batch(items(&values, &labels));
        let (whole, panels) = (tiled(&input, 1500, 64), tiled(&input, 512, 64));
        assert!((whole.value - panels.value).abs() < 1e-12);
        let largest = whole.gradient.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        for (a, b) in whole.gradient.iter().zip(&panels.gradient) {
            assert!((a - b).abs() < 1e-5 * largest);
        }
    }

    #[test]
    fn large_inputs_are_cut_into_panels_of_whole_depth_blocks() {
        for (queries, references, panel) in [
            (384, 384, 384),
            (4096, 4096, 4096),
            (4097, 4097, 1536),
            (16_384, 16_384, 512),
            (384, 60_384, 384),
            (700, 60_700, 512),
        ] {
            assert_eq!(Tiling::of(queries, references).panel, panel, "{queries}, {references}");
        }
    }

    #[test]
    fn a_batch_against_its_own_copy_is_the_batch_by_itself() {
        // Without counting the query, since it has no place among the copies but its copy's.
        let (values, labels) = batch();
        let ids: Vec<u64> = (0..1500).collect();
        let settings = PnpSettings { count_query: false, ..PnpSettings::default() };
        let loss = PnpLoss::new(&settings).unwrap();
        let batch = items(&values, &labels).with_ids(&ids).unwrap();
        let alone = compute(&loss, &LossInput::batch(batch)).unwrap();
        let input = LossInput::against(batch, batch).unwrap().with_reference_gradient();
        let against = compute(&loss, &input).unwrap();
        assert!((alone.value - against.value).abs() < 1e-12);
        assert_eq!(against.counts.stale_copies, 1500);
        assert_eq!(against.counts.queries, alone.counts.queries);
        let as_reference = against.reference_gradient.unwrap();
        let largest = alone.gradient.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        for ((a, q), r) in alone.gradient.iter().zip(&against.gradient).zip(&as_reference) {
            assert!((a - (q + r)).abs() < 1e-5 * largest);
        }
    }
}
