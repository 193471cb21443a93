#include "compress/parts/fold_constants.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "tensor/random.h"

namespace vtrain {
namespace {

struct Constant {
  double value = 0;
  bool is_constant = true;
};

/// The middle of what a channel took on, and whether that was one number.
Constant constant_of(const Tensor& channel) {
  const std::vector<double> all = channel.to_vector();
  const auto [low, high] = std::minmax_element(all.begin(), all.end());
  // Far inside an image padding does not reach: most elements agree, and the median is one of them.
  std::vector<double> sorted = all;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double scale = std::max({1.0, std::abs(*low), std::abs(*high)});
  return {*middle, *high - *low <= 1e-6 * scale};
}

/// The op behind it, if it is the only reader and a batch norm.
const Trace::Record* norm_behind(const Trace& trace, int value) {
  const Trace::Record* found = nullptr;
  for (const Trace::Record& node : trace.records()) {
    if (std::find(node.inputs.begin(), node.inputs.end(), value) == node.inputs.end()) continue;
    if (found != nullptr || node.op.name != "batch_norm") return nullptr;
    found = &node;
  }
  return found;
}

}  // namespace

void zero_rows(Network& network, const CutGroups& groups, const Cut& cut) {
  const RemovedIndices removed = removed_indices(groups, cut);
  for (const Parameter& p : network.parameters()) {
    const auto rows = removed.find({p.path(), 0});
    if (rows == removed.end() || p.value().ndim() < 2) continue;
    Tensor value = p.value();
    for (const int64_t i : rows->second) value.slice(0, i, i + 1).fill(0);
  }
}

FoldedConstants fold_constants(Network& network, const CutGroups& groups, const Cut& cut) {
  for (size_t g = 0; g < cut.size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    if (!cut[g].empty() && group.is_normalised)
      throw Error(str("fold: ", group.name,
                      ": a layer norm takes statistics over these channels: no constant replaces "
                      "what they contribute"));
  }
  zero_rows(network, groups, cut);
  const RemovedIndices removed = removed_indices(groups, cut);
  std::map<std::string, Parameter> parameters;
  for (const Parameter& p : network.parameters()) parameters.emplace(p.path(), p);

  // Constants are what they are for any image: noise shows them, and shows what is none.
  const ModelOptions& o = network.architecture().options;
  const DType dtype = network.parameters().front().value().dtype();
  const Tensor images = Random(0, "", "fold_constants")
                            .normal({2, o.channels, o.image_size, o.image_size}, {})
                            .to(network.device())
                            .to(dtype)
                            .channels_last();
  Trace trace;
  {
    const Trace::Recording recording(trace);
    network.root().outputs(Variable(images), Pass{});
  }

  FoldedConstants result;
  for (const Trace::Record& node : trace.records()) {
    const bool is_convolution = node.op.name == "conv2d";
    if (!is_convolution && node.op.name != "linear") continue;
    const std::string& name = trace.values()[static_cast<size_t>(node.inputs[1])].parameter;
    const auto columns = removed.find({name, 1});
    if (columns == removed.end()) continue;
    const Tensor &x = trace.tensor(node.inputs[0]), &w = parameters.at(name).value();
    const int axis = is_convolution ? 1 : x.ndim() - 1;
    // Column j of a grouped convolution reads channel j of each group, for that group's rows.
    const int64_t groups_of_node = is_convolution ? integer(node, "groups") : 1;
    const bool is_padded =
        is_convolution && attribute(node, "pad_top") + attribute(node, "pad_bottom") +
                                  attribute(node, "pad_left") + attribute(node, "pad_right") >
                              0;
    std::vector<double> added(static_cast<size_t>(w.dim(0)), 0.0);
    const int64_t rows = w.dim(0) / groups_of_node;
    for (const int64_t j : columns->second) {
      for (int64_t k = 0; k < groups_of_node; ++k) {
        const int64_t channel = k * w.dim(1) + j;
        const Constant c = constant_of(x.slice(axis, channel, channel + 1));
        if (c.value == 0 && c.is_constant) continue;
        ++result.channels;
        result.is_exact = result.is_exact && c.is_constant && !is_padded;
        const std::vector<double> taps =
            w.slice(0, k * rows, (k + 1) * rows).slice(1, j, j + 1).to_vector();
        const size_t first = static_cast<size_t>(k * rows),
                     per_row = taps.size() / static_cast<size_t>(rows);
        for (size_t i = 0; i < taps.size(); ++i) added[first + i / per_row] += taps[i] * c.value;
      }
    }
    if (std::all_of(added.begin(), added.end(), [](double a) { return a == 0; })) continue;

    const int bias = node.inputs[2];
    double sign = 1;
    std::string target;
    if (bias >= 0) {
      target = trace.values()[static_cast<size_t>(bias)].parameter;
    } else if (const Trace::Record* const norm = norm_behind(trace, node.output)) {
      target = trace.values()[static_cast<size_t>(norm->inputs[4])].parameter;
      sign = -1;
    } else {
      throw Error(str("fold: ", Graph::module_of(node),
                      ": expected a bias, or a batch norm behind it, to take the constants of its "
                      "removed inputs"));
    }
    Parameter& p = parameters.at(target);
    std::vector<double> values = p.value().to_vector();
    for (size_t i = 0; i < values.size(); ++i) values[i] += sign * added[i];
    p.set(from_values(p.value().shape(), values, p.value().dtype()));
  }
  return result;
}

}  // namespace vtrain
