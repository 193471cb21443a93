#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace vtrain {

/// A buffer of a plan: its size, and the first and last step that touch it.
struct BufferUse {
  int64_t bytes = 0;
  int first = 0, last = 0;
};

/// Where each buffer begins in one block of memory.
struct MemoryPlan {
  std::vector<int64_t> offsets;
  int64_t bytes = 0;  // of the block
};

/// Places buffers so that two that live at one step never overlap. Largest first, each at the
/// lowest free place: within a few percent of the best for networks, whose large buffers live
/// briefly. Offsets are multiples of 64.
MemoryPlan plan_memory(std::span<const BufferUse> uses);

}  // namespace vtrain
