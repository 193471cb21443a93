#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/error.h"
#include "tensor/str.h"

namespace vtrain {

/// Saves or loads plain members by name, so that one function does both:
///     void state(Archive& archive) override { archive("cuts", cuts_); }
class Archive {
 public:
  using Values = std::map<std::string, std::string>;

  static Archive saving() { return Archive(false, {}); }
  static Archive loading(Values values) { return Archive(true, std::move(values)); }

  /// Throws CheckpointError if a name is missing on loading.
  Archive& operator()(std::string_view name, double& member);
  Archive& operator()(std::string_view name, int64_t& member);
  Archive& operator()(std::string_view name, bool& member);
  Archive& operator()(std::string_view name, std::string& member);
  Archive& operator()(std::string_view name, std::vector<double>& member);
  Archive& operator()(std::string_view name, std::vector<int64_t>& member);

  const Values& values() const { return values_; }

 private:
  Archive(bool is_loading, Values values) : is_loading_(is_loading), values_(std::move(values)) {}
  const std::string& stored(std::string_view name) const;
  template <class T>
  Archive& list(std::string_view name, std::vector<T>& member);

  bool is_loading_;
  Values values_;
};

}  // namespace vtrain
