"""Makes small weight files in PyTorch's two formats, and the values that are in them.

    python make.py            # needs torch
"""

import json
from pathlib import Path

import torch

HERE = Path(__file__).parent


def main():
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8 - 1
    state = {
        "whole": base,
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "double": base.double(),
        # Views share one storage: strides and offsets must be honoured.
        "transposed": base.t(),
        "part": base[1:3, 2:5],
        "counter": torch.tensor(7),
    }
    torch.save(state, HERE / "zip.pth")
    torch.save(state, HERE / "older.pth", _use_new_zipfile_serialization=False)
    nested = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(nested, HERE / "nested.pth")
    values = {
        k: {"shape": list(v.shape), "values": v.float().flatten().tolist()}
        for k, v in state.items()
        if v.is_floating_point()
    }
    (HERE / "values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
