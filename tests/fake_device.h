#pragma once

#include <cstdint>

#include "tensor/device.h"

namespace vtrain {

/// A second device for tests, `fake`: the CPU's kernels on memory that the host cannot touch. What
/// runs on it assumes nothing of the CPU above the kernels:
///   - its addresses are mapped without access, so the host dies where it follows one;
///   - a kernel that gets a tensor of another device throws DeviceError;
///   - fresh and freed memory is filled with bytes that are NaN as f32, f64 and bf16 and -1 as
///   integers;
///   - it counts what a stream has to order: kernels launched by one thread on memory that another
///     thread's kernel wrote throw DeviceError unless one of them was read back in between.
/// Registered at the first call.
Device fake_device();

/// Kernels launched on it so far, and blocks now in use.
struct FakeDeviceUse {
  int64_t launches = 0, blocks = 0;
};
FakeDeviceUse fake_device_use();

}  // namespace vtrain
