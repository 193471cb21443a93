#include "tests/cutting.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>

#include "autograd/trace.h"
#include "compress/edit.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/reduce.h"
#include "tensor/ops/unary.h"
#include "tensor/random.h"

namespace vtrain {

void make_trained(Network& network, uint64_t seed) {
  network.initialise(seed);
  for (Parameter p : network.parameters()) {
    if (p.value().ndim() != 1) continue;
    const Random random(seed, "", "trained." + p.path());
    const Shape& shape = p.value().shape();
    const bool is_scale = p.path().ends_with(".weight") || p.path().ends_with("running_var");
    std::vector<double> v =
        (is_scale ? random.uniform(shape, {}) : random.normal(shape, {})).to_vector();
    for (double& x : v) x = is_scale ? x + 0.5 : 0.2 * x;
    p.set(from_values(shape, v));
  }
}

void calibrate_batch_norm(Network& network, const Tensor& images) {
  Trace trace;
  {
    const Trace::Recording recording(trace);
    Pass pass;
    pass.is_training = true;
    network.root().outputs(Variable(images), pass);
  }
  for (const Trace::Record& node : trace.records()) {
    if (node.op.name != "batch_norm") continue;
    const Tensor x = trace.tensor(node.inputs[0]);
    const std::vector<int> dims = x.ndim() == 4 ? std::vector<int>{0, 2, 3} : std::vector<int>{0};
    const auto count = static_cast<double>(x.numel() / x.dim(1));
    const Tensor mean = multiply(sum(x, dims), 1 / count);
    Shape broadcast(x.shape().size(), 1);
    broadcast[1] = x.dim(1);
    const Tensor variance =
        multiply(sum(square(subtract(x, mean.reshape(broadcast))), dims), 1 / count);
    const auto parameter = [&](size_t input) {
      return network.parameter(trace.values()[static_cast<size_t>(node.inputs[input])].parameter);
    };
    parameter(4).set(mean);
    parameter(5).set(add(variance, 1e-3));  // a map of one position has no variance of its own
  }
}

void widen(Network& network) {
  for (Parameter p : network.parameters()) p.replace(p.value().to(DType::f64));
}

Tensor logits_of(Network& network, const Tensor& images) {
  Pass pass;
  pass.hooks = &network.hooks();
  const DType dtype = network.parameters().front().value().dtype();
  return network.root().outputs(Variable(images.to(dtype)), pass).logits.value();
}

Cut lowest(const Network& network, const CutGroups& groups, double rate, CutScore score,
           uint64_t seed) {
  std::map<std::string, Tensor> state = network.state();
  Cut cut = groups.nothing();
  for (size_t g = 0; g < cut.size(); ++g) {
    const CutGroup& group = groups.groups()[g];
    std::vector<double> scores(static_cast<size_t>(group.size()), 0.0);
    if (score == CutScore::kRandom) {
      scores = Random(seed, "", str("score.", g)).uniform({group.size()}, {}).to_vector();
    } else {
      for (size_t p = 0; p < group.places.size(); ++p) {
        const Tensor value = state.at(group.places[p].parameter);
        for (size_t c = 0; c < scores.size(); ++c) {
          for (const int64_t i : group.indices[c][p]) {
            for (const double v : value.slice(group.places[p].axis, i, i + 1).to_vector())
              scores[c] += v * v;
          }
        }
      }
    }
    std::vector<int64_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return scores[static_cast<size_t>(a)] < scores[static_cast<size_t>(b)];
    });
    const auto count = std::min<int64_t>(
        group.size() - 1, static_cast<int64_t>(static_cast<double>(group.size()) * rate + 1e-9));
    cut[g].assign(order.begin(), order.begin() + count);
    std::sort(cut[g].begin(), cut[g].end());
  }
  return cut;
}

MaskedCompact masked_against_compact(Network& network, DType dtype, GroupedCut grouped, double rate,
                                     CutScore score, uint64_t seed) {
  make_trained(network, seed);
  const CutGroups groups(network, grouped);
  const Cut cut = lowest(network, groups, rate, score, seed);
  const ModelOptions& o = network.architecture().options;
  // Deep down a map has one position: of fewer images a channel may have next to no variance, and
  // its norm would amplify what f32 rounds.
  constexpr int64_t kCalibration = 16, kCompared = 2;
  const Tensor all = Random(seed, "", "images")
                         .normal({kCalibration, o.channels, o.image_size, o.image_size}, {})
                         .channels_last();
  const Tensor images = all.slice(0, 0, kCompared);
  mask(network, groups, cut);
  calibrate_batch_norm(network, all);
  if (dtype == DType::f64) widen(network);
  mask_layer_norms(network, groups, cut, "test");
  const Tensor masked = logits_of(network, images);
  network.hooks().remove_owner("test");
  network.cut(groups.plan(cut));
  MaskedCompact result;
  result.difference = relative_difference(masked, logits_of(network, images));
  for (const auto& channels : cut) result.removed += static_cast<int64_t>(channels.size());
  return result;
}

bool is_full() {
  const char* const full = std::getenv("VTRAIN_FULL");
  return full != nullptr && *full != '\0' && *full != '0';
}

}  // namespace vtrain
