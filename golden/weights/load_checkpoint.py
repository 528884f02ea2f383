"""Loads a checkpoint into torchvision's network and compares the embeddings with ours.

    python load_checkpoint.py BACKBONE CHECKPOINT EMBEDDINGS    # needs torch and torchvision

CHECKPOINT is a folder with model.safetensors, EMBEDDINGS one that `pnp embed` wrote for images that
need no resizing.
"""

import csv
import json
import struct
import sys
from pathlib import Path

import numpy
import torch
import torchvision
from torchvision.transforms import functional

TOLERANCE = 1e-4


def load_file(path):
    """`safetensors.torch.load_file`, of which this is all that f32 needs."""
    data = Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for key, info in header.items():
        begin, end = info["data_offsets"]
        values = numpy.frombuffer(data[start + begin : start + end], numpy.float32)
        tensors[key] = torch.from_numpy(values.copy()).reshape(info["shape"])
    return tensors


def network(backbone, checkpoint, embed_dim):
    """The lines of docs/weights/README.md."""
    model = getattr(torchvision.models, backbone)()
    if backbone == "mobilenet_v2":
        model.classifier[1] = torch.nn.Linear(1280, embed_dim)
    else:
        model.fc = torch.nn.Linear(model.fc.in_features, embed_dim)
    model.load_state_dict(load_file(checkpoint / "model.safetensors"))
    return model.eval()


def main():
    backbone, checkpoint, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    ours = torch.from_numpy(numpy.load(folder / "embeddings.npy"))
    model = network(backbone, checkpoint, ours.shape[1])
    rows = list(csv.DictReader((folder / "items.csv").open()))
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = []
    for row in rows:
        image = torchvision.io.decode_image(str(folder / row["path"]), torchvision.io.ImageReadMode.RGB)
        images.append(functional.normalize(image.float() / 255, mean, deviation))
    with torch.no_grad():
        theirs = torch.nn.functional.normalize(model(torch.stack(images)))
    largest = (ours - theirs).abs().max().item()
    print(f"{backbone}: {len(rows)} embeddings of {ours.shape[1]} values, largest difference {largest:.1e}")
    if not largest <= TOLERANCE:
        sys.exit(f"{backbone}: the embeddings differ by {largest}, more than {TOLERANCE}")


if __name__ == "__main__":
    main()
