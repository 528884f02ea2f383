"""Writes expected_<name>.png for each image of this folder: what Pillow's RGB conversion, then
torchvision's Resize(256) and CenterCrop(224) make of it."""

from pathlib import Path

from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

evaluate = Compose([Resize(256), CenterCrop(224)])
here = Path(__file__).resolve().parent
for path in sorted(here.iterdir()):
    if path.suffix in {".jpg", ".png"} and not path.stem.startswith("expected_"):
        image = evaluate(Image.open(path).convert("RGB"))
        image.save(here / f"expected_{path.stem}.png")
