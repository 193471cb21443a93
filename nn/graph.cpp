#include "nn/graph.h"

namespace vtrain {

Graph::Graph(Network& network) : params_(network.parameter_count()) {
  const ModelOptions& o = network.architecture().options;
  const Trace::Recording recording(trace_);
  network.root().outputs(
      Variable(zeros({1, o.channels, o.image_size, o.image_size}, DType::f32, network.device())),
      Pass{});
}

int64_t Graph::macs(const std::string& path) const {
  int64_t total = 0;
  for (const Trace::Record& node : nodes()) {
    const std::string module = node.scope.substr(0, node.scope.find('/'));
    const bool below = path.empty() || module == path || module.starts_with(path + ".");
    if (below) total += node.op.macs;
  }
  return total;
}

}  // namespace vtrain
