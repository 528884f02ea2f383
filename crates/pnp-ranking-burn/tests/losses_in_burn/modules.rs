//! Each loss without proxies, as a module and as it is written.

use burn::tensor::{Int, Tensor};
use pnp_ranking::RankingError;
use pnp_ranking_burn::{
    ContrastiveLossConfig, Distance, FastApLossConfig, MultiSimilarityLossConfig, PnpLossConfig,
    PnpVariant, RankingLossConfig, RecallAtKLossConfig, References, SmoothApLossConfig,
    SupApLossConfig, TripletLossConfig, TripletMining,
};

type Forward =
    Box<dyn Fn(Tensor<2>, Tensor<1, Int>, Option<References>) -> Result<Tensor<1>, RankingError>>;

/// A module, and how the plain loss it stands for is written.
pub(crate) struct Case {
    pub(crate) forward: Forward,
    pub(crate) spec: &'static str,
}

macro_rules! case {
    ($config:expr, $spec:expr) => {{
        let module = $config.init().expect("settings in range");
        let forward = move |embeddings, labels, references: Option<References>| match references {
            None => module.try_forward(embeddings, labels),
            Some(some) => module.try_forward_with_references(embeddings, labels, some),
        };
        Case { forward: Box::new(forward), spec: $spec }
    }};
}

pub(crate) fn cases() -> Vec<Case> {
    let dq = PnpLossConfig::new().with_variant(PnpVariant::Dq).with_alpha(Some(4.0));
    let sum = "PNP-D_q(alpha=4):1.0,contrastive:0.1";
    vec![
        case!(PnpLossConfig::new(), "PNP-O"),
        case!(PnpLossConfig::new().with_variant(PnpVariant::Iu), "PNP-I_u"),
        case!(PnpLossConfig::new().with_variant(PnpVariant::Ib).with_b(3.0), "PNP-I_b(b=3)"),
        case!(
            PnpLossConfig::new().with_variant(PnpVariant::Ds).with_anneal(0.1),
            "PNP-D_s(anneal=0.1)"
        ),
        case!(dq.with_count_query(false), "PNP-D_q(alpha=4,count_query=false)"),
        case!(SmoothApLossConfig::new().with_anneal(0.05), "Smooth-AP(anneal=0.05)"),
        case!(FastApLossConfig::new().with_bins(20), "FastAP(bins=20)"),
        case!(RecallAtKLossConfig::new().with_k(vec![1, 3]), "Recall@k(k=1+3)"),
        case!(SupApLossConfig::new().with_calibration(0.25), "SupAP(calibration=0.25)"),
        case!(ContrastiveLossConfig::new(), "contrastive"),
        case!(
            ContrastiveLossConfig::new().with_distance(Distance::Euclidean).with_margin(Some(0.8)),
            "contrastive(distance=euclidean,margin=0.8)"
        ),
        case!(TripletLossConfig::new(), "triplet"),
        case!(TripletLossConfig::new().with_mining(TripletMining::Hard), "triplet(mining=hard)"),
        case!(MultiSimilarityLossConfig::new().with_beta(40.0), "multi-similarity(beta=40)"),
        case!(RankingLossConfig::new(sum.into()), sum),
    ]
}
