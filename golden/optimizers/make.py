"""Makes `steps.json`: five steps of PyTorch's Adam and SGD from a formula's gradients.

    python make.py            # needs torch
"""

import json
from pathlib import Path

import torch

HERE = Path(__file__).parent
SIZE, STEPS, RATE, DECAY = 6, 5, 0.05, 0.1


def run(make):
    i = torch.arange(SIZE, dtype=torch.float64)
    x = torch.nn.Parameter(torch.sin(1.0 + i))
    optimizer = make([x])
    path = []
    for step in range(STEPS):
        x.grad = torch.cos(0.7 * i + step)
        optimizer.step()
        path.append([float(f"{v:.9g}") for v in x.tolist()])
    return path


def main():
    adam = run(lambda p: torch.optim.Adam(p, lr=RATE, weight_decay=DECAY))
    sgd = run(lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.9, weight_decay=DECAY))
    values = {"rate": RATE, "decay": DECAY, "momentum": 0.9, "adam": adam, "sgd": sgd}
    (HERE / "steps.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
