"""All metrics of a set of embeddings by Faiss and scikit-learn on a CPU, to be compared with ours.

    # needs numpy, scipy, scikit-learn, faiss-cpu, torch and pytorch-metric-learning
    python benches/peers/metrics.py --steps
    cargo bench -p pnp-ranking --bench metrics -- --include-ignored of_60502x512

The embeddings are those of `crates/pnp-ranking/benches/metrics.rs`, f32, to the bit. `--write
FOLDER` leaves them in files:

    python benches/peers/metrics.py --write FOLDER
    pnp eval --embeddings FOLDER/x.npy --labels FOLDER/y.npy

Each case runs in a process of its own. Its seconds begin with the embeddings in memory, and its
memory is by how much the process's largest resident size grew beyond what it was then.

old: the 26 default metrics of the PyTorch code base, by the calls that it makes on a CPU: what a
metric needs is computed for each metric again, but for the lists of neighbours behind recall and
precision. Its quirks are kept: the first of the neighbours is dropped, average precision is divided
by the class size with the query, a class of one item takes its spread from the first two classes,
the spectrum is truncated and lacks its last value, and with less than 1,024 items Faiss fills the
lists up with -1, which stands for the last item.

pml: PyTorch Metric Learning's AccuracyCalculator, by Euclidean distance of the rows as they are
(ours: `--distance euclidean`). Its lists are as long as the largest class, so that
`mean_reciprocal_rank` takes a positive further down for none. `--pml-k all` has lists of all items
and needs some 65 bytes for each pair of them.
"""

import argparse
import contextlib
import os
import pathlib
import resource
import subprocess
import sys
import time

if "--case" in sys.argv:
    # Not in the process that starts the others: its size would count as theirs.
    import faiss
    import numpy as np
    import pytorch_metric_learning
    import scipy
    import sklearn
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import FaissKMeans, FaissKNN
    from scipy.spatial.distance import cdist
    from scipy.special import comb
    from scipy.stats import entropy
    from sklearn.decomposition import TruncatedSVD
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.preprocessing import normalize

CASES = ("old", "pml")
E_RECALLS, C_RECALLS, PRECISIONS = (1, 10, 100, 1000), (1, 2, 4), (10, 50, 100)
SPECTRA = (0, -1, 1, 2, 10)
PML_METRICS = (
    "precision_at_1",
    "r_precision",
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "AMI",
    "NMI",
)


# Embeddings and labels.


def uniform(keys):
    """Numbers in -1..1: the upper bits of SplitMix64, as in the Rust bench."""
    with np.errstate(over="ignore"):
        z = keys + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = (z ^ (z >> np.uint64(31))) >> np.uint64(40)
    return z.astype(np.float32) / np.float32(1 << 23) - np.float32(1)


def made_up(items, dim, classes):
    """Rows around a centre per class."""
    d = np.arange(dim, dtype=np.uint64)
    x = np.empty((items, dim), dtype=np.float32)
    labels = np.arange(items) * classes // items
    for first in range(0, items, 256):  # In pieces, to leave no mark on the memory.
        i = np.arange(first, min(first + 256, items))
        centre = labels[i, None].astype(np.uint64) << np.uint64(20)
        item = np.uint64(1 << 60) | i[:, None].astype(np.uint64) << np.uint64(20)
        x[i] = uniform(centre | d) + np.float32(2.25) * uniform(item | d)
    return x, labels


def load(options):
    if not options.data:
        return made_up(options.items, options.dim, options.classes)
    x, labels = (np.load(path) for path in options.data)
    return np.ascontiguousarray(x, dtype=np.float32), labels.reshape(-1)


def write(options):
    x, labels = load(options)
    options.write.mkdir(parents=True, exist_ok=True)
    np.save(options.write / "x.npy", x)
    np.save(options.write / "y.npy", labels)


# The PyTorch code's 26 metrics.


def flat(kind, rows):
    index = kind(rows.shape[1])
    index.add(rows)
    return index


def k_means(x, clusters):
    clustering = faiss.Clustering(x.shape[1], clusters)
    clustering.niter = 20
    clustering.min_points_per_centroid = 1
    clustering.max_points_per_centroid = 1_000_000_000
    clustering.train(x, faiss.IndexFlatL2(x.shape[1]))
    return faiss.vector_to_array(clustering.centroids).reshape(clusters, x.shape[1])


def recall(labels, near, k):
    return sum(label in row[:k] for label, row in zip(labels, near)) / len(labels)


def precision(labels, near, k):
    """Each label is a row of one, compared with one item at a time."""
    hits = [np.sum([item == label for item in row[:k]]) for label, row in zip(labels, near)]
    return sum(count / k for count in hits) / len(labels)


def average_precision(labels, near, within_class=False):
    """The mean over the queries; their lists are read to the end, or to their class's size."""
    precisions = []
    for label, size in zip(*np.unique(labels, return_counts=True)):
        depth = size if within_class else near.shape[1]
        for row in np.where(labels == label)[0]:
            hits = near[row, :depth] == label
            at_hits = np.cumsum(hits) * hits / np.arange(1, depth + 1)
            precisions.append(np.sum(at_hits) / size)
    return np.mean(precisions)


def members_of_classes(labels):
    return [np.where(labels == label)[0] for label in np.unique(labels)]


def f1(x, labels, found, centroids):
    """Over pairs of items. Clusters go by the item that is nearest to their centroid."""
    gaps = np.array([np.linalg.norm(x[i] - centroids[found[i]]) for i in range(len(x))])
    names = np.zeros(len(x))
    for cluster in np.unique(found):
        members = np.where(found == cluster)[0]
        names[members] = members[np.argmin(gaps[members])]
    places = {name: place for place, name in enumerate(np.unique(names))}

    def pairs_within_clusters(members):
        sizes = np.zeros(len(places))
        for name in names[members]:
            sizes[places[name]] += 1
        return comb(sizes, 2).sum()

    classes = members_of_classes(labels)
    both = sum(pairs_within_clusters(members) for members in classes)
    of_class = both / comb([len(members) for members in classes], 2).sum()
    of_cluster = both / pairs_within_clusters(slice(None))
    return 2 * of_class * of_cluster / (of_class + of_cluster)


def mean_cosine_distance(x):
    """Between different rows."""
    return np.sum(cdist(x, x, "cosine")) / np.float64(len(x) ** 2 - len(x))


def intra(x, labels):
    means = np.array([mean_cosine_distance(x[members]) for members in members_of_classes(labels)])
    means[~np.isfinite(means)] = means[:2].max()
    return np.mean(means)


def inter(x, labels):
    means = (x[members].mean(axis=0).reshape(1, -1) for members in members_of_classes(labels))
    return mean_cosine_distance(np.vstack([normalize(mean) for mean in means]))


def rho_spectrum(x, m):
    svd = TruncatedSVD(n_components=x.shape[1] - 1, n_iter=7, random_state=42)
    values = svd.fit(x).singular_values_[max(abs(m) - 1, 0) :]
    spectrum, uniform = values / values.sum(), np.full(len(values), 1 / len(values))
    if m == 0:
        return spectrum
    return entropy(uniform, spectrum) if m > 0 else entropy(spectrum, uniform)


def old(x, labels, options, step):
    scores = {}
    classes, sizes = np.unique(labels, return_counts=True)
    clusters = len(classes)

    def search(name, kind, rows, k):
        with step(f"search for {name}, k = {k + 1}"):
            return labels[flat(kind, rows).search(rows, k + 1)[1][:, 1:]]

    def mean_average_precision(name, k, within_class=False):
        near = search(name, faiss.IndexFlatL2, x, k)
        with step(f"loops of {name}"):
            scores[name] = average_precision(labels, near, within_class)

    with step("normalise"):
        unit = normalize(x)
    with step(f"k-means, {clusters} clusters"):
        centroids = k_means(x, clusters)
    with step("nearest centroids"):
        found = flat(faiss.IndexFlatL2, centroids).search(x, 1)[1].reshape(-1)
    near = search("e_recall, e_precision", faiss.IndexFlatL2, x, max(E_RECALLS))
    near_by_cosine = search("c_recall, c_precision", faiss.IndexFlatIP, unit, max(PRECISIONS))

    column = labels.reshape(-1, 1)
    with step("loops of recall"):
        scores |= {f"e_recall@{k}": recall(column, near, k) for k in E_RECALLS}
        scores |= {f"c_recall@{k}": recall(column, near_by_cosine, k) for k in C_RECALLS}
    with step("loops of precision"):
        scores |= {f"e_precision@{k}": precision(column, near, k) for k in PRECISIONS}
        scores |= {f"c_precision@{k}": precision(column, near_by_cosine, k) for k in PRECISIONS}
    with step("nmi"):
        scores["nmi"] = normalized_mutual_info_score(found, labels)
    with step("f1"):
        scores["f1"] = f1(x, labels, found, centroids)
    mean_average_precision("mAP_1000", 1000)
    mean_average_precision("mAP_lim", min(1023, len(x)))
    mean_average_precision("mAP_c", int(sizes.max()), within_class=True)
    with step("dists"):
        scores["dists@intra"] = intra(x, labels)
        scores["dists@inter"] = inter(x, labels)
        scores["dists@intra_over_inter"] = intra(x, labels) / max(inter(x, labels), 1e-8)
    with step(f"rho_spectrum, {len(SPECTRA)} decompositions"):
        scores |= {f"rho_spectrum@{m}": rho_spectrum(x, m) for m in SPECTRA}
    return scores


# PyTorch Metric Learning.


def pml(x, labels, options, step):
    def timed(name, function):
        def call(*arguments, **named):
            with step(name):
                return function(*arguments, **named)

        return call

    calculator = AccuracyCalculator(
        include=PML_METRICS,
        k=None if options.pml_k == "all" else options.pml_k,
        device=torch.device("cpu"),
        knn_func=timed("search", FaissKNN()),
        kmeans_func=timed("k-means", FaissKMeans(niter=20, gpu=False)),
    )
    for name, function in calculator.original_function_dict.items():
        calculator.original_function_dict[name] = timed(name, function)
    return calculator.get_accuracy(x, labels)


# The process of one case.


def largest_resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def line(name, number):
    return f"  {name:<48}{number}"


def measure(options):
    @contextlib.contextmanager
    def step(name):
        start = time.perf_counter()
        yield
        if options.steps:
            print(line(name, f"{time.perf_counter() - start:>10.2f} s"), flush=True)

    faiss.omp_set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    # 0 / 0 where a class has one item, or no cluster a pair.
    np.seterr(divide="ignore", invalid="ignore")
    x, labels = load(options)
    peers = (faiss, sklearn, np, scipy, torch, pytorch_metric_learning)
    print(", ".join(f"{peer.__name__} {peer.__version__}" for peer in peers))
    size = f"{x.shape[0]} x {x.shape[1]}, {len(np.unique(labels))} classes"
    print(f"{options.case}, {size}, {options.threads} threads", flush=True)

    before = largest_resident()
    start = time.perf_counter()
    scores = {"old": old, "pml": pml}[options.case](x, labels, options, step)
    seconds = time.perf_counter() - start
    grown = largest_resident() - before
    print(line("in all", f"{seconds:>10.2f} s{grown:>10.0f} MiB"))
    for name, score in scores.items():
        if isinstance(score, np.ndarray):
            print(line(name, f"{score[0]:>10.7f} to {score[-1]:.7f}, {len(score)} values"))
        else:
            print(line(name, f"{score:>10.7f}"))


# All cases.


def arguments():
    def cases(text):
        names = text.split(",")
        if not set(names) <= set(CASES):
            raise argparse.ArgumentTypeError(f"not among {','.join(CASES)}: {text}")
        return names

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=60_502)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--data", nargs=2, metavar=("X", "Y"), help=".npy files to read instead")
    parser.add_argument("--classes", type=int, default=11_316)
    parser.add_argument("--pml-k", choices=("max_bin_count", "all"), default="max_bin_count")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", type=cases, default=CASES, help="as old,pml")
    parser.add_argument("--steps", action="store_true", help="the seconds of each step, as it ends")
    parser.add_argument(
        "--write", type=pathlib.Path, metavar="FOLDER", help="only write x.npy and y.npy there"
    )
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.case == "write":
        write(options)
    elif options.case:
        measure(options)
    else:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
        for case in ["write"] if options.write else options.cases:
            command = [sys.executable, __file__, "--case", case, *sys.argv[1:]]
            status = subprocess.run(command, env=os.environ | threads).returncode
            if status:
                sys.exit(f"{case}: ended with status {status}")


if __name__ == "__main__":
    main()
