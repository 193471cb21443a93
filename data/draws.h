#pragma once

#include <cstdint>

#include "tensor/random.h"

namespace vtrain {

/// Draws of one sample, or of one batch, of a stream: element 0, 1, 2, ... in the order they are
/// asked for. They depend on (stream, epoch, sample) and on nothing that other samples drew.
class Draws {
 public:
  Draws(const Random& stream, int64_t epoch, int64_t sample)
      : stream_(&stream), epoch_(epoch), sample_(sample) {}
  double uniform() { return stream_->uniform(epoch_, sample_, element_++); }  // (0, 1)
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  int64_t integer(int64_t low, int64_t high);  // low..high, both included
  double normal();                             // mean 0, std 1

 private:
  const Random* stream_;
  int64_t epoch_, sample_, element_ = 0;
};

}  // namespace vtrain
