#!/usr/bin/env python3
"""How fast torchvision's ImageFolder and PyTorch's DataLoader make batches, without training.

    python3 bench/pytorch_loader.py FOLDER train|eval WORKERS SECONDS

FOLDER holds train/<class>/*. The transforms and the batch size are those of bench/loader.cpp. Images are
decoded and resized by PIL, torchvision's default. Prints images per second.
"""

import sys
import time

import torch
from torchvision import datasets, transforms

folder, mode, workers, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
torch.set_num_threads(1)
normalise = [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
if mode == "train":
    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *normalise]
else:
    steps = [transforms.Resize(256), transforms.CenterCrop(224), *normalise]
data = datasets.ImageFolder(f"{folder}/train", transforms.Compose(steps))
loader = torch.utils.data.DataLoader(
    data, batch_size=64, shuffle=mode == "train", num_workers=workers, persistent_workers=workers > 0
)


def batches():
    while True:
        yield from loader


source = batches()
for _ in range(4):  # files are cached, workers run
    next(source)
begin, images, elapsed = time.perf_counter(), 0, 0.0
while elapsed < seconds:
    images += len(next(source)[1])
    elapsed = time.perf_counter() - begin
print(f"{images / elapsed:.1f}")
