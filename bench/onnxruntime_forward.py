#!/usr/bin/env python3
"""Forward passes of a model in ONNX Runtime on CPUs, exported from PyTorch: the counterpart of bench/deploy.cpp, f32.

Usage: onnxruntime_forward.py MODEL BATCH [--threads N] [--seconds S]
Prints one JSON object.
"""
import argparse
import json
import os
import statistics
import tempfile
import time

import numpy
import onnxruntime
import torch
from pytorch_engine import build


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("batch", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    model, channels, size, _ = build(args.model)
    images = torch.randn(args.batch, channels, size, size)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        torch.onnx.export(model.eval(), (images,), path, input_names=["images"], output_names=["logits"], opset_version=18, dynamo=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"images": numpy.ascontiguousarray(images.numpy())}
    for _ in range(3):
        session.run(None, feed)
    times, cpu_times, began = [], [], time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - began < args.seconds and len(times) < 2000):
        start, cpu = time.perf_counter(), time.process_time()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
        cpu_times.append(time.process_time() - cpu)
    print(json.dumps({"program": "onnxruntime " + onnxruntime.__version__, "mode": "onnxruntime", "model": args.model, "batch": args.batch,
                      "dtype": "f32", "threads": args.threads, "ms": statistics.median(times) * 1e3, "min_ms": min(times) * 1e3,
                      "cpu_ms": statistics.median(cpu_times) * 1e3, "min_cpu_ms": min(cpu_times) * 1e3,
                      "images_per_s": args.batch / statistics.median(times), "runs": len(times)}))


if __name__ == "__main__":
    main()
