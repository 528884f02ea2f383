//! The losses as Burn modules are the plain losses: value, gradient and errors.

mod configs;
mod gradients;
mod inputs;
mod modules;
mod proxies;
mod references;
mod training;

use burn::tensor::{DType, Device, Element, Int, Tensor, TensorData};

/// Embeddings on the host with labels.
struct Set {
    values: Vec<f64>,
    labels: Vec<u32>,
}

const DIM: usize = 5;

impl Set {
    /// Rows of length 1, with labels below `classes`, from a seed.
    fn new(items: usize, classes: u32, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = move || {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
        };
        let mut uniform = || next() as f64 / (1_u64 << 53) as f64;
        let mut values = Vec::new();
        for _ in 0..items {
            let row: Vec<f64> = (0..DIM).map(|_| 2.0 * uniform() - 1.0).collect();
            let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            values.extend(row.iter().map(|v| v / norm));
        }
        let labels = (0..items).map(|_| (uniform() * f64::from(classes)) as u32);
        Self { values, labels: labels.collect() }
    }

    fn narrow(&self) -> Vec<f32> {
        self.values.iter().map(|&v| v as f32).collect()
    }

    /// The embeddings as a tensor of some type.
    fn tensor(&self, device: &Device, dtype: DType) -> Tensor<2> {
        let data = TensorData::new(self.values.clone(), [self.labels.len(), DIM]);
        Tensor::from_data(data, (device, dtype))
    }

    fn labels(&self, device: &Device) -> Tensor<1, Int> {
        ints(&self.labels, device)
    }
}

fn ints(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), (device, DType::I64))
}

/// A tensor's values, which must be of this type already.
fn values<E: Element, const D: usize>(tensor: Tensor<D>) -> Vec<E> {
    tensor.into_data().try_into_vec().expect("values of this type")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn bits64(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn autodiff() -> Device {
    Device::flex().autodiff()
}
