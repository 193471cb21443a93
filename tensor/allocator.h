#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace vtrain {

/// Bytes handed out by this process's caching allocator of one device type.
struct MemoryUse {
  int64_t in_use = 0, peak = 0, reserved = 0;
};

/// Memory from size classes with free lists. Blocks are 64-byte aligned; the pool keeps what it got
/// from the system, because first touch of fresh pages costs more than most kernels that then use
/// them. Thread safe.
std::shared_ptr<std::byte> allocate_cpu(size_t bytes);
MemoryUse cpu_memory_use();
void reset_cpu_memory_peak();

}  // namespace vtrain
