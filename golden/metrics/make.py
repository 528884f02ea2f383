"""Recomputes the ranking metrics of metrics_*.json by a full sort, in float64."""

import argparse
import json
import pathlib

import numpy as np

# The peers computed mrr_full and the order of near ties in float32.
TOLERANCE = 1e-7

FOLDER = pathlib.Path(__file__).parent


def hits_by_rank(embeddings, labels):
    """Row i says for each place of item i's list, itself left out, whether a positive stands there."""
    count = len(labels)
    hits = np.empty((count, count - 1), dtype=bool)
    for i in range(count):
        distance = np.square(embeddings - embeddings[i]).sum(axis=1)
        order = np.argsort(distance, kind="stable")
        hits[i] = labels[order[order != i]] == labels[i]
    return hits


def average_precision(hits, depth, divisor):
    """Precisions at the positives among the first `depth`, summed and divided; one per row."""
    ranks = np.arange(1, hits.shape[1] + 1)
    inside = hits & (ranks <= np.reshape(depth, (-1, 1)))
    return (inside * np.cumsum(hits, axis=1) / ranks).sum(axis=1) / divisor


def old_metrics(hits, names, prefix, map_prefix):
    """The PyTorch code's numbers: means over all items, class sizes with the query."""
    sizes = hits.sum(axis=1) + 1
    depths = {"mAP_c": sizes, "mAP_1000": 1000, "mAP_lim": 1023, "mAP": hits.shape[1]}
    values = {}
    for name in names:
        stem, _, k = name.partition("@")
        if stem == prefix + "recall":
            values[name] = hits[:, : int(k)].any(axis=1).mean()
        elif stem == prefix + "precision":
            values[name] = (hits[:, : int(k)].sum(axis=1) / int(k)).mean()
        elif stem.startswith(map_prefix) and stem[len(map_prefix) :] in depths:
            depth = depths[stem[len(map_prefix) :]]
            values[name] = average_precision(hits, depth, sizes).mean()
    return values


def corrected_metrics(hits):
    """Means over the queries that have a positive; the query itself is none."""
    hits = hits[hits.any(axis=1)]
    positives = hits.sum(axis=1)
    ranks = np.arange(1, hits.shape[1] + 1)
    inside = hits & (ranks <= positives[:, None])
    return {
        "map_at_r": average_precision(hits, positives, positives).mean(),
        "r_precision": (inside.sum(axis=1) / positives).mean(),
        "precision_at_1": hits[:, 0].mean(),
        "map_full": average_precision(hits, hits.shape[1], positives).mean(),
        "mrr_full": (1 / (1 + hits.argmax(axis=1))).mean(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the numbers into the files")
    write = parser.parse_args().write
    failed = False
    for file in sorted(FOLDER.glob("metrics_*.json")):
        golden = json.loads(file.read_text())
        embeddings = np.array(golden["embeddings"]).reshape(golden["n"], golden["dim"])
        labels = np.array(golden["labels"])
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        euclidean, cosine = hits_by_rank(embeddings, labels), hits_by_rank(unit, labels)
        old, corrected = golden["seed_reference"], golden["corrected"]
        ours = old_metrics(euclidean, old, "e_", "") | old_metrics(cosine, old, "c_", "c_")
        pairs = [(old, ours), (corrected, corrected_metrics(euclidean))]
        worst = max(abs(table[k] - v) for table, new in pairs for k, v in new.items())
        print(f"{file.name}: {sum(len(new) for _, new in pairs)} metrics, {worst:.1e} apart")
        failed |= worst > TOLERANCE
        for table, new in pairs:
            table.update({k: float(v) for k, v in new.items()})
        if write:
            file.write_text(json.dumps(golden))
    if failed and not write:
        raise SystemExit("a file does not hold the sorted lists' numbers")


if __name__ == "__main__":
    main()
