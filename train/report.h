#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "train/evaluate.h"
#include "train/experiment.h"

namespace vtrain {

/// What a finished network costs and reaches; one entry of result.json.
struct NetworkFigures {
  Accuracy accuracy;  // test split
  int64_t macs = 0, params = 0, bytes = 0, peak_memory_bytes = 0;
  double latency_ms_p50 = 0, latency_ms_p95 = 0;          // batch 1
  double images_per_second = 0;                           // batch 64, median
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

/// Loads the weights that the phases left in `folder`, evaluates them on the test split, measures
/// latency and throughput of the pair in turn in this process, and compares. `seconds`: of the
/// whole run, all its processes.
Report make_report(const Experiment& experiment, const std::filesystem::path& folder,
                   const std::map<std::string, PhaseNotes>& notes, double seconds);

/// Figures of networks measured in turn: A B A B ...
struct Speed {
  double latency_ms_p50 = 0, latency_ms_p95 = 0, images_per_second = 0;
  int64_t peak_memory_bytes = 0;
};
std::vector<Speed> measure_speed(const std::vector<Network*>& networks);

}  // namespace vtrain
