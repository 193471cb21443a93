#include "compress/deploy/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace vtrain {
namespace {

constexpr int64_t kAlignment = 64;
int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool live_together(const BufferUse& a, const BufferUse& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

MemoryPlan plan_memory(std::span<const BufferUse> uses) {
  std::vector<size_t> order(uses.size()), placed;
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return uses[a].bytes > uses[b].bytes; });
  MemoryPlan plan{.offsets = std::vector<int64_t>(uses.size(), 0)};
  for (const size_t i : order) {
    int64_t at = 0;
    for (const size_t other : placed) {  // in ascending offsets
      if (!live_together(uses[i], uses[other])) continue;
      if (plan.offsets[other] >= at + uses[i].bytes) break;
      at = std::max(at, aligned(plan.offsets[other] + uses[other].bytes));
    }
    plan.offsets[i] = at;
    plan.bytes = std::max(plan.bytes, at + uses[i].bytes);
    placed.insert(std::upper_bound(
                      placed.begin(), placed.end(), at,
                      [&](int64_t offset, size_t other) { return offset < plan.offsets[other]; }),
                  i);
  }
  plan.bytes = aligned(plan.bytes);
  return plan;
}

}  // namespace vtrain
