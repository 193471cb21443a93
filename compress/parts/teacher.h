#pragma once

#include <map>
#include <memory>
#include <string>

#include "nn/network.h"

namespace vtrain {

/// A frozen network that students learn from, in evaluation mode, on the same images. It runs once
/// a batch, and only if asked.
class Teacher {
 public:
  explicit Teacher(std::unique_ptr<Network> network);

  /// The images of the step to come; what was computed for the last ones is dropped.
  void show(const Tensor& images);
  const Tensor& logits();  // (N, K)
  /// The value at a place ("norm.out"), which must have been asked for by `watch` before.
  const Tensor& value(const std::string& place);
  void watch(const std::string& place);
  Network& network() { return *network_; }

 private:
  void run();

  std::unique_ptr<Network> network_;
  std::map<std::string, Tap> taps_;
  Tensor images_, logits_;
};

}  // namespace vtrain
