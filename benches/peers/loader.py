"""JPEG files to normalised tensors by torchvision and Pillow on one core, to be compared with ours.

    python benches/peers/loader.py                  # needs torch, torchvision, pillow, numpy
    cargo bench -p pnp-data --features turbojpeg --bench loader --bench pack

Both read the pictures of `benches/images`, which `--write` makes anew from a formula: about the
size, detail and bytes of the product photos of Stanford Online Products, 500 pixels the longer side
and 31 KB, quality 75 and colours at half resolution, as Pillow writes by default. The steps are
those of the old code's training: RandomResizedCrop(224), RandomHorizontalFlip, ToTensor, Normalize.

On a machine with other work, run the two in turns and compare the ratios: `--rust` runs the Rust
benches between the rounds and prints both, `--features turbojpeg` with libjpeg-turbo as well.
"""

import argparse
import io
import pathlib
import re
import statistics
import subprocess
import time

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    Normalize,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToTensor,
)

IMAGES = pathlib.Path(__file__).resolve().parent.parent / "images"
SIZES = [(500, 375), (500, 500), (375, 500), (500, 417)]
NORMALIZE = [ToTensor(), Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
TRAIN = Compose([RandomResizedCrop(224), RandomHorizontalFlip(0.5), *NORMALIZE])
COLOURS = [RandomGrayscale(0.2), ColorJitter(0.2, 0.2, 0.2, 0.2)]
ADV = Compose([RandomResizedCrop(224), *COLOURS, RandomHorizontalFlip(0.5), *NORMALIZE])
EVAL = Compose([Resize(256), CenterCrop(224), *NORMALIZE])


# The pictures.


def natural(rng, width, height):
    """Noise whose power falls with the frequency, as that of a sharp photograph does."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    frequency = np.maximum(np.hypot(x, y), 1 / max(width, height))
    waves = np.fft.fft2(rng.standard_normal((height, width))) / frequency**1.45
    plane = np.real(np.fft.ifft2(waves))
    return plane / plane.std()


def picture(number, width, height):
    """An object with texture and hard edges before a smooth background."""
    rng = np.random.default_rng(number)
    light = natural(rng, width, height)
    tints = [natural(rng, width, height) for _ in range(3)]
    y, x = np.mgrid[0:height, 0:width]
    inside = np.hypot((x - width / 2) / width, (y - height / 2) / height) < 0.36
    inside ^= (x // 41 + y // 29) % 7 == 0
    planes = [
        128 + 40 * light * np.where(inside, 1, 0.3) + 18 * tint + np.where(inside, shift, 40)
        for tint, shift in zip(tints, (30, -25, -50))
    ]
    return Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))


def write():
    IMAGES.mkdir(exist_ok=True)
    for number, size in enumerate(SIZES):
        picture(number, *size).save(IMAGES / f"{number}.jpg", quality=75)
    for path in paths():
        print(path.name, Image.open(path).size, path.stat().st_size, "bytes")


def paths():
    return sorted(IMAGES.glob("*.jpg"))


# The times.


def decode(path):
    return Image.open(path).convert("RGB")


CASES = {
    "decode": decode,
    "decode from memory": lambda file: Image.open(io.BytesIO(file)).convert("RGB"),
    "train transform to 224": lambda path: TRAIN(decode(path)),
    "train transform adv to 224": lambda path: ADV(decode(path)),
    "eval transform to 224": lambda path: EVAL(decode(path)),
}


def rate(work, inputs, seconds):
    """Images per second."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for one in inputs:
            work(one)
        count += len(inputs)
    return count / spent


def rust_rates(features):
    """The images per second of each case of the Rust benches, by divan's median."""
    command = ["cargo", "bench", "-q", "-p", "pnp-data", "--bench", "loader", "--bench", "pack"]
    command += ["--features", features] if features else []
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rates, group, name = {}, "", ""
    for line in text.splitlines():
        if found := re.search("(.*)[├╰]─ (.+?)  ", line):
            nested = found[1].strip(" ") or found[1]
            group = group if nested else found[2]
            name = f"{group}: {found[2]}" if nested else group
        elif found := re.findall(r"([\d.]+) ([KM]?)item/s", line):
            number, unit = found[2]  # fastest, slowest, median
            rates[name] = float(number) * {"": 1, "K": 1e3, "M": 1e6}[unit]
    return rates


def show(title, rates, peer):
    print(f"{title}, images per second on one core, and how many times torchvision's training")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"  {name.replace('_', ' '):<56}{rate:>8.0f}{rate / peer:>8.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="only make the pictures anew")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each case in a round")
    parser.add_argument("--rust", action="store_true", help="run the Rust benches between the rounds")
    parser.add_argument("--features", default="", help="of the Rust benches: turbojpeg")
    options = parser.parse_args()
    if options.write:
        return write()
    torch.set_num_threads(1)
    peers = (torch, torchvision, PIL, np)
    print(", ".join(f"{peer.__name__} {peer.__version__}" for peer in peers))
    ours, theirs = {}, {name: [] for name in CASES}
    for _ in range(options.rounds):
        for name, work in CASES.items():
            inputs = paths()
            if "memory" in name:
                inputs = [path.read_bytes() for path in inputs]
            theirs[name].append(rate(work, inputs, options.seconds))
        if options.rust:
            for name, value in rust_rates(options.features).items():
                ours.setdefault(name, []).append(value)
    peer = statistics.median(theirs["train transform to 224"])
    show("torchvision and Pillow", theirs, peer)
    if ours:
        show("pnp-data", ours, peer)


if __name__ == "__main__":
    main()
