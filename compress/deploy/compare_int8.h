#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compress/deploy/plan.h"

namespace vtrain {

/// How far a plan on integers is from its simulated twin (fake_quantized), each step being given
/// the twin's values to read.
struct Int8Difference {
  /// A step that has a value of the twin to be compared with.
  struct Step {
    std::string layers;
    bool gives_codes = false;
    int64_t elements = 0, differing = 0;  // of codes
    int64_t worst = 0;                    // of codes
    double reals = 0;                     // of reals: max |difference| / max |value|
  };
  std::vector<Step> steps;
  int64_t worst_codes = 0;
  double worst_reals = 0;
  std::string first = {};  // the first step that is more than a code off, or reals by > 1e-4
};

/// `twin` computes in f32 with its hooks on; images (N, C, H, W) f32.
Int8Difference compare_int8(Plan& plan, Network& twin, const Tensor& images);

/// Which classes the integer network and its twin choose.
struct ClassAgreement {
  int64_t images = 0, same = 0;

  /// All but one image in 500 have the same class.
  bool holds() const { return 500 * (images - same) <= images; }
  void add(const Tensor& logits, const Tensor& twin_logits);  // (N, K)
};

}  // namespace vtrain
