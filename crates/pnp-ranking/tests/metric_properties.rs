//! The metrics against full sorts, and what must hold for any set.

use pnp_ranking::metric::{
    DEFAULT_METRICS, Distance, EvalCounts, EvalOptions, EvalSet, Evaluation, METRICS, Metric,
    evaluate, evaluate_sets,
};
use pnp_ranking::{Embeddings, RankingError, class_ids};
use proptest::prelude::*;

const DIM: usize = 3;

fn parse(names: &[&str]) -> Vec<Metric> {
    names.iter().map(|name| Metric::parse(name).unwrap()).collect()
}

/// All metrics of ranked lists.
fn all_at(depth: usize) -> Vec<Metric> {
    let name = |pattern: &str| pattern.replace("@k", &format!("@{depth}"));
    let of_sets = ["clustering", "dists", "rho_spectrum"];
    let ranked = METRICS.iter().filter(|entry| !of_sets.contains(&entry.family));
    ranked.map(|entry| Metric::parse(&name(entry.name)).unwrap()).collect()
}

fn by_euclidean(
    values: &[f32],
    labels: &[u32],
    metrics: &[Metric],
) -> Result<Evaluation, RankingError> {
    let options = EvalOptions { distance: Distance::Euclidean, ..EvalOptions::default() };
    evaluate(Embeddings::new(values, DIM)?, labels, metrics, &options)
}

/// One metric by Euclidean distance, straight from its definition: for each query, the whole list.
fn slowly(values: &[f32], labels: &[u32], name: &str) -> f64 {
    let rows: Vec<&[f32]> = values.chunks_exact(DIM).collect();
    let (stem, depth) = name.split_once('@').unwrap_or((name, ""));
    let old = stem.starts_with("e_") || stem.starts_with("mAP");
    let mut scores = Vec::new();
    for q in 0..labels.len() {
        let distance =
            |i: usize| -> f32 { rows[q].iter().zip(rows[i]).map(|(a, b)| (a - b).powi(2)).sum() };
        let mut list: Vec<usize> = (0..labels.len()).filter(|&i| i != q).collect();
        list.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)).then(a.cmp(&b)));
        let hits: Vec<bool> = list.iter().map(|&i| labels[i] == labels[q]).collect();
        let others = hits.iter().filter(|&&hit| hit).count();
        if others == 0 {
            if old {
                scores.push(0.0);
            }
            continue;
        }
        let among = |k: usize| hits.iter().take(k).filter(|&&hit| hit).count() as f64;
        let precisions = |k: usize| -> f64 {
            (1..=hits.len().min(k)).filter(|&k| hits[k - 1]).map(|k| among(k) / k as f64).sum()
        };
        let (others, class) = (others as f64, others as f64 + 1.0);
        let k = depth.parse().unwrap_or(usize::MAX);
        scores.push(match stem {
            "recall" | "hit-rate" | "e_recall" => f64::from(among(k) > 0.0),
            "ndcg" => {
                let gain = |rank: usize| 1.0 / (1.0 + rank as f64).log2();
                let found = (1..=hits.len().min(k)).filter(|&rank| hits[rank - 1]);
                let ideal = 1..=k.min(others as usize);
                found.map(gain).sum::<f64>() / ideal.map(gain).sum::<f64>()
            }
            "precision" | "e_precision" => among(k) / k as f64,
            "map" if depth == "r" => precisions(others as usize) / others,
            "map" => precisions(k) / others,
            "mrr" => 1.0 / (1 + hits.iter().position(|&hit| hit).unwrap()) as f64,
            "r-precision" => among(others as usize) / others,
            "mAP" => precisions(usize::MAX) / class,
            "mAP_c" => precisions(class as usize) / class,
            "mAP_1000" => precisions(1000) / class,
            "mAP_lim" => precisions(1023) / class,
            _ => panic!("no oracle for {name}"),
        });
    }
    scores.iter().sum::<f64>() / scores.len() as f64
}

prop_compose! {
    /// Small whole numbers: distances are exact, and there are ties and duplicates.
    fn set()(items in 4_usize..60)(
        values in prop::collection::vec(-4_i8..=4, items * DIM),
        labels in prop::collection::vec(0_u32..12, items),
    ) -> (Vec<f32>, Vec<u32>) {
        let mut labels = labels;
        labels[0] = labels[3]; // So that one query has a positive.
        (values.into_iter().map(f32::from).collect(), labels)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scores_are_those_of_full_sorts((values, labels) in set(), depth in 1_usize..4) {
        let metrics: Vec<Metric> =
            all_at(depth).into_iter().filter(|metric| !metric.name().starts_with("c_")).collect();
        let evaluation = by_euclidean(&values, &labels, &metrics).unwrap();
        for (name, score) in evaluation.scores {
            let expected = slowly(&values, &labels, &name);
            prop_assert!((score - expected).abs() < 1e-12, "{}: {} for {}", name, score, expected);
        }
    }

    #[test]
    fn scores_lie_in_0_to_1((values, labels) in set(), depth in 1_usize..4) {
        for (name, score) in by_euclidean(&values, &labels, &all_at(depth)).unwrap().scores {
            prop_assert!((0.0..=1.0).contains(&score), "{}: {}", name, score);
        }
    }

    #[test]
    fn recall_never_falls_with_the_depth((values, labels) in set()) {
        let names: Vec<String> = (1..60).map(|k| format!("recall@{k}")).collect();
        let metrics = parse(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let evaluation = by_euclidean(&values, &labels, &metrics).unwrap();
        prop_assert!(evaluation.scores.is_sorted_by(|a, b| a.1 <= b.1));
        prop_assert_eq!(evaluation.scores[58].1, 1.0);
    }

    #[test]
    fn names_of_classes_do_not_matter((values, labels) in set()) {
        let renamed: Vec<String> = labels.iter().map(|label| format!("{}", 99 - label)).collect();
        let (before, after) = (
            by_euclidean(&values, &labels, &all_at(2)).unwrap(),
            by_euclidean(&values, &class_ids(&renamed), &all_at(2)).unwrap(),
        );
        prop_assert_eq!(before, after);
    }

    #[test]
    fn the_order_of_distinct_distances_does_not_matter(
        values in prop::collection::vec(-1.0..1.0_f32, 40 * DIM),
        shift in 1_usize..40,
    ) {
        let labels: Vec<u32> = (0..40).map(|i| i % 7).collect();
        let evaluation = by_euclidean(&values, &labels, &all_at(3)).unwrap();
        prop_assume!(evaluation.counts.ties == 0);
        let order: Vec<usize> = (0..40).map(|i| (i + shift) % 40).collect();
        let moved: Vec<f32> =
            order.iter().flat_map(|&i| values[i * DIM..(i + 1) * DIM].to_vec()).collect();
        let labels: Vec<u32> = order.iter().map(|&i| labels[i]).collect();
        let after = by_euclidean(&moved, &labels, &all_at(3)).unwrap();
        for ((name, a), (_, b)) in evaluation.scores.iter().zip(&after.scores) {
            prop_assert!((a - b).abs() < 1e-12, "{}", name);
        }
    }
}

#[test]
fn perfect_lists_score_1_by_the_new_names_and_less_by_the_old() {
    let values: Vec<f32> =
        (0..12).flat_map(|i| [f32::from(i / 4_u8) * 9.0 + 1.0, 0.0, 0.0]).collect();
    let labels: Vec<u32> = (0..12).map(|i| i / 4).collect();
    let names = [
        "recall@1",
        "precision@3",
        "map@r",
        "map@1000",
        "map",
        "mrr",
        "r-precision",
        "mAP_c",
        "mAP",
    ];
    let evaluation = by_euclidean(&values, &labels, &parse(&names)).unwrap();
    let scores: Vec<f64> = evaluation.scores.iter().map(|(_, score)| *score).collect();
    assert_eq!(scores, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.75]);
}

#[test]
fn lone_queries_are_left_out_by_the_new_names_and_missed_by_the_old() {
    let values = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 5.0, 0.0, 0.0, 9.0, 0.0, 0.0];
    let metrics = parse(&["recall@1", "e_recall@1", "mAP_c", "e_precision@10"]);
    let evaluation = by_euclidean(&values, &[4, 4, 5, 6], &metrics).unwrap();
    let scores: Vec<f64> = evaluation.scores.iter().map(|(_, score)| *score).collect();
    assert_eq!(scores, [1.0, 0.5, 0.25, 0.05]);
    let expected =
        EvalCounts { items: 4, classes: 3, queries: 2, lone_queries: 2, duplicates: 0, ties: 0 };
    assert_eq!(evaluation.counts, expected);
}

#[test]
fn a_duplicate_of_the_query_stays_in_its_list() {
    // Items 0 and 2 are the same picture under two labels: the wrong one comes first.
    let values = [1.0, 0.0, 0.0, 1.0, 0.1, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    let evaluation = by_euclidean(&values, &[0, 0, 1, 1], &parse(&["recall@1", "mrr"])).unwrap();
    assert_eq!(evaluation.counts.duplicates, 1);
    assert_eq!(evaluation.scores[0].1, 0.25);
}

#[test]
fn equal_embeddings_rank_by_id() {
    let values = vec![0.5; 6 * DIM];
    let evaluation = by_euclidean(&values, &[0, 1, 0, 1, 0, 1], &parse(&["mrr"])).unwrap();
    assert_eq!((evaluation.counts.duplicates, evaluation.counts.ties), (5, 12));
    // The first positive of each query stands at 2, 3, 1, 2, 1, 2.
    let expected = (0.5 + 1.0 / 3.0 + 1.0 + 0.5 + 1.0 + 0.5) / 6.0;
    assert!((evaluation.scores[0].1 - expected).abs() < 1e-15);
}

#[test]
fn zero_embeddings_are_as_near_as_right_angles() {
    let values = [0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let embeddings = Embeddings::new(&values, DIM).unwrap();
    let metrics = parse(&["recall@1"]);
    let evaluation = evaluate(embeddings, &[0, 1, 1, 0], &metrics, &EvalOptions::default());
    // All similarities are 0: the lowest id comes first, for 0, 1, 2, 3 that is 1, 0, 0, 0.
    assert_eq!(evaluation.unwrap().scores[0].1, 0.25);
}

#[test]
fn the_default_metrics_are_defined_for_the_smallest_set() {
    let values = [1.0, 0.0, 0.0, 0.9, 0.1, 0.0];
    let evaluation = by_euclidean(&values, &[0, 0], &parse(DEFAULT_METRICS)).unwrap();
    assert!(evaluation.scores.iter().all(|(_, score)| *score == 1.0));
}

#[test]
fn sets_that_cannot_be_scored_are_refused() {
    let metrics = parse(&["recall@1"]);
    let values = [0.5_f32; 3 * DIM];
    let error = by_euclidean(&values, &[0, 1, 2], &metrics).unwrap_err();
    assert_eq!(error, RankingError::NoPositives { items: 3 });
    let error = by_euclidean(&[], &[], &metrics).unwrap_err();
    assert_eq!(error, RankingError::NoPositives { items: 0 });
    let error = by_euclidean(&values, &[0, 1], &metrics).unwrap_err();
    assert_eq!(error, RankingError::LabelCount { embeddings: 3, labels: 2 });
    let error = by_euclidean(&values, &[0, 0, 0], &parse(&["precision@3"])).unwrap_err();
    let expected = RankingError::DepthBeyondGallery { name: "precision@3".into(), gallery: 2 };
    assert_eq!(error, expected);
    let error = by_euclidean(&[3e25; 2 * DIM], &[0, 0], &metrics).unwrap_err();
    assert!(matches!(error, RankingError::TooLarge { row: 0, .. }), "{error}");
}

#[test]
fn metrics_of_the_set_stand_beside_those_of_its_lists() {
    // Four classes far apart: clusters are the classes, whatever the start.
    let values: Vec<f32> = (0..40_u16)
        .flat_map(|i| {
            let angle = f32::from(i % 4) * 1.5 + f32::from(i) * 1e-3;
            [angle.cos(), angle.sin(), 0.1]
        })
        .collect();
    let labels: Vec<u32> = (0..40).map(|i| i % 4).collect();
    let embeddings = Embeddings::new(&values, DIM).unwrap();
    let names = ["nmi", "recall@1", "c_ami", "f1", "purity", "dists@intra_over_inter", "mrr"];
    let metrics = parse(&[&names[..], &["rho_spectrum@1"]].concat());
    for seed in 0..4 {
        let options = EvalOptions { seed, ..EvalOptions::default() };
        let found = evaluate(embeddings, &labels, &metrics, &options).unwrap();
        let scores: Vec<f64> = found.scores.iter().map(|score| score.1).collect();
        assert_eq!(found.queries.metrics(), ["recall@1", "mrr"]);
        assert!(scores[..5].iter().all(|&score| (0.0..=1.0).contains(&score)), "{scores:?}");
        assert_eq!((scores[1], scores[6]), (1.0, 1.0));
        assert!(scores[5] < 0.01 && scores[7] > 0.0, "{scores:?}");
        assert_eq!(found, evaluate(embeddings, &labels, &metrics, &options).unwrap());
    }
    let one_class = [7; 40];
    let error = evaluate(embeddings, &one_class, &parse(&["dists@inter"]), &EvalOptions::default());
    assert_eq!(error.unwrap_err(), RankingError::Undefined { name: "dists@inter".into() });
}

#[test]
fn a_gallery_has_its_own_items_ids_and_groups() {
    let queries = [1.0, 0.0, 0.0];
    let gallery = [0.99, 0.1, 0.0, 0.95, 0.3, 0.0, 0.9, 0.43, 0.0, 0.0, 1.0, 0.0];
    let query = EvalSet::new(Embeddings::new(&queries, DIM).unwrap(), &[5]).unwrap();
    let others = EvalSet::new(Embeddings::new(&gallery, DIM).unwrap(), &[5, 8, 5, 5]).unwrap();
    let metrics = parse(&["recall@1", "mrr"]);
    let options = EvalOptions::default();
    let scores = |query: &EvalSet<'_>, others: &EvalSet<'_>| {
        let found = evaluate_sets(query, Some(others), &metrics, &options).unwrap();
        found.scores.iter().map(|score| score.1).collect::<Vec<_>>()
    };
    assert_eq!(scores(&query, &others), [1.0, 1.0]);
    // The nearest is the query's own picture: without it the second, of class 8, comes first.
    let (named, ids) = (query.with_ids(&[3]).unwrap(), [3, 4, 5, 6]);
    assert_eq!(scores(&named, &others.with_ids(&ids).unwrap()), [0.0, 0.5]);
    // The first and the third are of the query's camera; the one of class 8 stays.
    let (grouped, groups) = (query.with_groups(&[1]).unwrap(), [1, 1, 1, 2]);
    assert_eq!(scores(&grouped, &others.with_groups(&groups).unwrap()), [0.0, 0.5]);
    let error = evaluate_sets(
        &query,
        Some(&EvalSet::new(Embeddings::new(&gallery, 2).unwrap(), &[1; 6]).unwrap()),
        &metrics,
        &options,
    );
    let expected = RankingError::DimensionMismatch { queries: 3, gallery: 2 };
    assert_eq!(error.unwrap_err(), expected);
}
