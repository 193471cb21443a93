"""What the make_*.py scripts store their tensors in: tests/golden/<name>.safetensors."""

import json
import struct
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
DTYPES = {
    np.dtype("float32"): "F32",
    np.dtype("float64"): "F64",
    np.dtype("int32"): "I32",
    np.dtype("uint8"): "U8",
}


def write(name, tensors):
    """The safetensors format: header length, JSON header, elements in row-major order."""
    header, blobs, at = {}, [], 0
    # Wider elements first, so that all are aligned.
    for key in sorted(tensors, key=lambda k: (-tensors[k].dtype.itemsize, k)):
        array = np.asarray(tensors[key], order="C")
        blob = array.tobytes()
        header[key] = {
            "dtype": DTYPES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(blob)],
        }
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = HERE / f"{name}.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")
