"""Writes input.png, colours of every kind, and expected.png: below each other, what torchvision
makes of it by each line of CASES, which tests/colors.rs repeats."""

from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.transforms import functional as F

CASES = [
    (F.adjust_brightness, 0.8),
    (F.adjust_brightness, 1.17),
    (F.adjust_contrast, 0.83),
    (F.adjust_contrast, 1.2),
    (F.adjust_saturation, 0.81),
    (F.adjust_saturation, 1.19),
    (F.adjust_saturation, 0.0),
    (F.adjust_hue, 0.0),
    (F.adjust_hue, 0.2),
    (F.adjust_hue, -0.2),
    (F.adjust_hue, 0.0712),
    (F.adjust_hue, -0.5),
    (F.to_grayscale, 3),
]
SIDE = 48

here = Path(__file__).resolve().parent
colours = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
# Greys, black and white, saturated colours and near neighbours, where rounding decides.
colours[0] = np.arange(SIDE)[:, None] * 255 // (SIDE - 1)
colours[1] = np.where(np.arange(SIDE)[:, None] >> np.arange(3) & 1, 255, 0)
colours[2:8] = colours[2:8] // 16 + 120
colours[8:14] //= 32
image = Image.fromarray(colours)
image.save(here / "input.png")
expected = [np.asarray(change(image, amount)) for change, amount in CASES]
Image.fromarray(np.concatenate(expected)).save(here / "expected.png")
