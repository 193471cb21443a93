#pragma once
// Convolutions and linear layers for inference: what follows the product happens while its result
// is in registers, and weights lie as oneDNN wants them.

#include <memory>

#include "compress/deploy/plan_step.h"
#include "tensor/ops/conv2d.h"

namespace vtrain {

enum class PlanActivation {
  kNone,
  kRelu,
  kRelu6,
  kLeakyRelu,
  kSigmoid,
  kTanh,
  kSilu,
  kGelu,
  kGeluTanh,
  kHardSigmoid,
  kHardSwish
};

/// y = act(product + bias + residual)
struct Epilogue {
  bool has_residual = false;
  PlanActivation activation = PlanActivation::kNone;
  double slope = 0;  // of kLeakyRelu
};

/// Takes an activation or a residual sum behind what is there already; false if the order or the
/// op does not fit. `own`: which input of the node is the product.
bool extend(Epilogue& epilogue, const Graph::Node& node);
/// The activation of an op; kNone if it is none.
PlanActivation activation_of(const Graph::Node& node);

/// A weight and its bias, with the copies that kernels asked for: one per layout, shared by all
/// batch sizes.
class ProductWeights {
 public:
  /// weight  f32 (out, in / groups, kh, kw) or (out, in)    bias  f32 (out), or undefined for 0
  ProductWeights(const Tensor& weight, const Tensor& bias);
  ~ProductWeights();
  ProductWeights(ProductWeights&&) noexcept;
  ProductWeights& operator=(ProductWeights&&) noexcept;

  const Tensor& weight() const { return weight_; }
  const Tensor& bias() const { return bias_; }
  void set(const Tensor& weight, const Tensor& bias);  // before the first binding

  struct Layouts;  // oneDNN's
  Layouts& layouts() const { return *layouts_; }

 private:
  Tensor weight_, bias_;
  std::unique_ptr<Layouts> layouts_;
};

/// Operands of one call, in planned memory. A residual in y's own memory is added in place.
struct ProductOperands {
  Tensor x, residual, y;
};

/// x (N, Cin, H, W), y and residual (N, Cout, H', W'), channels last, f32 or bf16 alike.
std::unique_ptr<PlanCall> bind_convolution(const ProductWeights& weights,
                                           const Conv2dOptions& options, const Epilogue& epilogue,
                                           const ProductOperands& operands, PlanScratch& scratch);

/// x (..., in) whose rows lie evenly, y and residual (..., out) contiguous, like x or f32.
std::unique_ptr<PlanCall> bind_linear(const ProductWeights& weights, const Epilogue& epilogue,
                                      const ProductOperands& operands, PlanScratch& scratch);

/// Whether the rows (last axis) of x follow each other at one distance, elements of a row as
/// neighbours.
bool has_even_rows(const Tensor& x);

}  // namespace vtrain
