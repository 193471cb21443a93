#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "autograd/variable.h"
#include "tensor/random.h"

namespace vtrain {

class Hooks;

/// What a forward pass, and every hook in it, may depend on besides its input, its parameters and
/// the method's knobs. It is passed down, so no global state exists and two runs can share a
/// process.
struct Pass {
  bool is_training = false;     // dropout and its kin draw noise
  bool wants_grad = false;      // parameters are leaves of the tape, not constants
  int64_t epoch = 0, step = 0;  // of the phase
  double progress = 0;          // step / steps of the phase
  int64_t first_sample =
      0;  // global index in the step's batch of sample 0: noise ignores ranks and micro-batches
  uint64_t seed = 0;
  std::string phase;
  DType dtype = DType::f32;      // what layers compute in; bf16: mixed precision
  const Hooks* hooks = nullptr;  // nullptr: the bare network

  /// The stream of that name in this run and phase.
  Random random(std::string_view stream) const { return {seed, phase, stream}; }
  RandomPosition position() const { return {step, first_sample}; }

  /// Effective weights, computed once per pass: filled by Parameter::effective.
  struct Effective {
    Variable full, computed;  // in the parameter's own dtype, and in the pass's
  };
  using Cache = std::unordered_map<const void*, Effective>;
  std::shared_ptr<Cache> cache = std::make_shared<Cache>();
};

}  // namespace vtrain
