// A network's logits by the deployed plan and by the eager network: time per batch, and with
// --profile the time of every step. bench/deploy.py runs it beside PyTorch and ONNX Runtime.
//
//     deploy MODEL BATCH [--mode plan|eager] [--dtype f32|bf16|int8] [--macs SHARE]
//     [--round-to N] [--merge R] [--at-once N] [--threads N] [--seconds S] [--profile]
//
// int8 is a plan whose scales come from random images: its time is that of a trained network's.
// --macs cuts filters of least L1 norm, the same share of every group, until so much is left;
// --merge merges R tokens in every block of a transformer (compress/tokens/tome.cpp).
//
// Prints one JSON object; with --profile a table.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "compress/deploy/calibrate.h"
#include "compress/deploy/plan.h"
#include "compress/parts/budget.h"
#include "compress/parts/importance.h"
#include "nn/module_registry.h"
#include "tensor/choices.h"
#include "tensor/parallel.h"
#include "tensor/random.h"
#include "train/measure.h"

namespace vtrain {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Arguments {
  std::string model, mode = "plan";
  int64_t batch = 1, at_once = 0;  // 0: the plan's choice
  DType dtype = DType::f32;
  bool is_int8 = false;
  double macs = 1;
  int64_t round_to = 1, merge = 0;
  int threads = 2;
  double seconds = 5;
  bool is_profile = false;
};

/// The least time of each step in some runs, beside describe()'s lines.
void run_profile(Plan& plan, const Tensor& images) {
  constexpr size_t kRuns = 15;
  std::vector<double> least = plan.step_seconds(images);
  for (size_t i = 1; i < kRuns; ++i) {
    const std::vector<double> seconds = plan.step_seconds(images);
    for (size_t s = 0; s < seconds.size(); ++s) least[s] = std::min(least[s], seconds[s]);
  }
  std::istringstream lines(plan.describe(images.dim(0)));
  double total = 0;
  for (const double seconds : least) {
    std::string line;
    std::getline(lines, line);
    const double ms = seconds * 1e3;
    total += ms;
    std::printf("%9.3f ms  %s\n", ms, line.c_str());
  }
  std::printf("%9.3f ms  all\n", total);
}

/// Cuts the network to a share of its multiply-adds; returns what is left, in millions.
double cut_to(Network& network, double share, int64_t round_to) {
  const CutGroups groups(network);
  Cut cut = groups.nothing();
  if (share < 1) {
    std::vector<std::vector<double>> scores;
    for (const CutGroup& group : groups.groups())
      scores.push_back(row_norms(network, group, WeightNorm::kL1));
    cut = solve_budget(groups, scores, {.macs = share}, {.round_to = round_to});
    network.cut(groups.plan(cut));
  }
  return static_cast<double>(groups.macs(cut)) / 1e6;
}

/// Merges `r` tokens in every block; returns the multiply-adds that are left, in millions.
double merge_tokens(Network& network, int64_t r) {
  const auto is_block = [&](int block) {
    return std::ranges::any_of(network.root().modules(),
                               [&](const Module* m) { return m->path() == str("blocks.", block); });
  };
  for (int block = 0; is_block(block); ++block) {
    network.set_part(
        str("blocks.", block, ".after_attention.in"),
        make_module(
            "tome_merge",
            {{"r", static_cast<double>(r)}, {"block", block}, {"metric", 0}, {"prop_attn", 1}}));
  }
  return static_cast<double>(Graph(network).macs()) / 1e6;
}

void run(const Arguments& a) {
  const ModelInfo& info = find_model(a.model);
  Network network({.model = a.model, .options = info.usual, .parts = {}});
  network.initialise(1);
  double macs = cut_to(network, a.macs, a.round_to);
  if (a.merge > 0) macs = merge_tokens(network, a.merge);
  const ModelOptions& o = info.usual;
  const Tensor images = Random(1, "", "bench")
                            .normal({a.batch, o.channels, o.image_size, o.image_size}, {})
                            .channels_last();
  Choices::of_process().set_measuring(a.mode == "eager");
  Plan plan = [&] {
    const PlanOptions options{.dtype = a.dtype, .images_at_once = a.at_once};
    if (!a.is_int8) return Plan(network, options);
    const std::vector<Tensor> seen{
        Random(2, "", "bench").normal({16, o.channels, o.image_size, o.image_size}, {})};
    return Plan(network, calibrate(network, Graph(network), seen), options);
  }();
  const bool is_plan = a.mode == "plan";
  Pass pass;
  pass.dtype = a.dtype;
  const auto once = [&] {
    if (is_plan) {
      plan.run(images);
    } else {
      network.forward(images, pass);
    }
  };
  once();
  Choices::of_process().set_measuring(false);
  if (a.is_profile) return run_profile(plan, images);

  std::vector<double> seconds,
      cpu_seconds;  // the latter of all threads: for a machine that is shared
  const Clock::time_point began = Clock::now();
  while (seconds.size() < 5 || (seconds_since(began) < a.seconds && seconds.size() < 2000)) {
    const Clock::time_point step = Clock::now();
    const std::clock_t cpu = std::clock();
    once();
    seconds.push_back(seconds_since(step));
    cpu_seconds.push_back(static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC);
  }
  const Timing timing = timing_of(seconds);
  std::cout << Json{{"program", "vtrain"},
                    {"mode", a.mode},
                    {"model", a.model},
                    {"batch", a.batch},
                    {"dtype", a.is_int8 ? "int8" : name_of(a.dtype)},
                    {"mmacs", macs},
                    {"threads", num_threads()},
                    {"ms", timing.p50 * 1e3},
                    {"min_ms", timing.min * 1e3},
                    {"cpu_ms", timing_of(cpu_seconds).p50 * 1e3},
                    {"min_cpu_ms", timing_of(cpu_seconds).min * 1e3},
                    {"images_per_s", static_cast<double>(a.batch) / timing.p50},
                    {"planned_mib", static_cast<double>(plan.memory(a.batch).planned) / (1 << 20)},
                    {"runs", seconds.size()}}
                   .dump()
            << std::endl;
}

int usage() {
  std::cerr
      << "usage: deploy MODEL BATCH [--mode plan|eager] [--dtype f32|bf16|int8] [--macs SHARE] "
         "[--round-to N] [--merge R] [--at-once N] [--threads N] [--seconds S] [--profile]\n";
  return 2;
}

int main_of(const std::vector<std::string>& words) {
  if (words.size() < 2) return usage();
  Arguments a;
  a.model = words[0];
  a.batch = std::atoll(words[1].c_str());
  for (size_t i = 2; i < words.size(); ++i) {
    if (words[i] == "--profile") {
      a.is_profile = true;
      continue;
    }
    if (i + 1 == words.size()) return usage();
    const std::string& value = words[++i];
    const std::string& name = words[i - 1];
    if (name == "--mode" && (value == "plan" || value == "eager")) {
      a.mode = value;
    } else if (name == "--dtype" && (value == "f32" || value == "bf16")) {
      a.dtype = value == "bf16" ? DType::bf16 : DType::f32;
      a.is_int8 = false;
    } else if (name == "--dtype" && value == "int8") {
      a.is_int8 = true;
    } else if (name == "--macs") {
      a.macs = std::atof(value.c_str());
    } else if (name == "--round-to") {
      a.round_to = std::atoll(value.c_str());
    } else if (name == "--merge") {
      a.merge = std::atoll(value.c_str());
    } else if (name == "--at-once") {
      a.at_once = std::atoll(value.c_str());
    } else if (name == "--threads") {
      a.threads = std::atoi(value.c_str());
    } else if (name == "--seconds") {
      a.seconds = std::atof(value.c_str());
    } else {
      return usage();
    }
  }
  if (a.batch < 1 || a.at_once < 0 || a.threads < 1 || a.round_to < 1) return usage();
  if (a.is_int8 && a.mode != "plan") return usage();
  set_num_threads(a.threads);
  run(a);
  return 0;
}

}  // namespace
}  // namespace vtrain

int main(int argc, char** argv) {
  try {
    return vtrain::main_of({argv + 1, argv + argc});
  } catch (const vtrain::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
