"""Checks `losses.json`: the losses besides PNP on small batches, from their formulas, in float64.

    pip install torch pytorch-metric-learning
    python golden/losses/make.py            # the second is not necessary
    python golden/losses/make.py --write    # new batches from their seeds, and new numbers

Gradients come from automatic differentiation. Where PyTorch Metric Learning has the same loss, its
value and its gradient along the sphere are compared as well.
"""

import argparse
import json
import math
import pathlib
from dataclasses import dataclass

import torch
from torch.nn import functional as F

FILE = pathlib.Path(__file__).with_name("losses.json")
DIM = 8

# Items of each class; a class of one has no positive.
SIZES = {
    "small": [1, 2, 3, 6],
    "middle": [1, 2, 4, 5, 6],
    "many": [2, 3, 1, 3, 4, 1, 6],
    "large": [3, 5, 6, 2, 1, 4, 3],
    "square": [4, 4, 4, 4],
}

# The losses, each with the sizes of its batch.
CASES = [
    ("Smooth-AP(anneal=0.01, count_query=true)", "small"),
    ("Smooth-AP(anneal=0.05, count_query=true)", "large"),
    ("Smooth-AP(anneal=0.05, count_query=false)", "many"),
    ("Smooth-AP(anneal=0.01, count_query=true)", "square"),
    ("FastAP(bins=10)", "small"),
    ("FastAP(bins=10)", "large"),
    ("FastAP(bins=20)", "many"),
    ("Recall@k(k=1+2+4+8+16, anneal=0.01, rank_temperature=1)", "middle"),
    ("Recall@k(k=1+2+4+8+16, anneal=0.01, rank_temperature=1+2+4+8+16)", "large"),
    ("Recall@k(k=1+2+3, anneal=0.05, rank_temperature=16)", "small"),
    ("Recall@k(k=2, anneal=0.1, rank_temperature=0.5)", "many"),
    ("SupAP(anneal=0.01, rho=100, delta=0.05, calibration=0, count_query=true)", "small"),
    ("SupAP(anneal=0.05, rho=20, delta=0.1, calibration=0, count_query=true)", "large"),
    ("SupAP(anneal=0.02, rho=100, delta=0.05, calibration=0, count_query=false)", "many"),
    (
        "SupAP(anneal=0.01, rho=100, delta=0.05, calibration=0.5, positive_margin=0.9, "
        "negative_margin=0.6, count_query=true)",
        "middle",
    ),
    (
        "SupAP(anneal=0.05, rho=10, delta=0.2, calibration=0.1, positive_margin=0.7, "
        "negative_margin=0.3, count_query=false)",
        "many",
    ),
    (
        "SupAP(anneal=0.01, rho=100, delta=0.05, calibration=1, positive_margin=0.9, "
        "negative_margin=0.6, count_query=true)",
        "square",
    ),
    ("contrastive(distance=cosine, margin=0.5)", "small"),
    ("contrastive(distance=cosine, margin=0.5)", "large"),
    ("contrastive(distance=cosine, margin=0.2)", "many"),
    ("contrastive(distance=euclidean, margin=1)", "small"),
    ("contrastive(distance=euclidean, margin=1)", "large"),
    ("contrastive(distance=euclidean, margin=0.7)", "many"),
    ("triplet(margin=0.2, mining=all)", "small"),
    ("triplet(margin=0.2, mining=all)", "large"),
    ("triplet(margin=1, mining=all)", "many"),
    ("triplet(margin=0.2, mining=semi-hard)", "small"),
    ("triplet(margin=0.2, mining=semi-hard)", "large"),
    ("triplet(margin=0.5, mining=semi-hard)", "many"),
    ("triplet(margin=0.2, mining=hard)", "small"),
    ("triplet(margin=0.2, mining=hard)", "large"),
    ("triplet(margin=0.5, mining=hard)", "many"),
    ("multi-similarity(alpha=2, beta=50, base=0.5, epsilon=0.1)", "small"),
    ("multi-similarity(alpha=2, beta=50, base=0.5, epsilon=0.1)", "large"),
    ("multi-similarity(alpha=2, beta=40, base=1, epsilon=0)", "many"),
    ("multi-similarity(alpha=4, beta=10, base=0.3, epsilon=0.4)", "middle"),
    ("normalised-softmax(temperature=0.05)", "small"),
    ("normalised-softmax(temperature=0.05)", "middle"),
    ("normalised-softmax(temperature=0.5)", "many"),
    ("proxy-anchor(alpha=32, delta=0.1)", "small"),
    ("proxy-anchor(alpha=32, delta=0.1)", "middle"),
    ("proxy-anchor(alpha=4, delta=-0.2)", "many"),
]


@dataclass
class List:
    """One query's similarities: to itself, to the others of its class, and to all else."""

    itself: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor

    def ranked(self, count_query):
        """The positives, the query among them if it counts."""
        return torch.cat([self.positives, self.itself[None]]) if count_query else self.positives


def ranked_lists(x, labels):
    s = x @ x.T
    lists = []
    for q in range(len(x)):
        same = labels == labels[q]
        other = same & (torch.arange(len(x)) != q)
        lists.append(List(s[q, q], s[q, other], s[q, ~same]))
    return lists


def mean_over_queries(lists, cost):
    """The mean over the queries that have another positive."""
    costs = [cost(each) for each in lists if len(each.positives) > 0]
    return sum(costs) / len(costs)


def smooth_ap(lists, anneal, count_query):
    def cost(each):
        positives = each.ranked(count_query)
        precision = 0.0
        for i, s in enumerate(positives):
            others = torch.cat([positives[:i], positives[i + 1 :]])
            rank = 1 + torch.sigmoid((others - s) / anneal).sum()
            all_before = rank + torch.sigmoid((each.negatives - s) / anneal).sum()
            precision = precision + rank / all_before
        return 1 - precision / len(positives)

    return mean_over_queries(lists, cost)


def fast_ap(lists, bins):
    centres = torch.linspace(0, 4, bins + 1)

    def histogram(similarities):
        d = 2 - 2 * similarities
        return F.relu(1 - (d[:, None] - centres).abs() * (bins / 4)).sum(0)

    def cost(each):
        h = histogram(each.positives)
        positives, everything = h.cumsum(0), (h + histogram(each.negatives)).cumsum(0)
        filled = everything > 0
        precision = (h[filled] * positives[filled] / everything[filled]).sum()
        return 1 - precision / len(each.positives)

    return mean_over_queries(lists, cost)


def recall_at_k(lists, k, anneal, rank_temperature):
    temperatures = rank_temperature * len(k) if len(rank_temperature) == 1 else rank_temperature

    def cost(each):
        ranks = []
        for i, s in enumerate(each.positives):
            others = torch.cat([each.positives[:i], each.positives[i + 1 :], each.negatives])
            ranks.append(1 + torch.sigmoid((others - s) / anneal).sum())
        ranks = torch.stack(ranks)
        recalls = []
        for depth, temperature in zip(k, temperatures):
            found = torch.sigmoid((depth - ranks) / temperature).sum()
            recalls.append(found.clamp(max=depth) / min(depth, len(ranks)))
        return 1 - sum(recalls) / len(recalls)

    return mean_over_queries(lists, cost)


def sup_ap(
    lists,
    anneal,
    rho,
    delta,
    calibration,
    count_query,
    positive_margin=0.9,
    negative_margin=0.6,
):
    def before(x):
        near = torch.sigmoid(x / anneal)
        far = 1 / (1 + math.exp(-delta / anneal)) + 0.5 + rho * (x - delta)
        return torch.where(x <= 0, near, torch.where(x <= delta, near + 0.5, far))

    def cost(each):
        positives = each.ranked(count_query)
        precision = 0.0
        for i, s in enumerate(positives):
            rank = 1 + sum(other >= s for j, other in enumerate(positives) if j != i)
            precision = precision + rank / (rank + before(each.negatives - s).sum())
        missing = F.relu(positive_margin - each.positives).mean()
        excess = F.relu(each.negatives - negative_margin).mean()
        ranking = 1 - precision / len(positives)
        return (1 - calibration) * ranking + calibration * (missing + excess)

    return mean_over_queries(lists, cost)


def contrastive(lists, distance, margin):
    def cost(each):
        if distance == "cosine":
            return (1 - each.positives).sum() + F.relu(each.negatives - margin).sum()
        near, far = ((2 - 2 * s).sqrt() for s in (each.positives, each.negatives))
        return (near**2).sum() / 2 + (F.relu(margin - far) ** 2).sum() / 2

    return sum(cost(each) for each in lists) / len(lists)


def triplet(lists, margin, mining):
    terms = []
    for each in lists:
        if mining == "hard":
            if len(each.positives) > 0 and len(each.negatives) > 0:
                apart = each.negatives.max() - each.positives.min()
                terms.append(F.relu(2 * apart + margin))
            continue
        for p in each.positives:
            for n in each.negatives:
                violation = 2 * (n - p) + margin
                if violation > 0 and (mining == "all" or n < p):
                    terms.append(violation)
    return sum(terms) / len(terms)


def multi_similarity(lists, alpha, beta, base, epsilon):
    def cost(each):
        far = each.positives[each.positives < each.negatives.max() + epsilon]
        near = each.negatives[each.negatives > each.positives.min() - epsilon]
        pull = torch.log(1 + torch.exp(-alpha * (far - base)).sum()) / alpha
        push = torch.log(1 + torch.exp(beta * (near - base)).sum()) / beta
        return pull + push

    return mean_over_queries(lists, cost)


def normalised_softmax(x, labels, proxies, temperature):
    logits = x @ F.normalize(proxies).T / temperature
    return -sum(row.log_softmax(0)[label] for row, label in zip(logits, labels)) / len(x)


def proxy_anchor(x, labels, proxies, alpha, delta):
    s = x @ F.normalize(proxies).T
    near, far, present = [], [], 0
    for c in range(len(proxies)):
        own = labels == c
        present += bool(own.any())
        near.append(torch.log(1 + torch.exp(-alpha * (s[own, c] - delta)).sum()))
        far.append(torch.log(1 + torch.exp(alpha * (s[~own, c] + delta)).sum()))
    return sum(near) / present + sum(far) / len(proxies)


OF_LISTS = {
    "Smooth-AP": smooth_ap,
    "FastAP": fast_ap,
    "Recall@k": recall_at_k,
    "SupAP": sup_ap,
    "contrastive": contrastive,
    "triplet": triplet,
    "multi-similarity": multi_similarity,
}
OF_PROXIES = {"normalised-softmax": normalised_softmax, "proxy-anchor": proxy_anchor}


def read_setting(key, text):
    if key in ("k", "rank_temperature"):
        return [(int if key == "k" else float)(part) for part in text.split("+")]
    if key in ("distance", "mining"):
        return text
    if key == "count_query":
        return text == "true"
    return int(text) if key == "bins" else float(text)


def read_loss(text):
    """The name and the settings of `name(setting=value, ...)`."""
    name, rest = text.split("(", 1)
    pairs = (pair.strip().split("=") for pair in rest.rstrip(")").split(","))
    return name, {key: read_setting(key, value) for key, value in pairs}


def differentiate(function, *variables):
    """The value, and the gradient with respect to each of the variables."""
    variables = [v.clone().requires_grad_() for v in variables]
    value = function(*variables)
    return value.item(), torch.autograd.grad(value, variables)


def evaluate(loss, x, labels, proxies):
    name, settings = read_loss(loss)
    if proxies is None:
        compute = OF_LISTS[name]
        return differentiate(lambda x: compute(ranked_lists(x, labels), **settings), x)
    compute = OF_PROXIES[name]
    return differentiate(lambda x, p: compute(x, labels, p, **settings), x, proxies)


def second_opinion(name, settings, x, labels, proxies):
    """What PyTorch Metric Learning computes, as a function of the variables; `None` where it has
    no such loss or another one by the name."""
    from pytorch_metric_learning import distances, losses, miners, reducers

    class HalfSquares(reducers.SumReducer):
        def element_reduction(self, losses, *_):
            return (losses**2).sum() / 2

    squared = distances.LpDistance(power=2)
    queries = sum((labels == label).sum() > 1 for label in labels).item()
    with_miner = None
    scale = 1.0
    if name == "Smooth-AP":
        # It takes as many classes as items in each, in their order, and no other batch.
        per_class = math.isqrt(len(x))
        if not torch.equal(labels.unique_consecutive().repeat_interleave(per_class), labels):
            return None
        loss = losses.SmoothAPLoss(temperature=settings["anneal"])
    elif name == "FastAP":
        loss = losses.FastAPLoss(num_bins=settings["bins"])
    elif name == "SupAP":
        # The calibration alone, as a mean over all pairs, which is ours if no class is larger.
        if settings["calibration"] != 1 or len(labels.unique(return_counts=True)[1].unique()) > 1:
            return None
        loss = losses.ContrastiveLoss(
            pos_margin=settings["positive_margin"],
            neg_margin=settings["negative_margin"],
            distance=distances.CosineSimilarity(),
            reducer=reducers.MeanReducer(),
        )
    elif name == "contrastive" and settings["distance"] == "cosine":
        loss = losses.ContrastiveLoss(
            pos_margin=1,
            neg_margin=settings["margin"],
            distance=distances.CosineSimilarity(),
            reducer=reducers.SumReducer(),
        )
        scale = 1 / len(x)
    elif name == "contrastive":
        loss = losses.ContrastiveLoss(neg_margin=settings["margin"], reducer=HalfSquares())
        scale = 1 / len(x)
    elif name == "triplet":
        margin = settings["margin"]
        reducer = reducers.AvgNonZeroReducer()
        if settings["mining"] == "semi-hard":
            with_miner = miners.TripletMarginMiner(
                margin=margin, type_of_triplets="semihard", distance=squared
            )
        elif settings["mining"] == "hard":
            with_miner = miners.BatchHardMiner(distance=squared)
            reducer = reducers.MeanReducer()
        loss = losses.TripletMarginLoss(margin=margin, distance=squared, reducer=reducer)
    elif name == "multi-similarity":
        with_miner = miners.MultiSimilarityMiner(epsilon=settings["epsilon"])
        scales = {key: settings[key] for key in ("alpha", "beta", "base")}
        loss = losses.MultiSimilarityLoss(**scales)
        scale = len(x) / queries
    elif name == "normalised-softmax":
        loss = losses.NormalizedSoftmaxLoss(len(proxies), DIM, settings["temperature"])
    elif name == "proxy-anchor":
        loss = losses.ProxyAnchorLoss(
            len(proxies), DIM, margin=settings["delta"], alpha=settings["alpha"]
        )
    else:
        return None

    def compute(x, *proxies):
        for p in proxies:
            # In the place of its own parameter, so that the gradient arrives here.
            stand_in(loss, p.T if name == "normalised-softmax" else p)
        mined = with_miner(x.detach(), labels) if with_miner else None
        return scale * loss(x, labels, mined)

    return compute


def stand_in(loss, values):
    name = "W" if hasattr(loss, "W") else "proxies"
    loss.cast_types = lambda dtype, device: None
    del loss._parameters[name]
    setattr(loss, name, values)


def along_sphere(gradient, x):
    """The part of the gradient that is left if the rows are normalised first."""
    unit = F.normalize(x)
    return gradient - (gradient * unit).sum(1, keepdim=True) * unit


def largest_difference(ours, theirs):
    """In units of the largest entry of ours."""
    return max(
        ((a - b).abs().max() / a.abs().max()).item() for a, b in zip(ours, theirs, strict=True)
    )


def new_batch(loss, sizes, seed):
    """Unit rows of classes that overlap, labels in no order, and proxies for a loss that has some:
    one more than there are classes, and not at length 1."""
    random = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=random)
    names = torch.arange(len(SIZES[sizes]))
    labels = names.repeat_interleave(torch.tensor(SIZES[sizes]))
    if sizes != "square":
        labels = labels[torch.randperm(len(labels), generator=random)]
    centres = 0.7 * normal(DIM) + normal(len(names), DIM)
    x = F.normalize(centres[labels] + 0.8 * normal(len(labels), DIM))
    if read_loss(loss)[0] not in OF_PROXIES:
        return x.round(decimals=10), 5 * labels + 2, None
    others = 0.7 * normal(1, DIM) + normal(1, DIM)
    proxies = torch.cat([centres, others]) + 0.5 * normal(len(names) + 1, DIM)
    return x.round(decimals=10), labels, proxies.round(decimals=6)


def read_case(case):
    table = lambda values: torch.tensor(values).reshape(-1, case["dim"])
    proxies = table(case["proxies"]) if "proxies" in case else None
    return table(case["embeddings"]), torch.tensor(case["labels"]), proxies


def written(loss, x, labels, proxies):
    digits = lambda values: [float(f"{v:.14g}") for v in values.flatten().tolist()]
    value, gradients = evaluate(loss, x, labels, proxies)
    case = {"loss": loss, "dim": DIM, "embeddings": digits(x), "labels": labels.tolist()}
    if proxies is not None:
        case["proxies"] = digits(proxies)
    case |= {"value": value, "gradient": digits(gradients[0])}
    if proxies is not None:
        case["proxy_gradient"] = digits(gradients[1])
    return case


def write():
    cases = [
        written(loss, *new_batch(loss, sizes, seed))
        for seed, (loss, sizes) in enumerate(CASES, start=100)
    ]
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    FILE.write_text('{"cases": [\n' + lines + "\n]}\n")


def check(case, has_second):
    x, labels, proxies = read_case(case)
    name, settings = read_loss(case["loss"])
    value, gradients = evaluate(case["loss"], x, labels, proxies)
    stored = [case[key] for key in ("gradient", "proxy_gradient") if key in case]
    stored = [torch.tensor(g).reshape(-1, DIM) for g in stored]
    apart = max(abs(case["value"] / value - 1), largest_difference(gradients, stored))
    assert value > 1e-3 and apart < 1e-12, (case["loss"], value, apart)

    # Nor is anything to change sides of a hinge or of a choice, or to hang on the last digits,
    # when similarities are rounded to f32.
    for seed in range(5):
        torch.manual_seed(seed)
        near = [None if v is None else v + 3e-8 * torch.randn(v.shape) for v in (x, proxies)]
        _, rounded = evaluate(case["loss"], near[0], labels, near[1])
        moved = largest_difference(gradients, rounded)
        assert moved < 7e-6, (case["loss"], "is no case for f32", moved)

    opinion = "no second opinion"
    if has_second and (second := second_opinion(name, settings, x, labels, proxies)):
        variables = [x] if proxies is None else [x, proxies]
        their_value, theirs = differentiate(second, *variables)
        sides = [
            [along_sphere(g, v) for g, v in zip(each, variables)] for each in (gradients, theirs)
        ]
        differences = abs(their_value / value - 1), largest_difference(*sides)
        opinion = "PyTorch Metric Learning %.0e, its gradient %.0e" % differences
        assert max(differences) < 1e-6, (case["loss"], differences)
    print(f"{case['loss']}, {len(x)} items: {value:.4f}; file {apart:.0e}; {opinion}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="new batches and numbers")
    torch.set_default_dtype(torch.float64)
    if parser.parse_args().write:
        write()
    try:
        import pytorch_metric_learning as second
    except ImportError:
        second = None
        print("without a second opinion: pytorch-metric-learning is not installed")
    cases = json.loads(FILE.read_text())["cases"]
    for case in cases:
        check(case, second is not None)
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
