//! Configurations: what they refuse, and that they can be kept.

use burn::config::Config;
use pnp_ranking::RankingError;
use pnp_ranking::metric;
use pnp_ranking_burn::{
    ContrastiveLossConfig, Distance, FastApLossConfig, MultiSimilarityLossConfig,
    NormalisedSoftmaxLossConfig, PnpLossConfig, PnpVariant, ProxiesConfig, ProxyAnchorLossConfig,
    RankingLossConfig, RecallAtKLossConfig, SmoothApLossConfig, SupApLossConfig, TripletLossConfig,
    TripletMining,
};

use crate::autodiff;

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let device = autodiff();
    let dq = PnpLossConfig::new().with_variant(PnpVariant::Dq);
    for (setting, error) in [
        ("alpha", dq.init().unwrap_err()),
        ("anneal", SmoothApLossConfig::new().with_anneal(0.0).init().unwrap_err()),
        ("bins", FastApLossConfig::new().with_bins(0).init().unwrap_err()),
        ("k", RecallAtKLossConfig::new().with_k(vec![]).init().unwrap_err()),
        ("rho", SupApLossConfig::new().with_rho(-1.0).init().unwrap_err()),
        ("margin", ContrastiveLossConfig::new().with_margin(Some(3.0)).init().unwrap_err()),
        ("margin", TripletLossConfig::new().with_margin(0.0).init().unwrap_err()),
        ("beta", MultiSimilarityLossConfig::new().with_beta(f64::NAN).init().unwrap_err()),
        (
            "temperature",
            NormalisedSoftmaxLossConfig::new(3, 2).with_temperature(0.0).init(&device).unwrap_err(),
        ),
        ("delta", ProxyAnchorLossConfig::new(3, 2).with_delta(3.0).init(&device).unwrap_err()),
        ("proxies", ProxyAnchorLossConfig::new(0, 2).init(&device).unwrap_err()),
        ("proxies", ProxyAnchorLossConfig::new(3, 0).init(&device).unwrap_err()),
        ("proxies", ProxiesConfig::new(usize::MAX, 2).init(&device).unwrap_err()),
        ("proxies", ProxiesConfig::new(1 << 20, 1 << 20).init(&device).unwrap_err()),
    ] {
        assert!(
            matches!(&error, RankingError::Setting { setting: s, .. } if *s == setting),
            "{setting}: {error}"
        );
    }
}

#[test]
fn a_written_loss_and_its_proxies_go_together() {
    let device = autodiff();
    let anchor = RankingLossConfig::new("PNP,proxy-anchor".into());
    let plain = RankingLossConfig::new("PNP".into());
    let proxies = Some(ProxiesConfig::new(3, 2));
    for (error, message) in [
        (anchor.init().unwrap_err(), "name a device with init_on"),
        (anchor.init_on(&device).unwrap_err(), "configure their number and dimension"),
        (plain.clone().with_proxies(proxies.clone()).init().unwrap_err(), "trains no proxies"),
        (
            plain.clone().with_proxies(proxies.clone()).init_on(&device).unwrap_err(),
            "trains no proxies",
        ),
        (RankingLossConfig::new("PMP".into()).init().unwrap_err(), "unknown loss 'PMP'"),
    ] {
        assert!(error.to_string().contains(message), "{error}");
    }
    assert!(anchor.with_proxies(proxies).init_on(&device).unwrap().proxies.is_some());
    assert!(plain.init_on(&device).unwrap().proxies.is_none());
}

#[test]
fn settings_of_pnp_hold_for_what_is_written() {
    let shared =
        PnpLossConfig::new().with_variant(PnpVariant::Dq).with_alpha(Some(8.0)).with_anneal(0.05);
    let config = RankingLossConfig::new("PNP,Smooth-AP:0.5".into()).with_pnp(shared);
    let name = config.init().unwrap().name();
    assert_eq!(name, "PNP-D_q(alpha=8, anneal=0.05):1,Smooth-AP(anneal=0.05):0.5");
    // A name is read back.
    assert_eq!(RankingLossConfig::new(name.clone()).init().unwrap().name(), name);
}

#[test]
fn configurations_are_saved_and_loaded() {
    fn again<C: Config>(config: &C) -> C {
        C::load_binary(burn::config::config_to_json(config).as_bytes()).unwrap()
    }
    let pnp = PnpLossConfig::new().with_variant(PnpVariant::Ib).with_b(3.0);
    assert_eq!(again(&pnp), pnp);
    let contrastive = ContrastiveLossConfig::new().with_distance(Distance::Euclidean);
    assert_eq!(again(&contrastive), contrastive);
    let triplet = TripletLossConfig::new().with_mining(TripletMining::All);
    assert_eq!(again(&triplet), triplet);
    let recall = RecallAtKLossConfig::new().with_k(vec![1, 10]);
    assert_eq!(again(&recall), recall);
    let written = RankingLossConfig::new("proxy-anchor".into())
        .with_pnp(pnp)
        .with_proxies(Some(ProxiesConfig::new(3, 2).with_seed(9)));
    assert_eq!(again(&written), written);
}

#[test]
fn choices_are_those_of_the_plain_losses() {
    use pnp_ranking::loss;
    for variant in loss::PnpVariant::ALL {
        assert_eq!(loss::PnpVariant::from(PnpVariant::from(variant)), variant);
    }
    for mining in loss::TripletMining::ALL {
        assert_eq!(loss::TripletMining::from(TripletMining::from(mining)), mining);
    }
    for distance in [metric::Distance::Cosine, metric::Distance::Euclidean] {
        assert_eq!(metric::Distance::from(Distance::from(distance)), distance);
    }
}

#[test]
fn modules_print_their_loss() {
    let pnp = PnpLossConfig::new().with_variant(PnpVariant::Ds).init().unwrap();
    let text = pnp.to_string();
    assert!(text.contains("PnpLoss") && text.contains("PNP-D_s(anneal=0.01)"), "{text}");
    let anchor = ProxyAnchorLossConfig::new(3, 2).init(&autodiff()).unwrap();
    let text = anchor.to_string();
    assert!(text.contains("proxy-anchor(alpha=32, delta=0.1)"), "{text}");
    assert!(text.contains("proxies"), "{text}");
}
