//! Types of numbers, and what is refused.

use burn::tensor::{DType, Int, Tensor, TensorData};
use half::{bf16, f16};
use pnp_ranking::loss::{Loss, PnpLoss, PnpSettings};
use pnp_ranking::{Embeddings, RankingError};
use pnp_ranking_burn::PnpLossConfig;

use crate::{DIM, Set, autodiff, bits, values};

#[test]
fn labels_may_have_any_integer_type() {
    let device = autodiff();
    let set = Set::new(16, 4, 1);
    let loss = PnpLossConfig::new().init().unwrap();
    let forward = |labels| loss.forward(set.tensor(&device, DType::F32), labels);
    let expected: Vec<f32> = values(forward(set.labels(&device)));
    for dtype in [
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
    ] {
        let host: Vec<i64> = set.labels.iter().map(|&label| i64::from(label)).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(host, [16]), (&device, dtype));
        assert_eq!(labels.dtype(), dtype);
        assert_eq!(values::<f32, 1>(forward(labels)), expected, "{dtype:?}");
    }
}

#[test]
fn labels_reach_up_to_32_bits() {
    let device = autodiff();
    let set = Set::new(16, 2, 2);
    let loss = PnpLossConfig::new().init().unwrap();
    let forward = |labels: Tensor<1, Int>| {
        values::<f32, 1>(loss.forward(set.tensor(&device, DType::F32), labels))
    };
    let renamed: Vec<u32> = set.labels.iter().map(|&label| u32::MAX - label).collect();
    assert_eq!(forward(set.labels(&device)), forward(crate::ints(&renamed, &device)));
}

#[test]
fn half_precision_is_computed_in_f32_and_narrowed_at_the_end() {
    let device = autodiff();
    let set = Set::new(24, 4, 3);
    let module = PnpLossConfig::new().init().unwrap();
    let plain = PnpLoss::new(&PnpSettings::default()).unwrap();
    for dtype in [DType::F16, DType::BF16] {
        let embeddings = set.tensor(&device, dtype).require_grad();
        assert_eq!(embeddings.dtype(), dtype);
        let host: Vec<f32> =
            embeddings.clone().inner().into_data_as::<f32>().try_into_vec().unwrap();
        let expected =
            plain.forward_f32(&Embeddings::new(&host, DIM).unwrap(), &set.labels).unwrap();

        let loss = module.forward(embeddings.clone(), set.labels(&device));
        // A scale that f16 could not hold; it is undone before the gradient is narrowed.
        let loss = loss * 1e6 * 1e-6;
        let gradient = embeddings.grad(&loss.backward()).unwrap();
        assert_eq!((loss.dtype(), gradient.dtype()), (DType::F32, dtype));
        let value = values::<f32, 1>(loss)[0];
        assert!((value / expected.value as f32 - 1.0).abs() < 1e-6);
        let gradient: Vec<f32> = gradient.into_data_as::<f32>().try_into_vec().unwrap();
        let precision = if dtype == DType::F16 { 1e-3 } else { 8e-3 };
        for (g, &e) in gradient.iter().zip(&expected.gradient) {
            assert!((g - e).abs() <= precision * e.abs() + 1e-7, "{dtype:?}: {g} for {e}");
        }
    }
}

#[test]
fn the_gradient_of_half_precision_is_rounded_once() {
    let device = autodiff();
    let set = Set::new(24, 4, 4);
    let module = PnpLossConfig::new().init().unwrap();
    let plain = PnpLoss::new(&PnpSettings::default()).unwrap();
    let narrowed = |dtype, round: fn(f32) -> f32| {
        let embeddings = set.tensor(&device, dtype).require_grad();
        let host: Vec<f32> =
            embeddings.clone().inner().into_data_as::<f32>().try_into_vec().unwrap();
        let output = plain.forward_f32(&Embeddings::new(&host, DIM).unwrap(), &set.labels).unwrap();
        let loss = module.forward(embeddings.clone(), set.labels(&device));
        let gradient = embeddings.grad(&loss.backward()).unwrap();
        assert_eq!(values::<f32, 1>(loss), [output.value as f32]);
        let gradient: Vec<f32> = gradient.into_data_as::<f32>().try_into_vec().unwrap();
        let expected: Vec<f32> = output.gradient.into_iter().map(round).collect();
        assert_eq!(bits(&gradient), bits(&expected), "{dtype:?}");
    };
    narrowed(DType::F16, |v| f16::from_f32(v).to_f32());
    narrowed(DType::BF16, |v| bf16::from_f32(v).to_f32());
}

#[test]
fn an_empty_batch_costs_nothing() {
    let device = autodiff();
    let embeddings = Tensor::<2>::zeros([0, DIM], &device).require_grad();
    let loss = PnpLossConfig::new().init().unwrap();
    let loss = loss.forward(embeddings.clone(), crate::ints(&[], &device));
    let gradient = embeddings.grad(&loss.backward()).unwrap();
    assert_eq!(values::<f32, 1>(loss), [0.0]);
    assert_eq!(gradient.dims(), [0, DIM]);
}

#[test]
fn what_cannot_be_ranked_is_an_error() {
    let device = autodiff();
    let set = Set::new(8, 2, 5);
    let loss = PnpLossConfig::new().init().unwrap();
    let embeddings = || set.tensor(&device, DType::F32);

    let error = loss.try_forward(embeddings(), crate::ints(&[0; 7], &device)).unwrap_err();
    assert_eq!(error, RankingError::LabelCount { embeddings: 8, labels: 7 });

    let negative = Tensor::<1, Int>::from_ints([0, 1, 0, -1, 0, 0, 1, 1], &device);
    let error = loss.try_forward(embeddings(), negative).unwrap_err();
    assert!(error.to_string().starts_with("label = -1 is not possible"), "{error}");

    let mut broken = Set::new(8, 2, 5);
    broken.values[3 * DIM + 2] = f64::NAN;
    let broken = broken.tensor(&device, DType::F32);
    let error = loss.try_forward(broken, set.labels(&device)).unwrap_err();
    assert!(matches!(error, RankingError::NotFinite { row: 3, column: 2, .. }), "{error}");

    let long = embeddings() * 1e20;
    let error = loss.try_forward(long, set.labels(&device)).unwrap_err();
    assert!(matches!(error, RankingError::TooLarge { row: 0, .. }), "{error}");
}

#[test]
#[should_panic(expected = "PNP-O(anneal=0.01): 8 embeddings but 7 labels")]
fn forward_panics_with_the_error_and_the_loss() {
    let device = autodiff();
    let embeddings = Set::new(8, 2, 6).tensor(&device, DType::F32);
    let loss = PnpLossConfig::new().init().unwrap();
    loss.forward(embeddings, crate::ints(&[0; 7], &device));
}
