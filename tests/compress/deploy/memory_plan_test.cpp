#include "compress/deploy/memory_plan.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tensor/random.h"

namespace vtrain {
namespace {

/// Pairs that live at one step and share a byte.
int overlaps(const std::vector<BufferUse>& uses, const MemoryPlan& plan) {
  int count = 0;
  for (size_t a = 0; a < uses.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      const bool in_time = uses[a].first <= uses[b].last && uses[b].first <= uses[a].last;
      const bool in_space = plan.offsets[a] < plan.offsets[b] + uses[b].bytes &&
                            plan.offsets[b] < plan.offsets[a] + uses[a].bytes;
      count += in_time && in_space ? 1 : 0;
    }
  }
  return count;
}

/// The most bytes that live at one step: no plan needs less.
int64_t least(const std::vector<BufferUse>& uses, int steps) {
  int64_t most = 0;
  for (int s = 0; s < steps; ++s) {
    int64_t now = 0;
    for (const BufferUse& use : uses) now += use.first <= s && s <= use.last ? use.bytes : 0;
    most = std::max(most, now);
  }
  return most;
}

TEST_CASE("memory plan: of random lifetimes no two buffers that live together overlap") {
  const Random random(3, "", "lifetimes");
  constexpr int kSteps = 40;
  for (int64_t trial = 0; trial < 200; ++trial) {
    CAPTURE(trial);
    std::vector<BufferUse> uses;
    int64_t sum = 0;
    const auto count = static_cast<int64_t>(1 + 60 * random.uniform(trial, 0, 0));
    for (int64_t i = 1; i <= count; ++i) {
      const auto draw = [&](int64_t element) { return random.uniform(trial, i, element); };
      const int first = static_cast<int>(kSteps * draw(0));
      const int length = static_cast<int>(8 * draw(1));
      uses.push_back({.bytes = static_cast<int64_t>(draw(3) < 0.1 ? 0 : 5000 * draw(2)),
                      .first = first,
                      .last = std::min(first + length, kSteps - 1)});
      sum += (uses.back().bytes + 63) / 64 * 64;
    }
    const MemoryPlan plan = plan_memory(uses);
    CHECK(overlaps(uses, plan) == 0);
    CHECK(plan.bytes >= least(uses, kSteps));
    CHECK(plan.bytes <= sum);
    for (size_t i = 0; i < uses.size(); ++i) {
      CHECK(plan.offsets[i] % 64 == 0);
      CHECK(plan.offsets[i] + uses[i].bytes <= plan.bytes);
    }
  }
}

TEST_CASE("memory plan: a chain of equal buffers needs two of them") {
  std::vector<BufferUse> uses;
  for (int s = 0; s < 10; ++s) uses.push_back({.bytes = 640, .first = s, .last = s + 1});
  CHECK(plan_memory(uses).bytes == 2 * 640);
}

TEST_CASE("memory plan: no buffers need no memory") { CHECK(plan_memory({}).bytes == 0); }

}  // namespace
}  // namespace vtrain
