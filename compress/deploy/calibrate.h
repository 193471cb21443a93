#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compress/deploy/int8_kernels.h"
#include "compress/deploy/int8_layout.h"
#include "compress/parts/fold_batch_norm.h"
#include "compress/parts/observers.h"
#include "nn/network.h"

namespace vtrain {

struct CalibrationOptions {
  std::string range = "minmax";  // of values: an observer's kind
  /// `scheme` and `bits` in it are set per value.
  ObserverOptions observer = {};
  std::string weight_range = "current";          // or mse
  int64_t weight_steps = 80;                     // of weight_range mse
  int64_t weight_bits = 8, activation_bits = 8;  // 2 to 8
  bool is_per_channel = true;                    // scales of weights
  std::vector<std::string> skip = {};            // globs of layers that stay real
};

/// A layer of Int8LayerNodes with its numbers.
struct QuantizedLayer {
  Int8LayerNodes nodes;
  std::string weight_path;  // parameter
  Tensor weight, bias;      // batch norm folded in, f32 as the op reads them; bias maybe undefined
  Quantizer quantizer;      // of `weight`
};

/// What is known of a network on integers: the types of its values and the codes of its weights.
struct Quantization {
  std::map<int, QuantizedType> values;  // by value of the graph: what is kept as codes
  std::vector<QuantizedLayer> layers;   // in order of computation
  /// Where each value that is rounded can be reached in the eager network: "layer1.0.act2.out".
  std::map<int, std::vector<std::string>> places;
};

/// Fewer images say too little about the values that pass.
constexpr int64_t kFewestCalibrationImages = 16;

/// Runs images through a copy of the network in evaluation, without hooks, watches every value that
/// has to be rounded, and chooses scales; weights are those with batch norm folded in.
///   graph    of this network
///   batches  images (N, C, H, W) f32 as the network reads them; never of the test split
/// Throws RecipeError for an unknown observer, for bits out of range, for a glob in `skip` that
/// matches nothing, and for fewer than kFewestCalibrationImages images; Error for a value that no
/// hook can reach.
Quantization calibrate(const Network& network, const Graph& graph, std::span<const Tensor> batches,
                       const CalibrationOptions& options = {});

/// Weight and bias of a layer as its op reads them, batch norm folded in: f32, on the CPU.
FoldedLayer folded_layer(const Graph& graph, const Int8LayerNodes& nodes);

/// The parameter that holds the weight of a layer, or "" where it is computed.
std::string weight_parameter(const Graph& graph, const Int8LayerNodes& nodes);

/// Every place of a module at which a value of the graph passes by itself, by value: "conv1.in".
std::map<int, std::vector<std::string>> places_of_values(const Network& network,
                                                         const Graph& graph);
/// Where hooks reach `value`, of its places: at the output of the module that makes it, else at the
/// inputs of all that read it. Throws Error if one of these cannot be hooked.
std::vector<std::string> chosen_places(const Graph& graph, int value,
                                       const std::vector<std::string>& known);
/// The parameter that an op reads through views, "" where there is none.
std::string parameter_of(const Graph& graph, int value);
/// Quantization::places of a layout. Throws Error for a value that no hook can reach.
std::map<int, std::vector<std::string>> rounding_places(const Network& network, const Graph& graph,
                                                        const Int8Layout& layout);

/// The layer as its kernel wants it. Where its output is not kept as codes it gives reals, and a
/// residual has to come as reals too.
Int8Layer int8_layer(const Graph& graph, const Quantization& quantization,
                     const QuantizedLayer& layer);

}  // namespace vtrain
