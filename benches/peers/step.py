"""A training step and inference of a network in PyTorch eager, beside pnp's.

    python benches/peers/step.py --model resnet50 --batch 8 --size 224 --steps 5 --rust PROGRAM

PROGRAM is the bench of pnp-train (`cargo bench -p pnp-train --bench step --no-run` names it). Both
are run in turns on the same cores, each in a process of its own so that its peak memory is its own.
A step: embed with batch norm by its running statistics (gamma and beta train), PNP-D_q of 128-value
unit embeddings with 4 images per class, backward, Adam.
"""

import argparse
import resource
import subprocess
import sys
import time


def pnp_dq(z, labels, alpha=4.0, anneal=0.01):
    """PNP-D_q with the query among its positives, B x P x B values: every class has P images."""
    import torch

    s = z @ z.T
    same = labels[:, None] == labels[None, :]
    positives = s[same].reshape(len(z), -1)
    before = torch.sigmoid((s[:, None, :] - positives[:, :, None]) / anneal)
    r = (before * ~same[:, None, :]).sum(2)
    return (1.0 - (1.0 + r) ** -alpha).mean()


def run(args):
    import torch
    import torchvision

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cuda = args.device == "cuda"
    net = getattr(torchvision.models, args.model)(weights=None)
    if hasattr(net, "fc"):
        net.fc = torch.nn.Linear(net.fc.in_features, 128)
    else:
        net.classifier = torch.nn.Linear(net.classifier[-1].in_features, 128)
    net.eval()
    count = args.batch * 3 * args.size * args.size
    x = torch.sin(0.013 * (torch.arange(count) % 65521).float())
    x = x.reshape(args.batch, 3, args.size, args.size)
    if args.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(args.batch) // 4
    if cuda:
        # As pnp does: bytes go there in every pass, and are normalised there.
        net, labels = net.cuda(), labels.cuda()
        pixels = (127.5 * (x + 1)).to(torch.uint8).pin_memory()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-6, weight_decay=4e-4)

    def embed():
        images = x
        if cuda:
            images = pixels.cuda(non_blocking=True).float().div_(127.5).sub_(1)
        with torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.precision == "bf16"):
            features = net(images)
        return torch.nn.functional.normalize(features.float())

    def timed(work):
        if cuda:
            # Steps overlap there: all of them together are timed.
            for _ in range(3):
                work()
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(args.steps):
                work()
            torch.cuda.synchronize()
            return (time.perf_counter() - start) / args.steps
        work()
        times = []
        for _ in range(args.steps):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return sorted(times)[len(times) // 2]

    def step():
        optimiser.zero_grad(set_to_none=True)
        pnp_dq(embed(), labels).backward()
        optimiser.step()

    def peak():
        if cuda:
            return torch.cuda.max_memory_reserved() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    before = peak()
    with torch.inference_mode():
        inference = timed(embed)
    after = peak()
    training = timed(step)
    layout = "channels-last" if args.channels_last else "NCHW"
    print(
        f"PyTorch {torch.__version__} {args.device} {args.precision} {layout}: step {args.batch / training:.2f} images/s, inference "
        f"{args.batch / inference:.2f} images/s, peak {after:.0f} MiB after inference, {peak():.0f} MiB in all "
        f"({before:.0f} MiB of them before the first batch)",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--rust-device", default="cpu", help="the device of pnp's program")
    parser.add_argument("--rust", help="pnp's bench program, to be run in turns")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return run(args)
    names = ("model", "batch", "size", "steps", "threads", "device", "precision")
    shared = [f"--{name}={getattr(args, name)}" for name in names]
    for _ in range(args.rounds):
        for extra in ([], ["--channels-last"]):
            subprocess.run([sys.executable, __file__, "--one", *shared, *extra], check=True)
        if args.rust:
            names = ("model", "batch", "size", "steps", "precision")
            flags = [f for name in names for f in (f"--{name}", str(getattr(args, name)))]
            subprocess.run([args.rust, *flags, "--device", args.rust_device], check=True)


if __name__ == "__main__":
    main()
