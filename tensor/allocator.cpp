#include "tensor/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace vtrain {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kArena = size_t{64} << 20;

/// Size classes: powers of two with steps in between. Four below 1 MiB; above it, where networks
/// have few sizes and a waste of up to 25 % would be felt, sixteen.
size_t size_class(size_t bytes) {
  bytes = std::max(bytes, kAlignment);
  const size_t power = std::bit_floor(bytes);
  const size_t step = std::max(power / (bytes < (size_t{1} << 20) ? 4 : 16), kAlignment);
  return (bytes + step - 1) / step * step;
}

class CachingPool {
 public:
  std::byte* take(size_t bytes) {
    const size_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    std::vector<std::byte*>& free = free_[size];
    std::byte* block = nullptr;
    if (!free.empty()) {
      block = free.back();
      free.pop_back();
    } else {
      block = carve(size);
    }
    use_.in_use += static_cast<int64_t>(size);
    use_.peak = std::max(use_.peak, use_.in_use);
    return block;
  }

  void give(std::byte* block, size_t bytes) {
    const size_t size = size_class(bytes);
    const std::lock_guard lock(mutex_);
    free_[size].push_back(block);
    use_.in_use -= static_cast<int64_t>(size);
  }

  MemoryUse use() {
    const std::lock_guard lock(mutex_);
    return use_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    use_.peak = use_.in_use;
  }

 private:
  /// The next `size` bytes of the open arena. A skew of one cache line between blocks of 64 KiB and
  /// more keeps equally sized maps from falling on the same cache sets.
  std::byte* carve(size_t size) {
    const size_t stride = size + (size >= (size_t{64} << 10) ? kAlignment : 0);
    if (stride > left_) {
      const size_t wanted = std::max(kArena, (stride + kHugePage - 1) / kHugePage * kHugePage);
      void* fresh = mmap(nullptr, wanted + kHugePage, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (fresh == MAP_FAILED) throw std::bad_alloc();
      const auto address = reinterpret_cast<uintptr_t>(fresh);
      next_ = static_cast<std::byte*>(fresh) + (kHugePage - address % kHugePage) % kHugePage;
      madvise(next_, wanted, MADV_HUGEPAGE);  // refused on some kernels: then it is only slower
      left_ = wanted;
      use_.reserved += static_cast<int64_t>(wanted);
    }
    std::byte* block = next_;
    next_ += stride;
    left_ -= stride;
    return block;
  }

  std::mutex mutex_;
  std::map<size_t, std::vector<std::byte*>> free_;
  std::byte* next_ = nullptr;
  size_t left_ = 0;
  MemoryUse use_;
};

CachingPool& pool() {
  static auto* const shared =
      new CachingPool;  // never destroyed: tensors with static lifetime may outlive it otherwise
  return *shared;
}

}  // namespace

std::shared_ptr<std::byte> allocate_cpu(size_t bytes) {
  std::byte* block = pool().take(bytes);
  return {block, [bytes](std::byte* p) { pool().give(p, bytes); }};
}

MemoryUse cpu_memory_use() { return pool().use(); }
void reset_cpu_memory_peak() { pool().reset_peak(); }

}  // namespace vtrain
