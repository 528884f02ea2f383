"""Runs exported networks in onnxruntime and compares them with `pnp embed`.

    python golden/onnx/check.py --pnp target/debug/pnp [--backbones NAME ...] [--torch]

Every backbone is trained for an epoch on a few of the bundled drawings, so that its batch norm has
statistics of its own, and exported. The Python of docs/export/README.md is run as it stands: its
`prepare` makes the images ready from the file's facts alone. With --torch its lines for PyTorch are
run as well. Ends with status 1 at the first difference.
"""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).parents[2]
DIM = 32
CLASSES = 6
# Side of the drawings, at which nothing is resampled: the pixels are the same in every program.
SIDE = 64
LARGEST_DIFFERENCE = 1e-4
# Shorter side, crop and the least cosine. Of resampled bytes some are rounded the other way:
# with one byte in thirty moved by 1 at random, MobileNetV2 has cosines from 0.997 on.
CASES = {"same pixels": (SIDE, SIDE, 0.9999), "resampled": (256, 224, 0.999)}
# Embeddings that are all alike would show nothing.
LARGEST_LEAST_COSINE = 0.99


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pnp", required=True, type=Path)
    arguments.add_argument("--backbones", nargs="+", default=["mobilenet_v2", "resnet50"])
    arguments.add_argument("--torch", action="store_true")
    arguments = arguments.parse_args()
    pnp, compared = arguments.pnp.resolve(), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        choose_images(Path("data"))
        for backbone in arguments.backbones:
            run = train(pnp, backbone)
            for case, (resize, crop, cosine) in CASES.items():
                checkpoint = resized(run, resize, crop)
                compared += check(pnp, checkpoint, f"{backbone}, {case}", cosine)
        if arguments.torch:
            compared += check_torch(pnp)
    print(f"{compared} passed, 0 failed")


def choose_images(folder):
    """Some classes of each split of the drawings, as a manifest of their own."""
    folder.mkdir()
    rows, chosen = list(csv.DictReader(open(ROOT / "data/emoji/manifest.csv"))), []
    for split in ["train", "test"]:
        labels = sorted({row["label"] for row in rows if row["split"] == split})[:CLASSES]
        chosen += [row for row in rows if row["split"] == split and row["label"] in labels]
    for number, row in enumerate(chosen):
        name = f"{number}.png"
        shutil.copy(ROOT / "data/emoji" / row["path"], folder / name)
        row["path"] = name
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(chosen)


def train(pnp, backbone):
    """A run of one epoch with batch norm by the batch; its best checkpoint."""
    weights = [] if backbone == "mobilenet_v2" else ["--not-pretrained"]
    call(pnp, "train", "--source-path", "data/manifest.csv", "--save-path", "runs",
         "--savename", backbone, "--arch", f"{backbone}_normalize", "--embed-dim", DIM,
         "--image-size", SIDE, "--eval-resize", SIDE, "--eval-size", SIDE, "--batch-size", 8,
         "--samples-per-class", 4, "--n-epochs", 1, "--lr", 1e-4, *weights)
    return Path("runs/manifest") / backbone / "checkpoints/best"


def resized(checkpoint, resize, crop):
    """A copy of a checkpoint that sees its images at other sizes."""
    copy = Path("checkpoints") / checkpoint.parts[-3] / str(crop)
    shutil.copytree(checkpoint, copy)
    description = json.loads((copy / "model.json").read_text())
    description.update(eval_resize=resize, eval_size=crop)
    (copy / "model.json").write_text(json.dumps(description))
    return copy


def check(pnp, checkpoint, case, least_cosine):
    """One network at one size, in onnxruntime and by `pnp embed`."""
    call(pnp, "export", checkpoint, "--output", "model.onnx")
    call(pnp, "embed", checkpoint, "--source-path", "data/manifest.csv", "--out", "embedded")
    expected = np.load("embedded/embeddings.npy")
    paths = [Path("data") / row["path"] for row in csv.DictReader(open("embedded/items.csv"))]
    check_file("model.onnx", json.loads((checkpoint / "model.json").read_text()))
    shutil.copy(paths[0], "photo.png")
    names = run_documented("onnxruntime")
    images = np.stack([names["prepare"](path) for path in paths])
    found = run_in_batches(names["session"], images)
    require(np.array_equal(names["embeddings"], found[:1]), f"{case}: the documented lines differ")
    difference = np.abs(found - expected).max()
    cosine = (found * expected).sum(1).min()
    print(f"{case}: {len(found)} images, largest difference {difference:.1e}, "
          f"least cosine {cosine:.7f}")
    spread = (expected @ expected.T).min()
    require(spread < LARGEST_LEAST_COSINE, f"{case}: all embeddings are alike, {spread}")
    require(cosine > least_cosine, f"{case}: a cosine of {cosine}")
    if "same" in case:
        require(difference < LARGEST_DIFFERENCE, f"{case}: a difference of {difference}")
    return 1


def check_file(path, description):
    """The file by the rules of the format, and the shapes that follow from it."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {value.name: [side.dim_param or side.dim_value for side in
                           value.type.tensor_type.shape.dim]
              for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]}
    made = {name for node in model.graph.node for name in node.output}
    require(made <= shapes.keys(), f"no shape was inferred for {made - shapes.keys()}")
    side = description["eval_size"]
    require(shapes["images"] == ["batch", 3, side, side], f"images are {shapes['images']}")
    require(shapes["embeddings"] == ["batch", DIM], f"embeddings are {shapes['embeddings']}")
    unknown = [name for name, shape in shapes.items() if name in made and shape[0] != "batch"]
    require(not unknown, f"the batch is not free in {unknown}")


def run_in_batches(session, images):
    """Embeddings in batches of 1, 3 and 8, over and over."""
    parts, start = [], 0
    while start < len(images):
        size = [1, 3, 8][len(parts) % 3]
        parts.append(session.run(None, {"images": images[start:start + size]})[0])
        start += size
    return np.concatenate(parts)


def check_torch(pnp):
    """The exported weights in torchvision's ResNet-50, on an image as ONNX's metadata prepare it."""
    checkpoint = Path("runs/manifest/resnet50/checkpoints/best")
    if not checkpoint.exists():
        train(pnp, "resnet50")
    shutil.copy("data/0.png", "photo.png")
    for name in ["model.onnx", "model.safetensors"]:
        call(pnp, "export", checkpoint, "--output", name)
    names = run_documented("onnxruntime")
    found = run_documented("torchvision", images=names["images"])["embeddings"].numpy()
    difference = np.abs(found - names["embeddings"]).max()
    print(f"resnet50 in torchvision: largest difference {difference:.1e}")
    require(difference < LARGEST_DIFFERENCE, "PyTorch embeds otherwise")
    return 1


def run_documented(word, **names):
    """Runs the Python of docs/export/README.md that imports `word`."""
    text = (ROOT / "docs/export/README.md").read_text()
    blocks = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if word in block]
    require(len(blocks) == 1, f"{len(blocks)} blocks with {word} in the documentation")
    exec(compile(blocks[0], f"docs/export/README.md ({word})", "exec"), names)
    return names


def call(pnp, *arguments):
    done = subprocess.run([pnp, *map(str, arguments)], capture_output=True, text=True)
    require(done.returncode == 0, f"pnp {arguments}: {done.stderr}")


def require(condition, message):
    if not condition:
        sys.exit(f"error: {message}")


if __name__ == "__main__":
    main()
