#include "compress/parts/dead_units.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "autograd/trace.h"
#include "compress/edit.h"
#include "compress/parts/fold_constants.h"
#include "nn/graph.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"
#include "tensor/random.h"

namespace vtrain {
namespace {

Tensor noise_images(Network& network) {
  const ModelOptions& o = network.architecture().options;
  return Random(0, "", "dead_units")
      .normal({2, o.channels, o.image_size, o.image_size}, {})
      .to(network.device())
      .channels_last();
}

/// Whether slices of a parameter along an axis are all 0.
using IsZero = std::map<std::pair<std::string, int>, std::vector<char>>;

std::vector<char> zero_slices(const Tensor& w, int axis) {
  std::vector<int> others;
  for (int i = 0; i < w.ndim(); ++i) {
    if (i != axis) others.push_back(i);
  }
  // Not squares: those of small weights vanish in f32.
  const Tensor size = add(relu(w), relu(negate(w)));
  const std::vector<double> sums = (others.empty() ? size : sum(size, others)).to_vector();
  std::vector<char> zero(sums.size());
  std::transform(sums.begin(), sums.end(), zero.begin(),
                 [](double s) { return static_cast<char>(s == 0 ? 1 : 0); });
  return zero;
}

/// What becomes of a channel that is a constant, at one layer that reads it.
struct Reading {
  std::vector<double> constants;  // by input channel; NaN: not constant
  size_t columns = 0;             // of the weight: fewer than channels in a grouped convolution
  bool can_fold = false;          // any constant; else only 0 can go
};

/// Whether one reader, a batch norm, takes a value: its running mean can hold a constant then.
bool feeds_batch_norm_only(const Trace& trace, int value) {
  int readers = 0;
  bool is_norm = false;
  for (const Trace::Record& node : trace.records()) {
    if (std::find(node.inputs.begin(), node.inputs.end(), value) == node.inputs.end()) continue;
    ++readers;
    is_norm = node.op.name == "batch_norm";
  }
  return readers == 1 && is_norm;
}

/// By weight: its input channels, on noise. What is a constant for any image is one for noise, and
/// noise shows what is none.
std::multimap<std::string, Reading> readings(Network& network) {
  Trace trace;
  {
    const Trace::Recording recording(trace);
    network.root().outputs(Variable(noise_images(network)), Pass{});
  }
  std::multimap<std::string, Reading> result;
  for (const Trace::Record& node : trace.records()) {
    const bool is_convolution = node.op.name == "conv2d";
    if (!is_convolution && node.op.name != "linear") continue;
    const Tensor& x = trace.tensor(node.inputs[0]);
    const int axis = is_convolution ? 1 : x.ndim() - 1;
    Reading reading;
    const bool is_padded =
        is_convolution && attribute(node, "pad_top") + attribute(node, "pad_bottom") +
                                  attribute(node, "pad_left") + attribute(node, "pad_right") >
                              0;
    const auto weight = static_cast<size_t>(node.inputs[1]);
    reading.columns = static_cast<size_t>(trace.values()[weight].shape[1]);
    reading.can_fold = !is_padded && reading.columns == static_cast<size_t>(x.dim(axis)) &&
                       (node.inputs[2] >= 0 || feeds_batch_norm_only(trace, node.output));
    for (int64_t c = 0; c < x.dim(axis); ++c) {
      const std::vector<double> values = x.slice(axis, c, c + 1).to_vector();
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      const double scale = std::max({1.0, std::abs(*low), std::abs(*high)});
      reading.constants.push_back(*high - *low <= 1e-6 * scale ? (*low + *high) / 2 : std::nan(""));
    }
    result.emplace(trace.values()[weight].parameter, std::move(reading));
  }
  return result;
}

/// Whether the constants that a weight's column meets can go exactly.
bool can_go(const std::multimap<std::string, Reading>& all, const std::string& weight,
            int64_t column) {
  const auto [first, last] = all.equal_range(weight);
  return std::all_of(first, last, [column](const auto& entry) {
    const Reading& reading = entry.second;
    for (auto i = static_cast<size_t>(column); i < reading.constants.size(); i += reading.columns) {
      const double constant = reading.constants[i];
      if (constant != 0 && !(reading.can_fold && std::isfinite(constant))) return false;
    }
    return true;
  });
}

}  // namespace

DeadUnits find_dead_units(Network& network, const CutGroups& groups) {
  IsZero zero;
  const auto is_zero = [&](const CutGroup::Place& place, int64_t i) {
    auto& slices = zero[{place.parameter, place.axis}];
    if (slices.empty())
      slices = zero_slices(network.parameter(place.parameter).value(), place.axis);
    return slices[static_cast<size_t>(i)] != 0;
  };
  const std::multimap<std::string, Reading> read = readings(network);

  DeadUnits dead{.cut = groups.nothing(), .kept = 0};
  for (size_t g = 0; g < groups.groups().size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    if (group.is_normalised) continue;
    std::vector<size_t> makers, readers;
    for (size_t p = 0; p < group.places.size(); ++p) {
      const int rank = network.parameter(group.places[p].parameter).value().ndim();
      if (rank != 2 && rank != 4) continue;
      (group.places[p].axis == 0 ? makers : readers).push_back(p);
    }
    if (makers.empty() || readers.empty()) continue;
    for (int64_t c = 0; c < group.size(); ++c) {
      const auto& indices = group.indices[static_cast<size_t>(c)];
      const auto all_zero = [&](const std::vector<size_t>& places) {
        return std::all_of(places.begin(), places.end(), [&](size_t p) {
          return std::all_of(indices[p].begin(), indices[p].end(),
                             [&](int64_t i) { return is_zero(group.places[p], i); });
        });
      };
      const auto constants_can_go = [&] {
        return std::all_of(readers.begin(), readers.end(), [&](size_t p) {
          return std::all_of(indices[p].begin(), indices[p].end(),
                             [&](int64_t i) { return can_go(read, group.places[p].parameter, i); });
        });
      };
      const bool is_unread = all_zero(readers), is_unmade = !is_unread && all_zero(makers);
      const bool is_free = is_unread || (is_unmade && constants_can_go());
      const bool is_last = static_cast<int64_t>(dead.cut[g].size()) + 1 == group.size();
      if (is_free && !is_last) dead.cut[g].push_back(c);
      if (is_unmade && !is_free) ++dead.kept;
    }
  }
  return dead;
}

RemovedUnits remove_dead_units(Run& run) {
  RemovedUnits result;
  for (;;) {
    Network& network = run.net();
    const CutGroups groups(network);
    const DeadUnits dead = find_dead_units(network, groups);
    result.kept = dead.kept;
    int64_t count = 0;
    for (const auto& channels : dead.cut) count += static_cast<int64_t>(channels.size());
    if (count == 0) return result;
    const Tensor images = noise_images(network), before = network.logits(images);
    fold_constants(network, groups, dead.cut);
    run.edit().cut(groups, dead.cut).apply();
    result.removed += count;
    result.max_rel = std::max(result.max_rel, relative_difference(before, network.logits(images)));
  }
}

}  // namespace vtrain
