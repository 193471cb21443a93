#include "train/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

double quantile(std::span<const double> values, double q) {
  if (values.empty()) throw Error("[quantile] values: expected at least one, got none");
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - std::floor(at)) * (sorted[above] - sorted[below]);
}

Timing timing_of(std::vector<double> seconds) {
  Timing timing;
  timing.p50 = quantile(seconds, 0.5);
  timing.p95 = quantile(seconds, 0.95);
  timing.min = *std::min_element(seconds.begin(), seconds.end());
  timing.mean =
      std::accumulate(seconds.begin(), seconds.end(), 0.0) / static_cast<double>(seconds.size());
  timing.seconds = std::move(seconds);
  return timing;
}

std::vector<Timing> measure_interleaved(std::span<const std::function<void()>> functions,
                                        MeasureOptions options) {
  if (options.rounds < 1) {
    throw Error(str("[measure] rounds: expected at least 1, got ", options.rounds));
  }
  std::vector<std::vector<double>> seconds(functions.size());
  for (int round = -options.warmup; round < options.rounds; ++round) {
    for (size_t i = 0; i < functions.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      functions[i]();
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
      if (round >= 0) seconds[i].push_back(taken.count());
    }
  }
  std::vector<Timing> timings;
  for (auto& each : seconds) timings.push_back(timing_of(std::move(each)));
  return timings;
}

}  // namespace vtrain
