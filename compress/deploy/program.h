#pragma once

#include <memory>
#include <vector>

#include "compress/deploy/plan_step.h"

namespace vtrain {

struct Quantization;

/// A graph as steps in order, before a batch size is known.
///
/// A value whose only reader can be computed in the pass that makes it never reaches memory: batch
/// norm goes into the weights in front of it, activations and residual sums behind a product. Views
/// (reshape, slice, transpose) are no work where strides can express them.
struct Program {
  PlanValues values;
  std::vector<std::unique_ptr<PlanStep>> steps;
  /// By value: the value in whose memory it lies, itself or one that it is a view of or is written
  /// over. Constants lie in their own tensors.
  std::vector<int> roots;
  std::vector<char> is_view;  // by value: made by strides alone
  int images = -1, logits = -1;

  /// The steps' inputs as tensors, constants and undefined ones included.
  std::vector<Tensor> inputs_of(const PlanStep& step, const std::vector<Tensor>& memory) const;
};

/// Throws Error for an op that no step computes, and for a value that differs from image to image
/// and yet is not computed from the images, as random numbers are; both name the layer.
/// With a quantization, of this graph, its layers and what passes between them are on integers.
Program lower(const Graph& graph, const Quantization* quantization = nullptr);

}  // namespace vtrain
