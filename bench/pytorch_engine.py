#!/usr/bin/env python3
"""The counterpart of bench/engine.cpp in PyTorch: one model's training step or forward pass, channels last, the same threads and dtype.

Usage: pytorch_engine.py MODEL train|forward BATCH [--dtype f32|bf16] [--mode eager|compile] [--threads N] [--seconds S] [--profile]
Prints JSON objects, one per line. bf16 is autocast; torchvision has ResNet-50 and MobileNetV2, the others are here.
"""
import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        n, length, dim = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, dim))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.fc1, self.fc2 = Attention(dim, heads), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Deit(nn.Module):
    def __init__(self, dim, depth, heads, patch, size, channels, classes):
        super().__init__()
        self.patch_embed = nn.Conv2d(channels, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, classes)

    def forward(self, images):
        x = self.patch_embed(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def build(name):
    """The model, its channels, image size and classes."""
    if name in ("resnet50", "mobilenet_v2"):
        import torchvision

        return getattr(torchvision.models, name)(), 3, 224, 1000
    if name == "deit_small_patch16_224":
        return Deit(384, 12, 6, 16, 224, 3, 1000), 3, 224, 1000
    if name == "deit_micro_patch4_28":
        return Deit(96, 8, 3, 4, 28, 1, 10), 1, 28, 10
    if name == "resnet20":
        from pytorch_resnet20 import ResNet20

        return ResNet20(), 3, 32, 10
    raise SystemExit("pytorch_engine: no model " + name)


def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("work", choices=["train", "forward"])
    parser.add_argument("batch", type=int)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--mode", default="eager")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.model in ("resnet50", "mobilenet_v2"):
        import torchvision  # noqa: F401  not memory of the step
    before = resident_mib()
    model, channels, size, classes = build(args.model)
    images = torch.randn(args.batch, channels, size, size).to(memory_format=torch.channels_last)
    targets = F.one_hot(torch.arange(args.batch) % classes, classes).float()
    model = model.to(memory_format=torch.channels_last)
    model.train(args.work == "train")
    optimizer = (
        torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
        if args.model.startswith("deit")
        else torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    )
    called = torch.compile(model) if args.mode == "compile" else model
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16")

    def forward():
        with torch.no_grad(), autocast:
            called(images)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            logits = called(images)
        F.cross_entropy(logits.float(), targets).backward()
        optimizer.step()

    step = train if args.work == "train" else forward
    for _ in range(3):
        step()
    if args.profile:
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU]) as p:
            for _ in range(5):
                step()
        for row in sorted(p.key_averages(), key=lambda r: -r.self_cpu_time_total)[:25]:
            print(json.dumps({"kernel": row.key, "calls": row.count / 5, "ms": row.self_cpu_time_total / 5e3}))
        return
    times, began = [], time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - began < args.seconds and len(times) < 500):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({
        "program": "pytorch " + torch.__version__, "mode": args.mode, "model": args.model, "work": args.work, "batch": args.batch,
        "dtype": args.dtype, "threads": args.threads, "ms": statistics.median(times) * 1e3, "min_ms": min(times) * 1e3,
        "images_per_s": args.batch / statistics.median(times), "peak_mib": round(peak), "step_mib": round(peak - before), "runs": len(times)}))


if __name__ == "__main__":
    main()
