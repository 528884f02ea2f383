"""Writes the key names and shapes that other libraries give networks of ours.

    python names.py           # needs timm and torchvision
"""

import json
from pathlib import Path

import timm

HERE = Path(__file__).parent
# Our backbone and timm's name for it.
NETWORKS = {"mobilenet_v2": "mobilenetv2_100", "resnet18": "resnet18", "resnet50": "resnet50"}


def main():
    names = {}
    for backbone, theirs in NETWORKS.items():
        state = timm.create_model(theirs).state_dict()
        names[backbone] = {k: list(v.shape) for k, v in state.items() if v.is_floating_point()}
    (HERE / "names.json").write_text(json.dumps(names) + "\n")


if __name__ == "__main__":
    main()
