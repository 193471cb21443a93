#pragma once

#include <cstddef>
#include <memory>

#include "tensor/allocator.h"
#include "tensor/per_device.h"
#include "tensor/tensor.h"

namespace vtrain {

/// What a kind of device brings besides kernels of ops: memory, and ways into and out of it. An
/// address from `allocate` is the device's own; the host may not follow it, only hand it on.
struct DeviceMemory {
  std::shared_ptr<std::byte> (*allocate)(size_t bytes, int index);
  /// Elements of `from` to those of `to`, both on one device, of one shape and not empty; strides
  /// and dtypes are any.
  void (*copy)(const Tensor& from, Tensor& to);
  void (*fill)(Tensor& to, double value);  // not empty, any strides
  /// Whole blocks between host memory and the device's; when they return, `from` may be reused and
  /// `to` be read.
  void (*upload)(const std::byte* from, std::byte* to, size_t bytes);
  void (*download)(const std::byte* from, std::byte* to, size_t bytes);
  MemoryUse (*use)();
  void (*reset_peak)();
};
inline constinit PerDevice<DeviceMemory> device_memory{"memory"};

/// Bytes that tensors on that kind of device hold in this process.
inline MemoryUse memory_use(const Device& device) { return device_memory.on(device).use(); }
inline void reset_memory_peak(const Device& device) { device_memory.on(device).reset_peak(); }

}  // namespace vtrain
