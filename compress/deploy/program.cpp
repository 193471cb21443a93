#include "compress/deploy/program.h"

#include <algorithm>

#include "compress/deploy/int8_graph.h"
#include "compress/deploy/plan_graph.h"
#include "tensor/allocator.h"

namespace vtrain {
namespace {

constexpr int64_t kProbeBatch = 2;  // strides of one image would hide what a batch needs

class Lowering {
 public:
  explicit Lowering(PlanGraph graph) : nodes_(std::move(graph.nodes)) {
    program_.values = std::move(graph.values);
    program_.images = graph.images;
    program_.logits = graph.logits;
    maker_.assign(program_.values.size(), nullptr);
    for (const Graph::Node& node : nodes_) {
      for (const int v : node.inputs) {
        if (v >= 0) ++value(v).readers;
      }
    }
  }

  Program run() {
    for (const Graph::Node& node : nodes_) {
      check(node);
      add(node);
    }
    probe();
    keep_constants();
    return std::move(program_);
  }

 private:
  PlanValue& value(int v) { return program_.values[static_cast<size_t>(v)]; }

  void check(const Graph::Node& node) {
    for (const int v : node.inputs) {
      if (v < 0 || v == program_.images || value(v).constant.defined() ||
          maker_[static_cast<size_t>(v)] != nullptr)
        continue;
      throw Error(str("deploy: layer ", Graph::module_of(node),
                      ": expected values that follow from the images, got one ", value(v).shape,
                      " read by ", node.op.name,
                      " that is drawn anew for every image: a random choice cannot be deployed"));
    }
    // A batch is cut into runs, so its images must not know of each other.
    const Shape& grows = value(node.output).grows;
    if (std::count(grows.begin(), grows.end(), 0) == static_cast<std::ptrdiff_t>(grows.size())) {
      throw Error(str("deploy: layer ", Graph::module_of(node),
                      ": expected ops that treat each image alone, got ", node.op.name,
                      " whose result ", value(node.output).shape, " is one for the whole batch"));
    }
  }

  /// Into the pass of the step that makes one of its inputs, the latest of several, or as a step
  /// of its own.
  void add(const Graph::Node& node) {
    std::vector<std::pair<size_t, size_t>> candidates;  // position of the step, number of the input
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const int v = node.inputs[i];
      if (v < 0 || value(v).readers != 1 || value(v).is_output) continue;
      const PlanStep* const step = maker_[static_cast<size_t>(v)];
      if (step == nullptr) continue;
      const auto at = std::find_if(program_.steps.begin(), program_.steps.end(),
                                   [&](const auto& s) { return s.get() == step; });
      candidates.emplace_back(at - program_.steps.begin(), i);
    }
    std::sort(candidates.rbegin(), candidates.rend());
    for (const auto& [position, input] : candidates) {
      if (!program_.steps[position]->take(node, input, program_.values)) continue;
      // All that the node reads has been computed by now, and nobody waits for what it replaces.
      std::rotate(program_.steps.begin() + static_cast<std::ptrdiff_t>(position),
                  program_.steps.begin() + static_cast<std::ptrdiff_t>(position) + 1,
                  program_.steps.end());
      maker_[static_cast<size_t>(node.output)] = program_.steps.back().get();
      return;
    }
    std::unique_ptr<PlanStep> step;
    if (const StepMaker* const make = find_step(node.op.name))
      step = (*make)(node, program_.values);
    if (!step) step = general_step(node, program_.values);
    maker_[static_cast<size_t>(node.output)] = step.get();
    program_.steps.push_back(std::move(step));
  }

  /// Runs the plan's views on tensors of two images that share one piece of memory: which values
  /// are views, which inputs must be brought into order first, and which steps work in place
  /// follows from the strides.
  void probe() {
    int64_t largest = 1;
    for (const PlanValue& v : program_.values) {
      largest =
          std::max(largest, numel_of(v.at(kProbeBatch)) * static_cast<int64_t>(size_of(v.dtype)));
    }
    scratch_ = allocate_cpu(static_cast<size_t>(largest));
    for (size_t v = 0; v < program_.values.size(); ++v) add_memory(static_cast<int>(v));
    tensors_[static_cast<size_t>(program_.images)] = planned(program_.images);

    std::vector<std::unique_ptr<PlanStep>> steps;
    for (std::unique_ptr<PlanStep>& step : program_.steps) {
      const int y = step->output();
      const std::vector<Tensor> inputs = program_.inputs_of(*step, tensors_);
      if (inputs[0].defined()) {
        const Tensor view = step->view(inputs[0], value(y).at(kProbeBatch));
        if (view.defined() && view.shares_storage_with(inputs[0])) {
          tensors_[static_cast<size_t>(y)] = view;
          program_.is_view[static_cast<size_t>(y)] = 1;
          program_.roots[static_cast<size_t>(y)] =
              program_.roots[static_cast<size_t>(step->inputs()[0])];
          steps.push_back(std::move(step));
          continue;
        }
      }
      tensors_[static_cast<size_t>(y)] = planned(y);
      for (size_t i = 0; i < inputs.size(); ++i) {
        const int from = step->inputs()[i];
        if (from < 0 || value(from).constant.defined() ||
            step->reads(i, inputs[i], tensors_[static_cast<size_t>(y)]))
          continue;
        steps.push_back(copy_of(*step, from));
        step->replace_input(i, steps.back()->output());
      }
      steps.push_back(std::move(step));
    }
    program_.steps = std::move(steps);
    work_in_place();
  }

  std::unique_ptr<PlanStep> copy_of(const PlanStep& reader, int from) {
    const int to = static_cast<int>(program_.values.size());
    PlanValue copy = value(from);
    copy.is_output = false;
    copy.is_channels_last = copy.shape.size() == 4 && value(reader.output()).is_channels_last;
    program_.values.push_back(copy);
    add_memory(to);
    tensors_[static_cast<size_t>(to)] = planned(to);
    return copy_step(reader, from, to);
  }

  void add_memory(int v) {
    program_.roots.push_back(v);
    program_.is_view.push_back(0);
    tensors_.push_back(value(v).constant);
  }

  /// Two images' worth of value v, on memory that all values share.
  Tensor planned(int v) {
    const Shape shape = value(v).at(kProbeBatch);
    return Tensor::of_memory(
        scratch_, shape,
        value(v).is_channels_last ? channels_last_strides(shape) : contiguous_strides(shape),
        value(v).dtype);
  }

  void work_in_place() {
    const auto root = [&](int v) -> int& { return program_.roots[static_cast<size_t>(v)]; };
    std::vector<int> last(program_.values.size(), -1);  // by root: the last step that reads it
    for (size_t s = 0; s < program_.steps.size(); ++s) {
      for (const int v : program_.steps[s]->inputs()) {
        if (v >= 0) last[static_cast<size_t>(root(v))] = static_cast<int>(s);
      }
    }
    last[static_cast<size_t>(root(program_.logits))] = static_cast<int>(program_.steps.size());
    for (size_t s = 0; s < program_.steps.size(); ++s) {
      const PlanStep& step = *program_.steps[s];
      const int y = step.output();
      if (program_.is_view[static_cast<size_t>(y)] != 0) continue;
      for (const size_t i : step.may_overwrite()) {
        const int x = step.inputs()[i];
        if (!may_take(step, x, last[static_cast<size_t>(root(x))] == static_cast<int>(s))) continue;
        const int from = y, to = root(x);
        last[static_cast<size_t>(to)] =
            std::max(last[static_cast<size_t>(to)], last[static_cast<size_t>(from)]);
        for (int& r : program_.roots) {
          if (r == from) r = to;
        }
        break;
      }
    }
  }

  /// Whether `step` may write over input x: no other of its inputs lies in that memory, nobody
  /// reads it later, and the output is laid out alike.
  bool may_take(const PlanStep& step, int x, bool is_last_reader) {
    if (x < 0 || value(x).constant.defined() || !is_last_reader) return false;
    const int root = program_.roots[static_cast<size_t>(x)];
    int in_there = 0;
    for (const int v : step.inputs())
      in_there += v >= 0 && program_.roots[static_cast<size_t>(v)] == root ? 1 : 0;
    const Tensor &a = tensors_[static_cast<size_t>(x)],
                 &b = tensors_[static_cast<size_t>(step.output())];
    return in_there == 1 && a.dtype() == b.dtype() && a.strides() == b.strides() &&
           a.numel() == tensors_[static_cast<size_t>(root)].numel() && a.raw() == b.raw();
  }

  /// A plan outlives what the network does with its parameters.
  void keep_constants() {
    std::vector<char> is_read(program_.values.size(), 0);
    for (const std::unique_ptr<PlanStep>& step : program_.steps) {
      for (const int v : step->inputs()) {
        if (v >= 0) is_read[static_cast<size_t>(v)] = 1;
      }
    }
    for (size_t v = 0; v < is_read.size(); ++v) {
      Tensor& constant = program_.values[v].constant;
      if (constant.defined()) constant = is_read[v] != 0 ? constant.clone() : Tensor();
    }
  }

  std::vector<Graph::Node> nodes_;
  Program program_;
  std::vector<PlanStep*> maker_;  // by value: the step that computes it
  std::vector<Tensor> tensors_;   // of two images
  std::shared_ptr<std::byte> scratch_;
};

}  // namespace

std::vector<Tensor> Program::inputs_of(const PlanStep& step,
                                       const std::vector<Tensor>& memory) const {
  std::vector<Tensor> inputs;
  for (const int v : step.inputs())
    inputs.push_back(v < 0 ? Tensor() : memory[static_cast<size_t>(v)]);
  return inputs;
}

Program lower(const Graph& graph, const Quantization* quantization) {
  PlanGraph rewritten(graph);
  if (quantization != nullptr) put_on_codes(rewritten, graph, *quantization);
  narrow(rewritten);
  turn_patches(rewritten);
  return Lowering(std::move(rewritten)).run();
}

}  // namespace vtrain
