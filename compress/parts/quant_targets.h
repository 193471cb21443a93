#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compress/deploy/calibrate.h"
#include "nn/network.h"
#include "recipes/recipe.h"

namespace vtrain {

/// Which layers a quantizing method rounds: those of `layers` without those of `skip`. Both are
/// globs of paths; "first" stands for the layers that read the images, "last" for the one that
/// gives the logits.
struct QuantChoice {
  std::vector<std::string> layers = {"*"}, skip = {};
};

/// Reads `layers` and `skip`.
QuantChoice read_quant_choice(Recipe& r, const std::vector<std::string>& skip);

/// The batch norm that a layer takes in when it is deployed.
struct NormBehind {
  std::string path;
  Parameter weight, bias, mean, var;
  double eps = 1e-5;
  /// As it is now.
  BatchNormConstants constants() const;
};

/// A convolution or linear layer whose weight is rounded.
struct QuantLayer {
  std::string path;
  Parameter weight;                // (O, ...)
  Parameter bias;                  // (O), or undefined
  std::optional<NormBehind> norm;  // behind it and read by nobody else
  bool is_first = false, is_last = false;
  int value = -1;  // of QuantTargets::values: what it reads
};

/// Values that share a scale (compress/deploy/int8_layout.h).
struct QuantValue {
  std::string name;  // of the op that makes the first of them
  CodeScheme scheme = CodeScheme::kFull;
  std::vector<std::string> places = {};   // where hooks round them
  std::vector<std::string> watched = {};  // one place for each value, in the order of computation
};

/// A layer and what it reads.
struct QuantReader {
  std::string layer;
  int value = -1;  // of QuantTargets::values
};

/// What of a network is rounded: the same layers, places and groups that a plan on integers has.
struct QuantTargets {
  std::vector<QuantLayer> layers;  // in order of computation, one for each weight
  std::vector<QuantValue> values;
  std::vector<QuantReader> readers = {};  // every use of a layer, also of one that runs twice

  /// Of `values`. Throws Error for one that there is not, `key` being the place of the method's
  /// section.
  size_t value_index(const std::string& name, const std::string& key) const;
};

/// `key` is the place of the method's section, for errors. Throws RecipeError for a glob that
/// matches no layer, if no layer is left, for a weight that is computed, and for a value that no
/// hook can reach.
QuantTargets quant_targets(Network& network, const QuantChoice& choice, const std::string& key);

/// Paths of the layers that stay real, as int8_layout takes them. With `trained`, layers that
/// another method has added since stay real too.
std::vector<std::string> real_layers(const Graph& graph, const QuantChoice& choice,
                                     const std::string& key, const QuantTargets* trained = nullptr);

/// A layer's weight on its codes.
struct RoundedWeight {
  Tensor weight;  // f32, batch norm folded in; `quantizer` gives its codes
  Quantizer quantizer;
};
/// Codes i8 (O, ...) of reals scale_o * code, with a batch norm folded in: exact, since a norm
/// multiplies whole output channels. A negative factor turns the signs of the codes.
///   scale  (O) or (1)      codes  -127..127
RoundedWeight rounded_weight(const Tensor& codes, const Tensor& scale,
                             const std::optional<NormBehind>& norm);

/// What a trained network is put on integers with. `weight` is asked for every layer, with weight
/// and bias as they would be deployed in reals; `value` for every group.
Quantization trained_quantization(
    Network& network, const QuantChoice& choice, const std::string& key,
    const QuantTargets& trained,
    const std::function<RoundedWeight(const QuantLayer&, const FoldedLayer&)>& weight,
    const std::function<QuantizedType(const QuantValue&)>& value);

}  // namespace vtrain
