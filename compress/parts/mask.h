#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compress/run.h"

namespace vtrain {

/// Masks of 0 and 1 beside parameters of a network: buffers of a helper, so that they are saved,
/// resumed and cut like what they mask, and neither trained nor averaged. A mask has its
/// parameter's shape, or (O, 1, ...) to mask whole rows.
///
///     masks_ = std::make_shared<WeightMasks>(weights, WeightMasks::Form::kElements);
///     masks_->join(run, "masks");                       // in attach
class WeightMasks final : public Module {
 public:
  enum class Form { kElements, kRows };
  struct Entry {
    Parameter parameter;
    Parameter mask;
  };
  /// All ones.
  WeightMasks(const std::vector<Parameter>& parameters, Form form);

  const std::vector<Entry>& entries() const { return entries_; }
  /// The mask of a parameter by its path; throws Error if there is none.
  const Entry& of(std::string_view parameter) const;

  /// Becomes a helper of the run, `name`d, whose masks follow cuts. `self` is this object.
  static void join(Run& run, const std::string& name, const std::shared_ptr<WeightMasks>& self);

  /// What the forward pass sees of an entry: w * mask. The gradient that reaches w is masked too
  /// (kHard), or as if there were no mask (kStraightThrough): then what is hidden keeps learning.
  enum class Gradient { kHard, kStraightThrough };
  static ValueFn transform(const Entry& entry, Gradient gradient);

  /// w <- w * mask for every entry, in place.
  void apply() const;
  /// The same for what the optimizer holds beside the weights: a masked weight that kept its
  /// momentum would move again.
  void apply_to_moments(Run& run) const;

  /// Elements of the masks that are 0, and all.
  int64_t zeros() const;
  int64_t size() const;

 private:
  std::vector<Entry> entries_;
};

/// Elements of x that are not 0.
int64_t count_nonzero(const Tensor& x);

/// Writes a mask of 0 and 1 given on the host, in logical order.
void set_mask(const WeightMasks::Entry& entry, const std::vector<char>& kept);

}  // namespace vtrain
