"""Singular values by a full decomposition, in float64, of small made-up sets of embeddings."""

import argparse
import json
import pathlib

import numpy as np

FILE = pathlib.Path(__file__).parent / "spectrum.json"
DEPTHS = [1, 2, 5, -1, -2, -5]


def sets(rng):
    """Name and embeddings. Whole numbers where a rank must be exact in float32."""
    yield "tall", rng.normal(size=(60, 9))
    yield "more columns than rows", rng.normal(size=(7, 20))
    yield "square", rng.normal(size=(12, 12))
    yield "values from 1 down to 1e-5", rng.normal(size=(80, 6)) * np.logspace(0, -5, 6)
    yield "far from the origin", rng.normal(size=(50, 8)) + 100.0
    unit = rng.normal(size=(90, 10))
    yield "unit rows", unit / np.linalg.norm(unit, axis=1, keepdims=True)
    few = rng.integers(-4, 5, size=(40, 5)) @ rng.integers(-4, 5, size=(5, 11))
    yield "rank 5 of 11", few.astype(float)
    yield "three rows, each four times", np.tile(rng.normal(size=(3, 6)), (4, 1))
    yield "a column of zeros", np.insert(rng.normal(size=(30, 5)), 2, 0.0, axis=1)


def divergence(values, m):
    """KL(uniform || spectrum) for m > 0, KL(spectrum || uniform) for m < 0."""
    values = values[abs(m) - 1 :]
    spectrum = values / values.sum()
    uniform = np.full(len(values), 1 / len(values))
    first, second = (uniform, spectrum) if m > 0 else (spectrum, uniform)
    return float((first * np.log(first / second)).sum())


def cases():
    for name, embeddings in sets(np.random.default_rng(4)):
        embeddings = np.float32([[f"{value:.7g}" for value in row] for row in embeddings])
        embeddings = embeddings.astype(np.float64)
        values = np.linalg.svd(embeddings, compute_uv=False)
        rank = int((values > 1e-9 * values[0]).sum())
        case = {"name": name, "rows": len(embeddings), "dim": embeddings.shape[1], "rank": rank}
        case["embeddings"] = [float(f"{value:.9g}") for value in embeddings.flat]
        case["singular_values"] = values[:rank].tolist()
        if rank == len(values):
            case["rho"] = {str(m): divergence(values, m) for m in DEPTHS if abs(m) <= rank}
        yield case


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the numbers to the file")
    made = list(cases())
    if parser.parse_args().write:
        FILE.write_text("[\n" + ",\n".join(map(json.dumps, made)) + "\n]\n")
        return
    worst = 0.0
    for case, kept in zip(made, json.loads(FILE.read_text()), strict=True):
        old, new = np.array(kept["singular_values"]), np.array(case["singular_values"])
        worst = max(worst, np.abs(old - new).max() / old[0])
    print(f"{FILE.name}: {len(made)} sets, {worst:.1e} apart")
    if worst > 1e-12:
        raise SystemExit("the file does not hold the decomposition's numbers")


if __name__ == "__main__":
    main()
