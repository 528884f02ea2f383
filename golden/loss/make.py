"""Recomputes the values of pnp_loss.json from the formula, in float64.

The gradient comes from automatic differentiation, not from a formula of ours.
"""

import argparse
import json
import pathlib

import autograd.numpy as np
from autograd import value_and_grad

FILE = pathlib.Path(__file__).with_name("pnp_loss.json")

COSTS = {
    "PNP-O": lambda r, alpha, b: r,
    "PNP-I_u": lambda r, alpha, b: (1 + r) * np.log(1 + r),
    "PNP-I_b": lambda r, alpha, b: (b * r - np.log(1 + b * r)) / b**2,
    "PNP-D_s": lambda r, alpha, b: np.log(1 + r),
    "PNP-D_q": lambda r, alpha, b: 1 - (1 + r) ** -alpha,
}


def sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))


def loss(embeddings, labels, variant, alpha, b, anneal):
    """The mean over queries q of the mean over positives p, q among them, of f(R(q, p))."""
    similarity = embeddings @ embeddings.T
    total = 0.0
    for q in range(len(labels)):
        positives = similarity[q][labels == labels[q]]
        negatives = similarity[q][labels != labels[q]]
        r = np.sum(sigmoid((negatives[None, :] - positives[:, None]) / anneal), axis=1)
        total = total + np.mean(COSTS[variant](r, alpha, b))
    return total / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the numbers into the file")
    write = parser.parse_args().write
    golden = json.loads(FILE.read_text())
    worst = 0.0
    for case in golden["cases"]:
        embeddings = np.array(case["embeddings"]).reshape(case["batch"], case["dim"])
        settings = [case[name] for name in ("variant", "alpha", "b", "anneal")]
        value, grad = value_and_grad(loss)(embeddings, np.array(case["labels"]), *settings)
        largest = np.abs(grad).max()
        apart = np.abs(grad.ravel() - np.array(case["grad"])).max() / largest
        worst = max(worst, apart, abs(value / case["loss"] - 1))
        case["loss"], case["grad"] = float(value), [float(g) for g in grad.ravel()]
    print(f"{len(golden['cases'])} cases, at most {worst:.1e} apart")
    if write:
        FILE.write_text(json.dumps(golden))
    elif worst > 1e-11:
        raise SystemExit("the file does not hold the formula's numbers")


if __name__ == "__main__":
    main()
