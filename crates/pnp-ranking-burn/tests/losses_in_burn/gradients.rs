//! Value and gradient, alone and behind other layers.

use burn::module::Module;
use burn::nn::LinearConfig;
use burn::tensor::{DType, Device, Tensor, TensorData};
use pnp_ranking::Embeddings;
use pnp_ranking::loss::{PnpSettings, build};
use pnp_ranking_burn::{ContrastiveLossConfig, PnpLossConfig, PnpVariant, SmoothApLossConfig};

use crate::modules::cases;
use crate::{DIM, Set, autodiff, bits, bits64, values};

/// Batches with few and many classes, with one class, and with no positive at all.
fn sets() -> Vec<Set> {
    let mut lonely = Set::new(6, 1, 5);
    lonely.labels = (0..6).collect();
    vec![Set::new(24, 4, 1), Set::new(33, 20, 2), Set::new(7, 1, 3), Set::new(1, 1, 4), lonely]
}

#[test]
fn every_loss_is_the_plain_one_bit_for_bit_in_f32() {
    let device = autodiff();
    for case in cases() {
        let plain = build(case.spec, &PnpSettings::default()).unwrap();
        for set in sets() {
            let narrow = set.narrow();
            let expected =
                plain.forward_f32(&Embeddings::new(&narrow, DIM).unwrap(), &set.labels).unwrap();
            let embeddings = set.tensor(&device, DType::F32).require_grad();
            let loss = (case.forward)(embeddings.clone(), set.labels(&device), None).unwrap();
            assert_eq!(loss.dims(), [1]);
            let gradient = embeddings.grad(&loss.backward()).unwrap();
            // Of a batch without lists the plain value may be -0.
            assert_eq!(values::<f32, 1>(loss), [expected.value as f32], "{}", case.spec);
            assert_eq!(bits(&values(gradient)), bits(&expected.gradient), "{}", case.spec);
        }
    }
}

#[test]
fn every_loss_is_the_plain_one_bit_for_bit_in_f64() {
    let device = autodiff();
    let set = Set::new(24, 4, 6);
    for case in cases() {
        let plain = build(case.spec, &PnpSettings::default()).unwrap();
        let expected =
            plain.forward_f64(&Embeddings::new(&set.values, DIM).unwrap(), &set.labels).unwrap();
        let embeddings = set.tensor(&device, DType::F64).require_grad();
        let loss = (case.forward)(embeddings.clone(), set.labels(&device), None).unwrap();
        let gradient = embeddings.grad(&loss.backward()).unwrap();
        assert_eq!(bits64(&values(loss)), bits64(&[expected.value]), "{}", case.spec);
        assert_eq!(bits64(&values(gradient)), bits64(&expected.gradient), "{}", case.spec);
    }
}

#[test]
fn a_value_is_exact_where_embeddings_times_gradient_overflows() {
    // Without positives the contrastive loss grows with the square of the lengths, and the sum of
    // embeddings times gradient is twice the value: beyond f32 here.
    let device = autodiff();
    let mut set = Set::new(48, 1, 7);
    set.labels = (0..48).collect();
    let plain = build("contrastive(margin=0)", &PnpSettings::default()).unwrap();
    let value = |set: &Set| {
        let narrow = set.narrow();
        let output = plain.forward_f32(&Embeddings::new(&narrow, DIM).unwrap(), &set.labels);
        output.unwrap().value
    };
    let scale = (0.7 * f64::from(f32::MAX) / value(&set)).sqrt();
    set.values.iter_mut().for_each(|v| *v *= scale);
    let module = ContrastiveLossConfig::new().with_margin(Some(0.0)).init().unwrap();
    let embeddings = set.tensor(&device, DType::F32).require_grad();
    let loss = module.forward(embeddings.clone(), set.labels(&device));
    let gradient = values::<f32, 2>(embeddings.grad(&loss.backward()).unwrap());
    assert_eq!(values::<f32, 1>(loss), [value(&set) as f32]);
    let product: f32 = gradient.iter().zip(set.narrow()).map(|(g, e)| g * e).sum();
    assert!(product.is_infinite() && gradient.iter().all(|g| g.is_finite()));
}

fn normalise(embeddings: Tensor<2>) -> Tensor<2> {
    embeddings.clone() / embeddings.square().sum_dim(1).sqrt().clamp_min(1e-12)
}

#[test]
fn the_chain_rule_goes_on_behind_the_embeddings() {
    // The same network twice: behind one stands the module, into the other the plain loss's
    // gradient is fed by hand.
    let device = autodiff();
    let set = Set::new(20, 4, 8);
    let model = LinearConfig::new(DIM, 3).init(&device);
    let inputs = set.tensor(&device, DType::F32);
    for case in cases() {
        let embeddings = normalise(model.forward(inputs.clone()));
        let loss = (case.forward)(embeddings, set.labels(&device), None).unwrap();
        let gradients = loss.backward();

        let embeddings = normalise(model.forward(inputs.clone()));
        let host: Vec<f32> = values(embeddings.clone().inner());
        let plain = build(case.spec, &PnpSettings::default()).unwrap();
        let output = plain.forward_f32(&Embeddings::new(&host, 3).unwrap(), &set.labels).unwrap();
        assert!(output.gradient.iter().any(|&g| g != 0.0), "{}", case.spec);
        let weights = TensorData::new(output.gradient, [20, 3]);
        let weights = Tensor::<2>::from_data(weights, &device.clone().inner());
        let by_hand = (embeddings * weights).sum().backward();

        let weight = |gradients| values::<f32, 2>(model.weight.grad(gradients).unwrap());
        assert_eq!(bits(&weight(&gradients)), bits(&weight(&by_hand)), "{}", case.spec);
        let bias = model.bias.as_ref().unwrap();
        let bias = |gradients| values::<f32, 1>(bias.grad(gradients).unwrap());
        assert_eq!(bits(&bias(&gradients)), bits(&bias(&by_hand)), "{}", case.spec);
    }
}

#[test]
fn the_gradient_of_a_layer_is_that_of_finite_differences() {
    let device = autodiff();
    let set = Set::new(12, 3, 9);
    let inputs = set.tensor(&device, DType::F64);
    let pnp = PnpLossConfig::new().with_variant(PnpVariant::Ds).with_anneal(0.2).init().unwrap();
    let smooth_ap = SmoothApLossConfig::new().with_anneal(0.2).init().unwrap();
    let loss_of = |weights: Tensor<2>| {
        let embeddings = normalise(inputs.clone().matmul(weights));
        let labels = set.labels(&device);
        // Two losses of the same embeddings, one of them scaled.
        pnp.forward(embeddings.clone(), labels.clone()) * 0.5
            + smooth_ap.forward(embeddings, labels)
    };
    let weights = Set::new(3, 1, 10).values;
    let at = |weights: &[f64], device: &Device| {
        let data = TensorData::new(weights.to_vec(), [DIM, 3]);
        Tensor::<2>::from_data(data, (device, DType::F64))
    };
    let tracked = at(&weights, &device).require_grad();
    let gradient = tracked.grad(&loss_of(tracked.clone()).backward()).unwrap();
    for (i, slope) in values::<f64, 2>(gradient).into_iter().enumerate() {
        let moved = |by: f64| {
            let mut weights = weights.clone();
            weights[i] += by;
            values::<f64, 1>(loss_of(at(&weights, &device)))[0]
        };
        let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        assert!((slope - numeric).abs() < 1e-7, "{i}: {slope} for {numeric}");
    }
}

#[test]
fn what_is_not_tracked_gives_the_plain_value() {
    let set = Set::new(16, 4, 11);
    let loss = PnpLossConfig::new().init().unwrap();
    let tracked = set.tensor(&autodiff(), DType::F32).require_grad();
    let value = loss.forward(tracked, set.labels(&autodiff()));
    assert!(value.is_tracked() && value.device().is_autodiff());
    for device in [autodiff(), Device::flex()] {
        let same = loss.forward(set.tensor(&device, DType::F32), set.labels(&device));
        assert!(!same.is_tracked());
        assert_eq!(same.device().is_autodiff(), device.is_autodiff());
        assert_eq!(same.device(), device);
        assert_eq!(values::<f32, 1>(same), values::<f32, 1>(value.clone()));
    }
}

#[test]
fn checkpointing_devices_are_served() {
    let device = autodiff().gradient_checkpointing();
    let set = Set::new(16, 4, 12);
    let model = LinearConfig::new(DIM, 3).init(&device);
    let slope = |device: &Device, model: &burn::nn::Linear| {
        let embeddings = normalise(model.forward(set.tensor(device, DType::F32)));
        let loss = PnpLossConfig::new().init().unwrap().forward(embeddings, set.labels(device));
        values::<f32, 2>(model.weight.grad(&loss.backward()).unwrap())
    };
    let checkpointed = slope(&device, &model);
    let plain = slope(&autodiff(), &model.valid().train());
    assert_eq!(bits(&checkpointed), bits(&plain));
}
