#!/usr/bin/env python3
"""recipes/resnet20.yaml in PyTorch, to compare accuracies: the same network, files, batches, augmentation, optimizer and schedule.

Reads the images of ROOT/train.tar and ROOT/test.tar (class folders) once, trains and prints the top-1 percentage of each epoch.
Computes in f32, on a GPU too. Usage: pytorch_resnet20.py ROOT [--seeds 1,2,3] [--epochs 8] [--threads 2] [--device cpu]
"""
import argparse
import io
import json
import math
import tarfile
import time

import numpy
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.pad = stride, (outputs - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad)) if self.pad else x
        return F.relu(y + shortcut)


class ResNet20(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for stage, width in enumerate((16, 32, 64)):
            for i in range(3):
                blocks.append(Block(inputs, width, 2 if stage and not i else 1))
                inputs = width
        self.blocks, self.linear = nn.Sequential(*blocks), nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.linear(x.mean((2, 3)))


def read(path):
    """(N, H, W, 3) bytes and labels; a class is a folder, numbered in order of names."""
    images, folders = [], []
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile():
                images.append(numpy.asarray(Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")))
                folders.append(member.name.split("/")[-2])
    number = {name: i for i, name in enumerate(sorted(set(folders)))}
    return torch.from_numpy(numpy.stack(images)), torch.tensor([number[folder] for folder in folders])


def normalize(images):
    x = images.permute(0, 3, 1, 2).float().div(255)
    return ((x - torch.tensor(MEAN, device=x.device).view(3, 1, 1)) / torch.tensor(STD, device=x.device).view(3, 1, 1)).contiguous(memory_format=torch.channels_last)


def augment(images, generator):
    """Zeros of 4 pixels around, a random crop of the old size, mirrored with probability 1/2: per image, on bytes."""
    n, size = len(images), images.shape[1]
    padded = F.pad(images, (0, 0, 4, 4, 4, 4))
    dy, dx = torch.randint(0, 9, (2, n), generator=generator)
    flip = torch.rand(n, generator=generator) < 0.5
    columns = torch.arange(size).expand(n, size)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    rows = dy[:, None] + torch.arange(size)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], (dx[:, None] + columns)[:, None, :]]


def rate(epoch, epochs, base=0.1, warmup=0.5):
    if epoch < warmup:
        return 1e-6 + (base - 1e-6) * epoch / warmup
    return base * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))


def accuracy(model, test, device):
    model.eval()
    with torch.no_grad():
        hits = sum((model(normalize(x.to(device))).argmax(1).cpu() == y).sum().item() for x, y in zip(test[0].split(256), test[1].split(256)))
    model.train()
    return 100 * hits / len(test[1])


def train(seed, epochs, data, test, device):
    torch.manual_seed(seed)
    model = ResNet20().to(device, memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": 1e-4}, {"params": plain, "weight_decay": 0}], lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    steps = len(data[1]) // 128
    for epoch in range(epochs):
        start = time.time()
        for step, chosen in enumerate(torch.randperm(len(data[1]), generator=generator)[: 128 * steps].split(128)):
            for group in optimizer.param_groups:
                group["lr"] = rate(epoch + step / steps, epochs)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(normalize(augment(data[0][chosen], generator).to(device))), data[1][chosen].to(device)).backward()
            optimizer.step()
        top1 = accuracy(model, test, device)
        print(json.dumps({"seed": seed, "epoch": epoch + 1, "top1_percent": round(top1, 2), "seconds": round(time.time() - start)}), flush=True)
    return top1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_num_threads(args.threads)
    data, test = read(args.root + "/train.tar"), read(args.root + "/test.tar")
    results = [train(int(seed), args.epochs, data, test, args.device) for seed in args.seeds.split(",")]
    print(json.dumps({"mean": round(float(numpy.mean(results)), 2), "std": round(float(numpy.std(results, ddof=1)) if len(results) > 1 else 0, 2)}))


if __name__ == "__main__":
    main()
