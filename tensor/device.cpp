#include "tensor/device.h"

#include <charconv>
#include <mutex>
#include <vector>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {
namespace {
std::vector<std::string>& names() {
  static std::vector<std::string> list{"cpu"};
  return list;
}
std::mutex& names_mutex() {
  static std::mutex mutex;
  return mutex;
}
}  // namespace

DeviceType DeviceType::add(std::string_view name) {
  const std::lock_guard lock(names_mutex());
  for (size_t i = 0; i < names().size(); ++i) {
    if (names()[i] == name) return DeviceType(static_cast<int>(i));
  }
  if (names().size() == kMaxTypes)
    throw DeviceError(
        str("device type ", name, ": at most ", kMaxTypes, " types can be registered"));
  names().emplace_back(name);
  return DeviceType(static_cast<int>(names().size()) - 1);
}

DeviceType DeviceType::named(std::string_view name) {
  const std::lock_guard lock(names_mutex());
  std::string known;
  for (size_t i = 0; i < names().size(); ++i) {
    if (names()[i] == name) return DeviceType(static_cast<int>(i));
    known += (i ? ", " : "") + names()[i];
  }
  throw DeviceError(
      str("device ", name, ": no such device on this machine or in this build; there is ", known));
}

std::string DeviceType::name() const {
  const std::lock_guard lock(names_mutex());
  return names().at(static_cast<size_t>(id_));
}

std::string Device::text() const { return index == 0 ? type.name() : str(type.name(), ':', index); }

Device Device::parse(std::string_view text) {
  const size_t colon = text.find(':');
  Device device{DeviceType::named(text.substr(0, colon)), 0};
  if (colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), device.index);
    if (error != std::errc() || end != digits.data() + digits.size() || device.index < 0) {
      throw DeviceError(str("device ", text, ": expected a number behind the colon"));
    }
  }
  return device;
}

}  // namespace vtrain
