#include "compress/parts/cut_groups.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "autograd/arithmetic.h"
#include "nn/layers/layer_norm.h"
#include "tensor/ops/reduce.h"

namespace vtrain {
namespace {

/// Where every label that can be cut went: its group and its number in it.
struct Position {
  size_t group = 0;
  int64_t channel = -1;  // -1: cannot be cut
};

/// "layer1.0.conv1" of "layer1.0.conv1.weight".
std::string module_of_parameter(const std::string& parameter) {
  const size_t dot = parameter.rfind('.');
  return dot == std::string::npos ? parameter : parameter.substr(0, dot);
}

/// Each index of each axis of each parameter with its label's root.
struct Slots {
  std::vector<CutGroup::Place> places;
  std::map<int, std::map<size_t, std::vector<int64_t>>> of_root;  // place -> indices
};

Slots find_slots(const Channels& channels) {
  Slots slots;
  const auto& values = channels.graph().values();
  for (size_t v = 0; v < values.size(); ++v) {
    if (values[v].parameter.empty()) continue;
    for (size_t axis = 0; axis < values[v].shape.size(); ++axis) {
      const ChannelLabels& labels = channels.of(static_cast<int>(v), static_cast<int>(axis));
      if (labels.empty()) continue;
      const size_t place = slots.places.size();
      slots.places.push_back({values[v].parameter, static_cast<int>(axis)});
      for (size_t i = 0; i < labels.size(); ++i) {
        const int root = channels.root(labels[i]);
        if (!channels.is_pinned(root))
          slots.of_root[root][place].push_back(static_cast<int64_t>(i));
      }
    }
  }
  return slots;
}

}  // namespace

CutGroups::CutGroups(Network& network, GroupedCut grouped, const HeadOrders& orders) {
  const Graph graph(network);
  const Channels channels(network, graph, grouped, orders);
  const Slots slots = find_slots(channels);

  std::map<std::vector<size_t>, size_t> group_of_places;
  std::map<int, Position> position;
  for (const auto& [root, at] : slots.of_root) {
    std::vector<size_t> footprint;
    for (const auto& [place, indices] : at) footprint.push_back(place);
    const auto [found, is_new] = group_of_places.try_emplace(footprint, groups_.size());
    if (is_new) {
      CutGroup group;
      for (const size_t place : footprint) group.places.push_back(slots.places[place]);
      group.name = module_of_parameter(group.places.front().parameter);
      groups_.push_back(std::move(group));
    }
    CutGroup& group = groups_[found->second];
    position[root] = {found->second, group.size()};
    std::vector<std::vector<int64_t>> indices;
    for (const auto& [place, own] : at) indices.push_back(own);
    group.indices.push_back(std::move(indices));
    group.is_residual |= channels.is_residual(root);
    group.is_normalised |= channels.is_normalised(root);
  }

  const auto axis_of = [&](const ChannelLabels& labels) {
    Axis axis;
    std::map<size_t, std::vector<int64_t>> counts;
    for (const int label : labels) {
      const auto found = position.find(channels.root(label));
      if (found == position.end()) {
        ++axis.fixed;
        continue;
      }
      auto& own = counts[found->second.group];
      own.resize(static_cast<size_t>(groups_[found->second.group].size()));
      ++own[static_cast<size_t>(found->second.channel)];
    }
    for (auto& [group, own] : counts) axis.counts.emplace_back(group, std::move(own));
    return axis;
  };

  fixed_macs_ = channels.fixed_macs();
  for (const Channels::Cost& cost : channels.costs()) {
    Cost own{cost.coefficient, {}};
    for (const ChannelLabels& labels : cost.axes) own.axes.push_back(axis_of(labels));
    macs_.push_back(std::move(own));
  }
  for (const Channels::Adaptation& adaptation : channels.adaptations())
    adaptations_.push_back({adaptation.module, adaptation.attribute, axis_of(adaptation.counted)});

  std::set<std::string> seen, buffers;
  for (const Parameter& p : network.parameters()) {
    if (p.is_buffer()) buffers.insert(p.path());
  }
  for (size_t v = 0; v < graph.values().size(); ++v) {
    const Graph::Value& value = graph.values()[v];
    if (value.parameter.empty() || !seen.insert(value.parameter).second) continue;
    Cost count{static_cast<double>(numel_of(value.shape)), {}};
    for (size_t axis = 0; axis < value.shape.size(); ++axis) {
      const ChannelLabels& labels = channels.of(static_cast<int>(v), static_cast<int>(axis));
      if (labels.empty()) continue;
      Axis counted = axis_of(labels);
      if (counted.counts.empty()) continue;
      axes_.push_back({value.parameter, static_cast<int>(axis), counted});
      count.coefficient /= static_cast<double>(labels.size());
      count.axes.push_back(std::move(counted));
    }
    if (!buffers.contains(value.parameter)) params_.push_back(std::move(count));
  }
  // What the graph never read, such as a position table of another size.
  fixed_params_ = network.parameter_count() - params(nothing());
}

int64_t CutGroups::Axis::kept(const Cut& cut) const {
  int64_t left = fixed;
  for (const auto& [group, entries] : counts) {
    left += std::accumulate(entries.begin(), entries.end(), int64_t{0});
    for (const int64_t channel : cut[group]) left -= entries[static_cast<size_t>(channel)];
  }
  return left;
}

int64_t CutGroups::Axis::grown(const Growth& growth) const {
  int64_t size = fixed;
  for (const auto& [group, entries] : counts) {
    size += std::accumulate(entries.begin(), entries.end(), int64_t{0});
    for (const int64_t channel : growth[group]) size += entries[static_cast<size_t>(channel)];
  }
  return size;
}

namespace {

template <class Costs>
int64_t total(const Costs& costs, const Cut& cut) {
  double sum = 0;
  for (const auto& cost : costs) {
    double product = cost.coefficient;
    for (const auto& axis : cost.axes) product *= static_cast<double>(axis.kept(cut));
    sum += product;
  }
  return std::llround(sum);
}

}  // namespace

int64_t CutGroups::macs(const Cut& cut) const { return fixed_macs_ + total(macs_, cut); }
int64_t CutGroups::params(const Cut& cut) const { return fixed_params_ + total(params_, cut); }

NetworkCut CutGroups::plan(const Cut& cut) const {
  if (cut.size() != groups_.size())
    throw Error(
        str("cut: expected a list for each of ", groups_.size(), " groups, got ", cut.size()));
  for (size_t g = 0; g < cut.size(); ++g) {
    const CutGroup& group = groups_[g];
    std::set<int64_t> seen;
    for (const int64_t channel : cut[g]) {
      if (channel < 0 || channel >= group.size() || !seen.insert(channel).second)
        throw Error(str("cut: ", group.name, ": channel ", channel, ": expected each of 0..",
                        group.size() - 1, " at most once"));
    }
  }
  const RemovedIndices removed = removed_indices(*this, cut);
  NetworkCut plan;
  for (const ParameterAxis& axis : axes_) {
    const auto found = removed.find({axis.parameter, axis.axis});
    if (found == removed.end()) continue;
    const int64_t kept = axis.counted.kept(cut),
                  size = kept + static_cast<int64_t>(found->second.size());
    if (kept == 0)
      throw Error(str("cut: ", module_of_parameter(axis.parameter), " would keep none of its ",
                      size, " channels: expected at least one"));
    std::vector<int64_t> keep;
    for (int64_t i = 0; i < size; ++i) {
      if (!found->second.contains(i)) keep.push_back(i);
    }
    plan.axes.push_back({axis.parameter, axis.axis, std::move(keep)});
  }
  for (const Adaptation& adaptation : adaptations_)
    plan.structure[adaptation.module][adaptation.attribute] =
        static_cast<double>(adaptation.counted.kept(cut));
  return plan;
}

namespace {

/// The layer multiplies and sums over this axis of its weight.
bool is_read(const CutGroup::Place& place) { return place.axis == 1; }

/// How often each index of a place stands in the grown axis, by index; 1 where it is not named.
using Times = std::map<int64_t, int64_t>;

/// Copies behind their originals, whole runs of a channel's indices at a time: a channel of a
/// flattened image is a run.
NetworkGrowth::Axis grown_axis(const CutGroup::Place& place, int64_t size,
                               const std::map<int64_t, std::pair<size_t, int64_t>>& channel_of,
                               const std::vector<Times>& times) {
  NetworkGrowth::Axis axis{place.parameter, place.axis, {}, {}, is_read(place)};
  const auto owner = [&](int64_t i) {
    const auto found = channel_of.find(i);
    return found == channel_of.end() ? std::pair{times.size(), i} : found->second;
  };
  for (int64_t begin = 0; begin < size;) {
    int64_t end = begin + 1;
    while (end < size && owner(end) == owner(begin)) ++end;
    const auto [group, channel] = owner(begin);
    int64_t count = 1;
    if (group < times.size()) {
      const auto found = times[group].find(channel);
      if (found != times[group].end()) count = found->second;
    }
    for (int64_t copy = 0; copy < count; ++copy) {
      for (int64_t i = begin; i < end; ++i) {
        if (copy > 0) axis.copies.push_back(static_cast<int64_t>(axis.from.size()));
        axis.from.push_back(i);
      }
    }
    begin = end;
  }
  return axis;
}

}  // namespace

NetworkGrowth CutGroups::plan_growth(const Growth& growth) const {
  if (growth.size() != groups_.size())
    throw Error(
        str("grow: expected a list for each of ", groups_.size(), " groups, got ", growth.size()));
  std::vector<Times> times(growth.size());
  // By parameter and axis: whose channel an index is.
  std::map<std::pair<std::string, int>, std::map<int64_t, std::pair<size_t, int64_t>>> owners;
  for (size_t g = 0; g < growth.size(); ++g) {
    if (growth[g].empty()) continue;
    const CutGroup& group = groups_[g];
    if (group.is_normalised)
      throw Error(str("grow: ", group.name,
                      ": a layer norm takes statistics over these channels, "
                      "which copies would change"));
    if (std::ranges::none_of(group.places, is_read) || std::ranges::all_of(group.places, is_read))
      throw Error(str("grow: ", group.name,
                      ": expected channels that a layer makes and another reads one by one, so "
                      "that copies can share a weight"));
    for (const int64_t channel : growth[g]) {
      if (channel < 0 || channel >= group.size())
        throw Error(str("grow: ", group.name, ": expected copies of channels 0..", group.size() - 1,
                        ", got ", channel));
      ++times[g].try_emplace(channel, 1).first->second;
    }
    for (int64_t channel = 0; channel < group.size(); ++channel) {
      for (size_t p = 0; p < group.places.size(); ++p) {
        auto& own = owners[{group.places[p].parameter, group.places[p].axis}];
        for (const int64_t i : group.indices[static_cast<size_t>(channel)][p])
          own[i] = {g, channel};
      }
    }
  }
  NetworkGrowth plan;
  for (const ParameterAxis& axis : axes_) {
    const auto found = owners.find({axis.parameter, axis.axis});
    if (found == owners.end()) continue;
    const int64_t size = axis.counted.kept(nothing());
    plan.axes.push_back(grown_axis({axis.parameter, axis.axis}, size, found->second, times));
  }
  for (const Adaptation& adaptation : adaptations_)
    plan.structure[adaptation.module][adaptation.attribute] =
        static_cast<double>(adaptation.counted.grown(growth));
  return plan;
}

RemovedIndices removed_indices(const CutGroups& groups, const Cut& cut) {
  RemovedIndices removed;
  for (size_t g = 0; g < cut.size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    for (const int64_t channel : cut[g]) {
      for (size_t p = 0; p < group.places.size(); ++p) {
        const auto& indices = group.indices[static_cast<size_t>(channel)][p];
        removed[{group.places[p].parameter, group.places[p].axis}].insert(indices.begin(),
                                                                          indices.end());
      }
    }
  }
  return removed;
}

void mask(Network& network, const CutGroups& groups, const Cut& cut) {
  const RemovedIndices removed = removed_indices(groups, cut);
  for (const Parameter& p : network.parameters()) {
    Tensor value = p.value();
    for (int axis = 0; axis < value.ndim(); ++axis) {
      const auto found = removed.find({p.path(), axis});
      if (found == removed.end()) continue;
      for (const int64_t i : found->second) value.slice(axis, i, i + 1).fill(0);
    }
  }
}

namespace {

/// m * (gamma * (x - mean) / sqrt(variance + eps) + beta), the statistics over m = 1.
///   x (..., C); m (C) of 0 and 1
Variable masked_layer_norm(const Variable& x, const Tensor& m, const Variable& gamma,
                           const Variable& beta, double eps) {
  const Variable kept(m);
  const double share = 1 / sum(m).item();
  const Variable centred = (x - sum(x * kept, {-1}, /*keep_dims=*/true) * share) * kept;
  const Variable variance = sum(square(centred), {-1}, /*keep_dims=*/true) * share;
  return (centred / sqrt(variance + eps) * gamma + beta) * kept;
}

}  // namespace

void mask_layer_norms(Network& network, const CutGroups& groups, const Cut& cut,
                      const std::string& owner) {
  const RemovedIndices removed = removed_indices(groups, cut);
  for (Module* const module : network.root().modules()) {
    const auto* const norm = dynamic_cast<const LayerNorm*>(module);
    const auto found = removed.find({module->path() + ".weight", 0});
    if (norm == nullptr || found == removed.end()) continue;
    const Parameter gamma = network.parameter(module->path() + ".weight"),
                    beta = network.parameter(module->path() + ".bias");
    Tensor m = ones_like(gamma.value());
    for (const int64_t i : found->second) m.slice(0, i, i + 1).fill(0);
    const auto apply = [m, gamma, beta, eps = norm->eps()](const Variable& x, const Pass& pass) {
      return masked_layer_norm(x, m, gamma.effective_full(pass), beta.effective_full(pass), eps);
    };
    // Called with a value or with tokens.
    network.hooks().wrap(module->path(), {Slot::kMask, owner,
                                          [apply](const Variable& x, const Inner&,
                                                  const Pass& pass) { return apply(x, pass); }});
    network.hooks().wrap_tokens(
        module->path(),
        {Slot::kMask, owner, [apply](const Tokens& t, const InnerTokens&, const Pass& pass) {
           Tokens u = t;
           u.x = apply(t.x, pass);
           return u;
         }});
  }
}

}  // namespace vtrain
