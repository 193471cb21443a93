#!/usr/bin/env python3
"""Training steps and forward passes of the zoo's models, and every kernel and shape in them, beside PyTorch.

    bench/engine.py [--models resnet50,...] [--dtypes f32] [--seconds 10] [--rounds 2] [--profile] [--out docs/results/engine.json]

Runs our program and PyTorch (eager and torch.compile; the faster counts) in turn, each in a process of its own, and prints ratios: above
1 ours is faster, or needs less memory. --profile adds a table per model of our kernels, with the share of this machine's roofline that
each reaches. Exits 1 if oneDNN fell back to a reference kernel anywhere. PYTHON names an interpreter that can import torch; without
one only ours runs.
"""
import argparse
import datetime
import json
import math
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = os.environ.get("PYTHON", "python3")
# The default recipe's network is deit_micro_patch4_28; bench/train_speed.sh times both phases of that recipe.
TRAIN = {"resnet50": 16, "deit_small_patch16_224": 16, "mobilenet_v2": 16, "resnet20": 128, "deit_micro_patch4_28": 128}
FORWARD = (1, 64)


def lines(command, environment=None):
    """The JSON objects a program prints; None if it fails, with what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        print(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def build():
    subprocess.run(["cmake", "--preset", "release", "-DVTRAIN_BENCH=ON"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", "build", "engine"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "build" / "engine"


def reference_kernels(program, model, work, batch, dtype, threads):
    """What oneDNN ran without a kernel for this machine. Its log says `ref` in the name of the implementation."""
    command = [program, model, work, batch, "--dtype", dtype, "--threads", threads, "--seconds", 0]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          env={**os.environ, "DNNL_VERBOSE": "1", "ONEDNN_VERBOSE": "1"})
    found = set()
    for line in done.stdout.splitlines():
        field = line.split(",")
        if len(field) > 5 and field[0].endswith("_verbose") and field[1] == "exec":
            kind, implementation = field[3], field[4]
            if "ref" in implementation.split(":") and kind not in ("reorder",):
                found.add(f"{model} {work} {batch} {dtype}: {kind} {implementation} {field[-2]}")
    return sorted(found)


def has_torch():
    return subprocess.run([PYTHON, "-c", "import torch"], capture_output=True).returncode == 0


def best(measured):
    """The fastest of several runs of the same work, with the smallest memory of any."""
    fastest = min(measured, key=lambda m: m["ms"])
    return {**fastest, "step_mib": min(m["step_mib"] for m in measured)}


def compare(program, model, work, batch, dtype, args, torch):
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours += lines([program, model, work, batch, "--dtype", dtype, "--threads", args.threads, "--seconds", args.seconds]) or []
        for mode in ("eager", "compile") if torch else ():
            theirs += lines([PYTHON, ROOT / "bench" / "pytorch_engine.py", model, work, batch, "--dtype", dtype, "--mode", mode,
                             "--threads", args.threads, "--seconds", args.seconds]) or []
    if not ours:
        return None
    row = {"model": model, "work": work, "batch": batch, "dtype": dtype, "ours": best(ours), "runs": ours + theirs}
    if theirs:
        row["pytorch"] = best(theirs)
        row["speed"] = row["pytorch"]["ms"] / row["ours"]["ms"]
        row["memory"] = row["ours"]["step_mib"] / max(row["pytorch"]["step_mib"], 1)
    return row


def show(row):
    text = f"{row['model']:24} {row['work']:8} {row['batch']:4} {row['dtype']:5} {row['ours']['ms']:10.2f} ms"
    if "pytorch" in row:
        text += f"  {row['pytorch']['ms']:10.2f} ms ({row['pytorch']['mode']})  {row['speed']:5.2f}x"
        if row["work"] == "train":
            text += f"  {row['ours']['step_mib']:5.0f} / {row['pytorch']['step_mib']:5.0f} MiB = {row['memory']:.2f}"
    print(text, flush=True)


def show_profile(model, rows):
    print(f"\n{model}: kernels of a training step\n{'ms':>9} {'share':>6} {'calls':>5} {'GFLOP/s':>8} {'GB/s':>6} {'roofline':>8}  kernel")
    for row in rows:
        if "kernel" in row and row["share"] >= 0.005:
            print(f"{row['ms']:9.2f} {100 * row['share']:5.1f}% {row['calls']:5} {row['gflop_per_s']:8.0f} {row['gb_per_s']:6.1f} "
                  f"{100 * row['roofline']:7.0f}%  {row['kernel']}")
        elif "whole_ms" in row:
            print(f"{row['whole_ms']:9.2f} whole, {row['outside_kernels_ms']:.2f} outside kernels", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(TRAIN))
    parser.add_argument("--dtypes", default="f32")
    parser.add_argument("--works", default="train,forward")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--out")
    args = parser.parse_args()
    program, torch = build(), has_torch()
    if not torch:
        print(f"{PYTHON} cannot import torch: ours alone; set PYTHON to one that can", file=sys.stderr)
    result = {"date": datetime.date.today().isoformat(), "rows": [], "profiles": {}, "reference_kernels": []}
    for model in args.models.split(","):
        for dtype in args.dtypes.split(","):
            for work in args.works.split(","):
                for batch in [TRAIN[model]] if work == "train" else FORWARD:
                    row = compare(program, model, work, batch, dtype, args, torch)
                    if row is None:
                        continue
                    result["rows"].append(row)
                    show(row)
                    result["reference_kernels"] += reference_kernels(program, model, work, batch, dtype, args.threads)
        if args.profile:
            profile = lines([program, model, "train", TRAIN[model], "--threads", args.threads, "--profile"]) or []
            result["profiles"][model] = profile
            result["machine"] = profile[0] if profile else None
            show_profile(model, profile)
    for work in args.works.split(","):
        ratios = [row["speed"] for row in result["rows"] if row["work"] == work and "speed" in row]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"{work}: geometric mean {mean:.2f}x, least {min(ratios):.2f}x of {len(ratios)}")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    for line in result["reference_kernels"]:
        print("reference kernel: " + line)
    return 1 if result["reference_kernels"] else 0


if __name__ == "__main__":
    sys.exit(main())
