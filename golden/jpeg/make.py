"""Small JPEG files with colours at several resolutions, to test decoding in parts.

    python golden/jpeg/make.py        # needs numpy, pillow and cjpeg (libjpeg-turbo-progs)

One picture of 250 x 187 pixels: waves, edges and noise, in one scan and in many.
"""

import io
import pathlib
import subprocess

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
WIDTH, HEIGHT = 250, 187
FILES = {
    "444": ["-sample", "1x1"],
    "422": ["-sample", "2x1"],
    "440": ["-sample", "1x2"],
    "411": ["-sample", "4x1"],
    "progressive_422": ["-sample", "2x1", "-progressive"],
    "progressive_grey": ["-grayscale", "-progressive"],
}


def picture():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    edges = 60 * ((x // 23 + y // 17) % 2)
    red = 128 + 70 * np.sin(x / 9) * np.cos(y / 13)
    green = 60 + edges + rng.normal(0, 6, (HEIGHT, WIDTH))
    blue = 200 - edges + 40 * np.cos((x + y) / 11)
    return Image.fromarray(np.clip(np.stack([red, green, blue], -1), 0, 255).astype(np.uint8))


def main():
    pixels = io.BytesIO()
    picture().save(pixels, "PPM")
    for name, arguments in FILES.items():
        command = ["cjpeg", "-quality", "80", *arguments]
        file = subprocess.run(command, input=pixels.getvalue(), capture_output=True, check=True)
        (HERE / f"{name}_sampled.jpg").write_bytes(file.stdout)


if __name__ == "__main__":
    main()
