#include "tests/fake_device.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tensor/device_memory.h"
#include "tests/kernel_tables.h"

namespace vtrain {
namespace {

/// One stretch of memory at two addresses: the device's, without access, and the kernels'.
class FakeMemory {
 public:
  static FakeMemory& shared() {
    static auto* const memory = new FakeMemory;  // tensors with static lifetime may outlive it
    return *memory;
  }

  std::shared_ptr<std::byte> allocate(size_t bytes) {
    const size_t size = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    const std::lock_guard lock(mutex_);
    std::vector<size_t>& free = free_[size];
    size_t at = used_;
    if (free.empty()) {
      if (used_ + size > kCapacity) throw DeviceError("device fake: out of memory");
      used_ += size;
    } else {
      at = free.back();
      free.pop_back();
    }
    poison(at, size);
    blocks_[at] = Block{.size = size};
    use_.in_use += static_cast<int64_t>(size);
    use_.peak = std::max(use_.peak, use_.in_use);
    use_.reserved = static_cast<int64_t>(used_);
    return {device_ + at, [this, at](std::byte*) { give_back(at); }};
  }

  /// Where kernels find what the device has at `address`.
  std::byte* for_kernels(const std::byte* address) const { return kernels_ + (address - device_); }

  /// Notes that this thread's stream uses the block; throws if another's wrote it and nobody
  /// waited.
  void use(const std::byte* address, bool is_written) {
    const std::lock_guard lock(mutex_);
    Block& block = block_at(address);
    if (block.writer && *block.writer != std::this_thread::get_id()) {
      throw DeviceError(
          "device fake: a kernel of one thread uses what a kernel of another wrote, and nothing "
          "ordered the two");
    }
    if (is_written) block.writer = std::this_thread::get_id();
  }
  /// The host has waited for the block: its content is there for every stream.
  void wait_for(const std::byte* address) {
    const std::lock_guard lock(mutex_);
    block_at(address).writer.reset();
  }

  void count_launch() {
    const std::lock_guard lock(mutex_);
    ++launches_;
  }
  FakeDeviceUse counts() {
    const std::lock_guard lock(mutex_);
    return {launches_, static_cast<int64_t>(blocks_.size())};
  }
  MemoryUse memory_use() {
    const std::lock_guard lock(mutex_);
    return use_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    use_.peak = use_.in_use;
  }

 private:
  static constexpr size_t kAlignment = 64, kCapacity = size_t{1} << 30;
  struct Block {
    size_t size = 0;
    std::optional<std::thread::id> writer = {};
  };

  FakeMemory() {
    const int file = memfd_create("vtrain-fake-device", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, kCapacity) != 0)
      throw DeviceError("device fake: no memory file");
    device_ = map(file, PROT_NONE);
    kernels_ = map(file, PROT_READ | PROT_WRITE);
    close(file);
  }
  static std::byte* map(int file, int access) {
    void* const at = mmap(nullptr, kCapacity, access, MAP_SHARED, file, 0);
    if (at == MAP_FAILED) throw DeviceError("device fake: memory cannot be mapped");
    return static_cast<std::byte*>(at);
  }

  void give_back(size_t at) {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(at);
    const size_t size = block->second.size;
    poison(at, size);
    use_.in_use -= static_cast<int64_t>(size);
    blocks_.erase(block);
    free_[size].push_back(at);
  }
  void poison(size_t at, size_t size) { std::memset(kernels_ + at, 0xFF, size); }

  Block& block_at(const std::byte* address) {
    const auto offset = static_cast<size_t>(address - device_);
    const auto above = blocks_.upper_bound(offset);
    if (above == blocks_.begin() ||
        offset >= std::prev(above)->first + std::prev(above)->second.size)
      throw DeviceError("device fake: a kernel got memory that was freed");
    return std::prev(above)->second;
  }

  std::mutex mutex_;
  std::byte *device_ = nullptr, *kernels_ = nullptr;
  size_t used_ = 0;
  std::map<size_t, Block> blocks_;              // by offset
  std::map<size_t, std::vector<size_t>> free_;  // offsets by size
  MemoryUse use_;
  int64_t launches_ = 0;
};

// --- launching -----------------------------------------------------------------------------------

/// The tensor as the CPU's kernels see it.
Tensor for_kernels(const Tensor& t, bool is_written) {
  if (!t.defined()) return t;
  FakeMemory& memory = FakeMemory::shared();
  if (t.device() != fake_device())
    throw DeviceError("device fake: a kernel got a tensor " + t.text());
  memory.use(t.raw(), is_written);
  const std::shared_ptr<std::byte> alias(memory.for_kernels(t.raw()),
                                         [keep = t](std::byte*) {});  // the block lives as long
  return Tensor::of_memory(alias, t.shape(), t.strides(), t.dtype());
}

/// What a kernel returned, in the device's memory.
Tensor for_device(const Tensor& t) {
  if (!t.defined()) return t;
  FakeMemory& memory = FakeMemory::shared();
  const Tensor dense = t.is_dense() ? t : t.contiguous();
  std::shared_ptr<std::byte> block =
      memory.allocate(static_cast<size_t>(std::max<int64_t>(dense.bytes(), 1)));
  std::memcpy(memory.for_kernels(block.get()), dense.raw(), static_cast<size_t>(dense.bytes()));
  memory.use(block.get(), true);
  return Tensor::of_memory(std::move(block), dense.shape(), dense.strides(), dense.dtype(),
                           fake_device());
}

struct OnFakeMemory {
  static Tensor for_kernels(const Tensor& t, bool is_written) {
    return vtrain::for_kernels(t, is_written);
  }
  static Tensor for_device(const Tensor& t) { return vtrain::for_device(t); }
  static void before(const char*, size_t, const auto&) { FakeMemory::shared().count_launch(); }
  static void after() {}
};

std::shared_ptr<std::byte> allocate(size_t bytes, int) {
  return FakeMemory::shared().allocate(bytes);
}
void copy(const Tensor& from, Tensor& to) {
  FakeMemory::shared().count_launch();
  Tensor target = for_kernels(to, true);
  device_memory.on(Device{}).copy(for_kernels(from, false), target);
}
void fill(Tensor& to, double value) {
  FakeMemory::shared().count_launch();
  Tensor target = for_kernels(to, true);
  device_memory.on(Device{}).fill(target, value);
}
void upload(const std::byte* from, std::byte* to, size_t bytes) {
  std::memcpy(FakeMemory::shared().for_kernels(to), from, bytes);
}
void download(const std::byte* from, std::byte* to, size_t bytes) {
  FakeMemory::shared().wait_for(from);
  std::memcpy(to, FakeMemory::shared().for_kernels(from), bytes);
}
MemoryUse use() { return FakeMemory::shared().memory_use(); }
void reset_peak() { FakeMemory::shared().reset_peak(); }

}  // namespace

Device fake_device() {
  static const Device device = [] {
    const DeviceType type = DeviceType::add("fake");
    device_memory.add(type, {.allocate = allocate,
                             .copy = copy,
                             .fill = fill,
                             .upload = upload,
                             .download = download,
                             .use = use,
                             .reset_peak = reset_peak});
    register_cpu_kernels_as<OnFakeMemory>(type);
    return Device{type, 0};
  }();
  return device;
}

FakeDeviceUse fake_device_use() { return FakeMemory::shared().counts(); }

}  // namespace vtrain
