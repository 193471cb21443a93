#pragma once

#include <string>
#include <vector>

#include "compress/parts/fake_quantize.h"
#include "nn/graph.h"

namespace vtrain {

/// A convolution or linear layer that multiplies codes, with what is done to its sums before they
/// are stored. Numbers are those of the graph's nodes and values; -1: there is none.
struct Int8LayerNodes {
  std::string path;     // of the module
  int product = -1;     // node: conv2d or linear
  int batch_norm = -1;  // node, folded into weight and bias
  int add = -1;         // node: the sum with `shortcut`, before it is rounded
  int activation = -1;  // node: relu or relu6
  int input = -1, shortcut = -1, output = -1;  // values
};

/// Values that are kept as codes with one scale and zero point.
struct ScaleGroup {
  std::vector<int> values;   // all of them
  std::vector<int> sources;  // those that are rounded to codes; the others move or pick codes
  CodeScheme scheme = CodeScheme::kFull;
};

/// Which layers of a network run on integers and which values are codes between them.
///
/// - A convolution takes the batch norm behind it, then a residual sum, then a ReLU; of two
/// branches
///   that meet in a sum, the one that is computed last takes it and the other one is rounded first.
/// - A linear layer takes codes; what it gives is rounded only where codes are needed. So the
///   residual stream of a transformer, its norms, softmax and GELU stay real.
/// - Pooling, padding, slicing, reshaping and concatenation keep the scale of what they read: all
///   values that such ops connect are one group. A global average has its own scale.
/// - Codes are unsigned where the ops say that nothing is negative, affine behind GELU, SiLU and
///   hard swish, else signed.
struct Int8Layout {
  std::vector<Int8LayerNodes> layers;  // in order of computation
  std::vector<ScaleGroup> groups;
};

/// Layers whose path one of the globs in `skip` matches stay real. Throws RecipeError for a glob
/// without a match.
Int8Layout int8_layout(const Graph& graph, const std::vector<std::string>& skip);

}  // namespace vtrain
