#include "tensor/allocator.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "tensor/tensor.h"

namespace vtrain {
namespace {

TEST_CASE("allocator: a freed block serves the next request of its size") {
  const std::byte* first = nullptr;
  {
    const auto block = allocate_cpu(123456);
    first = block.get();
  }
  const int64_t reserved = cpu_memory_use().reserved;
  const auto again = allocate_cpu(123456);
  CHECK(again.get() == first);
  CHECK(cpu_memory_use().reserved == reserved);
}

TEST_CASE("allocator: blocks are aligned to 64 bytes and do not overlap") {
  std::vector<std::shared_ptr<std::byte>> blocks;
  const std::vector<size_t> sizes{1, 63, 64, 65, 100, 1000, 65536, 65537, 1 << 20, 3 << 20};
  for (const size_t size : sizes) blocks.push_back(allocate_cpu(size));
  for (size_t i = 0; i < blocks.size(); ++i) {
    CHECK(reinterpret_cast<uintptr_t>(blocks[i].get()) % 64 == 0);
    for (size_t j = i + 1; j < blocks.size(); ++j) {
      const bool apart = blocks[i].get() + sizes[i] <= blocks[j].get() ||
                         blocks[j].get() + sizes[j] <= blocks[i].get();
      CHECK(apart);
    }
  }
}

TEST_CASE("allocator: use and peak follow what lives, wasting at most a quarter") {
  const int64_t before = cpu_memory_use().in_use;
  reset_cpu_memory_peak();
  {
    const auto block = allocate_cpu(1000000);
    const int64_t used = cpu_memory_use().in_use - before;
    CHECK(used >= 1000000);
    CHECK(used <= 1250000);
  }
  CHECK(cpu_memory_use().in_use == before);
  CHECK(cpu_memory_use().peak >= before + 1000000);
  reset_cpu_memory_peak();
  CHECK(cpu_memory_use().peak == before);
}

TEST_CASE("allocator: views keep their storage alive and the last one returns it") {
  const int64_t before = cpu_memory_use().in_use;
  Tensor view;
  {
    const Tensor x = zeros({1000, 1000});
    view = x.select(0, 999);
  }
  CHECK(cpu_memory_use().in_use > before);
  CHECK(view.to_vector() == std::vector<double>(1000, 0));
  view = Tensor();
  CHECK(cpu_memory_use().in_use == before);
}

TEST_CASE("allocator: blocks of one thread may be freed by another, and nobody shares one") {
  const int64_t before = cpu_memory_use().in_use;
  std::vector<std::thread> threads;
  std::vector<int> clean(4, 1);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &clean] {
      for (int i = 0; i < 2000; ++i) {
        const auto block = allocate_cpu(256);
        std::fill_n(block.get(), 256, static_cast<std::byte>(t));
        for (int k = 0; k < 256; ++k) {
          if (block.get()[k] != static_cast<std::byte>(t)) clean[static_cast<size_t>(t)] = 0;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(clean == std::vector<int>(4, 1));
  CHECK(cpu_memory_use().in_use == before);
}

}  // namespace
}  // namespace vtrain
