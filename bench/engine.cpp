// One model's training step or forward pass: time, peak memory, and with --profile the time and the
// share of this machine's roofline of every kernel and shape in it. bench/engine.py runs it for all
// models beside PyTorch.
//
//     engine MODEL train|forward BATCH [--dtype f32|bf16|auto] [--threads N] [--seconds S]
//     [--profile]
//
// Prints JSON objects, one per line.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "autograd/arithmetic.h"
#include "autograd/normalize.h"
#include "nn/network.h"
#include "nn/optim/optimizer.h"
#include "recipes/recipe.h"
#include "tensor/device_memory.h"
#include "tensor/ops/matmul.h"
#include "tensor/parallel.h"
#include "tests/kernel_tables.h"
#include "train/environment.h"
#include "train/measure.h"
#include "train/precision.h"

namespace vtrain {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// --- a device of the CPU's kernels that keeps their times ----------------------------------------

struct Entry {
  int64_t calls = 0;
  double seconds = 0, flop = 0, bytes = 0;  // of all calls
};

struct Profile {
  std::map<std::string, Entry> entries;  // by kernel, dtype and shapes
  Entry* open = nullptr;
  Clock::time_point began;
};
Profile& profile() {
  static Profile one;
  return one;
}

Device timed_device();

/// A tensor of the same elements that says it is on `device`.
Tensor tagged(const Tensor& t, Device device) {
  if (!t.defined()) return t;
  const std::shared_ptr<std::byte> memory(const_cast<std::byte*>(t.raw()),
                                          [keep = t](std::byte*) {});
  return Tensor::of_memory(memory, t.shape(), t.strides(), t.dtype(), device);
}

/// A kernel by its table's name and its place in it.
std::string kernel_name(const std::string& op, size_t kernel) {
  static const std::map<std::string, std::vector<std::string>> kNames = {
      {"conv2d", {"forward", "grad_x", "grad_w"}},
      {"matmul", {"product"}},
      {"attention", {"forward", "grad", "map"}},
      {"batch_norm", {"forward", "again", "grad"}},
      {"layer_norm", {"forward", "grad"}},
      {"gelu", {"forward", "grad"}},
      {"cross_entropy", {"forward", "grad"}},
      {"softmax", {"forward", "grad", "log_forward", "log_grad"}},
      {"pool", {"max", "max_grad", "average", "average_grad"}},
      {"binary", {"apply", "accumulate"}},
      {"reduce", {"sum_middle", "argmax_rows", "sum_rows"}},
      {"optimize", {"adamw", "sgd", "ema", "sum_of_squares"}}};
  const auto found = kNames.find(op);
  const bool is_known = found != kNames.end() && kernel < found->second.size();
  return op + '.' + (is_known ? found->second[kernel] : std::to_string(kernel));
}

/// Multiplications and additions, counted as two, of the kernels that have most of them.
double flop_of(const std::string& name, const std::vector<Tensor>& t) {
  const auto n = [&](size_t i) { return static_cast<double>(t[i].numel()); };
  if (name.starts_with("conv2d.")) {
    // forward (x, w, [b], y), grad_x (dy, w, dx), grad_w (dy, x, dw)
    const Tensor& w = name.ends_with("grad_w") ? t.back() : t[1];
    const double outputs = name.ends_with("forward") ? n(t.size() - 1) : n(0);
    return 2 * outputs * static_cast<double>(w.numel()) / static_cast<double>(w.dim(0));
  }
  if (name == "matmul.product") return 2 * n(t.size() - 1) * static_cast<double>(t[0].dim(-1));
  if (name.starts_with("attention.")) {
    const double length = static_cast<double>(t[0].dim(1));
    return (name.ends_with("forward") ? 4 : 10) * n(0) / 3 * length;
  }
  return 0;
}

struct Timed {
  static Tensor for_kernels(const Tensor& t, bool) { return tagged(t, Device{}); }
  static Tensor for_device(const Tensor& t) { return tagged(t, timed_device()); }
  static void before(const char* op, size_t kernel, auto& arguments) {
    std::vector<Tensor> tensors;
    std::apply(
        [&](auto&... each) {
          (kernel_tables::for_each_tensor(each.value,
                                          [&](const Tensor& t) {
                                            if (t.defined()) tensors.push_back(t);
                                          }),
           ...);
        },
        arguments);
    const std::string name = kernel_name(op, kernel);
    std::string key = name;
    double bytes = 0;
    for (const Tensor& t : tensors) bytes += static_cast<double>(t.bytes());
    if (name.starts_with("optimize.")) {
      key += str(' ', tensors.size(), " tensors");
    } else {
      for (const Tensor& t : tensors) key += str(' ', name_of(t.dtype()), t.shape());
    }
    Entry& entry = profile().entries[key];
    ++entry.calls;
    entry.flop += flop_of(name, tensors);
    entry.bytes += bytes;
    profile().open = &entry;
    profile().began = Clock::now();
  }
  static void after() { profile().open->seconds += seconds_since(profile().began); }
};

void timed_copy(const Tensor& from, Tensor& to) {
  Entry& entry =
      profile()
          .entries[str("copy ", name_of(from.dtype()), from.shape(), " to ", name_of(to.dtype()))];
  ++entry.calls;
  entry.bytes += static_cast<double>(from.bytes() + to.bytes());
  const Clock::time_point began = Clock::now();
  Tensor target = tagged(to, Device{});
  device_memory.on(Device{}).copy(tagged(from, Device{}), target);
  entry.seconds += seconds_since(began);
}
void timed_fill(Tensor& to, double value) {
  Entry& entry = profile().entries[str("fill ", name_of(to.dtype()), to.shape())];
  ++entry.calls;
  entry.bytes += static_cast<double>(to.bytes());
  const Clock::time_point began = Clock::now();
  Tensor target = tagged(to, Device{});
  device_memory.on(Device{}).fill(target, value);
  entry.seconds += seconds_since(began);
}

Device timed_device() {
  static const DeviceType type = DeviceType::add("timed");
  static const bool once = [] {
    DeviceMemory memory = device_memory.on(Device{});
    memory.copy = timed_copy;
    memory.fill = timed_fill;
    device_memory.add(type, memory);
    register_cpu_kernels_as<Timed>(type);
    return true;
  }();
  return once ? Device{type, 0} : Device{};
}

// --- the work ------------------------------------------------------------------------------------

struct Arguments {
  std::string model, work;
  int64_t batch = 1;
  std::string dtype = "f32";
  int threads = 2;
  double seconds = 10;
  bool is_profile = false;
};

double peak_mib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}
double resident_mib() {
  std::ifstream in("/proc/self/statm");
  double size = 0, resident = 0;
  in >> size >> resident;
  return resident * 4096 / (1 << 20);
}

/// The largest of a few timings of products, and the bandwidth of copies: the roofline.
Json machine() {
  const int64_t n = 1024;
  Json peak;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor a = full({n, n}, 0.5).to(dtype), b = full({n, n}, 0.25).to(dtype);
    double best = 0;
    for (int i = 0; i < 20; ++i) {
      const Clock::time_point began = Clock::now();
      matmul(a, b);
      best = std::max(best, 2e-9 * static_cast<double>(n * n * n) / seconds_since(began));
    }
    peak[std::string(name_of(dtype)) + "_gflop_per_s"] = std::round(best);
  }
  const Tensor from = zeros({64 << 20});
  Tensor to = zeros({64 << 20});
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const Clock::time_point began = Clock::now();
    parallel_for(from.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
      std::copy(from.data<float>() + begin, from.data<float>() + end, to.data<float>() + begin);
    });
    best = std::max(best, 2e-9 * static_cast<double>(from.bytes()) / seconds_since(began));
  }
  peak["gb_per_s"] = std::round(best * 10) / 10;
  return peak;
}

class Work {
 public:
  explicit Work(const Arguments& a, Device device) : is_training_(a.work == "train") {
    const ModelInfo& info = find_model(a.model);
    network_ = std::make_unique<Network>(
        Architecture{.model = a.model, .options = info.usual, .parts = {}});
    network_->initialise(1);
    network_->move_to(device);
    dtype_ = make_choices(*network_, a.batch,
                          a.dtype == "bf16"   ? Amp::kBf16
                          : a.dtype == "auto" ? Amp::kAuto
                                              : Amp::kOff,
                          [](const std::string& line) { std::cerr << line << '\n'; });
    const ModelOptions& o = info.usual;
    images_ = Random(1, "", "bench")
                  .normal({a.batch, o.channels, o.image_size, o.image_size}, {})
                  .channels_last()
                  .to(device);
    std::vector<double> targets(static_cast<size_t>(a.batch * o.num_classes), 0);
    for (int64_t n = 0; n < a.batch; ++n)
      targets[static_cast<size_t>(n * o.num_classes + n % o.num_classes)] = 1;
    targets_ = from_values({a.batch, o.num_classes}, targets, DType::f32, device);
    const bool is_transformer = network_->has_module("blocks.0");
    optimizer_ = read_optimizer(Recipe::from_text(
        is_transformer ? "{name: adamw, lr: 1.0e-4, weight_decay: 0.05}"
                       : "{name: sgd, lr: 0.01, momentum: 0.9, weight_decay: 1.0e-4}",
        "bench", {}));
    groups_ = {{.name = "all", .parameters = {}}};
    for (const Parameter& p : network_->parameters()) {
      if (!p.is_buffer()) groups_[0].parameters.push_back(p);
    }
    Choices::of_process().set_measuring(true);
    run();
    Choices::of_process().set_measuring(false);
  }

  DType dtype() const { return dtype_; }

  void run() {
    Pass pass;
    pass.dtype = dtype_;
    if (!is_training_) {
      network_->forward(images_, pass);
      return;
    }
    pass.is_training = pass.wants_grad = true;
    for (const Parameter& p : groups_[0].parameters) p.clear_grad();
    backward(mean(cross_entropy(network_->forward(images_, pass).logits, targets_)));
    optimizer_.optimizer->step(groups_, optimizer_.lr, 1);
  }

 private:
  bool is_training_;
  std::unique_ptr<Network> network_;
  DType dtype_ = DType::f32;
  Tensor images_, targets_;
  OptimizerOptions optimizer_;
  std::vector<ParameterGroup> groups_;
};

void run_times(const Arguments& a) {
  const double before = resident_mib();
  Work work(a, Device{});
  work.run();
  std::vector<double> seconds;
  const Clock::time_point began = Clock::now();
  while (seconds.size() < 5 || (seconds_since(began) < a.seconds && seconds.size() < 500)) {
    const Clock::time_point step = Clock::now();
    work.run();
    seconds.push_back(seconds_since(step));
  }
  const Timing timing = timing_of(seconds);
  std::cout << Json{{"program", "vtrain"},
                    {"mode", "eager"},
                    {"model", a.model},
                    {"work", a.work},
                    {"batch", a.batch},
                    {"dtype", name_of(work.dtype())},
                    {"threads", num_threads()},
                    {"ms", timing.p50 * 1e3},
                    {"min_ms", timing.min * 1e3},
                    {"images_per_s", static_cast<double>(a.batch) / timing.p50},
                    {"peak_mib", std::round(peak_mib())},
                    {"step_mib", std::round(peak_mib() - before)},
                    {"runs", seconds.size()}}
                   .dump()
            << std::endl;
}

void run_profile(const Arguments& a) {
  const Json peak = machine();
  std::cout << Json{{"program", "vtrain"}, {"chip", chip_name()}, {"machine", peak}}.dump()
            << std::endl;
  Work work(a, timed_device());
  work.run();
  profile().entries.clear();
  constexpr int kRuns = 5;
  const Clock::time_point began = Clock::now();
  for (int i = 0; i < kRuns; ++i) work.run();
  const double whole = seconds_since(began) / kRuns;
  std::vector<std::pair<std::string, Entry>> rows(profile().entries.begin(),
                                                  profile().entries.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& x, const auto& y) { return x.second.seconds > y.second.seconds; });
  double kernels = 0;
  for (const auto& [key, entry] : rows) {
    const bool is_bf16 = key.find("bf16") != std::string::npos;
    const double flop_per_s =
                     1e9 * peak[is_bf16 ? "bf16_gflop_per_s" : "f32_gflop_per_s"].get<double>(),
                 bytes_per_s = 1e9 * peak["gb_per_s"].get<double>();
    const double least = std::max(entry.flop / flop_per_s, entry.bytes / bytes_per_s);
    kernels += entry.seconds / kRuns;
    std::cout << Json{{"kernel", key},
                      {"calls", entry.calls / kRuns},
                      {"ms", 1e3 * entry.seconds / kRuns},
                      {"share", entry.seconds / kRuns / whole},
                      {"gflop_per_s", 1e-9 * entry.flop / entry.seconds},
                      {"gb_per_s", 1e-9 * entry.bytes / entry.seconds},
                      {"roofline", least / entry.seconds}}
                     .dump()
              << std::endl;
  }
  std::cout
      << Json{{"whole_ms", whole * 1e3}, {"outside_kernels_ms", (whole - kernels) * 1e3}}.dump()
      << std::endl;
}

int usage() {
  std::cerr << "engine MODEL train|forward BATCH [--dtype f32|bf16|auto] [--threads N] [--seconds "
               "S] [--profile]\n";
  return 2;
}

double number(const std::string& name, const std::string& word, double least) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (word.empty() || *end != '\0' || !(value >= least))
    throw Error(str(name, ": expected a number of at least ", least, ", got ", word));
  return value;
}

int run(const std::vector<std::string>& words) {
  if (words.size() < 3) return usage();
  Arguments a;
  a.model = words[0];
  a.work = words[1];
  a.batch = static_cast<int64_t>(number("BATCH", words[2], 1));
  if (a.work != "train" && a.work != "forward") return usage();
  for (size_t i = 3; i < words.size(); ++i) {
    if (words[i] == "--profile") {
      a.is_profile = true;
    } else if (i + 1 < words.size() && words[i] == "--dtype") {
      a.dtype = words[++i];
      if (a.dtype != "f32" && a.dtype != "bf16" && a.dtype != "auto") return usage();
    } else if (i + 1 < words.size() && words[i] == "--threads") {
      a.threads = static_cast<int>(number("--threads", words[++i], 1));
    } else if (i + 1 < words.size() && words[i] == "--seconds") {
      a.seconds = number("--seconds", words[++i], 0);
    } else {
      return usage();
    }
  }
  set_num_threads(a.threads);
  a.is_profile ? run_profile(a) : run_times(a);
  return 0;
}

}  // namespace
}  // namespace vtrain

int main(int argc, char** argv) {
  try {
    return vtrain::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::cerr << "engine: " << error.what() << '\n';
    return 1;
  }
}
