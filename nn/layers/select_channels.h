#pragma once

#include "nn/module.h"

namespace vtrain {

/// Hands on some of the channels of its input: a permanent part in front of a layer whose other
/// input columns were cut. What normalised the input still does so over all of it.
///   x (.., C) -> (.., K)
class SelectChannels final : public Module {
 public:
  /// All `channels`, in order, until a cut takes some.
  explicit SelectChannels(int64_t channels);
  explicit SelectChannels(const std::map<std::string, double>& attributes);
  Variable forward(const Variable& x, const Pass& pass) override;
  std::string kind() const override { return "select_channels"; }
  std::map<std::string, double> attributes() const override;

 private:
  int64_t channels_;
  Parameter index_;  // (K), a buffer of whole numbers
};

}  // namespace vtrain
