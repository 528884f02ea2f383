"""Value and gradient of losses in PyTorch on a CPU, to be compared with the Rust ones.

    python benches/peers/loss.py            # needs torch and pytorch-metric-learning
    cargo bench -p pnp-ranking --bench loss

The batch is that of `crates/pnp-ranking/benches/loss.rs`: 4 items per class, 512 dimensions, f32.
Each case runs in a process of its own. The memory is by how much the process's largest resident
size grew beyond what it was with the batch loaded. A case that would not fit into the memory that
is free is skipped, with the reason.

PML is PyTorch Metric Learning, with the settings that make its losses ours where it can: see
`golden/losses/README.md` for how they differ. Its Smooth-AP is timed although its value is wrong
unless there are as many classes as items in each.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

if "--case" in sys.argv:
    # Not in the process that starts the others: its size would count as theirs.
    import numpy as np
    import torch
    from pytorch_metric_learning import distances, losses, miners, reducers

DIM, PER_CLASS, ANNEAL, ALPHA = 512, 4, 0.01, 4.0
MEMORY_CLASSES = 11_318


# Batches.


def rows(start, items, seeds):
    """Unit rows around a centre per class, from the formula of the Rust bench."""
    d = np.arange(DIM, dtype=np.int64)
    offsets = d * d * 31 + d

    def noise(seeds):
        return np.sin((seeds[:, None] * 7919 + offsets).astype(np.float32) * np.float32(0.618))

    out = np.empty((items, DIM), dtype=np.float32)
    for first in range(0, items, 256):  # In pieces, to leave no mark on the memory.
        i = np.arange(first, min(first + 256, items), dtype=np.int64)
        x = noise(seeds(start + i)) + np.float32(0.8) * noise(start + i + 100_000)
        out[i] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return torch.from_numpy(out)


def batch(items):
    x = rows(0, items, lambda i: i // PER_CLASS)
    return x, torch.arange(items) // PER_CLASS


# Losses in plain PyTorch.


def d_q(before):
    return 1 - (1 + before) ** -ALPHA


def pnp_with_masks(items):
    """PNP-D_q as the authors compute it: a sigmoid for each of B x B x B triples, and a mask."""
    x, labels = batch(items)
    same = labels[:, None] == labels
    positive, negative = same.float(), (~same).float()

    def loss(x):
        s = x @ x.T
        exponent = ((s[:, :, None] - s[:, None, :]) / ANNEAL).clamp(-50, 50)
        before = (1 / (1 + exponent.exp()) * negative[:, None, :]).sum(2)
        return ((d_q(before) * positive).sum(1) / positive.sum(1)).mean()

    return x, loss


def pnp_with_memory(items, older):
    """PNP-D_q with B x P x N sigmoids, against the batch and older items of the same images; an
    item's older copy is left out."""
    x, labels = batch(items)
    labels = labels * 7
    others = rows(0, older, lambda i: i // PER_CLASS)
    older_labels = torch.arange(older) * 7919 % MEMORY_CLASSES
    same = labels[:, None] == torch.cat([labels, older_labels])
    negative = ~same
    query = torch.arange(items)
    copies = query * 100
    known = copies < older
    for mask in (same, negative):
        mask[query[known], items + copies[known]] = False
    # The positives of each query, and room up to the longest list of them.
    count = same.sum(1)
    places = same.to(torch.int8).topk(int(count.max()), dim=1).indices
    there = torch.arange(places.shape[1]) < count[:, None]

    def loss(x):
        s = x @ torch.cat([x, others]).T
        positives = s.gather(1, places)
        sigmoids = torch.sigmoid((s[:, None, :] - positives[:, :, None]) / ANNEAL)
        before = (sigmoids * negative[:, None, :]).sum(2)
        return ((d_q(before) * there).sum(1) / count).mean()

    return x, loss


def products(items, references):
    """The similarities and the gradient as matrix products: what no loss can do without."""
    x, _ = batch(items)
    r = x if references == items else rows(0, references, lambda i: i // PER_CLASS)

    def step(_):
        g = x @ r.T
        return (g @ r)[0, 0]

    return x, step


# PyTorch Metric Learning: a loss, and a miner where ours mines.


def pnp_d_q(_):
    return losses.PNPLoss(alpha=ALPHA, anneal=ANNEAL, variant="Dq"), None


def smooth_ap(_):
    return losses.SmoothAPLoss(temperature=ANNEAL), None


def fast_ap(_):
    return losses.FastAPLoss(num_bins=10), None


def contrastive_cosine(_):
    settings = {"distance": distances.CosineSimilarity(), "reducer": reducers.SumReducer()}
    return losses.ContrastiveLoss(pos_margin=1, neg_margin=0.5, **settings), None


def contrastive_euclidean(_):
    class HalfSquares(reducers.SumReducer):
        def element_reduction(self, losses, *_):
            return (losses**2).sum() / 2

    return losses.ContrastiveLoss(pos_margin=0, neg_margin=1, reducer=HalfSquares()), None


def triplet_all(_):
    return losses.TripletMarginLoss(0.2, distance=distances.LpDistance(power=2)), None


def triplet_semi_hard(_):
    squared = distances.LpDistance(power=2)
    miner = miners.TripletMarginMiner(0.2, "semihard", distance=squared)
    return losses.TripletMarginLoss(0.2, distance=squared), miner


def triplet_hard(_):
    squared = distances.LpDistance(power=2)
    loss = losses.TripletMarginLoss(0.2, distance=squared, reducer=reducers.MeanReducer())
    return loss, miners.BatchHardMiner(distance=squared)


def multi_similarity(_):
    miner = miners.MultiSimilarityMiner(epsilon=0.1)
    return losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miner


def normalised_softmax(classes):
    return losses.NormalizedSoftmaxLoss(classes, DIM, temperature=0.05), None


def proxy_anchor(classes):
    return losses.ProxyAnchorLoss(classes, DIM, margin=0.1, alpha=32), None


PEERS = {
    "PML PNP-D_q": pnp_d_q,
    "PML Smooth-AP": smooth_ap,
    "PML FastAP": fast_ap,
    "PML contrastive, cosine": contrastive_cosine,
    "PML contrastive, euclidean": contrastive_euclidean,
    "PML triplet, all": triplet_all,
    "PML triplet, semi-hard": triplet_semi_hard,
    "PML triplet, hard": triplet_hard,
    "PML multi-similarity": multi_similarity,
    "PML normalised-softmax": normalised_softmax,
    "PML proxy-anchor": proxy_anchor,
}


def peer(name, items):
    x, labels = batch(items)
    loss, miner = PEERS[name](items // PER_CLASS)
    # A sum over all pairs there, a mean over the queries here.
    scale = 1 / items if "contrastive" in name else 1

    def compute(x):
        return scale * loss(x, labels, miner(x, labels) if miner else None)

    return x, compute


def needs(name, items, memory):
    """What a case needs at its peak, in bytes, from what smaller ones were seen to need."""
    square = 4 * items**2
    if name == "PNP-D_q with masks":
        return 8 * items * square
    if name == "PNP-D_q with memory":
        return 4 * 4 * 10 * items * (items + memory)
    if name in ("PML PNP-D_q", "PML Smooth-AP"):
        return (10 if name == "PML PNP-D_q" else 7) * items * square
    if name in ("PML triplet, all", "PML triplet, semi-hard"):
        return 200 * (PER_CLASS - 1) * items**2
    return (60 if name == "PML FastAP" else 30) * square


def cases(options):
    """Names and sizes of all cases, in the order of the table."""
    for items in options.sizes:
        yield "two products", items
    sizes = [b for b in options.sizes if b <= 512] + [768] * options.b3_768
    for items in sorted(set(sizes)):
        yield "PNP-D_q with masks", items
    for name in PEERS:
        for items in options.sizes:
            yield name, items
    if options.memory:
        yield "two products with memory", options.memory_batch
        yield "PNP-D_q with memory", options.memory_batch


def make(name, items, memory):
    if name == "two products":
        return products(items, items)
    if name == "two products with memory":
        return products(items, items + memory)
    if name == "PNP-D_q with masks":
        return pnp_with_masks(items)
    if name == "PNP-D_q with memory":
        return pnp_with_memory(items, memory)
    return peer(name, items)


# The process of one case.


def largest_resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(x, loss):
    """Value and gradient; milliseconds, value."""
    start = time.perf_counter()
    x.grad = None
    value = loss(x)
    if value.requires_grad:
        value.backward()
    return 1e3 * (time.perf_counter() - start), value.item()


def measure(name, items, options):
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    x, loss = make(name, items, options.memory)
    if not name.startswith("two products"):
        x.requires_grad_()
    # Threads and automatic differentiation are awake before the memory is read.
    warm = torch.ones(64, 64, requires_grad=True)
    (warm @ warm).exp().sum().backward()
    before = largest_resident()
    first, value = step(x, loss)
    grown = largest_resident() - before
    times = [first]
    # The first is a warm-up, unless it is too long to be one.
    if first < 4e3 * options.seconds:
        times = []
        start = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - start < options.seconds:
            times.append(step(x, loss)[0])
    return {
        "name": name,
        "batch": items,
        "best_ms": min(times),
        "median_ms": statistics.median(times),
        "steps": len(times),
        "peak_growth_mib": grown,
        "value": None if name.startswith("two products") else value,
    }


# The table.


def available():
    """Bytes that may be used without swapping."""
    for line in open("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return 1 << 62


def run(name, items, options):
    needed, free = needs(name, items, options.memory), available()
    if needed > 0.9 * free:
        reason = f"needs some {needed / 2**30:.0f} GiB, {free / 2**30:.0f} GiB are free"
        return {"name": name, "batch": items, "skipped": reason}
    command = [sys.executable, __file__, "--case", name, "--sizes", str(items)]
    command += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
    command += ["--memory", str(options.memory)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return json.loads(done.stdout)
    last = done.stderr.strip().splitlines()[-1:] or [f"ended with status {done.returncode}"]
    return {"name": name, "batch": items, "skipped": last[0]}


def line(result):
    start = f"{result['name']:<32}{result['batch']:>6}"
    if "skipped" in result:
        return f"{start}  skipped: {result['skipped']}"
    times = f"{result['best_ms']:>11.2f}{result['median_ms']:>11.2f}"
    value = "" if result["value"] is None else f"{result['value']:>12.6g}"
    return f"{start}{times}{result['peak_growth_mib']:>10.0f}{value}"


def arguments():
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=numbers, default=[384, 4096], help="batches, as 384,4096")
    parser.add_argument(
        "--b3-768", action="store_true", help="the B x B x B form also at 768, in some 12 GiB"
    )
    parser.add_argument(
        "--memory", type=int, default=60_000, help="older items of the cross-batch memory, or 0"
    )
    parser.add_argument("--memory-batch", type=int, default=384, help="the batch beside them")
    parser.add_argument("--only", default="", help="cases with this in their names")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each case, after the first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each case")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = arguments()
    if options.case:
        print(json.dumps(measure(options.case, options.sizes[0], options)))
        return
    if not options.json:
        print(f"{'':<32}{'batch':>6}{'best ms':>11}{'median ms':>11}{'MiB':>10}{'value':>12}")
    for name, items in cases(options):
        if options.only in name:
            result = run(name, items, options)
            print(json.dumps(result) if options.json else line(result), flush=True)


if __name__ == "__main__":
    main()
