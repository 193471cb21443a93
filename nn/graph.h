#pragma once

#include <map>
#include <string>
#include <vector>

#include "autograd/trace.h"
#include "nn/network.h"

namespace vtrain {

/// What a network computes for one image, from a trace of its evaluation with all hooks off.
class Graph {
 public:
  explicit Graph(Network& network);

  const std::vector<Trace::Record>& nodes() const { return trace_.records(); }
  const std::vector<Trace::Value>& values() const { return trace_.values(); }

  /// Multiply-adds for one image below a module path ("" = all): convolutions, linear layers and
  /// the two products of attention; bias, normalisation, activation, softmax and element-wise work
  /// count 0 (methods' helpers that stay are counted).
  int64_t macs(const std::string& path = "") const;
  int64_t params() const { return params_; }

 private:
  Trace trace_;
  int64_t params_ = 0;
};

}  // namespace vtrain
