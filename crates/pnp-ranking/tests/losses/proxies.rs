//! The losses that train proxies, against their formulas in terms of unit proxies.

use pnp_ranking::loss::{Items, Loss, LossInput, LossOutput, PnpSettings, build};
use pnp_ranking::{Embeddings, RankingError};

use crate::checks::{DIM, Set, largest};

type Formula<'a> = &'a dyn Fn(&[Vec<f64>], &[u32]) -> f64;
/// The value with one entry moved.
type Moved<'a> = &'a dyn Fn(usize, f64) -> f64;

/// The similarities of items to proxies at length 1.
fn similarities(values: &[f64], proxies: &[f64]) -> Vec<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let items = values.chunks_exact(DIM);
    items
        .map(|x| proxies.chunks_exact(DIM).map(|p| dot(x, p) / dot(p, p).sqrt()).collect())
        .collect()
}

fn compute(loss: &dyn Loss, set: &Set, proxies: &[f64]) -> LossOutput<f64> {
    let batch = Items::new(Embeddings::new(&set.values, DIM).unwrap(), &set.labels).unwrap();
    let input = LossInput::batch(batch).with_proxies(Embeddings::new(proxies, DIM).unwrap());
    loss.compute_f64(&input.unwrap()).unwrap()
}

fn check(loss: &dyn Loss, formula: Formula<'_>) {
    for (items, classes, seed) in [(1, 1, 1), (9, 4, 2), (20, 12, 3), (12, 3, 4)] {
        let set = Set::random(items, classes, seed, 0);
        let proxies = Set::random(classes as usize, 1, 50 + seed, 0).values;
        let proxies: Vec<f64> =
            proxies.iter().enumerate().map(|(i, p)| p * (1.0 + (i / DIM) as f64)).collect();
        let output = compute(loss, &set, &proxies);
        let at =
            |values: &[f64], proxies: &[f64]| formula(&similarities(values, proxies), &set.labels);
        let expected = at(&set.values, &proxies);
        assert!((output.value - expected).abs() < 1e-10 * (1.0 + expected), "{}", loss.name());
        assert_eq!(output.counts.queries, items);
        let gradient = output.proxy_gradient.unwrap();
        let checks: [(&[f64], Moved<'_>); 2] = [
            (&output.gradient, &|i, h| {
                let mut values = set.values.clone();
                values[i] += h;
                at(&values, &proxies)
            }),
            (&gradient, &|i, h| {
                let mut proxies = proxies.clone();
                proxies[i] += h;
                at(&set.values, &proxies)
            }),
        ];
        for (gradient, at) in checks {
            let scale = largest(gradient).max(1e-2);
            for (i, ours) in gradient.iter().enumerate() {
                let h = 1e-5;
                let numeric = (8.0 * (at(i, h) - at(i, -h)) - (at(i, 2.0 * h) - at(i, -2.0 * h)))
                    / (12.0 * h);
                assert!((ours - numeric).abs() < 1e-5 * scale, "{}: {i}", loss.name());
            }
        }
    }
}

fn made(text: &str) -> Box<dyn Loss> {
    build(text, &PnpSettings::default()).unwrap()
}

#[test]
fn normalised_softmax_is_its_formula() {
    for temperature in [0.05, 0.5] {
        check(
            made(&format!("normalised-softmax(temperature={temperature})")).as_ref(),
            &|s, labels| {
                let items = s.iter().zip(labels);
                let costs = items.map(|(s, &label)| {
                    let sum: f64 = s.iter().map(|s| (s / temperature).exp()).sum();
                    -((s[label as usize] / temperature).exp() / sum).ln()
                });
                costs.sum::<f64>() / labels.len() as f64
            },
        );
    }
}

#[test]
fn proxy_anchor_is_its_formula() {
    for (alpha, delta) in [(32.0, 0.1), (4.0, -0.2)] {
        check(
            made(&format!("proxy-anchor(alpha={alpha}, delta={delta})")).as_ref(),
            &|s, labels| {
                let classes = s[0].len();
                let (mut near, mut far, mut present) = (0.0, 0.0, 0.0);
                for p in 0..classes {
                    let (mut own, mut others, mut any) = (0.0, 0.0, false);
                    for (s, &label) in s.iter().zip(labels) {
                        if label as usize == p {
                            own += (-alpha * (s[p] - delta)).exp();
                            any = true;
                        } else {
                            others += (alpha * (s[p] + delta)).exp();
                        }
                    }
                    near += (1.0_f64 + own).ln();
                    far += (1.0_f64 + others).ln();
                    present += f64::from(u8::from(any));
                }
                near / present + far / classes as f64
            },
        );
    }
}

#[test]
fn proxies_that_are_missing_or_do_not_fit_are_refused() {
    let set = Set::random(3, 1, 1, 0);
    let batch = Items::new(Embeddings::new(&set.values, DIM).unwrap(), &[0, 1, 7]).unwrap();
    let input = LossInput::batch(batch);
    for name in ["proxy-anchor", "normalised-softmax"] {
        let error = made(name).compute_f64(&input).unwrap_err();
        assert!(matches!(error, RankingError::NoProxies { .. }), "{error}");
    }
    let proxies = [1.0; 6];
    let error = input.with_proxies(Embeddings::new(&proxies, 2).unwrap()).unwrap_err();
    assert_eq!(error, RankingError::ProxyDimension { batch: DIM, proxies: 2 });
    let proxies = [1.0; 7 * DIM];
    let error = input.with_proxies(Embeddings::new(&proxies, DIM).unwrap()).unwrap_err();
    assert_eq!(error, RankingError::ProxyClass { label: 7, classes: 7 });
    let text = "proxy-anchor,normalised-softmax:0.1";
    let error = build(text, &PnpSettings::default()).unwrap_err();
    assert!(matches!(error, RankingError::TwoProxyLosses { .. }), "{error}");
}

#[test]
fn an_empty_batch_costs_nothing() {
    for name in ["proxy-anchor", "normalised-softmax"] {
        let set = Set { values: vec![], labels: vec![], ids: vec![] };
        let output = compute(made(name).as_ref(), &set, &[1.0; 2 * DIM]);
        assert_eq!(output.value, 0.0);
        assert_eq!(output.proxy_gradient, Some(vec![0.0; 2 * DIM]));
        assert!(output.gradient.is_empty());
    }
}

#[test]
fn a_sum_adds_values_and_gradients() {
    let set = Set::random(10, 3, 8, 0);
    let proxies = Set::random(3, 1, 9, 0).values;
    let [pnp, anchor, sum] = ["PNP-O", "proxy-anchor", "PNP-O:0.5,proxy-anchor:2"]
        .map(|text| compute(made(text).as_ref(), &set, &proxies));
    assert!((sum.value - 0.5 * pnp.value - 2.0 * anchor.value).abs() < 1e-12);
    for ((sum, a), b) in sum.gradient.iter().zip(&pnp.gradient).zip(&anchor.gradient) {
        assert!((sum - 0.5 * a - 2.0 * b).abs() < 1e-12);
    }
    let (sum, anchor) = (sum.proxy_gradient.unwrap(), anchor.proxy_gradient.unwrap());
    assert!(sum.iter().zip(&anchor).all(|(sum, a)| (sum - 2.0 * a).abs() < 1e-12));
}
