#!/usr/bin/env python3
"""Writes the PyTorch checkpoints that tests/tensor/torch_file_test.cpp reads.

    python3 tests/golden/make_torch_files.py

torch_evil.pth is a pickle that would run a harmless command (`true`) if it were unpickled by Python.
"""

import collections
import os
import pickle
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def content():
    f32 = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    state = collections.OrderedDict(
        f32=f32,
        transposed=f32.t(),
        row=f32[1],
        f64=torch.tensor([0.1], dtype=torch.float64),
        i64=torch.tensor([-1, 10**15]),
        u8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False]),
        bf16=torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        f16=torch.tensor([1 / 3, 2.0**-24, 65504.0], dtype=torch.float16),
        empty=torch.zeros(0, 4),
        scalar=torch.nn.Parameter(torch.tensor(2.5)),
    )
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return {
        "epoch": 7,
        "best": 91.25,
        "name": "tiny",
        "flag": True,
        "nothing": None,
        "steps": [1, 70000, -300],
        "state_dict": state,
    }


torch.save(content(), HERE / "torch_zip.pth")
torch.save(content(), HERE / "torch_legacy.pth", _use_new_zipfile_serialization=False)
with open(HERE / "torch_evil.pth", "wb") as file:
    # The older format's first three pickles, then the one that calls.
    for value in (0x1950A86A20F9469CFC6C, 1001, {}, {"state_dict": Evil()}):
        pickle.dump(value, file, protocol=2)
