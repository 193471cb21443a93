#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vtrain {

/// A registered kind of device. `cpu` is always there; a module that brings kernels for another
/// kind registers its name.
class DeviceType {
 public:
  static constexpr int kMaxTypes = 8;
  static constexpr DeviceType cpu() { return DeviceType(0); }
  static DeviceType add(std::string_view name);    // the same type if the name is there already
  static DeviceType named(std::string_view name);  // throws DeviceError, listing what there is

  constexpr int id() const { return id_; }
  std::string name() const;
  friend constexpr bool operator==(DeviceType, DeviceType) = default;

 private:
  constexpr explicit DeviceType(int id) : id_(id) {}
  int id_;
};

/// A type and an index: "cpu", "cuda:1".
struct Device {
  DeviceType type = DeviceType::cpu();
  int index = 0;
  std::string text() const;
  static Device parse(std::string_view text);  // throws DeviceError
  friend constexpr bool operator==(const Device&, const Device&) = default;
};

}  // namespace vtrain
