#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/archive.h"
#include "compress/parts/quant_targets.h"
#include "compress/run.h"
#include "compress/step.h"

namespace vtrain {

/// What one scale or one for each slice of axis 0 makes of a tensor.
struct RoundingCounts {
  int64_t elements = 0;
  int64_t clipped = 0;  // rne(x / scale) + zero_point lies beyond low..high
  int64_t zeros = 0;    // their code stands for 0
};
/// x f32, scale f32 (1) or (O), as fake_quantize takes them; on the CPU.
RoundingCounts rounding_counts(const Tensor& x, const Tensor& scale, const CodeRange& range);

/// A layer's weight as a method rounds it now.
struct WeightCodes {
  Tensor reals;  // what is rounded
  Tensor codes;  // i8 in the shape of the weight, on the CPU
  std::vector<double> scales;
  int64_t bits = 8;
  std::optional<int64_t> clipped = {};  // elements; none: the codes have no ends
};

/// What each layer and each value looks like that a method rounds: rows of "<phase>.quant.csv" in
/// the run folder, and a row of the report that names the extremes.
///
///   method, kind      "weight" or "value"
///   name, bits        a layer's path; the op that makes the first of the values with that scale
///   min, max          weights: of what is rounded (minmax: with the norm's factor in it); values:
///                     of kImages training images in evaluation, in reals
///   scale_min, _max   of a code, over output channels; dorefa's weights: half the distance of two
///                     codes; ttq: the two magnitudes; inq: the smallest power of two
///   clipped_percent   share that is beyond the last code, by more than rounding moves: minmax,
///   lsq,
///                     and dorefa's values. dorefa's weights lie inside by their formula: 0. Empty
///                     where codes have no end: ttq, inq (what has its level is on it), dorefa's
///                     weights of one bit
///   zeros_percent     share on the code of 0; dorefa's weights have none
///   changed_percent   weights: share whose code at the end of the last epoch was not that at its
///                     start. Of latent weights as they were trained: without a moving average,
///                     whatever weights the phase ends with
///
/// The share of all weights whose code an epoch has changed is logged at its end,
/// "changed_percent". The codes of the epoch before are buffers of a helper, a byte a weight, so
/// that they are resumed, and cut like their weights.
class RoundingReport {
 public:
  static constexpr int64_t kImages = 64;
  using CodesOf = std::function<WeightCodes(size_t layer)>;

  /// In attach. `codes` is asked for weights as they are then: in start, at the ends of epochs and
  /// in write.
  void attach(Run& run, const std::vector<QuantLayer>& layers, CodesOf codes);
  void state(Archive& archive) { archive("changed_percent", changed_percent_); }
  /// In start, when weights and scales are what training begins with.
  void start();
  /// In after_update.
  void after_update(Step& step);

  /// For a hook that rounds a value: whether `write` is looking, and what the hook sees then.
  bool is_watching() const { return is_watching_; }
  void watch(size_t value, const Tensor& x, const QuantizedType& type);

  /// In finish, while weights are latent ones and hooks are in place. `values`: those whose hooks
  /// call `watch`.
  void write(Run& run, const std::vector<QuantValue>& values = {});

 private:
  struct Watched {
    QuantizedType type;
    double low = 0, high = 0;
    RoundingCounts counts;
  };
  struct Layer {
    std::string path;
    Parameter weight, before;  // the codes that an epoch begins with
  };
  void look(Run& run);

  std::vector<Layer> layers_;
  CodesOf codes_;
  std::vector<double> changed_percent_;  // by layer, of the last epoch that has ended; or empty
  bool is_watching_ = false;
  std::vector<Watched> watched_;  // by value, while `write` looks
};

}  // namespace vtrain
