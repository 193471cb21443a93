#include "compress/parts/batch_norm_statistics.h"

#include <algorithm>
#include <vector>

#include "nn/graph.h"

namespace vtrain {
namespace {

/// Mean and unbiased variance of every channel of values (N, C) or (N, C, H, W) that come batch by
/// batch; sums in double, about the first batch's mean, which keeps digits.
class ChannelMoments {
 public:
  void add(const Tensor& x) {
    const auto channels = static_cast<size_t>(x.dim(1));
    const std::vector<double> values = x.to_vector();
    const size_t area = values.size() / static_cast<size_t>(x.dim(0)) / channels;
    if (center_.empty()) start(values, channels, area);
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t c = i / area % channels;
      const double away = values[i] - center_[c];
      sum_[c] += away;
      squares_[c] += away * away;
    }
    const size_t per_channel = values.size() / channels;
    count_ += static_cast<double>(per_channel);
  }

  std::vector<double> mean() const {
    std::vector<double> mean = center_;
    for (size_t c = 0; c < mean.size(); ++c) mean[c] += sum_[c] / count_;
    return mean;
  }
  std::vector<double> variance() const {
    std::vector<double> variance = squares_;
    for (size_t c = 0; c < variance.size(); ++c)
      variance[c] =
          std::max(0.0, variance[c] - sum_[c] * sum_[c] / count_) / std::max(1.0, count_ - 1);
    return variance;
  }

 private:
  void start(const std::vector<double>& values, size_t channels, size_t area) {
    center_.assign(channels, 0);
    sum_ = squares_ = center_;
    for (size_t i = 0; i < values.size(); ++i) center_[i / area % channels] += values[i];
    for (double& c : center_)
      c *= static_cast<double>(channels) / static_cast<double>(values.size());
  }

  std::vector<double> center_, sum_, squares_;  // by channel
  double count_ = 0;                            // of values in a channel
};

void set_values(Parameter buffer, const std::vector<double>& values) {
  buffer.set(from_values(buffer.value().shape(), values));
}

}  // namespace

int64_t remeasure_batch_norms(Run& run, int64_t images) {
  Network& network = run.net();
  const Graph graph(network);
  std::vector<Batch> batches;
  int64_t norms = 0;
  for (const Graph::Node& node : graph.nodes()) {
    if (node.op.name != "batch_norm") continue;
    ++norms;
    if (images == 0) continue;
    if (batches.empty()) batches = run.samples(images);
    const Tap input = run.tap(Graph::module_of(node) + ".in");
    ChannelMoments moments;
    for (const Batch& batch : batches) {
      network.logits(batch.images);
      moments.add(input.value().value());
    }
    network.hooks().clear_taps();
    set_values(network.parameter(graph.value(node.inputs[4]).parameter), moments.mean());
    set_values(network.parameter(graph.value(node.inputs[5]).parameter), moments.variance());
  }
  return norms;
}

}  // namespace vtrain
