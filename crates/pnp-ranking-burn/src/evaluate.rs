//! From tensors to the host and back: what every module's `forward` does.

use burn::tensor::{DType, Element, FloatDType, Int, Tensor, TensorData};
use pnp_ranking::loss::{Items, Loss, LossInput, LossOutput};
use pnp_ranking::{Embeddings, RankingError, Real};

use crate::references::References;

/// What a loss is computed over, where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    /// `[items, dim]`.
    pub(crate) embeddings: &'a Tensor<2>,
    /// `[items]`.
    pub(crate) labels: &'a Tensor<1, Int>,
    pub(crate) references: Option<&'a References>,
    /// `[classes, dim]`.
    pub(crate) proxies: Option<&'a Tensor<2>>,
}

/// The loss `[1]` of a batch, with the gradient of all its tensors that are tracked.
pub(crate) fn evaluate(loss: &dyn Loss, batch: Batch<'_>) -> Result<Tensor<1>, RankingError> {
    if batch.references.is_some() && !loss.ranks_references() {
        return Err(RankingError::ProxiesOnly { loss: loss.name() });
    }
    match batch.embeddings.dtype() {
        DType::F64 => evaluate_in::<f64>(loss, batch),
        _ => evaluate_in::<f32>(loss, batch),
    }
}

/// The two kinds of numbers that losses are computed in.
trait Precision: Real + Element {
    const DTYPE: FloatDType;

    fn compute(
        loss: &dyn Loss,
        input: &LossInput<'_, Self>,
    ) -> Result<LossOutput<Self>, RankingError>;
}

impl Precision for f32 {
    const DTYPE: FloatDType = FloatDType::F32;

    fn compute(
        loss: &dyn Loss,
        input: &LossInput<'_, Self>,
    ) -> Result<LossOutput<Self>, RankingError> {
        loss.compute_f32(input)
    }
}

impl Precision for f64 {
    const DTYPE: FloatDType = FloatDType::F64;

    fn compute(
        loss: &dyn Loss,
        input: &LossInput<'_, Self>,
    ) -> Result<LossOutput<Self>, RankingError> {
        loss.compute_f64(input)
    }
}

fn evaluate_in<T: Precision>(loss: &dyn Loss, batch: Batch<'_>) -> Result<Tensor<1>, RankingError> {
    let Batch { embeddings, references, proxies, .. } = batch;
    let output = compute::<T>(loss, batch)?;

    let device = embeddings.device();
    let value = TensorData::new(vec![output.value], [1]);
    let mut sum = Tensor::from_data(value, (&device, T::DTYPE.into()));
    for (tensor, gradient) in [
        (Some(embeddings), Some(output.gradient)),
        (references.map(|references| &references.embeddings), output.reference_gradient),
        (proxies, output.proxy_gradient),
    ] {
        if let (Some(tensor), Some(gradient)) = (tensor, gradient)
            && tensor.is_tracked()
        {
            sum = sum + carrier(tensor.clone(), gradient).to_device(&device);
        }
    }
    Ok(sum)
}

/// A tensor `[1]` that is 0, and whose derivative with respect to `tensor` is `gradient`.
///
/// Of finite numbers x, `(x - x) * gradient` is 0 exactly, so that it changes no value it is added
/// to. Only the first x is on the tape.
fn carrier<T: Precision>(tensor: Tensor<2>, gradient: Vec<T>) -> Tensor<1> {
    let wide = tensor.cast(T::DTYPE);
    let constant = wide.clone().inner();
    let gradient = TensorData::new(gradient, constant.dims());
    let gradient = Tensor::from_data(gradient, (&constant.device(), T::DTYPE.into()));
    ((wide - constant) * gradient).sum()
}

/// The loss on the host.
fn compute<T: Precision>(loss: &dyn Loss, batch: Batch<'_>) -> Result<LossOutput<T>, RankingError> {
    let embeddings = Matrix::<T>::read(batch.embeddings);
    let labels = read_labels(batch.labels.clone())?;
    let items = Items::new(embeddings.rows()?, &labels)?;

    let referred = batch.references.map(Referred::<T>::read).transpose()?;
    let mut input = match &referred {
        None => LossInput::batch(items),
        Some(referred) => referred.beside(items)?,
    };
    if batch.references.is_some_and(|references| references.embeddings.is_tracked()) {
        input = input.with_reference_gradient();
    }

    let proxies = batch.proxies.map(Matrix::<T>::read);
    if let Some(proxies) = &proxies {
        input = input.with_proxies(proxies.rows()?)?;
    }
    T::compute(loss, &input)
}

/// A tensor `[rows, dim]` on the host.
struct Matrix<T> {
    values: Vec<T>,
    dim: usize,
}

impl<T: Precision> Matrix<T> {
    fn read(tensor: &Tensor<2>) -> Self {
        let [_, dim] = tensor.dims();
        Self { values: to_vec(tensor.clone().inner().into_data_as::<T>()), dim }
    }

    fn rows(&self) -> Result<Embeddings<'_, T>, RankingError> {
        Embeddings::new(&self.values, self.dim)
    }
}

/// References on the host.
struct Referred<T> {
    embeddings: Matrix<T>,
    labels: Vec<u32>,
    ids: Option<Ids>,
    with_batch: bool,
}

struct Ids {
    batch: Vec<u64>,
    references: Vec<u64>,
}

impl<T: Precision> Referred<T> {
    fn read(references: &References) -> Result<Self, RankingError> {
        let ids = references.ids.as_ref().map(|(batch, references)| Ids {
            batch: read_ids(batch.clone()),
            references: read_ids(references.clone()),
        });
        Ok(Self {
            embeddings: Matrix::read(&references.embeddings),
            labels: read_labels(references.labels.clone())?,
            ids,
            with_batch: references.with_batch,
        })
    }

    /// What the batch is ranked against.
    fn beside<'a>(&'a self, mut batch: Items<'a, T>) -> Result<LossInput<'a, T>, RankingError> {
        let mut references = Items::new(self.embeddings.rows()?, &self.labels)?;
        if let Some(ids) = &self.ids {
            batch = batch.with_ids(&ids.batch)?;
            references = references.with_ids(&ids.references)?;
        }
        if self.with_batch {
            LossInput::batch_and(batch, references)
        } else {
            LossInput::against(batch, references)
        }
    }
}

fn read_labels(labels: Tensor<1, Int>) -> Result<Vec<u32>, RankingError> {
    let label = |label: i64| {
        u32::try_from(label).map_err(|_| RankingError::Setting {
            setting: "label",
            value: label.to_string(),
            rule: "labels are class ids, whole numbers from 0 to 4294967295",
        })
    };
    to_vec(labels.into_data_as::<i64>()).into_iter().map(label).collect()
}

/// Ids are only compared: a negative one is as good as another.
fn read_ids(ids: Tensor<1, Int>) -> Vec<u64> {
    to_vec::<i64>(ids.into_data_as::<i64>()).into_iter().map(|id| id as u64).collect()
}

fn to_vec<E: Element>(data: TensorData) -> Vec<E> {
    data.try_into_vec().expect("data of the type that was asked for")
}
