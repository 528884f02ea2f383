"""Weights and images by formula (README.md), and what a case stores of a gradient."""

import json
import math

import torch


def fill(key, shape):
    """The value of a parameter or running statistic, by its key."""
    h = sum(key.encode()) % 97
    count = math.prod(shape)
    i = torch.arange(count, dtype=torch.float64)
    x = torch.sin(0.7 * (i % 8191) + h).reshape(shape)
    name = key.rsplit(".", 1)[-1]
    if key == "pool.p":
        return 3 + 0.1 * x
    if name in ("cls_token", "pos_embed"):
        return 0.5 * x
    if name == "running_mean":
        return 0.1 * x
    if name == "running_var":
        return 1 + 0.5 * x * x
    if is_norm(key) or (key.startswith("features.") and len(shape) == 1):
        return 1 + 0.1 * x if name == "weight" else 0.1 * x
    if name == "weight":
        # Waves of one length go through a transformer's products, so larger ones grow from block
        # to block until every attention is on one token alone.
        scale = 0.1 if ".attn." in key or ".mlp." in key else 1.0
        return scale * x * math.sqrt(2 / (count / shape[0]))
    return 0.01 * x


def is_norm(key):
    module = key.rsplit(".", 1)[0].rsplit(".", 2)
    return "norm" in module[-1] or "bn" in module[-1] or module[-2:] == ["downsample", "1"]


def load(net):
    """Gives a network its weights by formula; f64."""
    net.double()
    for key, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(fill(key, tensor.shape))
    return net


def images(count, height, width):
    i = torch.arange(count * 3 * height * width, dtype=torch.float64)
    x = torch.sin(0.013 * (i % 65521) + 0.5 * torch.sin(0.0007 * i))
    return x.float().double().reshape(count, 3, height, width)


def case(net, x):
    """The embeddings of `x` divided by their length, and the gradient of every parameter."""
    embedding = torch.nn.functional.normalize(net(x), dim=1)
    weights = torch.sin(0.3 * torch.arange(embedding.numel(), dtype=torch.float64))
    (embedding * weights.reshape(embedding.shape)).sum().backward()
    return {
        "shape": list(x.shape),
        "embedding": embedding.tolist(),
        "grads": {
            key: {"l2": p.grad.norm().item(), "first": p.grad.flatten()[:4].tolist()}
            for key, p in net.named_parameters()
            if p.grad is not None
        },
        "keys": [
            [key, list(value.shape)]
            for key, value in net.state_dict().items()
            if value.is_floating_point()
        ],
    }


def write(path, cases):
    path.write_text(json.dumps(rounded(cases), separators=(",", ":")) + "\n")


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value
