#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>

#include "nn/layers/batch_norm.h"
#include "nn/layers/conv2d.h"
#include "nn/network.h"

namespace vtrain {

/// What a module of a network gives, as a method that compares features needs to know it.
struct Feature {
  std::string place;                 // "layer2.0.out", where it is tapped
  Shape shape;                       // of one image: (1, C, H, W) or (1, L, C)
  bool is_rectified = false;         // no value is below 0: behind a ReLU, or pooled from one
  std::set<std::string> parameters;  // paths of what it is computed from, buffers included
  /// The parameter, and its axis, whose indices are the feature's channels one by one: a cut of the
  /// network takes the same of both. "": no cut reaches these channels.
  std::pair<std::string, int> cut_with;
};

/// The output of `module` in evaluation, without hooks. Throws Error if the network has no such
/// module, naming the nearest, or if the module computes nothing.
Feature feature_at(Network& network, const std::string& module);
/// The same of a module that a knob names: throws RecipeError with `knob`, its place, in front.
Feature feature_at(Network& network, const std::string& module, const std::string& knob);

struct RegressorOptions {
  bool has_batch_norm = true;
  bool has_relu = true;
};

/// Makes a student's feature map comparable with a teacher's during training: a convolution without
/// padding, of the kernel that leaves the teacher's height and width, with a bias; then batch
/// normalisation and ReLU if asked for. Romero et al., "FitNets", ICLR 2015, arXiv:1412.6550,
/// section 2.2; with normalisation it is that of RepDistiller.
///   x (N, C_s, H_s, W_s) -> (N, C_t, H_t, W_t)    (H_s - H_t + 1)(W_s - W_t + 1) C_s C_t weights
class FeatureRegressor final : public Module {
 public:
  /// `from` and `to` (1, C, H, W). Throws Error if `to` is larger than `from`, or of another rank.
  FeatureRegressor(const Shape& from, const Shape& to, const RegressorOptions& options);
  Variable forward(const Variable& x, const Pass& pass) override;
  Parameter weight() const { return conv_.parameters().front(); }  // (C_t, C_s, kh, kw)

 private:
  using Module::add;
  Conv2d conv_;
  std::optional<BatchNorm2d> bn_;
  std::optional<Relu> act_;
};

}  // namespace vtrain
