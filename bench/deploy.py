#!/usr/bin/env python3
"""Deployed plans beside PyTorch (eager and torch.compile) and ONNX Runtime: forward passes on CPUs.

    bench/deploy.py [--models resnet50,...] [--batches 1,64] [--dtypes f32] [--macs 0.5 | --merge 13] [--seconds 5] [--rounds 3] [--out FILE]

Each program runs in a process of its own, in turn, `rounds` times; the fastest median of each counts. The ratio is that of the best of
the others to ours: above 1 ours is faster. PYTHON names an interpreter that can import torch and onnxruntime; what it cannot import is
left out, and said. bf16 is autocast in PyTorch; ONNX Runtime runs f32, and int8 as its own tool quantizes the same network. A row of
int8 after one of f32 also says how much faster ours is than ours in f32. --macs adds rows of the network cut to a share of its
multiply-adds, beside the dense one, --merge of a transformer that merges so many tokens in every block.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTHON = os.environ.get("PYTHON", "python3")


def result_of(command):
    """The JSON object that a program prints; None if it fails, with what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not found:
        print(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-1000:]}", file=sys.stderr)
        return None
    return found[-1]


def can_import(module):
    return subprocess.run([PYTHON, "-c", "import " + module], capture_output=True).returncode == 0


def commands(model, batch, dtype, args, programs):
    common = ["--threads", args.threads, "--seconds", args.seconds]
    ours = [ROOT / "build" / "deploy", model, batch, "--dtype", dtype, *common]
    all_of = {"plan": ours + (["--at-once", args.at_once] if args.at_once else [])}
    if dtype == "int8":
        all_of["plan f32"] = ours + ["--dtype", "f32"]
    elif args.macs:
        all_of["plan cut"] = ours + ["--macs", args.macs, "--round-to", args.round_to]
    elif args.merge:
        all_of["plan cut"] = ours + ["--merge", args.merge]
    else:
        all_of["eager"] = ours + ["--mode", "eager"]
    for mode in ("eager", "compile") if "torch" in programs and dtype != "int8" and not (args.macs or args.merge) else ():
        all_of["pytorch " + mode] = [PYTHON, ROOT / "bench" / "pytorch_engine.py", model, "forward", batch, "--dtype", dtype,
                                     "--mode", mode, *common]
    if "onnxruntime" in programs and dtype != "bf16" and not (args.macs or args.merge):
        all_of["onnxruntime"] = [PYTHON, ROOT / "bench" / "onnxruntime_forward.py", model, batch, "--dtype", dtype, *common]
    return all_of


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet50,mobilenet_v2,deit_small_patch16_224")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--dtypes", default="f32")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--at-once", type=int)
    parser.add_argument("--macs", type=float)
    parser.add_argument("--round-to", type=int, default=1)
    parser.add_argument("--merge", type=int)
    parser.add_argument("--out")
    args = parser.parse_args()
    subprocess.run(["cmake", "--preset", "release", "-DVTRAIN_BENCH=ON"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", "build", "deploy"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    programs = [name for name in ("torch", "onnxruntime") if can_import(name)]
    for name in {"torch", "onnxruntime"} - set(programs):
        print(f"{PYTHON} cannot import {name}: left out", file=sys.stderr)
    rows = []
    for model in args.models.split(","):
        for dtype in args.dtypes.split(","):
            for batch in map(int, args.batches.split(",")):
                runs = {}
                for _ in range(args.rounds):
                    for name, command in commands(model, batch, dtype, args, programs).items():
                        run = result_of(command)
                        if run:
                            runs.setdefault(name, []).append(run)
                best = {name: min(run["ms"] for run in of_name) for name, of_name in runs.items()}
                others = {name: ms for name, ms in best.items() if not name.startswith(("plan", "eager"))}
                row = {"model": model, "dtype": dtype, "batch": batch, "ms": best, "runs": runs}
                text = f"{model:24} {dtype:5} {batch:4}  " + "  ".join(f"{name} {ms:.2f}" for name, ms in best.items())
                if others and "plan" in best:
                    row["speed"] = min(others.values()) / best["plan"]
                    text += f"  {row['speed']:.2f}x"
                if "plan f32" in best:
                    row["over_f32"] = best["plan f32"] / best["plan"]
                    text += f"  {row['over_f32']:.2f}x of our f32"
                if "plan cut" in best:
                    row["cut"] = best["plan"] / best["plan cut"]
                    row["macs"] = runs["plan"][0]["mmacs"] / runs["plan cut"][0]["mmacs"]
                    text += f"  cut {row['cut']:.2f}x faster for {row['macs']:.2f}x fewer MACs: {row['cut'] / row['macs']:.2f}"
                print(text, flush=True)
                rows.append(row)
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps({"date": datetime.date.today().isoformat(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
