#!/usr/bin/env python3
"""Writes what whole networks compute in PyTorch: tests/golden/parity_<network>.safetensors.

    python3 tests/golden/make_parity.py [network ...]

Needs PyTorch and torchvision (written with 2.15 and 0.29). Weights, images and probes are not
stored: both sides make them from names, see `uniform` here and in tests/parity.h. Results are
computed in float64; the script prints how far PyTorch's own float32 is from them, which is what
the tolerances of tests/nn/models/parity_test.cpp are read against. Stored are

    parameters      text, a line "path extent extent ..." per parameter, then per buffer; timm's names
    start           (P + B, 2): element i starts as offset + scale * uniform(path)[i]
    seed            (1): image s is uniform("images.<seed>.<s>")
    labels          (steps, N)
    logits          (N, K) of the first step, in training mode
    losses          (steps): of each step, before its update
    grad            (P, 11): a summary of every gradient of the first step
    moved           (P + B, 11): the same of what all updates together changed
    trained_logits  (N, K) of the first images in evaluation mode, after the last step

A summary is: norm, largest magnitude, sum with uniform("<path>.probe"), and eight elements.

So that float32 can be held to four digits, the networks are well conditioned. Rounding at a ReLU's
kink decides about the whole gradient of an element, so biases of normalisations in front of one are
two of their standard deviations. For the deep networks the images are the best of a dozen: no input
of a ReLU lies within 2e-5 (ResNet-50) or 9e-6 (MobileNetV2) of a kink, in its standard deviations.
The last normalisation of a residual branch is small.
"""

import math
import sys

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from golden_file import write

CLASSES = 10
STEPS = 10


def uniform(name, shape):
    """Element i, in [-1, 1) with 24 bits: SplitMix64 (Steele, Lea, Flood, 2014) from the FNV-1a
    hash of the name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    i = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def summary(name, values):
    flat = values.double().numpy().ravel()
    probe = uniform(f"{name}.probe", flat.shape)
    at = ((uniform(f"{name}.sample", (8,)) + 1) / 2 * len(flat)).astype(int)
    return [np.linalg.norm(flat), np.abs(flat).max(), flat @ probe, *flat[at]]


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.pad = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + shortcut)


class ResNet20(nn.Module):
    """As akamaster's pytorch_resnet_cifar10 names its parts."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16, 16, 32, 64]
        for s in (1, 2, 3):
            first = BasicBlock(widths[s - 1], widths[s], 1 if s == 1 else 2)
            rest = [BasicBlock(widths[s], widths[s], 1) for _ in range(2)]
            setattr(self, f"layer{s}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def deit_tiny():
    return torchvision.models.VisionTransformer(
        image_size=112, patch_size=16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=CLASSES
    )


def timm_name(name):
    """torchvision's name of a transformer's parameter as timm and DeiT have it."""
    for old, new in {
        "class_token": "cls_token",
        "encoder.pos_embedding": "pos_embed",
        "conv_proj": "patch_embed.proj",
        "encoder.layers.encoder_layer_": "blocks.",
        "encoder.ln": "norm",
        "heads.head": "head",
        ".ln_": ".norm",
        "self_attention.in_proj_": "attn.qkv.",
        "self_attention.out_proj": "attn.proj",
        "mlp.0": "mlp.fc1",
        "mlp.3": "mlp.fc2",
    }.items():
        name = name.replace(old, new)
    return name


def cnn_start(name, value, last_norm):
    """Offset and scale of a convolutional network's parameter or buffer."""
    if name.endswith("running_mean"):
        return 0, 0.5
    if name.endswith("running_var"):
        return 1, 0.5
    if value.ndim == 2:
        return 0, 0.5 / math.sqrt(value[0].numel())
    if value.ndim > 1:
        return 0, math.sqrt(6 / value[0].numel())
    path, kind = name.rsplit(".", 1)
    if path.endswith(("linear", "fc", "classifier.1")):
        return 0, 0.1
    if path.endswith(last_norm):
        return (0.25, 0.0625) if kind == "weight" else (0.625, 0.125)
    return (1, 0.25) if kind == "weight" else (2, 0.5)


def deit_start(name, value):
    if name in ("cls_token", "pos_embed"):
        return 0, 0.5
    if value.ndim > 1:
        return 0, math.sqrt(3 / value[0].numel())
    if "norm" in name:
        return (1, 0.25) if name.endswith("weight") else (0, 0.25)
    return 0, 0.125


def sgd(lr):
    return lambda groups: torch.optim.SGD(groups, lr=lr, momentum=0.9)


def adamw(groups):
    """Adam's first steps are g / (|g| + eps). With the usual 1e-8 an element whose gradient happens
    to be near 0 takes over that gradient's relative error, of any size."""
    return torch.optim.AdamW(groups, lr=1e-4, eps=1e-4)


class Case:
    def __init__(self, make, side, batch, seed, start, optimizer, weight_decay=5e-4, rename=lambda name: name):
        self.make, self.side, self.batch, self.seed, self.start = make, side, batch, seed, start
        self.optimizer, self.weight_decay, self.rename = optimizer, weight_decay, rename


CASES = {
    "resnet20": Case(ResNet20, 32, 4, 0, lambda n, v: cnn_start(n, v, "bn2"), sgd(1e-3)),
    "resnet50": Case(
        lambda: torchvision.models.resnet50(num_classes=CLASSES),
        64,
        4,
        8,
        lambda n, v: cnn_start(n, v, "bn3"),
        sgd(2e-4),
    ),
    "mobilenet_v2": Case(
        lambda: torchvision.models.mobilenet_v2(num_classes=CLASSES, dropout=0.0),
        64,
        4,
        9,
        lambda n, v: cnn_start(n, v, "conv.3"),
        sgd(2e-4),
    ),
    "deit_tiny": Case(deit_tiny, 112, 2, 0, deit_start, adamw, 0.05, timm_name),
}


def seen(name, values):
    """A bias of all keys of attention changes no output: its gradient is rounding alone, which Adam
    would scale up. It counts as zero."""
    if not name.endswith("qkv.bias"):
        return values
    third = len(values) // 3
    return torch.cat([values[:third], torch.zeros(third, dtype=values.dtype), values[2 * third :]])


def run(case, start, labels, dtype):
    model = case.make().to(dtype)
    parameters = {case.rename(n): p for n, p in model.named_parameters()}
    buffers = {case.rename(n): b for n, b in model.named_buffers() if b.ndim}
    state = {**parameters, **buffers}
    with torch.no_grad():
        for name, value in state.items():
            offset, scale = start[name]
            value.copy_(torch.tensor((offset + scale * uniform(name, tuple(value.shape))).astype(np.float32)))
    begin = {n: v.detach().clone() for n, v in state.items()}
    is_decayed = lambda n: parameters[n].ndim > 1 and n not in ("cls_token", "pos_embed")
    optimizer = case.optimizer([
        {"params": [p for n, p in parameters.items() if is_decayed(n) == flag], "weight_decay": case.weight_decay * flag}
        for flag in (True, False)
    ])
    images = lambda step: torch.tensor(uniform(f"images.{case.seed}.{step}", (case.batch, 3, case.side, case.side)), dtype=dtype)
    result = {"losses": []}
    model.train()
    for step in range(STEPS):
        logits = model(images(step))
        loss = F.cross_entropy(logits, torch.tensor(labels[step]).long())
        result["losses"].append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            result["logits"] = logits.detach().double().numpy()
            result["grad"] = {n: seen(n, p.grad).double() for n, p in parameters.items()}
        optimizer.step()
    result["begin"] = {n: v.double() for n, v in begin.items()}
    result["moved"] = {n: seen(n, v.detach().double() - begin[n]) for n, v in state.items()}
    model.eval()
    with torch.no_grad():
        result["trained_logits"] = model(images(0)).double().numpy()
    return result


def distance(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return np.abs(a - b).max() / np.abs(b).max()


def worst(single, exact, more):
    """The largest distance of two tensors of one name, and the name. As in tests/parity.cpp its unit
    is the tensor's norm, or for a normalisation's bias that of its weight if larger, and `more`."""
    norm = {n: v.norm().item() for n, v in exact.items()}
    unit = lambda n: max(norm[n], norm[n.replace(".bias", ".weight")] if is_norm_bias(n, exact) else 0) + more(n)
    return max(((single[n] - exact[n]).norm().item() / unit(n), n) for n in exact)


def is_norm_bias(name, tensors):
    return name.endswith(".bias") and tensors[name.replace(".bias", ".weight")].ndim == 1


def make(name):
    case = CASES[name]
    model = case.make()
    state = [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if b.ndim)]
    # In f32, so that offset + scale * uniform is the same number with and without a fused
    # multiply-add: the product is exact.
    start = {case.rename(n): np.float32(case.start(case.rename(n), v)).astype(np.float64) for n, v in state}
    labels = ((uniform("labels", (STEPS, case.batch)) + 1) / 2 * CLASSES).astype(np.int32)
    exact = run(case, start, labels, torch.float64)
    single = run(case, start, labels, torch.float32)
    print(f"{name}: PyTorch f32 from f64: logits {distance(single['logits'], exact['logits']):.1e}, "
          f"losses {distance(single['losses'], exact['losses']):.1e}, "
          f"trained logits {distance(single['trained_logits'], exact['trained_logits']):.1e}")
    off, where = worst(single["grad"], exact["grad"], lambda n: 0)
    print(f"  gradients {off:.1e}, at {where}")
    off, where = worst(single["moved"], exact["moved"], lambda n: STEPS * 2**-24 / 1e-4 * exact["begin"][n].norm().item())
    print(f"  after {STEPS} steps {off:.1e} of the movement, at {where}")
    print(f"  losses {np.round(exact['losses'], 4)}")
    text = "\n".join(" ".join(map(str, [n, *v.shape])) for n, v in exact["moved"].items())
    write(f"parity_{name}", {
        "parameters": np.frombuffer(text.encode(), dtype=np.uint8),
        "start": np.array([start[n] for n in exact["moved"]], dtype=np.float32),
        "seed": np.array([case.seed], dtype=np.int32),
        "labels": labels,
        **{key: np.array(exact[key]) for key in ("logits", "losses", "trained_logits")},
        **{key: np.array([summary(n, v) for n, v in exact[key].items()]) for key in ("grad", "moved")},
    })


for name in sys.argv[1:] or CASES:
    make(name)
