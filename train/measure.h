#pragma once

#include <functional>
#include <span>
#include <vector>

namespace vtrain {

struct MeasureOptions {
  int rounds = 30;  // calls of each function that count
  int warmup = 3;   // calls of each before them that do not
};

/// Wall-clock seconds of one function's calls.
struct Timing {
  std::vector<double> seconds;  // in the order measured
  double p50 = 0, p95 = 0, min = 0, mean = 0;
};

/// The q-quantile of values in any order, q in [0, 1], linear between neighbours (numpy's default).
/// Error if there are none.
double quantile(std::span<const double> values, double q);
Timing timing_of(std::vector<double> seconds);

/// Calls the functions in turn, A B A B ..., so that what drifts while they run (clock, heat, other
/// processes) falls on all of them alike and their ratio stays fair. One Timing per function, in
/// order. Error if rounds < 1.
std::vector<Timing> measure_interleaved(std::span<const std::function<void()>> functions,
                                        MeasureOptions options = {});

}  // namespace vtrain
