//! From ranked lists to a batch: similarities, row kernels, and the gradient of the embeddings.
//!
//! With `S = E Eᵀ` and `G = dL/dS`, the gradient is `dL/dE = G E + Gᵀ E`: each item once as query
//! and once as reference. A batch whose similarities fit into [`Tiling::WHOLE`] numbers keeps G and
//! takes one product, `(G + Gᵀ) E`. A larger one goes panel by panel of queries and keeps only the
//! panel's rows of G, so that memory grows with `items · dim`.
//!
//! Work is cut by the tiling, never by the number of threads, and every sum has its order: the
//! bits of the result are the same for any number of threads and any height of rows or panels.

use rayon::prelude::*;

use super::{LossCounts, LossOutput, RankedList, RowKernel, Scratch};
use crate::classes::Classes;
use crate::embeddings::Embeddings;
use crate::error::RankingError;
use crate::product::{DEPTH_BLOCK, Matrix, Update, multiply};
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
    /// How many similarities are kept at once: 16 MiB of them in f32.
    const WHOLE: usize = 1 << 22;

    fn for_batch(items: usize) -> Self {
        // Smaller tasks share out better, larger ones spend less on packing for the products.
        let rows = if items < 1024 { 64 } else { 128 };
        if items.saturating_mul(items) <= Self::WHOLE {
            return Self { panel: items, rows };
        }
        let blocks = (Self::WHOLE / items / DEPTH_BLOCK).max(1);
        Self { panel: (blocks * DEPTH_BLOCK).min(items), rows }
    }
}

/// Value and gradient of a loss over a batch.
pub(super) fn forward<T: Real>(
    kernel: &impl RowKernel<T>,
    embeddings: &Embeddings<'_, T>,
    labels: &[u32],
) -> Result<LossOutput<T>, RankingError> {
    forward_tiled(kernel, embeddings, labels, Tiling::for_batch(embeddings.rows()))
}

fn forward_tiled<T: Real>(
    kernel: &impl RowKernel<T>,
    embeddings: &Embeddings<'_, T>,
    labels: &[u32],
    tiling: Tiling,
) -> Result<LossOutput<T>, RankingError> {
    embeddings.check_labels(labels)?;
    embeddings.squared_norms()?;
    let classes = Classes::new(labels);
    let counts = count(&classes, labels.len());
    if counts.queries == 0 {
        let gradient = vec![T::ZERO; embeddings.values().len()];
        return Ok(LossOutput { value: 0.0, gradient, counts });
    }
    let batch = Batch {
        embeddings: Matrix::from_rows(embeddings.values(), embeddings.dim()),
        items: embeddings.rows(),
        dim: embeddings.dim(),
        classes,
        weight: 1.0 / counts.queries as f64,
        rows: tiling.rows,
    };
    let (losses, gradient) = if tiling.panel >= batch.items {
        batch.whole(kernel)
    } else {
        batch.by_panels(kernel, tiling.panel)
    };
    Ok(LossOutput { value: losses.iter().sum::<f64>() * batch.weight, gradient, counts })
}

fn count(classes: &Classes, items: usize) -> LossCounts {
    let mut counts = LossCounts { items, ..LossCounts::default() };
    for item in 0..items {
        let class = classes.places_of(item).len();
        if class == 1 {
            counts.lone_queries += 1;
        } else {
            counts.queries += 1;
            counts.positives += class - 1;
            counts.negatives += items - class;
        }
    }
    counts
}

/// A batch with at least one query.
struct Batch<'a, T> {
    /// `[items, dim]`.
    embeddings: Matrix<'a, T>,
    items: usize,
    dim: usize,
    classes: Classes,
    /// What a query's loss counts in the mean.
    weight: f64,
    /// Rows that one task takes.
    rows: usize,
}

impl<T: Real> Batch<'_, T> {
    /// Each query's loss, and the gradient, with all of G in memory.
    fn whole(&self, kernel: &impl RowKernel<T>) -> (Vec<f64>, Vec<T>) {
        let mut g = vec![T::ZERO; self.items * self.items];
        let losses = self.rank_rows(kernel, 0, &mut g);
        let mut gradient = vec![T::ZERO; self.items * self.dim];
        gradient.par_chunks_mut(self.rows * self.dim).enumerate().for_each_init(
            Vec::new,
            |both, (task, gradient)| {
                let rows = gradient.len() / self.dim;
                both.resize(rows * self.items, T::ZERO);
                add_transposed(&g, self.items, task * self.rows, both);
                let both = Matrix::from_rows(both, self.items);
                multiply(both, self.embeddings, gradient, Update::Set);
            },
        );
        (losses, gradient)
    }

    /// The same with `panel` rows of G in memory.
    fn by_panels(&self, kernel: &impl RowKernel<T>, panel: usize) -> (Vec<f64>, Vec<T>) {
        let mut losses = Vec::with_capacity(self.items);
        let mut g = vec![T::ZERO; panel * self.items];
        // Kept apart until the end: so neither sum depends on where panels begin.
        let mut as_query = vec![T::ZERO; self.items * self.dim];
        let mut as_reference = vec![T::ZERO; self.items * self.dim];
        for (first, as_query) in
            (0..self.items).step_by(panel).zip(as_query.chunks_mut(panel * self.dim))
        {
            let queries = as_query.len() / self.dim;
            let g = &mut g[..queries * self.items];
            losses.extend(self.rank_rows(kernel, first, g));
            let g = Matrix::from_rows(g, self.items);
            as_query.par_chunks_mut(self.rows * self.dim).enumerate().for_each(|(task, out)| {
                let g = g.rows_from(task * self.rows, out.len() / self.dim);
                multiply(g, self.embeddings, out, Update::Set);
            });
            let panel_embeddings = self.embeddings.rows_from(first, queries);
            as_reference.par_chunks_mut(self.rows * self.dim).enumerate().for_each(
                |(task, out)| {
                    let g = g.transposed().rows_from(task * self.rows, out.len() / self.dim);
                    multiply(g, panel_embeddings, out, Update::Add);
                },
            );
        }
        as_query.iter_mut().zip(&as_reference).for_each(|(a, &b)| *a += b);
        (losses, as_query)
    }

    /// Fills `g` with the derivatives of the mean loss with respect to the similarities of the
    /// queries from `first` on, a row each, and returns each query's loss.
    fn rank_rows(&self, kernel: &impl RowKernel<T>, first: usize, g: &mut [T]) -> Vec<f64> {
        let losses: Vec<Vec<f64>> = g
            .par_chunks_mut(self.rows * self.items)
            .enumerate()
            .map_init(
                || Scratch::new(self.items),
                |scratch, (task, g)| {
                    let first = first + task * self.rows;
                    let queries = self.embeddings.rows_from(first, g.len() / self.items);
                    multiply(queries, self.embeddings.transposed(), g, Update::Set);
                    let rows = g.chunks_exact_mut(self.items).enumerate();
                    rows.map(|(i, row)| self.rank_row(kernel, first + i, row, scratch)).collect()
                },
            )
            .collect();
        losses.concat()
    }

    fn rank_row(
        &self,
        kernel: &impl RowKernel<T>,
        query: usize,
        row: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> f64 {
        let class = self.classes.members_of(query);
        if class.len() == 1 {
            row.fill(T::ZERO);
            return 0.0;
        }
        kernel.row(RankedList { similarities: row, query, class }, self.weight, scratch)
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
    use crate::loss::{LossSettings, PnpLoss, PnpVariant};
    use crate::test_data::unit_rows;

    fn loss() -> PnpLoss {
        let settings = LossSettings { variant: PnpVariant::Dq, alpha: 4.0, ..Default::default() };
        PnpLoss::new(&settings).unwrap()
    }

    /// 1,500 items in classes of 1 to 8, mixed.
    fn batch() -> (Vec<f32>, Vec<u32>) {
        let labels = (0..1500_u32).map(|i| (i * 389 % 1500) / (1 + i % 8)).collect();
        (unit_rows(1500, 24, 5), labels)
    }

    #[test]
    fn the_bits_do_not_depend_on_rows_or_threads() {
        let (values, labels) = batch();
        let embeddings = Embeddings::new(&values, 24).unwrap();
        let whole = Tiling { panel: 1500, rows: 64 };
        let expected = forward_tiled(&loss(), &embeddings, &labels, whole).unwrap();
        for (rows, threads) in [(64, 1), (64, 3), (1, 2), (7, 3), (1500, 1)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let tiling = Tiling { rows, ..whole };
            let output =
                pool.install(|| forward_tiled(&loss(), &embeddings, &labels, tiling)).unwrap();
            assert_eq!(output, expected, "{rows} rows, {threads} threads");
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_panels() {
        let (values, labels) = batch();
        let embeddings = Embeddings::new(&values, 24).unwrap();
        let tiled = |panel, rows| {
            forward_tiled(&loss(), &embeddings, &labels, Tiling { panel, rows }).unwrap()
        };
        let expected = tiled(512, 128);
        assert_eq!(tiled(1024, 128), expected);
        assert_eq!(tiled(512, 31), expected);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| tiled(512, 100)), expected);
    }

    #[test]
    fn panels_agree_with_the_whole() {
        let (values, labels) = batch();
        let embeddings = Embeddings::new(&values, 24).unwrap();
        let whole =
            forward_tiled(&loss(), &embeddings, &labels, Tiling { panel: 1500, rows: 64 }).unwrap();
        let panels =
            forward_tiled(&loss(), &embeddings, &labels, Tiling { panel: 512, rows: 64 }).unwrap();
        assert!((whole.value - panels.value).abs() < 1e-12);
        let largest = whole.gradient.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
        for (a, b) in whole.gradient.iter().zip(&panels.gradient) {
            assert!((a - b).abs() < 1e-5 * largest);
        }
    }

    #[test]
    fn large_batches_are_cut_into_panels_of_whole_depth_blocks() {
        for (items, panel) in [(384, 384), (2048, 2048), (2049, 1536), (4096, 1024), (16_384, 512)]
        {
            assert_eq!(Tiling::for_batch(items).panel, panel, "{items}");
        }
    }

    #[test]
    fn what_a_batch_holds_is_counted() {
        let counts = count(&Classes::new(&[1, 1, 2, 3, 3, 3]), 6);
        let expected =
            LossCounts { items: 6, queries: 5, lone_queries: 1, positives: 8, negatives: 17 };
        assert_eq!(counts, expected);
    }
}
