"""Makes reference values of backbones by PyTorch in float64: `more.json`, `inception.json` and
`off_the_edge.json`.

    python make.py            # needs torch, torchvision, timm and pretrainedmodels
    python make.py --f32      # how far PyTorch in f32 is from these values, in four ways

Weights and inputs come from formulas (README.md), so only results are stored. With `--check` the
networks of `reference.json` are computed too and compared with what is stored there.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import pretrainedmodels
import timm
import torch
import torchvision

import formulas

HERE = Path(__file__).parent
EMBED_DIM = 64
# The size of an image at which no activation is on an edge.
OFF_THE_EDGE = {
    "resnet50": 43,
    "resnet50_v1": 43,
    "resnet101": 46,
    "googlenet": 66,
    "bninception": 66,
    "mobilenet_v2": 62,
}


def network(name):
    """A network with its last layer replaced, under the names of its weights."""
    return formulas.load(plain(name))


def plain(name):
    if name in ("bn_inception", "bninception"):
        net = pretrainedmodels.bninception(num_classes=EMBED_DIM, pretrained=None)
        # Its pool is a window of 7×7, which is the whole map at 224 pixels only.
        net.global_pool = torch.nn.AdaptiveAvgPool2d(1)
        return net
    if name == "googlenet":
        make = torchvision.models.googlenet
        net = make(weights=None, aux_logits=False, init_weights=False, num_classes=EMBED_DIM)
        net.dropout = torch.nn.Identity()
        return net
    if name == "efficientnet_lite0":
        return timm.create_model(name, pretrained=False, num_classes=EMBED_DIM)
    net = getattr(torchvision.models, name.removesuffix("_v1"))(weights=None)
    if name.endswith("_v1"):
        for module in net.modules():
            if isinstance(module, torchvision.models.resnet.Bottleneck):
                stride = module.conv2.stride
                module.conv1.stride, module.conv2.stride = stride, (1, 1)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 1e-3
    if hasattr(net, "fc"):
        net.fc = torch.nn.Linear(net.fc.in_features, EMBED_DIM)
    else:
        net.classifier = torch.nn.Sequential(
            torch.nn.Identity(), torch.nn.Linear(net.last_channel, EMBED_DIM)
        )
    return net


def case(name, size, count=2, training=False):
    net = network(name)
    net.train(training)
    found = formulas.case(net, formulas.images(count, size, size))
    del found["shape"]
    result = {"input_size": size, "batch": count, **found}
    if training:
        result["statistics"] = {
            k: {"l2": v.norm().item(), "first": v.flatten()[:4].tolist()}
            for k, v in net.state_dict().items()
            if "running" in k
        }
    return result


def edge(name, size, count):
    """How near the input of any ReLU is to one of its edges, in units of its map's RMS.

    PyTorch's own f32 is about 1e-6 of that from its f64: a ReLU that is nearer may be flipped.
    """
    nearest = []

    def looking(original, edges):
        def activation(x, *arguments, **options):
            distance = min((x - edge).abs().min() for edge in edges)
            nearest.append((distance / x.pow(2).mean().sqrt()).item())
            return original(x, *arguments, **options)

        return activation

    functional = torch.nn.functional
    with (
        mock.patch.object(functional, "relu", looking(functional.relu, [0])),
        mock.patch.object(functional, "hardtanh", looking(functional.hardtanh, [0, 6])),
        torch.no_grad(),
    ):
        network(name).eval()(formulas.images(count, size, size))
    return min(nearest)


def check():
    stored = json.loads((HERE / "reference.json").read_text())
    for name, expected in stored.items():
        found = case(name, expected["input_size"])
        a, b = torch.tensor(found["embedding"]), torch.tensor(expected["embedding"])
        print(name, "largest difference of the embeddings:", (a - b).abs().max().item())


def in_f32():
    """The largest difference of a gradient's norm, relative to it, by layout and library."""
    cases = [("resnet50_v1", 64, 2), ("googlenet", 224, 2), ("bninception", 224, 2)]
    for name, size, count in [*cases, *((name, size, 1) for name, size in OFF_THE_EDGE.items())]:
        expected = case(name, size, count)["grads"]
        for layout in (torch.contiguous_format, torch.channels_last):
            for torch.backends.mkldnn.enabled in (True, False):
                net = network(name).eval().float().to(memory_format=layout)
                x = formulas.images(count, size, size).float().contiguous(memory_format=layout)
                found = formulas.case(net, x)["grads"]
                worst = max(
                    (abs(found[key]["l2"] - grad["l2"]) / grad["l2"], key)
                    for key, grad in expected.items()
                    if grad["l2"] > 1e-6
                )
                print(name, size, layout, "oneDNN", torch.backends.mkldnn.enabled, *worst)


def main():
    if "--check" in sys.argv:
        return check()
    if "--f32" in sys.argv:
        return in_f32()
    cases = {
        "mobilenet_v2": case("mobilenet_v2", 64),
        "resnet34": case("resnet34", 64),
        "resnet101": case("resnet101", 64),
        "resnet50_v1": case("resnet50_v1", 64),
        "resnet18_by_batch": case("resnet18", 64, count=4, training=True),
    }
    formulas.write(HERE / "more.json", cases)
    # The odd sizes make maps of odd sides, of which a pool in ceil mode keeps the last column.
    cases = {
        "googlenet_odd": case("googlenet", 83),
        "googlenet_by_batch": case("googlenet", 83, count=4, training=True),
        "bn_inception_odd": case("bn_inception", 97),
        "bn_inception_by_batch": case("bn_inception", 64, count=4, training=True),
        "efficientnet_lite0": case("efficientnet_lite0", 64),
        "efficientnet_lite0_odd": case("efficientnet_lite0", 75),
    }
    formulas.write(HERE / "inception.json", cases)
    for name, size in OFF_THE_EDGE.items():
        assert edge(name, size, 1) > 7e-6, name
    cases = {name: case(name, size, count=1) for name, size in OFF_THE_EDGE.items()}
    formulas.write(HERE / "off_the_edge.json", cases)


if __name__ == "__main__":
    main()
