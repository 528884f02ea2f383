//! Small networks, trained by Burn's optimisers.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{DType, Device, Int, Tensor};
use pnp_ranking_burn::{ProxiesConfig, RankingLoss, RankingLossConfig};

use crate::{DIM, Set, autodiff, values};

/// A network and its loss as one module, so that an optimiser trains the proxies too.
#[derive(Module, Debug)]
struct Learner {
    layer: Linear,
    loss: RankingLoss,
}

impl Learner {
    fn new(spec: &str, classes: usize, device: &Device) -> Self {
        let mut config = RankingLossConfig::new(spec.into());
        if spec.contains("proxy") || spec.contains("softmax") {
            config = config.with_proxies(Some(ProxiesConfig::new(classes, 8)));
        }
        device.seed(1);
        let layer = LinearConfig::new(DIM, 8).init(device);
        Self { layer, loss: config.init_on(device).unwrap() }
    }

    fn loss(&self, images: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
        let embeddings = self.layer.forward(images);
        let norm = embeddings.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        self.loss.forward(embeddings / norm, labels)
    }
}

/// Points around one centre for each class.
fn clusters(classes: u32, each: usize) -> Set {
    let centres = Set::new(classes as usize, 1, 1);
    let mut noise = Set::new(classes as usize * each, 1, 2);
    noise.labels = (0..classes as usize * each).map(|item| item as u32 % classes).collect();
    for (row, &label) in noise.values.chunks_exact_mut(DIM).zip(&noise.labels) {
        let centre = &centres.values[label as usize * DIM..][..DIM];
        row.iter_mut().zip(centre).for_each(|(value, centre)| *value = centre + 0.5 * *value);
    }
    noise
}

#[test]
fn training_lowers_each_loss() {
    let device = autodiff();
    let set = clusters(4, 6);
    let (images, labels) = (set.tensor(&device, DType::F32), set.labels(&device));
    for spec in [
        "PNP-D_q(alpha=4,anneal=0.1)",
        "Smooth-AP(anneal=0.1)",
        "FastAP",
        "Recall@k(k=1+2,anneal=0.1)",
        "SupAP",
        "contrastive",
        "triplet(mining=all)",
        "multi-similarity",
        "normalised-softmax",
        "PNP-D_s(anneal=0.1):0.5,proxy-anchor:1",
    ] {
        let mut learner = Learner::new(spec, 4, &device);
        let mut optimiser = AdamConfig::new().init();
        let start_proxies = learner.loss.proxies.as_ref().map(|proxies| proxies.val().inner());
        let value =
            |learner: &Learner| values::<f32, 1>(learner.loss(images.clone(), labels.clone()))[0];
        let start = value(&learner);
        for _ in 0..60 {
            let gradients = learner.loss(images.clone(), labels.clone()).backward();
            let gradients = GradientsParams::from_grads(gradients, &learner);
            learner = optimiser.step(0.03, learner, gradients);
        }
        let end = value(&learner);
        assert!(end < 0.8 * start, "{spec}: from {start} to {end}");
        if let Some(start) = start_proxies {
            let moved = learner.loss.proxies.as_ref().unwrap().val().inner() - start;
            assert!(values::<f32, 2>(moved).iter().any(|&by| by != 0.0), "{spec}");
        }
    }
}
