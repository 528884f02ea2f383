//! References beyond the batch.

use burn::tensor::{DType, Tensor};
use pnp_ranking::loss::{Items, LossInput, PnpSettings, build};
use pnp_ranking::{Embeddings, RankingError};
use pnp_ranking_burn::{PnpLossConfig, References};

use crate::modules::cases;
use crate::{DIM, Set, autodiff, bits, ints, values};

/// Ids of the batch, and of references some of which are older copies of its items.
const IDS: [&[u64]; 2] = [&[1, 2, 3, 4, 5, 6, 7, 8], &[8, 20, 21, 22, 2, 23, 24, 25, 26, 27]];

fn ids(which: usize) -> Vec<u32> {
    IDS[which].iter().map(|&id| id as u32).collect()
}

#[test]
fn every_loss_takes_references_as_the_plain_one_does() {
    let device = autodiff();
    let (batch, other) = (Set::new(8, 3, 1), Set::new(10, 4, 2));
    let (narrow, other_narrow) = (batch.narrow(), other.narrow());
    for case in cases() {
        let plain = build(case.spec, &PnpSettings::default()).unwrap();
        for (with_batch, with_ids) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut items =
                Items::new(Embeddings::new(&narrow, DIM).unwrap(), &batch.labels).unwrap();
            let mut others =
                Items::new(Embeddings::new(&other_narrow, DIM).unwrap(), &other.labels).unwrap();
            let embeddings = batch.tensor(&device, DType::F32).require_grad();
            let referred = other.tensor(&device, DType::F32).require_grad();
            let mut references = References::new(referred.clone(), other.labels(&device));
            if with_ids {
                items = items.with_ids(IDS[0]).unwrap();
                others = others.with_ids(IDS[1]).unwrap();
                references = references.with_ids(ints(&ids(0), &device), ints(&ids(1), &device));
            }
            let input = if with_batch {
                LossInput::batch_and(items, others)
            } else {
                references = references.without_batch();
                LossInput::against(items, others)
            };
            let expected = plain.compute_f32(&input.unwrap().with_reference_gradient()).unwrap();

            let labels = batch.labels(&device);
            let loss = (case.forward)(embeddings.clone(), labels, Some(references)).unwrap();
            let gradients = loss.backward();
            assert_eq!(values::<f32, 1>(loss), [expected.value as f32], "{}", case.spec);
            let gradient = values::<f32, 2>(embeddings.grad(&gradients).unwrap());
            assert_eq!(bits(&gradient), bits(&expected.gradient), "{}", case.spec);
            let gradient = values::<f32, 2>(referred.grad(&gradients).unwrap());
            let expected = expected.reference_gradient.unwrap();
            assert_eq!(bits(&gradient), bits(&expected), "{}", case.spec);
        }
    }
}

#[test]
fn either_side_may_be_without_a_tape() {
    let device = autodiff();
    let (batch, other) = (Set::new(8, 3, 3), Set::new(10, 3, 4));
    let loss = PnpLossConfig::new().with_anneal(0.1).init().unwrap();
    let forward = |embeddings: &Tensor<2>, referred: &Tensor<2>| {
        let references = References::new(referred.clone(), other.labels(&device));
        loss.forward_with_references(embeddings.clone(), batch.labels(&device), references)
    };
    let tracked = |set: &Set| set.tensor(&device, DType::F32).require_grad();
    let (embeddings, referred) = (tracked(&batch), tracked(&other));
    let both = forward(&embeddings, &referred).backward();

    let gradients = forward(&embeddings, &referred.clone().inner()).backward();
    let slope = |gradients| values::<f32, 2>(embeddings.grad(gradients).unwrap());
    assert_eq!(slope(&gradients), slope(&both));
    assert!(referred.grad(&gradients).is_none());

    let gradients = forward(&embeddings.clone().inner(), &referred).backward();
    let slope = |gradients| values::<f32, 2>(referred.grad(gradients).unwrap());
    assert_eq!(slope(&gradients), slope(&both));
    assert!(embeddings.grad(&gradients).is_none());

    assert!(!forward(&embeddings.inner(), &referred.inner()).is_tracked());
}

#[test]
fn references_may_be_in_another_precision() {
    let device = autodiff();
    let (batch, other) = (Set::new(8, 3, 5), Set::new(10, 3, 6));
    let loss = PnpLossConfig::new().with_anneal(0.1).init().unwrap();
    for (mine, theirs) in
        [(DType::F32, DType::F16), (DType::F64, DType::F32), (DType::F32, DType::F64)]
    {
        let embeddings = batch.tensor(&device, mine).require_grad();
        let referred = other.tensor(&device, theirs).require_grad();
        let references = References::new(referred.clone(), other.labels(&device));
        let loss =
            loss.forward_with_references(embeddings.clone(), batch.labels(&device), references);
        assert_eq!(loss.dtype(), mine);
        let gradients = loss.backward();
        assert_eq!(embeddings.grad(&gradients).unwrap().dtype(), mine);
        assert_eq!(referred.grad(&gradients).unwrap().dtype(), theirs);
    }
}

#[test]
fn references_that_do_not_fit_are_refused() {
    let device = autodiff();
    let (batch, other) = (Set::new(8, 3, 7), Set::new(10, 3, 8));
    let loss = PnpLossConfig::new().init().unwrap();
    let refusal = |references: References| {
        let embeddings = batch.tensor(&device, DType::F32);
        let result =
            loss.try_forward_with_references(embeddings, batch.labels(&device), references);
        result.unwrap_err()
    };
    let referred = other.tensor(&device, DType::F32);
    let labels = || other.labels(&device);

    let narrow = References::new(Tensor::zeros([10, 3], &device), labels());
    assert_eq!(refusal(narrow), RankingError::ReferenceDimension { batch: DIM, references: 3 });

    let short = References::new(referred.clone(), batch.labels(&device));
    assert_eq!(refusal(short), RankingError::LabelCount { embeddings: 10, labels: 8 });

    let swapped = References::new(referred, labels())
        .with_ids(ints(&ids(1), &device), ints(&ids(0), &device));
    assert_eq!(refusal(swapped), RankingError::IdCount { embeddings: 8, ids: 10 });
}
