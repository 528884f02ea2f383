"""Makes `heads.json`: pools and heads on ResNet-18 by PyTorch in float64.

    python make_heads.py      # needs torch and torchvision

`he_deviation` is the deviation of the weights of a last layer that PyTorch starts He-normal over
its outgoing connections.
"""

from pathlib import Path

import torch
import torchvision
from torch import nn

import formulas

HERE = Path(__file__).parent
FEATURES = 512
EMBED_DIM = 64


class Gem(nn.Module):
    """The authors' pool (Radenovic et al., TPAMI 2019)."""

    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.tensor([3.0]))

    def forward(self, x):
        return x.clamp(min=1e-6).pow(self.p).mean((2, 3)).pow(1 / self.p)


class Pool(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        mean, most = x.mean((2, 3)), x.amax((2, 3))
        return {"avg": mean, "max": most, "avg+max": mean + most}[self.name]


def head(name):
    last = nn.Linear(FEATURES, EMBED_DIM)
    if name == "mlp":
        return nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU(), last)
    return last


class Embedder(torchvision.models.ResNet):
    def __init__(self, pool, head_name):
        super().__init__(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2])
        del self.avgpool
        self.pool = Gem() if pool == "gem" else Pool(pool)
        self.norm = head_name == "layernorm+linear"
        self.fc = head(head_name)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.pool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return self.fc(nn.functional.layer_norm(x, (FEATURES,)) if self.norm else x)


def he_deviation():
    torch.manual_seed(0)
    layer = nn.Linear(FEATURES, EMBED_DIM)
    return nn.init.kaiming_normal_(layer.weight, mode="fan_out").std().item()


def main():
    choices = [
        ("max", "linear"),
        ("avg+max", "layernorm+linear"),
        ("gem", "linear"),
        ("avg", "mlp"),
        ("gem", "mlp"),
    ]
    x = formulas.images(2, 64, 96)
    cases = {
        f"{pool} {name}": {
            "pool": pool,
            "head": name,
            **formulas.case(formulas.load(Embedder(pool, name)).eval(), x),
        }
        for pool, name in choices
    }
    formulas.write(HERE / "heads.json", {"he_deviation": he_deviation(), "cases": cases})


if __name__ == "__main__":
    main()
