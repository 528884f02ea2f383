"""Makes small weight files in PyTorch's two formats, and the values that are in them.

    python make.py            # needs torch
"""

import argparse
import json
from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def tensors():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8 - 1
    return {
        "whole": base,
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "double": base.double(),
        # Views share one storage: strides and offsets must be honoured.
        "transposed": base.t(),
        "part": base[1:3, 2:5],
        "counter": torch.tensor(7),
    }


def module():
    """A whole network, as `torch.save(model)` keeps it."""
    network = torch.nn.Sequential(OrderedDict(fc=torch.nn.Linear(2, 3), norm=torch.nn.BatchNorm1d(3)))
    with torch.no_grad():
        network.fc.weight.copy_(torch.arange(6.0).reshape(3, 2))
        network.fc.bias.copy_(torch.arange(3.0))
    return network


def main():
    state = tensors()
    torch.save(state, HERE / "zip.pth")
    torch.save(state, HERE / "older.pth", _use_new_zipfile_serialization=False)
    nested = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(nested, HERE / "nested.pth")

    # A trained step leaves an optimiser with tensors of its own, keyed by numbers.
    network = module()
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(4, 2)).square().sum().backward()
    optimizer.step()
    training = {
        "model_state_dict": OrderedDict((f"module.{k}", v) for k, v in state.items()),
        "optimizer_state_dict": optimizer.state_dict(),
        "losses": [0.5, 0.25],
        "args": argparse.Namespace(lr=0.1, path=Path("data")),
    }
    torch.save(training, HERE / "training.pth.tar")

    # DINO keeps a student and a teacher, each with a projection head.
    dino = {
        "student": {f"module.backbone.{k}": v + 1 for k, v in state.items()},
        "teacher": {f"backbone.{k}": v for k, v in state.items()} | {"head.mlp.0.bias": state["part"]},
        "epoch": 1,
    }
    torch.save(dino, HERE / "dino.pth")

    # Parameters are rebuilt by another call than tensors; a value can be repeated by a stride of 0.
    parameters = {"weight": torch.nn.Parameter(state["whole"]), "repeated": torch.tensor([2.5]).expand(3, 4)}
    torch.save(parameters, HERE / "parameters.pth")
    torch.save(module(), HERE / "module.pth")

    values = {
        k: {"shape": list(v.shape), "values": v.float().flatten().tolist()}
        for k, v in state.items()
        if v.is_floating_point()
    }
    (HERE / "values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
