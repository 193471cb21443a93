#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>

#include "tensor/device.h"
#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

/// One op's kernels, a table per device type. Filled by static initialisers of *_cpu.cpp and of
/// loaded modules, read-only afterwards.
template <class Kernels>
class PerDevice {
 public:
  constexpr explicit PerDevice(const char* op) : op_(op) {}
  const char* op() const { return op_; }

  /// Returns true so that a namespace-scope constant can run it. Two tables for one device are a
  /// build error of ours: abort says so.
  bool add(DeviceType type, const Kernels& kernels) {
    Slot& slot = slots_[static_cast<size_t>(type.id())];
    if (slot.filled) {
      std::fprintf(stderr, "op %s: two kernel tables for device type %d\n", op_, type.id());
      std::abort();
    }
    slot = {kernels, true};
    return true;
  }

  const Kernels& on(const Device& device) const {
    const Slot& slot = slots_[static_cast<size_t>(device.type.id())];
    if (!slot.filled) throw DeviceError(str('[', op_, "] no kernel on device ", device.text()));
    return slot.kernels;
  }

 private:
  struct Slot {
    Kernels kernels{};
    bool filled = false;
  };
  const char* op_;
  std::array<Slot, DeviceType::kMaxTypes> slots_{};
};

}  // namespace vtrain
