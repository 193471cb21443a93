#pragma once

#include <string>
#include <vector>

#include "nn/models/model.h"
#include "tests/golden.h"

namespace vtrain {

/// The numbers that tests/golden/make_parity.py makes from a name, so that they need not be stored:
/// f64, in [-1, 1), multiples of 2^-23. SplitMix64 (Steele, Lea, Flood, "Fast Splittable
/// Pseudorandom Number Generators", OOPSLA 2014) from the FNV-1a hash of the name.
Tensor uniform_of(const std::string& name, const Shape& shape);

/// What a whole network computed in PyTorch in f64, tests/golden/parity_<name>.safetensors, and the
/// checks of ours, in f32, against it. The script says what is stored, and why the networks are
/// conditioned so that f32 can be held to four digits.
class Parity {
 public:
  struct Settings {
    std::string name;
    int64_t batch, side;    // images (batch, 3, side, side)
    std::string optimizer;  // as in a recipe; its rate is what PyTorch used
  };

  /// Gives the model's parameters and buffers the values PyTorch started from; CHECKs that names
  /// and shapes are the same on both sides.
  Parity(Model& model, Settings settings);

  /// CHECKs the logits of the first step and its loss to 1e-5, and every parameter's gradient to
  /// 1e-4 of its norm.
  void check_first_step();
  /// CHECKs the losses of ten steps, what they changed in every parameter and buffer, and the
  /// logits in evaluation mode after them.
  void check_training();

 private:
  /// A parameter or buffer: rows of the stored tables.
  struct Row {
    Parameter parameter;
    std::vector<double> grad, moved;  // summaries; the first empty for a buffer
    Tensor start;
  };
  Tensor images(int64_t step) const;
  Variable loss(int64_t step, Tensor* logits = nullptr);
  const Row* weight_of_norm(const Row& bias) const;

  Model& model_;
  Settings settings_;
  Golden golden_;
  std::vector<Row> rows_;
};

}  // namespace vtrain
