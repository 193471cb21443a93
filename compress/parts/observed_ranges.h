#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/parts/observers.h"
#include "nn/module.h"

namespace vtrain {

/// The ranges of values that pass places of a network, as observers see them during training:
/// buffers of a helper, so that they are saved, resumed, and kept with the best weights.
///
///     ranges_ = std::make_shared<ObservedRanges>(names, "ema", options);
///     run.add_module("ranges", ranges_);                // in attach
class ObservedRanges final : public Module {
 public:
  /// `names` are different; `options` has one entry for each. Throws RecipeError as Observer does.
  ObservedRanges(const std::vector<std::string>& names, const std::string& kind,
                 const std::vector<ObserverOptions>& options);

  size_t size() const { return ranges_.size(); }
  /// Of value `i` of `names`.
  bool has_seen(size_t i) const;
  ValueRange range(size_t i) const;  // throws Error before the first batch
  void observe(size_t i, const Tensor& x);
  void set(size_t i, const ValueRange& range);

 private:
  std::vector<Observer> observers_;
  std::vector<Parameter> ranges_;  // (3): low, high, and 1 once something was seen
};

}  // namespace vtrain
