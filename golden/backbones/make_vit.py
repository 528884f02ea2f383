"""Makes `vit.json`: reference values of vision transformers by timm in float64.

    python make_vit.py        # needs torch and timm; --f32: how far timm in f32 is from them

timm resamples position embeddings in f32 whatever the network is in; here they are in f64.
"""

import sys
from pathlib import Path

import timm
import timm.models.vision_transformer as vision_transformer
import torch

import formulas

HERE = Path(__file__).parent
EMBED_DIM = 64


class Embedder(torch.nn.Module):
    """timm's tokens, pooled, through timm's `head`."""

    def __init__(self, name, pool):
        super().__init__()
        self.__dict__["vit"] = timm.create_model(
            name, num_classes=EMBED_DIM, dynamic_img_size=True
        )
        self.pool = pool
        for key, module in self.vit.named_children():
            self.add_module(key, module)
        self.cls_token, self.pos_embed = self.vit.cls_token, self.vit.pos_embed

    def forward(self, x):
        tokens = self.vit.forward_features(x)
        pooled = tokens[:, 0] if self.pool == "cls" else tokens[:, 1:].mean(1)
        return self.vit.head(pooled)


def resample(positions, new_size, old_size, num_prefix_tokens):
    """`resample_abs_pos_embed` without its detour over f32."""
    if list(new_size) == list(old_size):
        return positions
    first, rest = positions[:, :num_prefix_tokens], positions[:, num_prefix_tokens:]
    rest = rest.reshape(1, *old_size, -1).permute(0, 3, 1, 2)
    rest = torch.nn.functional.interpolate(rest, new_size, mode="bicubic", antialias=True)
    return torch.cat([first, rest.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def network(name, pool):
    return formulas.load(Embedder(name, pool)).eval()


CASES = {
    "vit_small": ("vit_small_patch16_224", "cls", (1, 224, 224)),
    "vit_small_wide": ("vit_small_patch16_224", "avg", (2, 96, 160)),
    "vit_small_large": ("vit_small_patch16_224", "cls", (1, 32, 272)),
    "vit_base": ("vit_base_patch16_224", "cls", (1, 64, 48)),
}


def in_f32():
    for case, (name, pool, shape) in CASES.items():
        x = formulas.images(*shape)
        exact = formulas.case(network(name, pool), x)
        rough = formulas.case(network(name, pool).float(), x.float())
        a, b = torch.tensor(exact["embedding"]), torch.tensor(rough["embedding"])
        norms = [
            (key, abs(g["l2"] - rough["grads"][key]["l2"]) / g["l2"], g["l2"])
            for key, g in exact["grads"].items()
        ]
        worst = max(norms, key=lambda item: item[1])
        print(case, "embeddings", (a - b).abs().max().item(), "norm of a gradient", worst)


def main():
    theirs = vision_transformer.resample_abs_pos_embed
    x = formulas.images(1, 96, 160)
    with torch.no_grad():
        stored = network("vit_small_patch16_224", "cls")(x)
        vision_transformer.resample_abs_pos_embed = resample
        difference = (stored - network("vit_small_patch16_224", "cls")(x)).abs().max().item()
    print("largest difference by timm's own resampling in f32:", difference, theirs.__module__)
    if "--f32" in sys.argv:
        return in_f32()
    cases = {
        case: {"pool": pool, **formulas.case(network(name, pool), formulas.images(*shape))}
        for case, (name, pool, shape) in CASES.items()
    }
    formulas.write(HERE / "vit.json", cases)


if __name__ == "__main__":
    main()
