#include "compress/deploy/plan_step.h"

#include <algorithm>

#include "tensor/allocator.h"

namespace vtrain {
namespace {

Registry<StepMaker>& makers() {
  static Registry<StepMaker> registry;
  return registry;
}
Registry<OpFunction>& functions() {
  static Registry<OpFunction> registry;
  return registry;
}

/// The module, or the op where it stands in none.
std::string layer_of(const Graph::Node& node) {
  const std::string module = Graph::module_of(node);
  return module.empty() ? node.op.name : module;
}

class CopyCall final : public PlanCall {
 public:
  CopyCall(Tensor from, Tensor to) : from_(std::move(from)), to_(std::move(to)) {}
  void run() override { to_.copy_from(from_); }
  std::string kernel() const override { return "copy"; }

 private:
  Tensor from_, to_;
};

class CopyStep final : public PlanStep {
 public:
  explicit CopyStep(const Graph::Node& node) : PlanStep(node, node.inputs) {}
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<CopyCall>(inputs[0], output);
  }
};

class GeneralCall final : public PlanCall {
 public:
  GeneralCall(Graph::Node node, OpFunction compute, const std::vector<Tensor>& inputs,
              Tensor output)
      : node_(std::move(node)), compute_(std::move(compute)), output_(std::move(output)) {
    for (const Tensor& t : inputs) inputs_.push_back(t.defined() ? Variable(t) : Variable());
  }
  void run() override { output_.copy_from(compute_(inputs_, node_, output_.shape()).value()); }
  std::string kernel() const override { return "as in training: " + node_.op.name; }

 private:
  Graph::Node node_;
  OpFunction compute_;
  std::vector<Variable> inputs_;
  Tensor output_;
};

class GeneralStep final : public PlanStep {
 public:
  GeneralStep(const Graph::Node& node, OpFunction compute)
      : PlanStep(node, node.inputs), node_(node), compute_(std::move(compute)) {}
  std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                 PlanScratch&) override {
    return std::make_unique<GeneralCall>(node_, compute_, inputs, output);
  }

 private:
  Graph::Node node_;
  OpFunction compute_;
};

}  // namespace

Shape PlanValue::at(int64_t batch) const {
  Shape extents = shape;
  for (size_t i = 0; i < extents.size(); ++i) {
    if (grows[i] != 0) extents[i] *= batch;
  }
  return extents;
}

void PlanScratch::reserve(size_t bytes) { wanted_ = std::max(wanted_, bytes); }

std::byte* PlanScratch::data() {
  if (size_ < wanted_) {
    block_.reset();
    block_ = allocate_cpu(wanted_);
    size_ = wanted_;
  }
  return block_.get();
}

PlanStep::PlanStep(const Graph::Node& node, std::vector<int> inputs)
    : layers_(layer_of(node)),
      scope_(node.scope),
      inputs_(std::move(inputs)),
      output_(node.output) {}

bool PlanStep::take(const Graph::Node& node, size_t own, const PlanValues& values) {
  if (!absorb(node, own, values)) return false;
  layers_ += " + " + layer_of(node);
  scope_ = node.scope;
  output_ = node.output;
  return true;
}

std::unique_ptr<PlanStep> copy_step(const PlanStep& reader, int from, int to) {
  return std::make_unique<CopyStep>(
      Graph::Node{.op = {"copy"},
                  .scope = reader.scope().substr(0, reader.scope().find('/')) + "/copy",
                  .inputs = {from},
                  .output = to});
}

RegisteredStep::RegisteredStep(const std::string& op, StepMaker make, const char* file) {
  makers().add(op, std::move(make), tree_path(file));
}
const StepMaker* find_step(const std::string& op) { return makers().find(op); }

RegisteredOp::RegisteredOp(const std::string& op, OpFunction compute, const char* file) {
  functions().add(op, std::move(compute), tree_path(file));
}

std::unique_ptr<PlanStep> general_step(const Graph::Node& node, const PlanValues&) {
  const OpFunction* const compute = functions().find(node.op.name);
  if (compute == nullptr) {
    throw Error(str("deploy: layer ", layer_of(node),
                    ": expected an op that a plan can compute, got ", node.op.name));
  }
  return std::make_unique<GeneralStep>(node, *compute);
}

}  // namespace vtrain
