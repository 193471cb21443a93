#include "train/report.h"

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "compress/deploy/compare.h"
#include "compress/deploy/compare_int8.h"
#include "compress/deploy/packed_file.h"
#include "compress/deploy/twin.h"
#include "nn/graph.h"
#include "tensor/device_memory.h"
#include "tensor/parallel.h"
#include "train/environment.h"
#include "train/measure.h"
#include "train/phase.h"
#include "train/table.h"

namespace vtrain {
namespace {

Tensor random_images(const Runner& network, int64_t batch) {
  const ModelOptions& o = network.options;
  return Random(0, "", "measure")
      .normal({batch, o.channels, o.image_size, o.image_size}, {})
      .channels_last()
      .to(network.device);
}

std::vector<Timing> time_in_turn(const std::vector<Runner>& networks, int64_t batch, int rounds) {
  std::vector<Tensor> images;
  for (const Runner& network : networks) images.push_back(random_images(network, batch));
  std::vector<std::function<void()>> calls;
  for (size_t i = 0; i < networks.size(); ++i)
    calls.emplace_back([&network = networks[i], &x = images[i]] { network.run(x); });
  return measure_interleaved(calls, {.rounds = rounds, .warmup = 3});
}

/// How far a deployed network in f32 may be from the eager one, relative to the largest logit.
constexpr double kPlanTolerance = 1e-5;
// Ties but for rounding: one choice of some hundred thousand, of which an image makes some
// thousand.
constexpr double kOtherDecisions = 0.05;

}  // namespace

std::filesystem::path int8_file_of(const std::filesystem::path& folder, const std::string& phase) {
  return folder / (phase + ".int8.safetensors");
}

std::filesystem::path packed_file_of(const std::filesystem::path& folder,
                                     const std::string& phase) {
  return folder / (phase + ".packed.safetensors");
}

std::filesystem::path table_file_of(const std::filesystem::path& folder, const std::string& phase,
                                    const std::string& table) {
  return folder / str(phase, '.', table, ".csv");
}

Runner runner_of(Network& network, const Tensor& images) {
  Runner runner{.run = [&network](const Tensor& x) { return network.logits(x); },
                .executor = "eager",
                .why_eager = {},
                .device = network.device(),
                .options = network.architecture().options,
                .memory = {}};
  runner.memory = [&network](const Tensor& x) {
    const Device device = network.device();
    reset_memory_peak(device);
    const int64_t before = memory_use(device).in_use;
    network.logits(x);
    return memory_use(device).peak - before;
  };
  if (network.device() != Device{}) {
    runner.why_eager = "only the CPU's networks are deployed";
    return runner;
  }
  std::shared_ptr<Plan> plan;
  try {
    plan = std::make_shared<Plan>(network);
  } catch (const Error& error) {  // an op that is not deployed: the network still counts
    runner.why_eager = error.what();
    return runner;
  }
  const PlanDifference difference = compare(*plan, network, images, kPlanTolerance);
  if (!(difference.logits <= kPlanTolerance)) {
    throw Error(
        str("deployed ", network.architecture().model,
            ": its logits differ from the trained network's: max |difference| / max "
            "|logit| ",
            difference.logits, ", allowed ", kPlanTolerance, "; the first layer that differs is ",
            difference.first_layer.empty() ? "none" : difference.first_layer),
        ExitCode::kVerification);
  }
  if (difference.decisions > kOtherDecisions) {
    throw Error(
        str("deployed ", network.architecture().model,
            ": it chooses other tokens than the trained network for ", difference.decisions * 100,
            " % of the images, allowed ", kOtherDecisions * 100, " %"),
        ExitCode::kVerification);
  }
  runner.run = [plan](const Tensor& x) { return plan->run(x); };
  runner.memory = [plan](const Tensor& x) { return plan->memory(x.dim(0)).planned; };
  runner.executor = "plan f32";
  runner.eager_plan_max_rel = difference.logits;
  return runner;
}

Runner runner_of(const Int8Network& network, const Tensor& images) {
  const auto plan = std::make_shared<Plan>(*network.network, network.quantization);
  const std::unique_ptr<Network> twin =
      fake_quantized(*network.network, Graph(*network.network), network.quantization);
  const Int8Difference difference = compare_int8(*plan, *twin, images);
  if (!difference.first.empty()) {
    throw Error(str("deployed ", network.network->architecture().model,
                    ": its codes differ from the simulated network's by ", difference.worst_codes,
                    ", allowed 1; the first layer that differs is ", difference.first),
                ExitCode::kVerification);
  }
  ClassAgreement classes;
  classes.add(plan->run(images), twin->logits(images));
  return {.run = [plan](const Tensor& x) { return plan->run(x); },
          .executor = "plan int8",
          .why_eager = {},
          .device = {},
          .options = network.network->architecture().options,
          .eager_plan_max_rel = difference.worst_reals,
          .simulated_max_lsb = difference.worst_codes,
          .same_class_percent =
              100.0 * static_cast<double>(classes.same) / static_cast<double>(classes.images),
          .memory = [plan](const Tensor& x) { return plan->memory(x.dim(0)).planned; }};
}

std::vector<Speed> measure_speed(const std::vector<Runner>& networks) {
  std::vector<Speed> speeds(networks.size());
  const std::vector<Timing> single = time_in_turn(networks, 1, 200),
                            many = time_in_turn(networks, 64, 40);
  for (size_t i = 0; i < networks.size(); ++i) {
    speeds[i] = {.latency_ms_p50 = single[i].p50 * 1e3,
                 .latency_ms_p95 = single[i].p95 * 1e3,
                 .images_per_second = 64 / many[i].p50,
                 .peak_memory_bytes = networks[i].memory(random_images(networks[i], 64))};
  }
  return speeds;
}

namespace {

/// "65.5 % of the MACs; batch 64: 1.32x; batch 1: no speed-up (0.92x)".
std::string ratio_words(double mac_ratio, double throughput, double latency) {
  const auto words = [](double speedup) {
    const std::string factor = fixed(speedup, 2) + "x";
    return speedup >= 1.02 ? factor : str("no speed-up (", factor, ')');
  };
  return str(fixed(mac_ratio * 100, 1), " % of the MACs; batch 64: ", words(throughput),
             "; batch 1: ", words(latency));
}

std::string table_text(const Experiment& e, const std::map<std::string, NetworkFigures>& networks) {
  Table table({{"network", Align::kLeft},
               {"top-1 %"},
               {"top-5 %"},
               {"MACs"},
               {"params"},
               {"file"},
               {"p50 ms b1"},
               {"p95 ms b1"},
               {"images/s b64"},
               {"kind", Align::kLeft}});
  for (const PhaseConfig& phase : e.phases) {
    const NetworkFigures& f = networks.at(phase.name);
    table.add_row(
        {phase.name, fixed(f.accuracy.top1_percent, 2), fixed(f.accuracy.top5_percent, 2),
         human_count(static_cast<double>(f.macs)), with_thousands(f.params),
         human_bytes(static_cast<double>(f.bytes)), fixed(f.latency_ms_p50, 3),
         fixed(f.latency_ms_p95, 3), fixed(f.images_per_second, 0),
         str(f.kind.empty() ? "dense" : f.kind, f.executor == "plan int8" ? ", on int8" : "")});
  }
  std::string text = table.text();
  for (const PhaseConfig& phase : e.phases) {
    for (const auto& [row, value] : networks.at(phase.name).rows)
      text += str(phase.name, ": ", row, ": ", value, '\n');
  }
  return text;
}

}  // namespace

namespace {
/// The smallest form that a phase left.
std::filesystem::path deployed_file(const std::filesystem::path& folder, const std::string& phase) {
  for (const std::filesystem::path& file :
       {int8_file_of(folder, phase), packed_file_of(folder, phase)}) {
    if (std::filesystem::exists(file)) return file;
  }
  return folder / (phase + ".safetensors");
}
}  // namespace

Report make_report(const Experiment& e, const std::filesystem::path& folder,
                   const std::map<std::string, PhaseNotes>& notes, double seconds) {
  using Json = nlohmann::ordered_json;
  Report report;
  std::vector<Int8Network> loaded;  // those in reals have an empty quantization
  std::vector<Runner> runners;
  for (const PhaseConfig& phase : e.phases) {
    const std::filesystem::path file = deployed_file(folder, phase.name);
    const bool is_on_integers = is_int8_file(file), is_packed = is_packed_file(file);
    loaded.push_back(is_on_integers ? load_int8(file) : Int8Network{.network = load_reals(file)});
    Network& network = *loaded.back().network;
    if (!is_on_integers) network.move_to(e.device);
    const PhaseData data = open_data(phase, e.seed);
    std::vector<int64_t> all(static_cast<size_t>(data.test->size()));
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    Loader test(data.test, all,
                {.batch_size = 250,
                 .workers = phase.data.workers,
                 .mean = phase.data.mean,
                 .std = phase.data.std,
                 .input = data.input,
                 .max_bad = phase.data.max_bad});
    Loader sample(data.train, data.val_indices.empty() ? data.train_indices : data.val_indices,
                  {.batch_size = 32,
                   .mean = phase.data.mean,
                   .std = phase.data.std,
                   .input = data.input,
                   .max_bad = phase.data.max_bad});
    sample.start(0);
    const Tensor compared = sample.next()->images;
    runners.push_back(is_on_integers ? runner_of(loaded.back(), compared)
                                     : runner_of(network, compared));
    NetworkFigures& f = report.networks[phase.name];
    f.accuracy = runners.back().why_eager.empty()
                     ? evaluate([&run = runners.back().run](const Tensor& images,
                                                            int64_t) { return run(images); },
                                test)
                     : evaluate(network, test);
    const Graph graph(network);
    f.macs = graph.macs();
    f.params = graph.params();
    f.bytes = static_cast<int64_t>(std::filesystem::file_size(file));
    if (const auto note = notes.find(phase.name); note != notes.end()) {
      f.kind = note->second.kind;
      f.rows = note->second.rows;
    }
    f.executor = runners.back().executor;
    if (is_packed)
      f.rows.emplace_back("packed",
                          "weights are unpacked when they are loaded: as fast as in reals");
    if (!runners.back().why_eager.empty())
      f.rows.emplace_back("not deployed", runners.back().why_eager);
  }
  const std::vector<Speed> speeds = measure_speed(runners);
  for (size_t i = 0; i < e.phases.size(); ++i) {
    NetworkFigures& f = report.networks[e.phases[i].name];
    f.latency_ms_p50 = speeds[i].latency_ms_p50;
    f.latency_ms_p95 = speeds[i].latency_ms_p95;
    f.images_per_second = speeds[i].images_per_second;
    f.peak_memory_bytes = speeds[i].peak_memory_bytes;
  }
  report.table = table_text(e, report.networks);
  report.compact_top1 = report.networks.at(e.compact.empty() ? e.phases.back().name : e.compact)
                            .accuracy.top1_percent;

  Json networks_json;
  for (const PhaseConfig& phase : e.phases) {
    const NetworkFigures& f = report.networks.at(phase.name);
    networks_json[phase.name] = {{"top1_percent", f.accuracy.top1_percent},
                                 {"top5_percent", f.accuracy.top5_percent},
                                 {"loss", f.accuracy.loss},
                                 {"macs", f.macs},
                                 {"params", f.params},
                                 {"bytes", f.bytes},
                                 {"latency_ms_p50", f.latency_ms_p50},
                                 {"latency_ms_p95", f.latency_ms_p95},
                                 {"images_per_s", f.images_per_second},
                                 {"peak_memory_bytes", f.peak_memory_bytes},
                                 {"executor", f.executor},
                                 {"kind", f.kind.empty() ? Json(nullptr) : Json(f.kind)}};
  }
  Json pair = nullptr, ratio = nullptr;
  if (!e.compact.empty() && e.compact != e.reference) {
    const NetworkFigures &a = report.networks.at(e.reference), &b = report.networks.at(e.compact);
    const auto share = [](int64_t x, int64_t y) {
      return static_cast<double>(x) / static_cast<double>(y);
    };
    const double speedup = b.images_per_second / a.images_per_second;
    pair = {{"reference", e.reference}, {"compact", e.compact}};
    ratio = {{"macs", share(b.macs, a.macs)},
             {"params", share(b.params, a.params)},
             {"bytes", share(b.bytes, a.bytes)},
             {"throughput", speedup}};
    report.table +=
        str(e.compact, " against ", e.reference, ": ",

            ratio_words(share(b.macs, a.macs), speedup, a.latency_ms_p50 / b.latency_ms_p50), '\n');
  }
  Json masked_compact = nullptr;
  for (const auto& [phase, note] : notes) {
    if (!note.is_verified) continue;
    masked_compact = std::max(note.masked_compact_max_rel,
                              masked_compact.is_null() ? 0.0 : masked_compact.get<double>());
  }
  Json eager_plan = nullptr;
  for (const Runner& runner : runners) {
    if (!runner.why_eager.empty()) continue;
    eager_plan =
        std::max(runner.eager_plan_max_rel, eager_plan.is_null() ? 0.0 : eager_plan.get<double>());
  }
  Json max_lsb = nullptr, same_class = nullptr;
  for (const Runner& runner : runners) {
    if (!runner.simulated_max_lsb) continue;
    max_lsb = std::max(*runner.simulated_max_lsb,
                       max_lsb.is_null() ? int64_t{0} : max_lsb.get<int64_t>());
    same_class = std::min(runner.same_class_percent,
                          same_class.is_null() ? 100.0 : same_class.get<double>());
  }
  std::string amp = "off";
  for (const auto& [phase, note] : notes) {
    if (note.amp != "off") amp = note.amp;
  }
  report.json = Json{
      {"recipe", e.name},
      {"seed", e.seed},
      {"device", e.device.text()},
      {"chip", chip_name()},
      {"threads", num_threads()},
      {"amp", amp},
      {"executor",
       report.networks.at(e.compact.empty() ? e.phases.back().name : e.compact).executor},
      {"networks", networks_json},
      {"pair", pair},
      {"ratio", ratio},
      {"verified",
       {{"masked_compact_max_rel", masked_compact},
        {"eager_plan_max_rel", eager_plan},
        {"simulated_deployed_max_lsb", max_lsb},
        {"argmax_agree_percent", same_class}}},
      {"seconds",
       seconds}}.dump();
  return report;
}

}  // namespace vtrain
