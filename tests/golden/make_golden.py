#!/usr/bin/env python3
"""Writes the stored references that tests compare with (tests/golden/*.safetensors).

    python3 tests/golden/make_golden.py

Needs PyTorch (1.13 or later) and NumPy. Inputs are random f32 numbers from fixed seeds; results and
gradients are computed from them in float64 by torch's own operators and stored as f64, so a test
can hold the f64 kernels to 1e-12 and the f32 kernels to their rounding. Everything a network needs
is stored, so other random generators give other numbers, not other tests.

Names: "<case>.<input>", "<case>.y", "<case>.dy" and "<case>.d<input>", the gradient of
sum(y * dy) for the stored dy.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from golden_file import write


class Cases:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.tensors = {}

    def normal(self, *shape, scale=1.0):
        return (scale * self.random.standard_normal(shape)).astype(np.float32)

    def uniform(self, low, high, *shape):
        return self.random.uniform(low, high, shape).astype(np.float32)

    def op(self, case, f, constants=None, **inputs):
        """Stores inputs, y = f(inputs), a random dy and the inputs' gradients."""
        constants = constants or {}
        leaves = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in inputs.items()}
        fixed = {k: torch.tensor(v) for k, v in constants.items()}
        fixed = {k: v.double() if v.is_floating_point() else v.long() for k, v in fixed.items()}
        y = f(**leaves, **fixed)
        dy = self.normal(*y.shape)
        y.backward(torch.tensor(dy, dtype=torch.float64))
        for k, v in {**inputs, **constants}.items():
            self.tensors[f"{case}.{k}"] = v
        self.tensors[f"{case}.y"] = y.detach().numpy()
        self.tensors[f"{case}.dy"] = dy
        for k, leaf in leaves.items():
            self.tensors[f"{case}.d{k}"] = leaf.grad.numpy()


def arithmetic():
    c = Cases(1)
    shapes = {"same": ((3, 4), (3, 4)), "row": ((3, 4), (4,)), "both": ((2, 1, 4), (3, 1)), "scalar": ((2, 3), ())}
    for name, (a, b) in shapes.items():
        c.op(f"add_{name}", lambda a, b: a + b, a=c.normal(*a), b=c.normal(*b))
        c.op(f"subtract_{name}", lambda a, b: a - b, a=c.normal(*a), b=c.normal(*b))
        c.op(f"multiply_{name}", lambda a, b: a * b, a=c.normal(*a), b=c.normal(*b))
        c.op(f"divide_{name}", lambda a, b: a / b, a=c.normal(*a), b=c.uniform(0.5, 2, *b))
    c.op("exp", torch.exp, input=c.normal(3, 7))
    c.op("log", torch.log, input=c.uniform(0.1, 4, 3, 7))
    c.op("sqrt", torch.sqrt, input=c.uniform(0.1, 4, 3, 7))
    c.op("square", torch.square, input=c.normal(3, 7))
    c.op("sigmoid", torch.sigmoid, input=c.normal(3, 7, scale=6))
    c.op("relu", torch.relu, input=c.normal(3, 7))
    for name, dims in {"all": (0, 1, 2), "first": (0,), "middle": (1,), "last": (2,), "ends": (0, 2)}.items():
        for keep in (False, True):
            case = f"{name}_kept" if keep else name
            c.op(f"sum_{case}", lambda x: torch.sum(x, dims, keepdim=keep), x=c.normal(3, 4, 5))
            c.op(f"mean_{case}", lambda x: torch.mean(x, dims, keepdim=keep), x=c.normal(3, 4, 5))
    write("arithmetic", c.tensors)


def linear():
    c = Cases(2)
    c.op("linear_2d", F.linear, input=c.normal(5, 7), weight=c.normal(3, 7), bias=c.normal(3))
    c.op("linear_3d", F.linear, input=c.normal(2, 5, 7), weight=c.normal(3, 7), bias=c.normal(3))
    c.op("linear_no_bias", F.linear, input=c.normal(2, 5, 7), weight=c.normal(3, 7))
    c.op("matmul_2d", torch.matmul, input=c.normal(4, 6), other=c.normal(6, 5))
    c.op("matmul_3d", torch.matmul, input=c.normal(3, 4, 6), other=c.normal(3, 6, 5))
    c.op("matmul_4d", torch.matmul, input=c.normal(2, 3, 4, 6), other=c.normal(2, 3, 6, 5))
    c.op("matmul_a_transposed", lambda a, b: a.transpose(-1, -2) @ b, a=c.normal(3, 6, 4), b=c.normal(3, 6, 5))
    c.op("matmul_b_transposed", lambda a, b: a @ b.transpose(-1, -2), a=c.normal(3, 4, 6), b=c.normal(3, 5, 6))
    c.op(
        "matmul_both_transposed",
        lambda a, b: a.transpose(-1, -2) @ b.transpose(-1, -2),
        a=c.normal(3, 6, 4),
        b=c.normal(3, 5, 6),
    )
    # A convolution whose stride is its kernel's size, its positions as rows: (N, K, H', W') -> (N, H' W', K).
    c.op(
        "patch_embed",
        lambda images, weight, bias: F.conv2d(images, weight, bias, stride=3).flatten(2).transpose(1, 2),
        images=c.normal(2, 2, 6, 9),
        weight=c.normal(4, 2, 3, 3),
        bias=c.normal(4),
    )
    write("linear", c.tensors)


def normalize():
    c = Cases(3)
    norm = lambda eps: lambda x, weight=None, bias=None: F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    c.op("layer_norm", norm(1e-6), x=c.normal(2, 3, 24), weight=c.normal(24), bias=c.normal(24))
    # A mean far from 0: a variance from E[x^2] - E[x]^2 would lose its digits here.
    c.op("layer_norm_shifted", norm(1e-5), x=c.normal(4, 13) + np.float32(30), weight=c.normal(13), bias=c.normal(13))
    c.op("layer_norm_plain", norm(1e-5), x=c.normal(4, 13))
    c.op("gelu", F.gelu, input=c.normal(5, 9, scale=2))
    for dim in range(3):
        c.op(f"softmax_{dim}", lambda x: torch.softmax(x, dim), x=c.normal(3, 4, 5, scale=2))
        c.op(f"log_softmax_{dim}", lambda x: torch.log_softmax(x, dim), x=c.normal(3, 4, 5, scale=2))
    # Far from 0, where exp alone overflows or gives 0, also in double.
    shift = np.array([[1000], [-1000], [0]], dtype=np.float32)
    c.op("softmax_large", lambda x: torch.softmax(x, 1), x=c.normal(3, 6) + shift)
    c.op("log_softmax_large", lambda x: torch.log_softmax(x, 1), x=c.normal(3, 6) + shift)
    # log_softmax and a product, not F.cross_entropy: 1.13 and later agree on this form to the bit.
    targets = c.random.dirichlet(np.ones(7), 5).astype(np.float32)
    entropy = lambda logits, targets: -(targets * torch.log_softmax(logits, 1)).sum(1)
    c.op("cross_entropy_soft", entropy, {"targets": targets}, logits=c.normal(5, 7, scale=3))
    one_hot = np.eye(7, dtype=np.float32)[[0, 6, 3, 3, 1]]
    c.op("cross_entropy_hard", entropy, {"targets": one_hot}, logits=c.normal(5, 7, scale=3))
    c.op("cross_entropy_unnormalised", entropy, {"targets": 2 * targets}, logits=c.normal(5, 7, scale=3))
    write("normalize", c.tensors)


def batch_norm():
    c = Cases(31)

    def run(act, has_residual):
        def f(x, weight, bias, residual=None):
            y = F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)
            return act(y + residual if has_residual else y)

        return f

    acts = {"none": lambda y: y, "relu": F.relu, "relu6": F.relu6}
    for name, act in acts.items():
        size = (3, 5, 4, 3)
        vectors = {"weight": 3 * c.uniform(0.5, 1.5, 5), "bias": c.normal(5) + np.float32(1)}
        c.op(f"{name}", run(act, False), x=c.normal(*size, scale=2), **vectors)
        c.op(f"{name}_residual", run(act, True), x=c.normal(*size, scale=2), **vectors, residual=c.normal(*size))
    running = lambda x, weight, bias, mean, var: F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-3)
    c.op("running", running, {"mean": c.normal(5), "var": c.uniform(0.5, 2, 5)}, x=c.normal(3, 5, 4, 3),
         weight=c.normal(5), bias=c.normal(5))
    write("batch_norm", c.tensors)


def shape():
    c = Cases(4)
    for dim, (a, b) in enumerate([((1, 3, 4), (2, 3, 4)), ((2, 1, 4), (2, 3, 4)), ((2, 3, 2), (2, 3, 3))]):
        c.op(f"concat_{dim}", lambda a, b: torch.cat([a, b], dim), a=c.normal(*a), b=c.normal(*b))
        c.op(f"slice_{dim}", lambda x: x.narrow(dim, 1, 2), x=c.normal(3, 4, 5))
        c.op(f"select_{dim}", lambda x: x.select(dim, 2), x=c.normal(3, 4, 5))
    c.op("reshape", lambda x: x.reshape(4, 15), x=c.normal(3, 4, 5))
    c.op("transpose", lambda x: x.transpose(0, 2), x=c.normal(3, 4, 5))
    c.op("reshape_of_transposed", lambda x: x.transpose(0, 1).reshape(4, 15), x=c.normal(3, 4, 5))
    c.op("expand", lambda x: x.expand(2, 3, 4), x=c.normal(1, 4))
    write("shape", c.tensors)


def tokens():
    c = Cases(5)
    gather = lambda x, index: torch.gather(x, 1, index.unsqueeze(2).expand(-1, -1, x.shape[2]))
    c.op("gather", gather, {"index": np.array([[0, 2, 4], [1, 2, 3]], dtype=np.int32)}, x=c.normal(2, 5, 3))
    c.op("gather_repeated", gather, {"index": np.array([[4, 4, 0, 4], [1, 0, 0, 1]], dtype=np.int32)}, x=c.normal(2, 5, 3))
    write("tokens", c.tensors)


def conv2d():
    c = Cases(9)

    def case(name, x, w, bias=True, pad=(0, 0, 0, 0), **options):  # pad: top, bottom, left, right
        inputs = {"x": c.normal(*x), "w": c.normal(*w)}
        if bias:
            inputs["b"] = c.normal(w[0])
        sides = (pad[2], pad[3], pad[0], pad[1])
        c.op(name, lambda x, w, b=None: F.conv2d(F.pad(x, sides), w, b, **options), **inputs)

    case("plain", (2, 3, 5, 7), (4, 3, 3, 3), pad=(1, 1, 1, 1))
    case("no_bias", (2, 3, 5, 4), (5, 3, 2, 3), bias=False)
    case("strided", (2, 3, 7, 6), (4, 3, 3, 2), pad=(1, 1, 0, 0), stride=(2, 3))
    case("asymmetric", (1, 2, 5, 5), (3, 2, 3, 3), pad=(0, 1, 2, 0), stride=2)
    case("dilated", (1, 2, 7, 8), (3, 2, 3, 3), pad=(2, 2, 1, 1), dilation=(2, 3))
    case("grouped", (2, 4, 5, 5), (6, 2, 3, 3), pad=(1, 1, 1, 1), groups=2)
    case("depthwise", (2, 5, 6, 5), (5, 1, 3, 3), pad=(1, 1, 1, 1), groups=5)
    case("depthwise_strided", (1, 3, 7, 6), (3, 1, 5, 5), pad=(2, 2, 2, 2), stride=2, groups=3)
    case("multiplier", (2, 3, 5, 5), (6, 1, 3, 3), pad=(1, 1, 1, 1), groups=3)
    case("pointwise", (2, 5, 4, 3), (4, 5, 1, 1))
    case("pointwise_strided", (2, 3, 5, 4), (4, 3, 1, 1), bias=False, stride=2)
    case("one_filter", (2, 3, 4, 4), (1, 3, 3, 3))
    write("conv2d", c.tensors)


def masked_attention(qkv, mask, key_bias, heads, eps, max_over_all):
    """DynamicViT's masked softmax with the maximum held constant. Under a maximum over kept keys the
    exponent of a hidden key is clipped at 0: the output does not see it, the mask's gradient does."""
    n, length, width = qkv.shape
    q, k, v = qkv.reshape(n, length, 3, heads, width // 3 // heads).permute(2, 0, 3, 1, 4)
    a = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if key_bias is not None:
        a = a + key_bias[:, None, None, :]
    eye = torch.eye(length, dtype=a.dtype)
    if mask is None:
        m = torch.ones_like(a)
    else:
        m = (eye + (1 - eye) * mask[:, None, None, :]).expand_as(a)
    hidden = m.detach() <= 0
    seen = a.detach() if max_over_all else a.detach().masked_fill(hidden, -math.inf)
    exponent = a - seen.max(-1, keepdim=True).values
    exponent = torch.where(hidden, exponent.clamp(max=0), exponent)
    e = torch.exp(exponent)
    p = (e * m + eps / length) / ((e * m).sum(-1, keepdim=True) + eps)
    return (p @ v).transpose(1, 2).reshape(n, length, width // 3)


def attention():
    c = Cases(6)

    def case(name, n, length, heads, dim, mask=None, key_bias=None, eps=0.0, max_over_all=False, scale=1.0):
        inputs = {"qkv": c.normal(n, length, 3 * heads * dim, scale=scale)}
        if mask is not None:
            inputs["mask"] = np.asarray(mask, dtype=np.float32)
        if key_bias is not None:
            inputs["key_bias"] = np.asarray(key_bias, dtype=np.float32)
        f = lambda qkv, mask=None, key_bias=None: masked_attention(qkv, mask, key_bias, heads, eps, max_over_all)
        c.op(name, f, **inputs)

    # The unmasked composition is torch.softmax's own; the masked one must agree with it.
    qkv = torch.tensor(c.normal(2, 7, 3 * 2 * 4), dtype=torch.float64)
    q, k, v = qkv.reshape(2, 7, 3, 2, 4).permute(2, 0, 3, 1, 4)
    plain = (torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v).transpose(1, 2).reshape(2, 7, 8)
    assert torch.allclose(plain, masked_attention(qkv, None, None, 2, 0.0, False), rtol=0, atol=1e-14)

    keep = np.array([[1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]])
    soft = np.array([[1, 0.5, 0.25, 1, 2, 0.125, 1], [1, 1, 0.5, 0.5, 0.75, 1, 0.25]])
    case("plain", 2, 7, 2, 4)
    case("odd", 1, 5, 3, 3, scale=2.0)
    case("wide", 1, 18, 1, 16)
    case("single", 3, 1, 2, 4)
    case("masked", 2, 7, 2, 4, mask=keep, scale=1.5)
    case("soft_mask", 2, 7, 2, 4, mask=soft)
    case("biased", 2, 7, 2, 4, key_bias=c.normal(2, 7))
    case("masked_biased", 2, 7, 2, 4, mask=keep, key_bias=c.normal(2, 7))
    case("eps_kept", 2, 7, 2, 4, mask=keep, eps=1e-6, scale=1.5)
    case("eps_all", 2, 7, 2, 4, mask=keep, eps=1e-6, max_over_all=True, scale=1.5)
    case("all", 2, 7, 2, 4, mask=keep, max_over_all=True, scale=1.5)
    hidden = np.zeros((2, 7))
    hidden[0, 3] = hidden[1, 0] = hidden[1, 6] = -np.inf
    case("minus_infinity", 2, 7, 2, 4, key_bias=hidden)
    write("attention", c.tensors)


def optimizers():
    c = Cases(7)
    steps, shapes = 5, {"weight": (3, 5), "bias": (5,)}
    start = {k: c.normal(*s) for k, s in shapes.items()}
    grads = {k: c.normal(steps, *s) for k, s in shapes.items()}
    for k in shapes:
        c.tensors[f"start.{k}"], c.tensors[f"grads.{k}"] = start[k], grads[k]

    def run(name, make):
        parameters = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in start.items()}
        optimizer = make([{"params": [parameters["weight"]]}, {"params": [parameters["bias"]], "weight_decay": 0.0}])
        track = {k: [] for k in shapes}
        for step in range(steps):
            for k, p in parameters.items():
                p.grad = torch.tensor(grads[k][step], dtype=torch.float64)
            optimizer.step()
            for k, p in parameters.items():
                track[k].append(p.detach().numpy().copy())
        for k in shapes:
            c.tensors[f"{name}.{k}"] = np.stack(track[k])

    run("adamw", lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1))
    run("adamw_betas", lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.7, 0.95), eps=1e-3, weight_decay=0.0))
    run("sgd", lambda p: torch.optim.SGD(p, lr=0.1))
    run("sgd_momentum", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    run("sgd_nesterov", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True))
    run("sgd_decay", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.05))
    run("sgd_nesterov_decay", lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.05, nesterov=True))

    # The gradients serve as the values that are averaged.
    average, track = torch.tensor(start["weight"], dtype=torch.float64), []
    for value in torch.tensor(grads["weight"], dtype=torch.float64):
        average = torch.lerp(value, average, 0.9)
        track.append(average.numpy())
    c.tensors["ema.weight"] = np.stack(track)

    def rates(make, count, lr):
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
        scheduler, values = make(optimizer), []
        for _ in range(count):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return values

    schedulers = torch.optim.lr_scheduler
    cosine = lambda epochs: lambda o: schedulers.CosineAnnealingLR(o, T_max=epochs, eta_min=1e-5)
    warm = lambda o: schedulers.LinearLR(o, start_factor=1e-6 / 5e-4, total_iters=5)
    c.tensors["cosine"] = np.array(rates(cosine(20), 20, 5e-4))
    c.tensors["cosine_warmup"] = np.array(rates(warm, 5, 5e-4) + rates(cosine(15), 15, 5e-4))
    drops = lambda o: schedulers.MultiStepLR(o, milestones=[6, 9], gamma=0.2)
    c.tensors["step"] = np.array(rates(drops, 12, 0.1))
    write("optimizers", c.tensors)


# A small ViT with timm's parameter names.
WIDTH, DEPTH, HEADS, PATCH, CHANNELS, SIZE, CLASSES, HIDDEN = 24, 2, 3, 4, 2, 12, 5, 96


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS), -1)
        return self.proj((a @ v).transpose(1, 2).reshape(n, length, WIDTH))


class Mlp(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = torch.nn.Linear(WIDTH, HIDDEN)
        self.fc2 = torch.nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = Attention()
        self.norm2 = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = Mlp()

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Conv2d(CHANNELS, WIDTH, PATCH, stride=PATCH)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Vit(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = torch.nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = torch.nn.Parameter(torch.zeros(1, (SIZE // PATCH) ** 2 + 1, WIDTH))
        self.patch_embed = PatchEmbed()
        self.blocks = torch.nn.Sequential(*[Block() for _ in range(DEPTH)])
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-6)
        self.head = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, images):
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit():
    c = Cases(8)
    net = Vit().double()
    with torch.no_grad():
        for name, p in net.named_parameters():
            value = c.normal(*p.shape, scale=0.2 if p.ndim > 1 else 0.1)
            if "norm" in name and name.endswith("weight"):
                value += np.float32(1)
            p.copy_(torch.tensor(value, dtype=torch.float64))
            c.tensors[f"start.{name}"] = value
    steps = 10
    images = c.normal(steps, 4, CHANNELS, SIZE, SIZE)
    targets = c.random.dirichlet(np.ones(CLASSES), (steps, 4)).astype(np.float32)
    c.tensors["images"], c.tensors["targets"] = images, targets

    undecayed = lambda name, p: p.ndim <= 1 or name in ("cls_token", "pos_embed")
    groups = [
        {"params": [p for n, p in net.named_parameters() if not undecayed(n, p)], "weight_decay": 0.05},
        {"params": [p for n, p in net.named_parameters() if undecayed(n, p)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    losses = []
    for step in range(steps):
        logits = net(torch.tensor(images[step], dtype=torch.float64))
        loss = -(torch.tensor(targets[step], dtype=torch.float64) * torch.log_softmax(logits, 1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            c.tensors["logits"] = logits.detach().numpy()
            for name, p in net.named_parameters():
                c.tensors[f"grad.{name}"] = p.grad.numpy().astype(np.float32)
        optimizer.step()
    c.tensors["losses"] = np.array(losses)
    for name, p in net.named_parameters():
        c.tensors[f"trained.{name}"] = p.detach().numpy().astype(np.float32)
    c.tensors["trained_logits"] = net(torch.tensor(images[0], dtype=torch.float64)).detach().numpy()
    write("vit", c.tensors)


def pool():
    c = Cases(41)
    images = lambda *shape: c.normal(*shape)
    # A small set of values, so that most windows hold ties.
    ties = lambda *shape: c.random.integers(-1, 2, shape).astype(np.float32)
    kinds = {
        "2": dict(kernel_size=2),
        "3s2p1": dict(kernel_size=3, stride=2, padding=1),
        "3s2_ceil": dict(kernel_size=3, stride=2, ceil_mode=True),
        "3s2p1_ceil": dict(kernel_size=3, stride=2, padding=1, ceil_mode=True),
        "2s3": dict(kernel_size=2, stride=3),
        "32s21p10": dict(kernel_size=(3, 2), stride=(2, 1), padding=(1, 0)),
    }
    for name, options in kinds.items():
        c.op(f"max_{name}", lambda x: F.max_pool2d(x, **options), x=images(2, 5, 7, 9))
        c.op(f"max_{name}_ties", lambda x: F.max_pool2d(x, **options), x=ties(1, 3, 8, 6))
        for included in (True, False):
            case = f"average_{name}" + ("" if included else "_excluded")
            f = lambda x: F.avg_pool2d(x, **options, count_include_pad=included)
            c.op(case, f, x=images(2, 5, 7, 9))
    for name, size in {"1": (1, 1), "7x2": (7, 2), "6": (6, 6)}.items():
        c.op(f"adaptive_max_{name}", lambda x: F.adaptive_max_pool2d(x, size), x=images(2, 3, 4, 5))
        c.op(f"adaptive_average_{name}", lambda x: F.adaptive_avg_pool2d(x, size), x=images(2, 3, 4, 5))
    # Windows of more than 256 positions.
    c.op("adaptive_max_large", lambda x: F.adaptive_max_pool2d(x, (1, 2)), x=images(1, 2, 19, 31))
    write("pool", c.tensors)


def activation():
    c = Cases(42)
    kinds = {
        "relu6": F.relu6,
        "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "silu": F.silu,
        # F.gelu(approximate="tanh"), which 1.13 has in f32 only.
        "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        # F.hardsigmoid and F.hardswish, whose sixth is 1.13's in f32 only.
        "hard_sigmoid": lambda x: F.relu6(x + 3) / 6,
        "hard_swish": lambda x: x * F.relu6(x + 3) / 6,
    }
    for name, f in kinds.items():
        c.op(name, lambda x: f(x), x=c.normal(5, 21, scale=4))
    write("activation", c.tensors)


def rms_norm():
    c = Cases(43)
    norm = lambda eps: lambda x, weight=1.0: x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight
    c.op("weighted", norm(1e-6), x=c.normal(2, 3, 24), weight=c.normal(24))
    c.op("plain", norm(1e-5), x=c.normal(4, 13))
    c.op("single", norm(0.5), x=c.normal(3, 1), weight=c.normal(1))  # a small eps leaves nothing of dx
    write("rms_norm", c.tensors)


def local_response_norm():
    c = Cases(44)
    # Large alphas, so that the neighbours count; the sizes 2 and 4 reach further back than ahead.
    for size, alpha, beta, k in ((5, 1e-4, 0.75, 1), (5, 2, 0.75, 2), (2, 1, 0.5, 1), (4, 3, 0.75, 1), (9, 1, 1.5, 1)):
        f = lambda x: F.local_response_norm(x, size, alpha, beta, k)
        c.op(f"n{size}_a{alpha:g}", f, x=c.normal(2, 7, 3, 2))
    write("local_response_norm", c.tensors)


def rearrange():
    c = Cases(45)
    c.op("pad", lambda x: F.pad(x, (1, 2, 0, 1, 3, 0), value=-1.5), x=c.normal(2, 3, 2, 3))
    c.op("roll", lambda x: torch.roll(x, (-1, 2), (1, 2)), x=c.normal(2, 4, 5, 3))
    c.op("roll_far", lambda x: torch.roll(x, (11, 0), (1, 0)), x=c.normal(2, 4, 3))
    c.op("flip", lambda x: torch.flip(x, (2,)), x=c.normal(2, 3, 4))
    # F.channel_shuffle(x, 3), which had no gradient before 2.0.
    shuffle = lambda x: x.view(2, 3, 4, 2, 3).transpose(1, 2).reshape(2, 12, 2, 3)
    c.op("shuffle", shuffle, x=c.normal(2, 12, 2, 3))
    windows = lambda x: x.view(2, 2, 3, 3, 3, 5).permute(0, 1, 3, 2, 4, 5).reshape(12, 9, 5)
    c.op("windows", windows, x=c.normal(2, 6, 9, 5))
    write("rearrange", c.tensors)


def indexing():
    c = Cases(46)
    index = lambda high, *shape: {"index": c.random.integers(0, high, shape).astype(np.int32)}
    shape = (3, 4, 5)
    for axis in range(3):
        select = lambda x, index: torch.index_select(x, axis, index)
        c.op(f"select_{axis}", select, index(shape[axis], 7), x=c.normal(*shape))
        picked = tuple(6 if i == axis else n for i, n in enumerate(shape))
        gather = lambda x, index: torch.gather(x, axis, index)
        c.op(f"gather_{axis}", gather, index(shape[axis], *picked), x=c.normal(*shape))
        add = lambda x, src, index: torch.scatter_add(x, axis, index, src)
        c.op(f"scatter_add_{axis}", add, index(shape[axis], *picked), x=c.normal(*shape), src=c.normal(*picked))
        # Without repetition: PyTorch's gradient knows no other.
        order = np.argsort(c.normal(*shape), axis).astype(np.int32)
        put = lambda x, src, index: torch.scatter(x, axis, index, src)
        few = order.take(range(2), axis)
        c.op(f"scatter_{axis}", put, {"index": few}, x=c.normal(*shape), src=c.normal(*few.shape))
        for name, descending in (("ascending", False), ("descending", True)):
            f = lambda x: torch.sort(x, axis, descending).values
            c.op(f"sort_{name}_{axis}", f, x=c.normal(*shape))
        c.op(f"top_{axis}", lambda x: torch.topk(x, 2, axis).values, x=c.normal(*shape))
    write("indexing", c.tensors)


def resize2d():
    c = Cases(47)
    sizes = {"larger": (7, 9), "smaller": (2, 3), "mixed": (1, 8), "same": (4, 5)}
    for name, size in sizes.items():
        for mode in ("nearest", "bilinear", "bicubic"):
            for aligned in (None,) if mode == "nearest" else (False, True):
                f = lambda x: F.interpolate(x, size, mode=mode, align_corners=aligned)
                c.op(f"{mode}_{name}" + ("_aligned" if aligned else ""), f, x=c.normal(2, 3, 4, 5))
    write("resize2d", c.tensors)


def losses():
    c = Cases(48)
    labels = {"labels": np.array([0, 6, 3, 3, 1], dtype=np.int32)}
    for smoothing in (0.0, 0.1):
        f = lambda logits, labels: F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        c.op(f"labels_{smoothing:g}", f, labels, logits=c.normal(5, 7, scale=3))
    for t in (1.0, 4.0):
        kl = lambda student, teacher: F.kl_div(
            torch.log_softmax(student / t, 1), torch.softmax(teacher / t, 1), reduction="none"
        ).sum(1)
        c.op(f"kl_{t:g}", kl, {"teacher": c.normal(5, 7, scale=3)}, student=c.normal(5, 7, scale=3))
    c.op("mse", lambda a, b: F.mse_loss(a, b), a=c.normal(3, 4, 5), b=c.normal(3, 4, 5))
    for dim in (0, 2):
        cosine = lambda a, b: F.cosine_similarity(a, b, dim)
        c.op(f"cosine_{dim}", cosine, a=c.normal(3, 4, 5), b=c.normal(3, 4, 5))
    write("losses", c.tensors)


def group_norm():
    c = Cases(49)
    for groups in (1, 3, 6):
        f = lambda x, weight, bias: F.group_norm(x, groups, weight, bias, 1e-5)
        c.op(f"groups_{groups}", f, x=c.normal(2, 6, 3, 4), weight=c.normal(6), bias=c.normal(6))
    c.op("plain", lambda x: F.group_norm(x, 2, eps=1e-3), x=c.normal(3, 4, 5))
    write("group_norm", c.tensors)


def merge_map(x, begin, heads, width, special, r):
    """New position of every token, by torch's argmax and stable sort (arXiv:2210.09461)."""
    metric = x[:, :, begin : begin + heads * width].unflatten(2, (heads, width)).mean(2)
    metric = metric / metric.norm(dim=-1, keepdim=True)
    a, b = metric[:, ::2], metric[:, 1::2]
    scores = a @ b.transpose(1, 2)
    scores[:, : (special + 1) // 2, :] = -math.inf  # special tokens of A do not move
    scores[:, :, : special // 2] = -math.inf  # and nothing moves into those of B
    best, target = scores.max(2)
    order = torch.sort(best, dim=1, descending=True, stable=True).indices
    n, length = x.shape[:2]
    to = torch.empty(n, length, dtype=torch.int32)
    for i in range(n):
        gone = order[i, :r].tolist()
        left = [t for t in range(special)]
        left += [t for t in range(0, length, 2) if t >= special and t // 2 not in gone]
        left += [t for t in range(1, length, 2) if t >= special]
        for position, token in enumerate(left):
            to[i, token] = position
        for k in gone:
            to[i, 2 * k] = to[i, 2 * int(target[i, k]) + 1]
    return to


def token_merge():
    c = Cases(23)
    for name, (length, begin, heads, width, special, r) in {
        "keys": (13, 6, 2, 3, 1, 4),
        "even": (8, 0, 1, 5, 1, 3),
        "distilled": (12, 2, 3, 2, 2, 5),
        "no_special": (6, 0, 1, 4, 0, 3),
    }.items():
        x = c.normal(3, length, begin + heads * width + 2)
        c.tensors[f"{name}.source"] = x
        c.tensors[f"{name}.options"] = np.array([begin, heads, width, special, r], dtype=np.int32)
        to = merge_map(torch.tensor(x, dtype=torch.float64), begin, heads, width, special, r)
        sizes = c.random.integers(1, 6, (3, length)).astype(np.float32)
        c.tensors[f"{name}.sizes_after"] = (
            torch.zeros(3, length - r).scatter_add(1, to.long(), torch.tensor(sizes)).numpy()
        )

        def merge(x, sizes, to):
            into = lambda v: torch.zeros(3, length - r, v.shape[2], dtype=v.dtype).scatter_add(
                1, to.unsqueeze(2).expand_as(v), v
            )
            return into(x * sizes.unsqueeze(2)) / into(sizes.unsqueeze(2))

        c.op(name, merge, {"sizes": sizes, "to": to.numpy()}, x=c.normal(3, length, 4))
    write("token_merge", c.tensors)


if __name__ == "__main__":
    for make in (arithmetic, linear, normalize, shape, tokens, attention, optimizers, vit, conv2d, batch_norm):
        make()
    for make in (pool, activation, rms_norm, local_response_norm, rearrange, indexing, resize2d, losses, group_norm, token_merge):
        make()
