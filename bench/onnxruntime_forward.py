#!/usr/bin/env python3
"""Forward passes of a model in ONNX Runtime on CPUs, exported from PyTorch: the counterpart of bench/deploy.cpp.

Usage: onnxruntime_forward.py MODEL BATCH [--dtype f32|int8] [--threads N] [--seconds S]
int8 is static quantization by ONNX Runtime's own tool: QDQ, u8 activations, s8 weights per channel, ranges from random images.
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
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from pytorch_engine import build


class RandomImages(CalibrationDataReader):
    """Batches of the shape that the model was exported for, 16 images or one batch."""

    def __init__(self, shape):
        generator = torch.Generator().manual_seed(1)
        self.images = iter([torch.randn(*shape, generator=generator).numpy() for _ in range(max(1, 16 // shape[0]))])

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"images": image}


def quantized(path, shape):
    """The path of the model on integers, beside `path`."""
    prepared, result = path + ".prepared.onnx", path + ".int8.onnx"
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, result, RandomImages(shape), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("batch", type=int)
    parser.add_argument("--dtype", choices=("f32", "int8"), default="f32")
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
        if args.dtype == "int8":
            path = quantized(path, tuple(images.shape))
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
                      "dtype": args.dtype, "threads": args.threads, "ms": statistics.median(times) * 1e3, "min_ms": min(times) * 1e3,
                      "cpu_ms": statistics.median(cpu_times) * 1e3, "min_cpu_ms": min(cpu_times) * 1e3,
                      "images_per_s": args.batch / statistics.median(times), "runs": len(times)}))


if __name__ == "__main__":
    main()
