#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compress/archive.h"
#include "compress/parts/fake_quantize.h"

namespace vtrain {

/// Smallest and largest element. Throws Error if one is not finite, or if there is none.
ValueRange min_max(const Tensor& x);
/// The same for each slice of axis 0.
std::vector<ValueRange> channel_ranges(const Tensor& x);

/// The range that clips outliers: the histogram of |x| over [0, max |x|] in `bins` bins; the centre
/// of the first bin up to which a share of at least `share` of all elements lies bounds both ends,
/// where they are not nearer to 0 already. A share of 1 clips nothing.
ValueRange percentile_range(const Tensor& x, double share, int64_t bins);

/// For each slice of axis 0 (for the whole of x if `ranges` has one), its range times 1 - 0.01 i, i
/// = 0 .. steps - 1, with the least squared error of x after quantization; the widest of equals.
std::vector<ValueRange> least_error_ranges(const Tensor& x, const std::vector<ValueRange>& ranges,
                                           CodeScheme scheme, int64_t bits, int64_t steps);

struct ObserverOptions {
  CodeScheme scheme = CodeScheme::kFull;  // what mse tries its ranges on
  int64_t bits = 8;
  std::optional<double> decay = {};  // of ema (0.999) and percentile (0.9): what stays of the past
  double share = 0.99999;            // of percentile
  int64_t bins = 2048;               // of percentile
  int64_t steps = 95;                // of mse
};

/// Watches the values that pass a place of a network and says which range they need.
///   minmax      smallest and largest of all batches
///   current     those of the last batch
///   ema         the first batch's, then decay * range + (1 - decay) * the batch's, for each end
///   percentile  percentile_range of each batch, averaged as by ema
///   mse         least_error_ranges of each batch, the widest of all
/// What it says depends on the batches and their order only.
class Observer {
 public:
  /// Throws RecipeError for an unknown kind or an option out of range.
  Observer(const std::string& kind, const ObserverOptions& options);

  void observe(const Tensor& x);  // f32, f64 or bf16
  bool has_seen() const { return has_seen_; }
  /// Throws Error before the first batch.
  ValueRange range() const;
  /// Goes on from a range that was seen before.
  void restore(const ValueRange& range);
  /// Saves or loads what it has seen, under names that begin with `name`.
  void state(Archive& archive, const std::string& name);

 private:
  enum class Merge { kReplace, kWiden, kAverage };
  std::function<ValueRange(const Tensor&)> measure_;
  Merge merge_ = Merge::kReplace;
  double decay_ = 0;  // of kAverage
  ValueRange range_;
  bool has_seen_ = false;
};

/// "minmax", "current", ...
const std::vector<std::string>& observer_kinds();

}  // namespace vtrain
