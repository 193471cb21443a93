#include "compress/deploy/plan.h"

#include <algorithm>
#include <chrono>

#include "compress/deploy/memory_plan.h"
#include "compress/deploy/program.h"
#include "tensor/allocator.h"
#include "tensor/onednn.h"
#include "tensor/parallel.h"

namespace vtrain {
namespace {

constexpr size_t kKeptSizes = 4;  // batch sizes that stay prepared

/// A program bound to memory for one batch size and number of threads.
struct BoundProgram {
  int64_t batch = 0;
  int threads = 0;
  std::vector<Tensor> values = {};
  std::vector<std::unique_ptr<PlanCall>> calls = {};  // by step; empty for a view
  int64_t bytes = 0;
};

/// When the memory of each value is in use, by root; those that own none have no bytes.
std::vector<BufferUse> uses_of(const Program& program, int64_t batch) {
  std::vector<BufferUse> uses(program.values.size());
  const int end = static_cast<int>(program.steps.size());
  const auto touch = [&](int v, int step) {
    const auto root = static_cast<size_t>(program.roots[static_cast<size_t>(v)]);
    const PlanValue& value = program.values[root];
    if (value.constant.defined()) return;
    BufferUse& use = uses[root];
    if (use.bytes == 0) {
      use.bytes = std::max<int64_t>(
          numel_of(value.at(batch)) * static_cast<int64_t>(size_of(value.dtype)), 1);
      use.first = step;
    }
    use.last = step;
  };
  touch(program.images, 0);
  for (int s = 0; s < end; ++s) {
    const PlanStep& step = *program.steps[static_cast<size_t>(s)];
    for (const int v : step.inputs()) {
      if (v >= 0) touch(v, s);
    }
    touch(step.output(), s);
  }
  touch(program.logits, end);
  return uses;
}

BoundProgram bound(Program& program, int64_t batch, PlanScratch& scratch) {
  BoundProgram b{.batch = batch, .threads = num_threads()};
  const std::vector<BufferUse> uses = uses_of(program, batch);
  const MemoryPlan memory = plan_memory(uses);
  b.bytes = memory.bytes;
  const std::shared_ptr<std::byte> arena =
      allocate_cpu(static_cast<size_t>(std::max<int64_t>(memory.bytes, 1)));
  const auto planned = [&](int v) {
    const PlanValue& value = program.values[static_cast<size_t>(v)];
    const Shape shape = value.at(batch);
    const auto root = static_cast<size_t>(program.roots[static_cast<size_t>(v)]);
    return Tensor::of_memory(
        {arena, arena.get() + memory.offsets[root]}, shape,
        value.is_channels_last ? channels_last_strides(shape) : contiguous_strides(shape),
        value.dtype);
  };
  for (const PlanValue& value : program.values) b.values.push_back(value.constant);
  b.values[static_cast<size_t>(program.images)] = planned(program.images);
  for (const std::unique_ptr<PlanStep>& step : program.steps) {
    const auto y = static_cast<size_t>(step->output());
    const std::vector<Tensor> inputs = program.inputs_of(*step, b.values);
    if (program.is_view[y] != 0) {
      b.values[y] = step->view(inputs[0], program.values[y].at(batch));
      b.calls.emplace_back();
      continue;
    }
    b.values[y] = planned(step->output());
    b.calls.push_back(step->bind(inputs, b.values[y], scratch));
  }
  return b;
}

}  // namespace

struct Plan::Parts {
  std::string model;
  PlanOptions options;
  Program program;
  PlanScratch scratch;
  std::list<BoundProgram> sizes;  // last used first

  int64_t images_at_once() const {
    return options.images_at_once > 0 ? options.images_at_once
                                      : std::max<int64_t>(4, 2 * num_threads());
  }

  BoundProgram& of_batch(int64_t batch) {
    const auto found = std::find_if(sizes.begin(), sizes.end(), [&](const BoundProgram& b) {
      return b.batch == batch && b.threads == num_threads();
    });
    if (found != sizes.end()) {
      sizes.splice(sizes.begin(), sizes, found);
    } else {
      if (sizes.size() == kKeptSizes) sizes.pop_back();
      sizes.push_front(bound(program, batch, scratch));
    }
    return sizes.front();
  }

  Tensor& images_of(BoundProgram& b) const { return b.values[static_cast<size_t>(program.images)]; }
  const Tensor& logits_of(const BoundProgram& b) const {
    return b.values[static_cast<size_t>(program.logits)];
  }

  void check(const Tensor& images) const {
    const PlanValue& wanted = program.values[static_cast<size_t>(program.images)];
    Shape shape = wanted.shape;
    if (images.ndim() == 4) shape[0] = images.dim(0);
    if (images.shape() != shape || shape[0] < 1 || images.dtype() != DType::f32 ||
        images.device() != Device{}) {
      throw ShapeError(str("[plan of ", model, "] images: expected f32 (N, ", shape[1], ", ",
                           shape[2], ", ", shape[3], ") on cpu with N >= 1, got ", images.text()));
    }
  }
};

Plan::Plan(Network& network, const PlanOptions& options) : Plan(network, nullptr, options) {}
Plan::Plan(Network& network, const Quantization& quantization, const PlanOptions& options)
    : Plan(network, &quantization, options) {}

Plan::Plan(Network& network, const Quantization* quantization, const PlanOptions& options)
    : parts_(std::make_unique<Parts>()) {
  const std::string& model = network.architecture().model;
  if (options.dtype != DType::f32 && options.dtype != DType::bf16) {
    throw Error(
        str("plan of ", model, ": dtype: expected f32 or bf16, got ", name_of(options.dtype)));
  }
  if (quantization != nullptr && options.dtype != DType::f32) {
    throw Error(
        str("plan of ", model, ": dtype: expected f32 beside codes, got ", name_of(options.dtype)));
  }
  if (options.dtype == DType::bf16 && !onednn::computes_bf16()) {
    throw Error(str("plan of ", model, ": dtype bf16: expected a CPU that multiplies bf16, got ",
                    onednn::version()));
  }
  if (options.images_at_once < 0) {
    throw Error(str("plan of ", model, ": images_at_once: expected at least 0, got ",
                    options.images_at_once));
  }
  if (network.device() != Device{})
    throw Error(str("plan of ", model, ": expected a network on cpu, got one on ",
                    network.device().text()));
  parts_->model = model;
  parts_->options = options;
  parts_->program = lower(Graph(network, options.dtype), quantization);
}
Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;

Tensor Plan::run(const Tensor& images) {
  parts_->check(images);
  const int64_t count = images.dim(0), at_once = parts_->images_at_once();
  Tensor logits;
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const int64_t end = std::min(count, begin + at_once);
    BoundProgram& b = parts_->of_batch(end - begin);
    parts_->images_of(b).copy_from(images.slice(0, begin, end));
    for (const std::unique_ptr<PlanCall>& call : b.calls) {
      if (call) call->run();
    }
    const Tensor& some = parts_->logits_of(b);
    if (!logits.defined()) logits = Tensor::empty({count, some.dim(1)});
    logits.slice(0, begin, end).copy_from(some);
  }
  return logits;
}

std::vector<Plan::LayerOutput> Plan::run_layers(const Tensor& images, const Give& give) {
  parts_->check(images);
  const Program& program = parts_->program;
  std::vector<std::string> scopes(program.values.size());  // of the op that made each value
  BoundProgram& b = parts_->of_batch(images.dim(0));
  parts_->images_of(b).copy_from(images);
  std::vector<LayerOutput> outputs;
  for (size_t s = 0; s < b.calls.size(); ++s) {
    const PlanStep& step = *program.steps[s];
    const auto y = static_cast<size_t>(step.output());
    scopes[y] = step.scope();
    if (!b.calls[s]) continue;
    for (const int v : step.inputs()) {
      if (v < 0 || program.values[static_cast<size_t>(v)].constant.defined() || !give) continue;
      const auto x = static_cast<size_t>(v);
      give(scopes[x], program.values[x].codes, b.values[x]);
    }
    b.calls[s]->run();
    // Its own memory: a later step may write over what this one made.
    outputs.push_back({step.layers(), step.scope(), b.values[y].clone(), program.values[y].codes});
  }
  return outputs;
}

std::vector<double> Plan::step_seconds(const Tensor& images) {
  using Clock = std::chrono::steady_clock;
  parts_->check(images);
  BoundProgram& b = parts_->of_batch(images.dim(0));
  parts_->images_of(b).copy_from(images);
  std::vector<double> seconds;
  for (const std::unique_ptr<PlanCall>& call : b.calls) {
    if (!call) continue;
    const Clock::time_point began = Clock::now();
    call->run();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - began).count());
  }
  return seconds;
}

std::string Plan::describe(int64_t batch) {
  const BoundProgram& b = parts_->of_batch(batch);
  std::string text;
  for (size_t s = 0; s < b.calls.size(); ++s) {
    if (!b.calls[s]) continue;
    const PlanStep& step = *parts_->program.steps[s];
    const Tensor& y = b.values[static_cast<size_t>(step.output())];
    text += str(step.layers(), ": ", b.calls[s]->kernel(), ", ");
    if (step.inputs()[0] >= 0) {
      const Tensor& x = b.values[static_cast<size_t>(step.inputs()[0])];
      text += str(name_of(x.dtype()), ' ', x.shape(), " -> ");
    }
    text += str(name_of(y.dtype()), ' ', y.shape(), '\n');
  }
  return text;
}

Plan::Memory Plan::memory(int64_t batch) {
  Memory memory;
  const std::vector<BufferUse> uses = uses_of(parts_->program, batch);
  memory.planned = plan_memory(uses).bytes;
  for (size_t v = 0; v < parts_->program.values.size(); ++v) {
    const PlanValue& value = parts_->program.values[v];
    if (uses[v].bytes == 0 && parts_->program.roots[v] == static_cast<int>(v)) continue;
    if (parts_->program.is_view[v] == 0)
      memory.unplanned += numel_of(value.at(batch)) * static_cast<int64_t>(size_of(value.dtype));
  }
  return memory;
}

}  // namespace vtrain
