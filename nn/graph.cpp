#include "nn/graph.h"

#include <algorithm>

#include "autograd/shape.h"

namespace vtrain {
namespace {

struct Traced {
  Trace trace;
  int images = -1, logits = -1;
  std::map<std::string, int> heads;
};

Traced traced(Network& network, int64_t batch, DType dtype) {
  const ModelOptions& o = network.architecture().options;
  const Variable images(
      zeros({batch, o.channels, o.image_size, o.image_size}, DType::f32, network.device())
          .channels_last());
  Traced t;
  const Trace::Recording recording(t.trace);
  Pass pass;
  pass.dtype = dtype;
  const Outputs outputs = network.root().outputs(cast(images, dtype), pass);
  const auto wide = [&](const Variable& v) {  // nothing is cast that is not narrow
    return t.trace.find(dtype == DType::f32 ? v : cast(v, DType::f32));
  };
  t.images = t.trace.find(images);
  t.logits = wide(outputs.logits);
  for (const auto& [name, head] : outputs.heads) t.heads[name] = wide(head);
  return t;
}

void refuse(const Network& network, const std::string& what) {
  throw Error(str("graph of ", network.architecture().model, ": ", what,
                  ": expected the same ops for one image and for two"));
}

}  // namespace

Graph::Graph(Network& network, DType dtype) : params_(network.parameter_count()) {
  Traced one = traced(network, 1, dtype);
  const Traced two = traced(network, 2, dtype);
  const size_t count = one.trace.values().size();
  if (two.trace.records().size() != one.trace.records().size() ||
      two.trace.values().size() != count)
    refuse(network, "numbers of ops differ");

  for (size_t i = 0; i < one.trace.records().size(); ++i) {
    const Op &a = one.trace.records()[i].op, &b = two.trace.records()[i].op;
    if (a.name != b.name || a.attributes != b.attributes)
      refuse(network, str("op ", i, ", ", a.name, " and ", b.name, ", or their attributes"));
  }
  for (size_t i = 0; i < count; ++i) {
    const Value &a = one.trace.values()[i], &b = two.trace.values()[i];
    if (a.shape.size() != b.shape.size() || a.producer != b.producer)
      refuse(network, str("value ", i, ", ", a.shape, " and ", b.shape));
    Shape grows(a.shape.size(), 0);
    for (size_t axis = 0; axis < a.shape.size(); ++axis) {
      if (a.shape[axis] == b.shape[axis]) continue;
      if (b.shape[axis] != 2 * a.shape[axis])
        refuse(network, str("value ", i, ", ", a.shape, " and ", b.shape));
      grows[axis] = 1;
    }
    grows_.push_back(std::move(grows));
  }
  trace_ = std::move(one.trace);
  images_ = one.images;
  logits_ = one.logits;
  heads_ = std::move(one.heads);

  readers_.resize(count);
  is_constant_.assign(count, 0);
  const auto is_input = [this](int v) { return v == images_; };
  for (size_t i = 0; i < count; ++i) {
    const int v = static_cast<int>(i);
    if (values()[i].producer < 0) is_constant_[i] = !is_input(v) && !grows_with_batch(v);
  }
  for (size_t n = 0; n < nodes().size(); ++n) {
    const Node& node = nodes()[n];
    bool is_constant = true;
    for (const int v : node.inputs) {
      if (v < 0) continue;
      readers_[static_cast<size_t>(v)].push_back(static_cast<int>(n));
      is_constant = is_constant && this->is_constant(v);
    }
    is_constant_[static_cast<size_t>(node.output)] = is_constant && !grows_with_batch(node.output);
  }
}

Shape Graph::shape(int value, int64_t batch) const {
  Shape shape = this->value(value).shape;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (grows_[static_cast<size_t>(value)][axis] != 0) shape[axis] *= batch;
  }
  return shape;
}

bool Graph::grows_with_batch(int value, int axis) const {
  const Shape& grows = grows_[static_cast<size_t>(value)];
  return grows[static_cast<size_t>(axis < 0 ? axis + static_cast<int>(grows.size()) : axis)] != 0;
}

bool Graph::grows_with_batch(int value) const {
  const Shape& grows = grows_[static_cast<size_t>(value)];
  return std::any_of(grows.begin(), grows.end(), [](int64_t g) { return g != 0; });
}

std::string Graph::module_of(const Node& node) {
  return node.scope.substr(0, node.scope.find('/'));
}

int64_t Graph::macs(const std::string& path) const {
  int64_t total = 0;
  for (const Node& node : nodes()) {
    const std::string module = module_of(node);
    const bool below = path.empty() || module == path || module.starts_with(path + ".");
    if (below) total += node.op.macs;
  }
  return total;
}

double attribute(const Graph::Node& node, std::string_view name) {
  for (const auto& [own, value] : node.op.attributes) {
    if (own == name) return value;
  }
  throw Error(str(node.scope, ": the op ", node.op.name, " has no attribute ", name));
}

int64_t integer(const Graph::Node& node, std::string_view name) {
  return static_cast<int64_t>(attribute(node, name));
}

}  // namespace vtrain
