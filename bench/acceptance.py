#!/usr/bin/env python3
"""Every method on Fashion-MNIST, over seeds, against the baselines that it has to beat.

    bench/acceptance.py [TABLE...] [--seeds 1 2 3] [--jobs 2] [--vtrain build/vtrain] [--out runs/acceptance]

Tables: sparse, filters, quant, distill, transformers; all of them without a name. A run that is there already (by its name) is not
repeated. Each run has one thread, so that jobs of them fill the cores; which thread counts a run has changes no bit of it. A seed
fixes initialisation and order of the images, so runs of one seed are paired: controls start from the same trained network.

Prints a Markdown table per network: top-1 of the test split in percent of each seed, mean and standard deviation (n - 1), and below
it the rules of the methods' papers and cards, each with the figure and whether it holds.
"""
import argparse
import concurrent.futures as futures
import json
import os
import re
import statistics
import struct
import subprocess
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Runs:
    """Trains by recipe and overrides, at most `jobs` at a time; a finished run is read again."""

    def __init__(self, program, out, jobs):
        self.program, self.out, self.slots = program, out, threading.Semaphore(jobs)
        os.makedirs(out, exist_ok=True)

    def folder(self, name):
        found = sorted(f for f in os.listdir(self.out) if re.fullmatch(re.escape(name) + r"-\d{8}-\d{6}.*", f))
        done = [f for f in found if os.path.exists(os.path.join(self.out, f, "result.json"))]
        return os.path.join(self.out, done[-1]) if done else None

    def train(self, name, recipe, *overrides):
        if not self.folder(name):
            command = [self.program, os.path.join(ROOT, recipe if "/" in recipe else "recipes/" + recipe) + ".yaml", "--quiet", "threads=1",
                       "amp=off", "log.tensorboard=false", "out.dir=" + self.out, "out.name=" + name, *overrides]
            with self.slots:
                done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode != 0:
                raise RuntimeError(" ".join(command) + "\n" + done.stderr)
            with open(os.path.join(self.folder(name), "output.txt"), "w") as file:
                file.write(done.stdout)
        return Run(self.folder(name))


class Run:
    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "result.json")) as file:
            self.result = json.load(file)
        with open(os.path.join(folder, "output.txt")) as file:
            self.output = file.read()

    def top1(self, phase):
        return self.result["networks"][phase]["top1_percent"]

    def macs(self, phase):
        return self.result["networks"][phase]["macs"]

    def weights(self, phase):
        return os.path.join(self.folder, phase + ".safetensors")

    def shapes(self, phase):
        """Shape of every tensor of a phase's weights."""
        with open(self.weights(phase), "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        return {name: t["shape"] for name, t in header.items() if name != "__metadata__"}

    def last_metric(self, name):
        """The mean of a logged term in the last epoch that has it."""
        with open(os.path.join(self.folder, "metrics.csv")) as file:
            return float(re.findall(re.escape(name) + r"=([0-9.eE+-]+)", file.read())[-1])

    def figure(self, pattern):
        """The first number that the report has where the pattern's group is."""
        return float(re.search(pattern, self.output).group(1))


class Table:
    """Figures by row and seed, and the rules they have to obey."""

    def __init__(self, title, seeds):
        self.title, self.seeds, self.rows, self.rules = title, seeds, {}, []

    def put(self, row, seed, value):
        self.rows.setdefault(row, {})[seed] = value

    def mean(self, row):
        return statistics.mean(self.rows[row].values())

    def rule(self, text, holds):
        self.rules.append((text, holds))

    def at_least(self, row, other, margin):
        """Mean of row - mean of other >= margin, paired by seed."""
        off = self.mean(row) - self.mean(other)
        self.rule(f"{row} >= {other} {margin:+.1f}: {off:+.2f}", off >= margin)

    def text(self):
        lines = [f"### {self.title}", "", "| run | " + " | ".join(f"seed {s}" for s in self.seeds) + " | mean | sd |",
                 "|---|" + "---|" * (len(self.seeds) + 2)]
        for row, values in self.rows.items():
            own = [values[s] for s in self.seeds]
            sd = f"{statistics.stdev(own):.2f}" if len(own) > 1 else ""
            lines.append(f"| {row} | " + " | ".join(f"{v:.2f}" for v in own) + f" | {statistics.mean(own):.2f} | {sd} |")
        lines += [""] + [f"* {text}: {'holds' if holds else '**missed**'}" for text, holds in self.rules]
        return "\n".join(lines) + "\n"


def alone(phase, weights, *dropped):
    """Overrides: the recipe's phase only, from a weights file."""
    return [f"~phases.{d}" for d in dropped] + [f"~phases.{phase}.from", "~pair", f"model.weights={weights}"]


def knobs(phase, method, values):
    return f"phases.{phase}.compress={{{method}: {{{values}}}}}"


def each_seed(seeds, work):
    with futures.ThreadPoolExecutor(len(seeds)) as pool:
        list(pool.map(work, seeds))


def at_once(calls):
    """Runs callables beside each other; their results by key."""
    with futures.ThreadPoolExecutor(max(len(calls), 1)) as pool:
        waiting = {key: pool.submit(call) for key, call in calls.items()}
        return {key: f.result() for key, f in waiting.items()}


# --- weights one by one: magnitude, dns, on LeNet-300-100 -----------------------------------------------------------------------


def sparse(runs, seeds):
    t = Table("LeNet-300-100: single weights", seeds)
    spliced = {}

    def work(seed):
        first = runs.train(f"magnitude90-{seed}", "lenet300_magnitude", f"seed={seed}")
        t.put("dense", seed, first.top1("dense"))
        start = alone("pruned", first.weights("dense"), "dense") + [f"seed={seed}"]

        def magnitude(name, values, *more):
            return lambda: runs.train(f"{name}-{seed}", "lenet300_magnitude", *start, knobs("pruned", "magnitude", values + ", first_layer: prune"), *more)

        def dns(c_rate):
            return lambda: runs.train(f"dns{c_rate}-{seed}", "lenet300_dns", *start, f"phases.pruned.compress.dns.c_rate={c_rate}")

        none, constant = "phases.pruned.train.epochs=0", "phases.pruned.sched.drops=[9]"
        rows = {
            "magnitude 90 %, before retraining": magnitude("magnitude90_before", "rate: 0.9, rounds: 1", none),
            "magnitude 90 %": lambda: first,
            "magnitude 90 %, same rate in every layer": magnitude("magnitude90_layer", "rate: 0.9, rounds: 1, scope: layer"),
            "random 90 %, same rate in every layer": magnitude("random90_layer", "rate: 0.9, rounds: 1, scope: layer, pick: random"),
            "random 90 %, counts of magnitude": magnitude("random90", "rate: 0.9, rounds: 1, pick: random"),
            "magnitude 95 %, before retraining": magnitude("magnitude95_before", "rate: 0.95, rounds: 1", none),
            "magnitude 95 %": magnitude("magnitude95", "rate: 0.95, rounds: 1"),
            "random 95 %, same rate in every layer": magnitude("random95_layer", "rate: 0.95, rounds: 1, scope: layer, pick: random"),
            "magnitude 95 % in 5 rounds, before the last retraining":
                magnitude("magnitude95_rounds_before", "rate: 0.95, rounds: 5, retrain_epochs: 2", "phases.pruned.train.epochs=8", constant),
            "magnitude 95 % in 5 rounds":
                magnitude("magnitude95_rounds", "rate: 0.95, rounds: 5, retrain_epochs: 2", "phases.pruned.train.epochs=10", constant),
            "dns, c_rate 0.5": dns(0.5), "dns, c_rate 1.5": dns(1.5), "dns, c_rate 2.5": dns(2.5),
        }
        done = at_once(rows)
        for row in rows:
            t.put(row, seed, done[row].top1("pruned"))
        rounds = runs.train(f"magnitude95_phases-{seed}", "bench/lenet300_rounds", f"seed={seed}",
                            f"phases.round1.model={{name: lenet_300_100, weights: {first.weights('dense')}}}")
        t.put("magnitude 95 % in 5 rounds whose rate falls, before the last retraining", seed, rounds.top1("before"))
        t.put("magnitude 95 % in 5 rounds whose rate falls", seed, rounds.top1("round5"))
        for c in ("0.5", "1.5", "2.5"):
            t.put(f"dns, c_rate {c}: weights kept, %", seed, 100 - done[f"dns, c_rate {c}"].figure(r"zeros: ([0-9.]+) %"))
            spliced[c, seed] = done[f"dns, c_rate {c}"].figure(r"([0-9]+) spliced back")

    each_seed(seeds, work)
    t.rows = {row: t.rows[row] for row in sorted(t.rows, key=lambda r: (r != "dense", list(t.rows).index(r)))}
    t.at_least("magnitude 90 %", "dense", -0.9)
    t.at_least("magnitude 90 %", "random 90 %, same rate in every layer", 3.5)
    t.at_least("magnitude 95 %", "dense", -1.9)
    for row in ("magnitude 95 % in 5 rounds", "magnitude 95 % in 5 rounds whose rate falls"):
        t.at_least(row, "magnitude 95 %", -0.2)
        t.at_least(row + ", before the last retraining", "magnitude 95 %, before retraining", 10)
    kept = [t.mean(f"dns, c_rate {c}: weights kept, %") for c in ("0.5", "1.5", "2.5")]
    t.rule(f"dns keeps less with c_rate: {kept[0]:.1f}, {kept[1]:.1f}, {kept[2]:.1f} %", kept[0] > kept[1] > kept[2])
    t.at_least("dns, c_rate 1.5", "dense", -0.9)
    t.at_least("dns, c_rate 1.5", "random 90 %, same rate in every layer", 3.5)
    t.at_least("dns, c_rate 2.5", "magnitude 95 %", -0.4)
    t.rule(f"weights spliced back at c_rate 1.5: {min(spliced['1.5', s] for s in seeds):.0f} and more",
           all(spliced["1.5", s] > 0 for s in seeds))
    return [t]


# --- filters: l1_filters, sfp, ssl, on a VGG of three convolutions ---------------------------------------------------------------


def filters(runs, seeds):
    t = Table("VGG of three convolutions: filters", seeds)
    macs = {}

    def work(seed):
        first = runs.train(f"l1-{seed}", "vgg28_l1_filters", f"seed={seed}")
        t.put("dense", seed, first.top1("dense"))
        start = alone("pruned", first.weights("dense"), "dense") + [f"seed={seed}"]

        def l1(name, values, *more):
            return lambda: runs.train(f"{name}-{seed}", "vgg28_l1_filters", *start, knobs("pruned", "l1_filters", values), *more)

        scratch = ["~phases.dense", "~phases.pruned.from", "~pair", f"seed={seed}", "phases.pruned.train.epochs=8", "phases.pruned.optim.lr=0.1"]
        long = runs.train(f"sfp-{seed}", "vgg28_sfp", f"seed={seed}")
        from_long = alone("pruned", long.weights("dense"), "dense") + [f"seed={seed}"]

        def ssl(x):
            return lambda: runs.train(f"ssl{x}-{seed}", "vgg28_ssl", "~phases.dense", "~phases.sparse.from", "~pair", f"seed={seed}",
                                      f"phases.sparse.model={{name: vgg3_bn_28, weights: {first.weights('dense')}}}",
                                      f"phases.sparse.compress.ssl.lambda_filters={x}", f"phases.sparse.compress.ssl.lambda_channels={x}")

        rows = {
            "l1_filters 50 %": lambda: first,
            "random 50 %": l1("random", "rate: 0.5, pick: random"),
            "largest 50 %": l1("largest", "rate: 0.5, pick: largest"),
            "the small network from scratch, 8 epochs": lambda: runs.train(f"scratch-{seed}", "vgg28_l1_filters", *scratch),
            "l1_filters 25 %": l1("l1_25", "rate: 0.25"),
            "random 25 %": l1("random_25", "rate: 0.25, pick: random"),
            "sfp 30 %, momentum of zeroed filters dropped": lambda: long,
            "sfp 30 %, momentum kept": lambda: runs.train(f"sfp_momentum-{seed}", "vgg28_sfp", "~phases.dense", "~pair", f"seed={seed}", "phases.pruned.compress.sfp.zero_momentum=false"),
            "sfp 30 %, norm bn_folded, momentum kept": lambda: runs.train(f"sfp_folded-{seed}", "vgg28_sfp", "~phases.dense", "~pair", f"seed={seed}", "phases.pruned.compress.sfp={rate: 0.3, norm: bn_folded}"),
            "random 30 % of the same dense network, fine-tuned": lambda: runs.train(f"random_30-{seed}", "vgg28_l1_filters", *from_long, knobs("pruned", "l1_filters", "rate: 0.3, pick: random")),
        }
        rows |= {f"ssl, lambda {x}": ssl(x) for x in SSL_LAMBDAS}
        done = at_once(rows)
        t.put("dense of 9 epochs in steps (sfp's)", seed, long.top1("dense"))
        for row in rows:
            t.put(row, seed, done[row].top1("pruned"))
        for x in SSL_LAMBDAS:
            macs[x, seed] = 100 * done[f"ssl, lambda {x}"].macs("pruned") / first.macs("dense")
        # As many filters of every layer at random, from the network that trained as long without the penalty.
        shapes, full = done[f"ssl, lambda {SSL_RECIPE}"].shapes("pruned"), first.shapes("dense")
        layers = [n[:-len(".weight")] for n, s in full.items() if len(s) == 4]
        rates = [1 - shapes[l + ".weight"][0] / full[l + ".weight"][0] for l in layers]
        plain = done["ssl, lambda 0"]
        control = runs.train(f"ssl_random-{seed}", "vgg28_l1_filters", *alone("pruned", plain.weights("sparse"), "dense"), f"seed={seed}",
                             knobs("pruned", "l1_filters", f"layers: [{', '.join(layers)}], rates: [{', '.join(f'{r:.6f}' for r in rates)}], pick: random"))
        t.put(f"random, counts of ssl {SSL_RECIPE}, fine-tuned", seed, control.top1("pruned"))
        for x in SSL_LAMBDAS:
            t.put(f"ssl, lambda {x}: MACs, %", seed, macs[x, seed])

    each_seed(seeds, work)
    t.at_least("l1_filters 50 %", "random 50 %", 1.0)
    t.rule(f"sfp 30 %, momentum dropped >= 87.0: {t.mean('sfp 30 %, momentum of zeroed filters dropped'):.2f}",
           t.mean("sfp 30 %, momentum of zeroed filters dropped") >= 87.0)
    t.at_least("sfp 30 %, momentum of zeroed filters dropped", "random 30 % of the same dense network, fine-tuned", 0)
    left = [statistics.mean(macs[x, s] for s in seeds) for x in SSL_LAMBDAS]
    t.rule("ssl removes more with lambda: " + ", ".join(f"{m:.1f}" for m in left) + " % of the MACs stay",
           all(a > b for a, b in zip(left, left[1:])))
    t.at_least(f"ssl, lambda {SSL_RECIPE}", f"random, counts of ssl {SSL_RECIPE}, fine-tuned", 0.5)
    return [t]


SSL_RECIPE = 0.014
SSL_LAMBDAS = [0, 0.005, 0.014, 0.05]


# --- bits: minmax, lsq, dorefa, ttq, on ResNet-8 ----------------------------------------------------------------------------------


def quant(runs, seeds):
    t = Table("ResNet-8, widths 16 to 64: fewer bits", seeds)

    def work(seed):
        first = runs.train(f"w8a8-{seed}", "resnet8_minmax", f"seed={seed}")
        t.put("float, 8 epochs", seed, first.top1("dense"))

        def tuned(name, recipe, phase, *more):
            return lambda: runs.train(f"{name}-{seed}", recipe, *alone(phase, first.weights("dense"), "dense"), f"seed={seed}", *more)

        def minmax(name, values, *more):
            return tuned(name, "resnet8_minmax", "quantized", knobs("quantized", "minmax", values), *more)

        def scratch(name, *more):
            return lambda: runs.train(f"{name}-{seed}", "resnet8_dorefa", "~phases.dense", "~phases.binary.from", "~pair", f"seed={seed}", *more)

        four = ["phases.binary.compress.dorefa.weight_bits=4", "phases.binary.compress.dorefa.activation_bits=4"]
        after, still = "phases.quantized.train.epochs=0", ["phases.ternary.train.epochs=1", "phases.ternary.optim.lr=1e-30"]
        ema = ", range: ema, ema_decay: 0.99, freeze_bn_epoch: 3"
        two = "weight_bits: 2, activation_bits: 4, skip: [first, last]"
        rows = {
            "float, 4 epochs more": tuned("float_more", "resnet8_minmax", "quantized", "phases.quantized.compress=null"),
            "minmax W8A8": lambda: first,
            "W8A8 after training": minmax("w8a8_after", "weight_bits: 8, activation_bits: 8", after),
            "minmax W4A4": minmax("w4a4", "weight_bits: 4, activation_bits: 4" + ema),
            "W4A4 after training": minmax("w4a4_after", "weight_bits: 4, activation_bits: 4", after),
            "minmax W2A4": minmax("w2a4", two + ema),
            "W2A4 after training": minmax("w2a4_after", two, after),
            "lsq W2A4": tuned("lsq_w2a4", "resnet8_lsq", "quantized"),
            "dorefa W4A4": tuned("dorefa_w4a4_tuned", "resnet8_dorefa", "binary", *four),
            "dorefa W1A2": tuned("dorefa_w1a2_tuned", "resnet8_dorefa", "binary"),
            "dorefa W4A4, from scratch": scratch("dorefa_w4a4", *four),
            "dorefa W1A2, from scratch": scratch("dorefa_w1a2"),
            "float, 8 epochs more at 0.1": tuned("float_long", "resnet8_ttq", "ternary", "phases.ternary.compress=null"),
            "ttq, half zeros": tuned("ttq", "resnet8_ttq", "ternary"),
            "ttq, t 0.05": tuned("ttq_t", "resnet8_ttq", "ternary", knobs("ternary", "ttq", "t: 0.05, init_scale: mean, scale_lr: 0.01, skip: [first, last]")),
            "ternary without training": tuned("ternary_after", "resnet8_ttq", "ternary", "phases.ternary.train.epochs=0"),
            "ternary without training, batch norm's statistics again": tuned("ternary_bn", "resnet8_ttq", "ternary", *still),
        }
        done = at_once(rows)
        for row in rows:
            phase = next(p for p in done[row].result["networks"] if p != "dense")
            t.put(row, seed, done[row].top1(phase))

    each_seed(seeds, work)
    t.at_least("minmax W8A8", "float, 8 epochs", -0.3)
    t.at_least("minmax W4A4", "float, 8 epochs", -1.0)
    t.at_least("minmax W2A4", "W2A4 after training", 2)
    t.at_least("lsq W2A4", "minmax W2A4", -0.2)
    for start in ("", ", from scratch"):
        t.at_least("dorefa W4A4" + start, "float, 8 epochs", -0.5)
        t.at_least("dorefa W1A2" + start, "float, 8 epochs", -3)
    t.at_least("dorefa W1A2", "float, 8 epochs more at 0.1", -3)
    t.at_least("ttq, half zeros", "ternary without training", 10)
    t.at_least("ttq, half zeros", "ternary without training, batch norm's statistics again", 1)
    t.at_least("ttq, half zeros", "float, 8 epochs more at 0.1", -1)
    return [t]


# --- teachers: kd, dkd, takd, fitnets, on VGGs for 14x14 images -------------------------------------------------------------------


def distill(runs, seeds):
    t = Table("VGG of two convolutions on 14x14 images, 6,000 of them: teachers", seeds)
    teacher = runs.train("teacher", "vgg14_kd", "~phases.student", "~pair", "seed=1")
    hint = {}

    def work(seed):
        def student(name, recipe, *more):
            return lambda: runs.train(f"{name}-{seed}", recipe, "~phases.teacher", "~pair", f"seed={seed}", *more)

        def by(recipe, name, **values):
            method = recipe.split("_")[1]
            all = {"teacher": teacher.weights("teacher"), **values}
            return student(name, recipe, *[f"phases.student.compress.{method}.{k}={v}" for k, v in all.items()])

        joint = "mode: joint, guided: features.7, hint: features.13, regressor: conv"
        rows = {"labels only": student("plain", "vgg14_kd", "phases.student.compress=null")}
        for x in (1, 2, 4, 8):
            rows[f"kd, T {x}"] = by("vgg14_kd", f"kd_t{x}", temperature=x)
        rows |= {
            "kd, T 4, no labels": by("vgg14_kd", "kd_soft", temperature=4, ce_weight=0, kd_weight=1),
            "kd, T 4, without T^2 (a mistake)": by("vgg14_kd", "kd_no_t2", temperature=4, scale_t2="false"),
            "kd, T 4, mean over classes (a mistake)": by("vgg14_kd", "kd_element", temperature=4, kd_weight=0.09),
        }
        for x in (1, 2, 8):
            rows[f"dkd, beta {x}"] = by("vgg14_dkd", f"dkd{x}", beta=x)
        rows |= {
            "fitnets": by("vgg14_fitnets", "fitnets"),
            "fitnets, hint only": by("vgg14_fitnets", "fitnets_hint", lambda_start=0, lambda_end=0),
            "fitnets, joint, weight 1": student("fitnets_joint1", "vgg14_fitnets", "phases.student.train.epochs=15", knobs("student", "fitnets", f"teacher: {teacher.weights('teacher')}, {joint}, feat_weight: 1")),
            "fitnets, joint, weight 100": student("fitnets_joint100", "vgg14_fitnets", "phases.student.train.epochs=15", knobs("student", "fitnets", f"teacher: {teacher.weights('teacher')}, {joint}, feat_weight: 100")),
            "takd": student("takd", "vgg14_takd", f"phases.assistant.compress.takd.teacher={teacher.weights('teacher')}"),
        }
        done = at_once(rows)
        for row in rows:
            t.put(row, seed, done[row].top1("student"))
        t.put("takd: the assistant", seed, done["takd"].top1("assistant"))
        hint[seed] = done["fitnets"].last_metric("fitnets.hint")

    each_seed(seeds, work)
    t.title += f" (teacher {teacher.top1('teacher'):.2f} %)"
    t.at_least("kd, T 2", "labels only", 0.5)
    t.at_least("kd, T 2", "kd, T 8", 0.5)
    t.at_least("kd, T 4, no labels", "labels only", -0.2)
    t.at_least("kd, T 4", "kd, T 4, mean over classes (a mistake)", 0)
    t.at_least("kd, T 4", "kd, T 4, without T^2 (a mistake)", 0.5)
    t.at_least("dkd, beta 1", "labels only", 0.7)
    t.at_least("dkd, beta 1", "kd, T 4", 0.5)
    t.at_least("dkd, beta 1", "dkd, beta 8", 0)
    t.at_least("fitnets", "labels only", 0.3)
    t.at_least("fitnets, hint only", "labels only", -0.3)
    loss = statistics.mean(hint.values())
    t.rule(f"the hint's loss in its last epoch, mean <= 0.20: {loss:.3f}, worst seed {max(hint.values()):.3f}", loss <= 0.2)
    t.at_least("fitnets, joint, weight 1", "labels only", -0.3)
    t.at_least("labels only", "fitnets, joint, weight 100", 0)
    t.at_least("takd", "labels only", 0.2)
    for row in ("kd, T 2", "dkd, beta 1", "fitnets", "takd"):
        worst = min(t.rows[row][s] - t.rows["labels only"][s] for s in seeds)
        t.rule(f"{row}: no seed below labels only - 0.5: {worst:+.2f}", worst >= -0.5)
    return [t]


# --- transformers: vtp, tome, dynamicvit, on a DeiT of six blocks -----------------------------------------------------------------


def transformers(runs, seeds):
    t = Table("DeiT of six blocks, width 96: features and tokens", seeds)

    def work(seed):
        first = runs.train(f"vtp-{seed}", "deit_vtp", f"seed={seed}")
        t.put("dense", seed, first.top1("dense"))
        weights = first.weights("dense")
        start = {phase: alone(phase, weights, "dense") + [f"seed={seed}"] for phase in ("pruned", "merged", "sparse")}
        vtp_knobs = "lambda: 0.1, l1: prox, gate_lr_scale: 33, target_macs: 0.5, sparse_epochs: 2"
        uniform = "lambda: 0, gate_lr_scale: 0, target_macs: 0.5, sparse_epochs: 2, scope: per_layer, pick: norm"

        def vtp(name, values, epochs):
            return lambda: runs.train(f"{name}-{seed}", "deit_vtp", *start["pruned"], f"phases.pruned.train.epochs={epochs}",
                                      knobs("pruned", "vtp", values))

        def tome(name, values, epochs):
            return lambda: runs.train(f"{name}-{seed}", "deit_tome", *start["merged"], knobs("merged", "tome", values), f"phases.merged.train.epochs={epochs}")

        def dynamicvit(name, values, epochs):
            return lambda: runs.train(f"{name}-{seed}", "deit_dynamicvit", *start["sparse"], "model.name=deit_micro_patch4_28", "data={name: fashion_mnist, batch_size: 128, limit: 20000}",
                                      "aug={hflip: true, crop_padding: 2, smoothing: 0.1}", f"phases.sparse.train.epochs={epochs}", "phases.sparse.sched.warmup_epochs=0",
                                      knobs("sparse", "dynamicvit", "at: [1, 3, 4], teacher: self, backbone_lr_scale: 1.0, freeze_epochs: 0, " + values))

        rows = {
            "vtp, 50 % of the MACs, right after the cut": vtp("vtp_cut", vtp_knobs, 2),
            "random, widths of vtp, right after the cut": vtp("vtp_random_cut", vtp_knobs + ", pick: random", 2),
            "uniform by norm, right after the cut": vtp("vtp_uniform_cut", uniform, 2),
            "vtp, 50 % of the MACs": lambda: first,
            "random, widths of vtp": vtp("vtp_random", vtp_knobs + ", pick: random", 4),
            "uniform by norm": vtp("vtp_uniform", uniform, 4),
            "tome r 2, no training": tome("tome2", "r: 2", 0),
            "tome r 4, no training": tome("tome4", "r: 4", 0),
            "tome r 6, no training": tome("tome6", "r: 6", 0),
            "tome r 6, random pairs, no training": tome("tome6_random", "r: 6, scorer: random", 0),
            "tome r 6, prop_attn off, no training": tome("tome6_plain", "r: 6, prop_attn: false", 0),
            "tome r 6, 1 epoch": tome("tome6_trained", "r: 6", 1),
            "dynamicvit 0.7, 4 epochs": dynamicvit("dynamicvit7_4", "keep_ratio: 0.7", 4),
            "dynamicvit 0.5, 4 epochs": dynamicvit("dynamicvit5_4", "keep_ratio: 0.5", 4),
            "dynamicvit 0.7, random tokens, no training": dynamicvit("dynamicvit7_random", "keep_ratio: 0.7, scorer: random", 0),
            "dynamicvit 0.7, predictors as they start": dynamicvit("dynamicvit7_start", "keep_ratio: 0.7", 0),
        }
        done = at_once(rows)
        for row in rows:
            t.put(row, seed, done[row].top1("pruned" if "vtp" in row or "uniform" in row else "merged" if "tome" in row else "sparse"))
        found = {place: (int(gone), int(all)) for place, gone, all in re.findall(r"(\w+) (\d+) of (\d+)", re.search("features cut: (.*)", first.output).group(1))}
        t.put("vtp: neurons cut, %", seed, 100 * found["mlp_hidden"][0] / found["mlp_hidden"][1])
        t.put("vtp: channels of heads cut, %", seed, 100 * found["head_out"][0] / found["head_out"][1])

    each_seed(seeds, work)
    t.at_least("vtp, 50 % of the MACs, right after the cut", "random, widths of vtp, right after the cut", 5)
    t.at_least("vtp, 50 % of the MACs", "random, widths of vtp", 0)
    t.at_least("vtp, 50 % of the MACs", "uniform by norm", -0.5)
    t.at_least("vtp: neurons cut, %", "vtp: channels of heads cut, %", 0)
    t.at_least("tome r 6, no training", "dense", -4)
    t.at_least("tome r 6, no training", "tome r 6, random pairs, no training", 2)
    t.at_least("tome r 6, no training", "tome r 6, prop_attn off, no training", 0)
    for less, more in (("2", "4"), ("4", "6")):
        t.at_least(f"tome r {less}, no training", f"tome r {more}, no training", -0.5)
    t.at_least("tome r 6, 1 epoch", "dense", -1.5)
    t.at_least("dynamicvit 0.7, 4 epochs", "dense", -2)
    t.at_least("dynamicvit 0.7, 4 epochs", "dynamicvit 0.7, random tokens, no training", 1)
    t.at_least("dynamicvit 0.7, 4 epochs", "dynamicvit 0.7, predictors as they start", 0)
    t.at_least("dynamicvit 0.5, 4 epochs", "dense", -4)
    return [t]


TABLES = {"sparse": sparse, "filters": filters, "quant": quant, "distill": distill, "transformers": transformers}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], default=[], metavar="TABLE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--vtrain", default=os.path.join(ROOT, "build/vtrain"), help="the program")
    parser.add_argument("--out", default="runs/acceptance")
    args = parser.parse_args()
    runs = Runs(os.path.abspath(args.vtrain), os.path.abspath(args.out), args.jobs)
    for name in args.tables or TABLES:
        for table in TABLES[name](runs, args.seeds):
            print(table.text(), flush=True)


if __name__ == "__main__":
    main()
