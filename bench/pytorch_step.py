#!/usr/bin/env python3
"""The training steps of recipes/deit_dynamicvit.yaml in PyTorch: same model, batch, dtype and threads; synthetic images in memory.

Prints images/s of the dense step (DeiT, cross entropy, AdamW) and of the sparse step (DynamicViT masks, teacher, four losses), eager
and under torch.compile, and the process's peak memory. Usage: pytorch_step.py [--steps N] [--threads N] [--modes eager,compile]
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, mask):
        n, length, dim = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        if mask is None:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            logits = (q @ k.transpose(-2, -1)) * (dim // self.heads) ** -0.5
            allowed = mask[:, None, None, :]
            eye = torch.eye(length)[None, None]
            allowed = allowed + (1 - allowed) * eye
            e = torch.exp(logits - logits.amax(-1, keepdim=True).detach()) * allowed
            y = (e / e.sum(-1, keepdim=True)) @ v
        return self.proj(y.transpose(1, 2).reshape(n, length, dim))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x, mask=None):
        x = x + self.attn(self.norm1(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Predictor(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.in_fc = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.out = nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2))

    def forward(self, x, m):
        z = F.gelu(self.in_fc(self.norm(x)))
        half = z.shape[2] // 2
        g = (z[:, :, half:] * m[..., None]).sum(1, keepdim=True) / m.sum(1)[:, None, None]
        return F.log_softmax(self.out(torch.cat([z[:, :, :half], g.expand(-1, z.shape[1], -1)], 2)), -1)


class Deit(nn.Module):
    def __init__(self, dim=96, depth=8, heads=3, at=()):
        super().__init__()
        self.patch = nn.Conv2d(1, dim, 4, 4)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos = nn.Parameter(torch.randn(1, 50, dim) * 0.02)
        self.blocks = nn.ModuleList([Block(dim, heads) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 10)
        self.at = list(at)
        self.predictors = nn.ModuleList([Predictor(dim) for _ in at])

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        mask, kept = None, []
        for i, block in enumerate(self.blocks):
            if i in self.at:
                before = torch.ones(len(x), 49) if mask is None else mask[:, 1:]
                pi = self.predictors[self.at.index(i)](x[:, 1:], before)
                u = torch.rand(len(x), 49).clamp(1e-6, 1 - 1e-6)
                soft = torch.sigmoid(pi[..., 0] - pi[..., 1] + torch.log(u) - torch.log1p(-u))
                keep = (soft >= 0.5).float() - soft.detach() + soft
                kept.append(keep * before)
                mask = torch.cat([torch.ones(len(x), 1), kept[-1]], 1)
            x = block(x, mask)
        x = self.norm(x)
        return self.head(x[:, 0]), x, kept


def dense_loss(model, images, targets):
    return -(targets * F.log_softmax(model(images)[0], 1)).sum(1).mean()


def sparse_loss(model, teacher, images, targets):
    with torch.no_grad():
        t_logits, t_tokens, _ = teacher(images)
    logits, tokens, kept = model(images)
    loss = -(targets * F.log_softmax(logits, 1)).sum(1).mean()
    log_t = F.log_softmax(t_logits, 1)
    loss = loss + 0.5 * (log_t.exp() * (log_t - F.log_softmax(logits, 1))).sum(1).mean()
    last = kept[-1].detach()
    loss = loss + 0.5 * (((tokens[:, 1:] - t_tokens[:, 1:]) ** 2) * last[..., None]).sum() / (last.sum() * 96)
    return loss + 2.0 / 3 * sum(((m.mean(1) - 0.7 ** (s + 1)) ** 2).mean() for s, m in enumerate(kept))


def measure(step, steps):
    for _ in range(5):
        step()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 128 / sorted(times)[len(times) // 2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", default="eager,compile")
    parser.add_argument("--kinds", default="dense,sparse")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    images = torch.randn(128, 1, 28, 28).to(memory_format=torch.channels_last)
    targets = F.one_hot(torch.randint(10, (128,)), 10).float()
    for kind in args.kinds.split(","):
        for mode in args.modes.split(","):
            model = Deit(at=(2, 4, 6) if kind == "sparse" else ())
            teacher = Deit().eval().requires_grad_(False)
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
            loss_of = (lambda: sparse_loss(model, teacher, images, targets)) if kind == "sparse" else (lambda: dense_loss(model, images, targets))
            if mode == "compile":
                loss_of = torch.compile(loss_of)

            def step():
                optimizer.zero_grad(set_to_none=True)
                loss_of().backward()
                optimizer.step()

            rate = measure(step, args.steps)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(json.dumps({"program": "pytorch " + torch.__version__, "step": kind, "mode": mode, "images_per_s": round(rate, 1), "peak_mib": round(peak)}), flush=True)


if __name__ == "__main__":
    main()
