"""The quick start in PyTorch, for a comparison of seconds and scores on the same cores.

    python benches/peers/train_emoji.py [EPOCHS]        # needs torch, torchvision and pillow

The same network, weights, transforms, batches of 28 classes with 4 images, PNP-D_q with alpha = 4
(batch x positives x batch work), Adam and frozen batch norm as `configs/emoji.toml`. Scores are
map@r and recall@1 by cosine, self left out.
"""

import csv
import json
import random
import struct
import sys
import time
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision import transforms

ROOT = Path(__file__).parents[2]
BATCH, PER_CLASS, DIM, RATE, DECAY, ALPHA, ANNEAL = 112, 4, 128, 3e-4, 4e-4, 4.0, 0.01
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read_safetensors(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    kinds = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64}
    out = {}
    for key, entry in header.items():
        start, end = (8 + length + o for o in entry["data_offsets"])
        raw = torch.frombuffer(bytearray(data[start:end]), dtype=kinds[entry["dtype"]])
        out[key] = raw.reshape(entry["shape"]).float()
    return out


def network():
    net = torchvision.models.mobilenet_v2(weights=None)
    net.classifier = nn.Sequential(nn.Identity(), nn.Linear(1280, DIM))
    state = read_safetensors(ROOT / "data/weights/mobilenet_v2_imagenet_f16.safetensors")
    missing = net.load_state_dict(state, strict=False).missing_keys
    assert all(k.startswith("classifier") or "num_batches" in k for k in missing), missing
    return net.eval()  # running statistics only; weights, gamma and beta train


def load(split):
    rows = list(csv.DictReader(open(ROOT / "data/emoji/manifest.csv")))
    rows = [r for r in rows if r["split"] == split]
    names = sorted({r["label"] for r in rows})
    return [(ROOT / "data/emoji" / r["path"], names.index(r["label"])) for r in rows]


def pnp(z, labels):
    s = z @ z.T
    same = labels[:, None] == labels[None, :]
    loss, queries = 0.0, 0
    for q in range(len(z)):
        positives, negatives = s[q, same[q]], s[q, ~same[q]]
        if len(positives) < 2:
            continue
        r = torch.sigmoid((negatives[None, :] - positives[:, None]) / ANNEAL).sum(1)
        loss, queries = loss + (1 - (1 + r) ** -ALPHA).mean(), queries + 1
    return loss / max(queries, 1)


def scores(z, labels):
    z = F.normalize(z)
    s = z @ z.T
    s.fill_diagonal_(-2)
    order = s.argsort(1, descending=True)
    hits = labels[order] == labels[:, None]
    others = torch.tensor([(labels == label).sum() - 1 for label in labels])
    precision = hits.cumsum(1) / torch.arange(1, len(z) + 1)
    within = torch.arange(len(z))[None, :] < others[:, None]
    map_r = ((precision * hits * within).sum(1) / others).mean()
    return map_r.item(), hits[:, 0].float().mean().item()


def main():
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    torch.manual_seed(0)
    rng = random.Random(0)
    norm = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    crop = transforms.RandomResizedCrop(64, scale=(0.4, 1.0))
    augment = transforms.Compose([crop, transforms.RandomHorizontalFlip(), *norm])
    plain = transforms.Compose(norm)
    train, test = load("train"), load("test")
    by_class = {}
    for i, (_, label) in enumerate(train):
        by_class.setdefault(label, []).append(i)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, weight_decay=DECAY)

    def evaluate():
        with torch.no_grad():
            images = [plain(Image.open(p).convert("RGB")) for p, _ in test]
            z = torch.cat([net(torch.stack(images[i : i + 64])) for i in range(0, len(images), 64)])
        return scores(z, torch.tensor([label for _, label in test]))

    print("untrained: map@r %.4f, recall@1 %.4f" % evaluate(), flush=True)
    start, training = time.time(), 0.0
    for epoch in range(epochs):
        begin = time.time()
        for _ in range(len(train) // BATCH):
            classes = rng.sample(sorted(by_class), BATCH // PER_CLASS)
            batch = [i for c in classes for i in rng.sample(by_class[c], PER_CLASS)]
            x = torch.stack([augment(Image.open(train[i][0]).convert("RGB")) for i in batch])
            labels = torch.tensor([train[i][1] for i in batch])
            loss = pnp(F.normalize(net(x)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        training += time.time() - begin
        print("epoch %d: %.1f s, map@r %.4f, recall@1 %.4f" % (epoch + 1, time.time() - begin, *evaluate()), flush=True)
    print("training %.1f s, in all %.1f s" % (training, time.time() - start))


if __name__ == "__main__":
    main()
