"""Scores of made-up clusterings by scikit-learn; checks agreement.json or writes it."""

import argparse
import json
import pathlib

import numpy as np
from sklearn import metrics
from sklearn.metrics.cluster import contingency_matrix, pair_confusion_matrix

FILE = pathlib.Path(__file__).parent / "agreement.json"


def cases():
    """Name, labels, assignment."""
    rng = np.random.default_rng(4)
    for items, classes, clusters in [(40, 5, 7), (300, 60, 50), (1500, 20, 300), (900, 900, 30)]:
        labels = rng.integers(0, classes, items)
        yield f"chance {items}", labels, rng.integers(0, clusters, items)
        moved = rng.random(items) < 0.3
        near = np.where(moved, rng.integers(0, classes, items), labels)
        yield f"near {items}", labels, near * 3 + 1
    sizes = rng.geometric(0.2, 200)
    labels = np.repeat(np.arange(200), sizes)
    yield "uneven", labels, np.repeat(np.arange(len(labels)), 3)[: len(labels)] + labels // 50
    ids = np.arange(12)
    yield "same", ids // 3, 5 - ids // 3
    yield "one class", 0 * ids, ids // 4
    yield "one cluster", ids // 4, 0 * ids
    yield "one of both", 0 * ids, 0 * ids + 7
    yield "alone", ids, ids[::-1]
    yield "alone in clusters", ids // 4, ids


def scores(labels, assignment):
    table = contingency_matrix(labels, assignment)
    (_, false_positives), (false_negatives, both) = pair_confusion_matrix(labels, assignment)
    pairs = 2 * both + false_positives + false_negatives
    return {
        "nmi": metrics.normalized_mutual_info_score(labels, assignment),
        "ami": metrics.adjusted_mutual_info_score(labels, assignment),
        "pairwise_f1": float(2 * both / pairs) if pairs else 1.0,
        "purity": float(table.max(axis=0).sum() / len(labels)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the file")
    write = parser.parse_args().write
    made = [
        {"name": name, "labels": a.tolist(), "assignment": b.tolist(), "scores": scores(a, b)}
        for name, a, b in cases()
    ]
    if write:
        FILE.write_text(json.dumps(made, separators=(",", ":")))
    stored = json.loads(FILE.read_text())
    worst = max(
        abs(score - new["scores"][name])
        for old, new in zip(stored, made, strict=True)
        for name, score in old["scores"].items()
    )
    same = all(old["labels"] == new["labels"] and old["assignment"] == new["assignment"]
               for old, new in zip(stored, made))
    print(f"{len(made)} clusterings, {worst:.1e} apart")
    if worst > 1e-9 or not same:
        raise SystemExit("the file does not hold these numbers")


if __name__ == "__main__":
    main()
