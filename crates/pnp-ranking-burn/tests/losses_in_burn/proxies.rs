//! Losses with proxies.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use pnp_ranking::loss::{Items, LossInput, PnpSettings, build, initial_proxies};
use pnp_ranking::{Embeddings, RankingError};
use pnp_ranking_burn::{
    NormalisedSoftmaxLossConfig, ProxiesConfig, ProxyAnchorLossConfig, RankingLossConfig,
};

use crate::{DIM, Set, autodiff, bits, ints, values};

const CLASSES: usize = 6;

type Forward = Box<dyn Fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>>;

/// Each loss with proxies as a module, with its proxies and as it is written.
fn cases(device: &Device) -> Vec<(Forward, Tensor<2>, &'static str)> {
    macro_rules! case {
        ($module:expr, $proxies:expr, $spec:expr) => {{
            let module = $module;
            let proxies = $proxies(&module);
            let forward: Forward = Box::new(move |e, l| module.forward(e, l));
            (forward, proxies, $spec)
        }};
    }
    let softmax = NormalisedSoftmaxLossConfig::new(CLASSES, DIM).with_seed(3);
    let anchor = ProxyAnchorLossConfig::new(CLASSES, DIM).with_seed(3).with_alpha(16.0);
    let sum = "proxy-anchor(delta=0.2):0.5,PNP-D_s(anneal=0.1)";
    let written = RankingLossConfig::new(sum.into())
        .with_proxies(Some(ProxiesConfig::new(CLASSES, DIM).with_seed(3)));
    vec![
        case!(
            softmax.init(device).unwrap(),
            |m: &pnp_ranking_burn::NormalisedSoftmaxLoss| m.proxies.val(),
            "normalised-softmax"
        ),
        case!(
            anchor.init(device).unwrap(),
            |m: &pnp_ranking_burn::ProxyAnchorLoss| m.proxies.val(),
            "proxy-anchor(alpha=16)"
        ),
        case!(
            written.init_on(device).unwrap(),
            |m: &pnp_ranking_burn::RankingLoss| m.proxies.as_ref().unwrap().val(),
            sum
        ),
    ]
}

#[test]
fn embeddings_and_proxies_receive_the_plain_losss_gradients() {
    let device = autodiff();
    let set = Set::new(20, CLASSES as u32, 1);
    let narrow = set.narrow();
    let start = initial_proxies(CLASSES, DIM, 3);
    for (forward, proxies, spec) in cases(&device) {
        assert_eq!(bits(&values(proxies.clone().inner())), bits(&start));
        let plain = build(spec, &PnpSettings::default()).unwrap();
        let items = Items::new(Embeddings::new(&narrow, DIM).unwrap(), &set.labels).unwrap();
        let input = LossInput::batch(items);
        let input = input.with_proxies(Embeddings::new(&start, DIM).unwrap()).unwrap();
        let expected = plain.compute_f32(&input).unwrap();

        let embeddings = set.tensor(&device, DType::F32).require_grad();
        let loss = forward(embeddings.clone(), set.labels(&device));
        let gradients = loss.backward();
        assert_eq!(values::<f32, 1>(loss), [expected.value as f32], "{spec}");
        let gradient = values::<f32, 2>(embeddings.grad(&gradients).unwrap());
        assert_eq!(bits(&gradient), bits(&expected.gradient), "{spec}");
        let gradient = values::<f32, 2>(proxies.grad(&gradients).unwrap());
        assert_eq!(bits(&gradient), bits(&expected.proxy_gradient.unwrap()), "{spec}");
    }
}

#[test]
fn proxies_are_trained_without_a_tape_behind_the_embeddings() {
    let device = autodiff();
    let set = Set::new(20, CLASSES as u32, 2);
    for (forward, proxies, spec) in cases(&device) {
        let loss = forward(set.tensor(&device, DType::F32).inner(), set.labels(&device));
        let gradient = proxies.grad(&loss.backward()).unwrap();
        assert!(values::<f32, 2>(gradient).iter().any(|&g| g != 0.0), "{spec}");
    }
}

#[test]
fn proxies_are_parameters_of_the_module() {
    let loss = ProxyAnchorLossConfig::new(CLASSES, DIM).init(&autodiff()).unwrap();
    assert_eq!(loss.num_params(), CLASSES * DIM);
    let set = Set::new(10, CLASSES as u32, 3);
    let evaluated = loss.valid();
    let value = evaluated.forward(set.tensor(&Device::flex(), DType::F32), set.labels(&autodiff()));
    assert!(!value.is_tracked());

    let other = ProxyAnchorLossConfig::new(CLASSES, DIM).with_seed(1).init(&autodiff()).unwrap();
    let read = other.load_record(loss.clone().into_record());
    let read = values::<f32, 2>(read.proxies.val().inner());
    assert_eq!(bits(&read), bits(&values(loss.proxies.val().inner())));
}

#[test]
fn what_has_no_proxy_is_refused() {
    let device = autodiff();
    let set = Set::new(8, 2, 4);
    let loss = ProxyAnchorLossConfig::new(2, DIM).init(&device).unwrap();
    let embeddings = set.tensor(&device, DType::F32);
    let labels = ints(&[0, 1, 0, 2, 1, 0, 0, 1], &device);
    let error = loss.try_forward(embeddings.clone(), labels).unwrap_err();
    assert_eq!(error, RankingError::ProxyClass { label: 2, classes: 2 });

    let narrow = NormalisedSoftmaxLossConfig::new(2, 3).init(&device).unwrap();
    let error = narrow.try_forward(embeddings, set.labels(&device)).unwrap_err();
    assert_eq!(error, RankingError::ProxyDimension { batch: DIM, proxies: 3 });
}
