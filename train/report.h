#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compress/deploy/int8_file.h"
#include "train/evaluate.h"
#include "train/experiment.h"

namespace vtrain {

/// What a finished network costs and reaches; one entry of result.json.
struct NetworkFigures {
  Accuracy accuracy;  // test split
  int64_t macs = 0, params = 0, bytes = 0, peak_memory_bytes = 0;
  double latency_ms_p50 = 0, latency_ms_p95 = 0;          // batch 1
  double images_per_second = 0;                           // batch 64, median
  std::string executor;                                   // Runner::executor
  std::string kind;                                       // "" for a network no method touched
  std::vector<std::pair<std::string, std::string>> rows;  // what methods have to say
};

/// What phases leave behind for the report, beside their weights.
struct PhaseNotes {
  std::string kind;
  std::string amp = "off";  // what it trained in: off (f32) or bf16
  double masked_compact_max_rel = 0;
  bool is_verified = false;
  std::vector<std::pair<std::string, std::string>> rows;
};

struct Report {
  std::map<std::string, NetworkFigures> networks;  // by phase
  std::string table;                               // for the terminal
  std::string json;                                // result.json
  double compact_top1 = 0;
};

/// Where a phase that ends on integers, or with packed weights, leaves its network, beside its
/// weights in reals.
std::filesystem::path int8_file_of(const std::filesystem::path& folder, const std::string& phase);
std::filesystem::path packed_file_of(const std::filesystem::path& folder, const std::string& phase);
/// Where a table of the phase's methods lies (Run::table).
std::filesystem::path table_file_of(const std::filesystem::path& folder, const std::string& phase,
                                    const std::string& table);

/// Loads what the phases left in `folder`, the smallest file of each, deploys it, evaluates
/// and measures the deployed networks, the pair in turn in this process, and compares. Each
/// deployed network is compared with its eager one on real images first, layer by layer. `seconds`:
/// of the whole run, all its processes. Throws Error with exit code 6 where the two forms differ,
/// naming the layer.
Report make_report(const Experiment& experiment, const std::filesystem::path& folder,
                   const std::map<std::string, PhaseNotes>& notes, double seconds);

/// A network as it runs at the end: deployed, or eager where it cannot be, with the reason.
struct Runner {
  std::function<Tensor(const Tensor& images)> run;
  std::string executor;   // "plan f32", "plan int8" or "eager"
  std::string why_eager;  // empty for a plan
  Device device;
  ModelOptions options;           // sizes of its images
  double eager_plan_max_rel = 0;  // max |difference| / max |logit| on `images`; 0 if eager
  /// Of integers: by how many codes a step is off its simulated twin at most, and the share of
  /// `images` on which both choose the same class.
  std::optional<int64_t> simulated_max_lsb = {};
  double same_class_percent = 0;
  /// Bytes of activations for a batch.
  std::function<int64_t(const Tensor& images)> memory;
};
/// `images`: real ones, (N, C, H, W).
Runner runner_of(Network& network, const Tensor& images);
/// On integers. Throws Error with exit code 6 where it differs from its simulated twin, naming the
/// layer. eager_plan_max_rel is that of real values, layer by layer.
Runner runner_of(const Int8Network& network, const Tensor& images);

/// Figures of networks measured in turn: A B A B ...
struct Speed {
  double latency_ms_p50 = 0, latency_ms_p95 = 0, images_per_second = 0;
  int64_t peak_memory_bytes = 0;
};
std::vector<Speed> measure_speed(const std::vector<Runner>& networks);

}  // namespace vtrain
