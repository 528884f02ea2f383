//! What a loss is computed over, from files.

use std::path::{Path, PathBuf};

use pnp_ranking::loss::{Items, Loss, LossInput, LossOutput};
use pnp_ranking::{Embeddings, RankingError, Real, class_ids};

use crate::array::{self, Matrix, Role};
use crate::cli::LossArgs;
use crate::failure::Failure;

/// A precision that a loss is computed in.
pub(super) trait Precision: Real + npyz::AutoSerialize {
    /// The values of a file in it.
    fn values(matrix: &Matrix) -> Vec<Self>;
    /// The loss in it.
    fn compute(
        loss: &dyn Loss,
        input: &LossInput<'_, Self>,
    ) -> Result<LossOutput<Self>, RankingError>;
}

impl Precision for f32 {
    fn values(matrix: &Matrix) -> Vec<f32> {
        matrix.to_f32()
    }

    fn compute(
        loss: &dyn Loss,
        input: &LossInput<'_, f32>,
    ) -> Result<LossOutput<f32>, RankingError> {
        loss.compute_f32(input)
    }
}

impl Precision for f64 {
    fn values(matrix: &Matrix) -> Vec<f64> {
        matrix.to_f64()
    }

    fn compute(
        loss: &dyn Loss,
        input: &LossInput<'_, f64>,
    ) -> Result<LossOutput<f64>, RankingError> {
        loss.compute_f64(input)
    }
}

/// Everything that was read.
pub(super) struct Inputs {
    path: PathBuf,
    pub(super) embeddings: Matrix,
    labels: Vec<u32>,
    ids: Option<Vec<u64>>,
    references: Option<References>,
    references_only: bool,
    proxies: Option<Matrix>,
}

struct References {
    embeddings: Matrix,
    labels: Vec<u32>,
    ids: Option<Vec<u64>>,
}

impl Inputs {
    pub(super) fn read(args: &LossArgs, loss: &dyn Loss) -> Result<Self, Failure> {
        let missing = || Failure::Usage("give --embeddings and --labels".into());
        let path = args.embeddings.clone().ok_or_else(missing)?;
        let embeddings = array::read_embeddings(&path)?;
        let label_file = args.labels.as_deref().ok_or_else(missing)?;
        let labels = array::read_labels(label_file, Role::LABELS)?;
        let more_labels = read(args.reference_labels.as_deref())?.unwrap_or_default();
        let rows = labels.len();
        // With proxies a label is a row of theirs; otherwise only which are equal matters.
        let mut labels = if loss.trains_proxies() {
            rows_of_proxies(&labels, label_file)?
        } else {
            class_ids(&[labels, more_labels.clone()].concat())
        };
        let reference_labels = labels.split_off(rows.min(labels.len()));
        let (ids, reference_ids) = match (&args.ids, &args.reference_ids) {
            (Some(ids), Some(reference_ids)) => {
                let ids = array::read_labels(ids, Role::IDS)?;
                let both =
                    class_ids(&[&ids[..], &array::read_labels(reference_ids, Role::IDS)?].concat());
                let mut both: Vec<u64> = both.into_iter().map(u64::from).collect();
                let reference_ids = both.split_off(ids.len());
                (Some(both), Some(reference_ids))
            }
            _ => (None, None),
        };
        let references = match &args.references {
            Some(path) => {
                let embeddings = array::read_embeddings(path)?;
                let labels = if loss.trains_proxies() {
                    let file = args.reference_labels.as_deref().unwrap_or(path);
                    rows_of_proxies(&more_labels, file)?
                } else {
                    reference_labels
                };
                Some(References { embeddings, labels, ids: reference_ids })
            }
            None => None,
        };
        let proxies = args.proxies.as_deref().map(array::read_embeddings).transpose()?;
        let references_only = args.references_only;
        Ok(Self { path, embeddings, labels, ids, references, references_only, proxies })
    }

    /// Whether a file holds f64: everything is computed in it then, so that nothing narrows.
    pub(super) fn is_wide(&self) -> bool {
        let others = self.references.as_ref().map(|references| &references.embeddings);
        let all = std::iter::once(&self.embeddings).chain(others).chain(&self.proxies);
        all.into_iter().any(Matrix::is_wide)
    }

    /// Hands the input over in a precision.
    pub(super) fn with_input<T: Precision, R>(
        &self,
        use_it: impl FnOnce(&LossInput<'_, T>) -> Result<R, RankingError>,
    ) -> Result<R, Failure> {
        let values = T::values(&self.embeddings);
        let batch = items(&values, self.embeddings.dim(), &self.labels, self.ids.as_deref())
            .map_err(|e| Failure::Work(format!("'{}': {e}", self.path.display())))?;
        let held;
        let mut input = match &self.references {
            None => LossInput::batch(batch),
            Some(references) => {
                held = T::values(&references.embeddings);
                let ids = references.ids.as_deref();
                let others = items(&held, references.embeddings.dim(), &references.labels, ids)
                    .map_err(|e| Failure::Work(format!("the references: {e}")))?;
                if self.references_only {
                    LossInput::against(batch, others)?
                } else {
                    LossInput::batch_and(batch, others)?
                }
            }
        };
        let held;
        if let Some(proxies) = &self.proxies {
            held = T::values(proxies);
            let proxies = Embeddings::new(&held, proxies.dim())
                .map_err(|e| Failure::Work(format!("the proxies: {e}")))?;
            input = input.with_proxies(proxies)?;
        }
        Ok(use_it(&input)?)
    }

    /// How many items of the batch stand before the references in a list.
    pub(super) fn batch_places(&self) -> usize {
        if self.references_only { 0 } else { self.labels.len() }
    }
}

fn read(path: Option<&Path>) -> Result<Option<Vec<i128>>, Failure> {
    Ok(path.map(|path| array::read_labels(path, Role::LABELS)).transpose()?)
}

fn rows_of_proxies(labels: &[i128], path: &Path) -> Result<Vec<u32>, Failure> {
    let rows = labels.iter().map(|&label| {
        u32::try_from(label).map_err(|_| {
            let path = path.display();
            Failure::Work(format!("label {label} in '{path}' is no row of the proxies"))
        })
    });
    rows.collect()
}

fn items<'a, T: Real>(
    values: &'a [T],
    dim: usize,
    labels: &'a [u32],
    ids: Option<&'a [u64]>,
) -> Result<Items<'a, T>, RankingError> {
    let items = Items::new(Embeddings::new(values, dim)?, labels)?;
    match ids {
        Some(ids) => items.with_ids(ids),
        None => Ok(items),
    }
}
