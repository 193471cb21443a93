#pragma once
// What a deployed plan is made of. A step is one kernel call that computes one value; it is made
// once per plan, may take the ops behind it into its own pass, and is bound to memory once per
// batch size. A file in compress/deploy/steps/ registers how an op of the graph becomes a step.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/parts/fake_quantize.h"
#include "nn/graph.h"
#include "tensor/registry.h"

namespace vtrain {

/// A value of a plan.
struct PlanValue {
  Shape shape = {}, grows = {};  // for one image; 1 where the extent is a multiple of the batch
  DType dtype = DType::f32;      // how it is kept
  std::optional<QuantizedType> codes = {};  // what integers stand for, beside a dtype of u8 or i8
  bool is_channels_last = false;            // else contiguous
  bool is_output = false;
  int readers = 0;       // ops that read it
  Tensor constant = {};  // defined: the value is the same for every batch

  Shape at(int64_t batch) const;
};
using PlanValues = std::vector<PlanValue>;

/// Memory that one call at a time uses for what its kernel needs beside its operands.
class PlanScratch {
 public:
  void reserve(size_t bytes);  // calls say at binding what they need
  std::byte* data();

 private:
  size_t wanted_ = 0, size_ = 0;
  std::shared_ptr<std::byte> block_;
};

/// A step bound to memory: runs as often as you like.
class PlanCall {
 public:
  PlanCall() = default;
  virtual ~PlanCall() = default;
  PlanCall(const PlanCall&) = delete;
  PlanCall& operator=(const PlanCall&) = delete;
  virtual void run() = 0;
  virtual std::string kernel() const = 0;  // what runs, for people
};

class PlanStep {
 public:
  PlanStep(const Graph::Node& node, std::vector<int> inputs);
  virtual ~PlanStep() = default;
  PlanStep(const PlanStep&) = delete;
  PlanStep& operator=(const PlanStep&) = delete;

  /// Layers whose work is done here: "layer1.0.conv1 + layer1.0.bn1". `scope` is that of the op
  /// whose value comes out, as in the graph.
  const std::string& layers() const { return layers_; }
  const std::string& scope() const { return scope_; }
  /// Values, -1 where the op has none.
  const std::vector<int>& inputs() const { return inputs_; }
  int output() const { return output_; }

  /// Takes `node`, whose input number `own` is this step's output and read by it alone, into this
  /// step's pass. False if it cannot; then nothing has changed.
  bool take(const Graph::Node& node, size_t own, const PlanValues& values);
  void replace_input(size_t i, int value) { inputs_[i] = value; }

  /// Whether the kernel can read input `i` as `x` lies in memory, writing `y`. If not, the plan
  /// brings it into the planned order of its value first.
  virtual bool reads(size_t /*i*/, const Tensor& /*x*/, const Tensor& /*y*/) const { return true; }
  /// The inputs whose memory the output may take, best first, where nobody reads them later.
  virtual std::vector<size_t> may_overwrite() const { return {}; }
  /// A step without work gives its output as a view of its input. Undefined: not such a step.
  virtual Tensor view(const Tensor& /*x*/, const Shape& /*shape*/) const { return {}; }

  /// Tensors are undefined where inputs() has -1; constants are among them.
  virtual std::unique_ptr<PlanCall> bind(const std::vector<Tensor>& inputs, const Tensor& output,
                                         PlanScratch& scratch) = 0;

 protected:
  /// See take(). An op with further values puts them behind the inputs with add_input.
  virtual bool absorb(const Graph::Node& /*node*/, size_t /*own*/, const PlanValues& /*values*/) {
    return false;
  }
  void add_input(int value) { inputs_.push_back(value); }

 private:
  std::string layers_, scope_;
  std::vector<int> inputs_;
  int output_;
};

/// A step that brings a value into the planned memory order of another.
std::unique_ptr<PlanStep> copy_step(const PlanStep& reader, int from, int to);

/// Says how an op becomes a step. Empty pointer: this one node is not for the maker, the op is
/// computed as in training.
using StepMaker =
    std::function<std::unique_ptr<PlanStep>(const Graph::Node& node, const PlanValues& values)>;
struct RegisteredStep {
  RegisteredStep(const std::string& op, StepMaker make, const char* file = __builtin_FILE());
};
/// nullptr if there is none.
const StepMaker* find_step(const std::string& op);

/// Computes an op as in training, by the function of autograd/: for ops that no network spends its
/// time in. Inputs are undefined where the op has none.
using OpFunction =
    std::function<Variable(const std::vector<Variable>& inputs, const Graph::Node& node,
                           const Shape& shape /* of the result */)>;
struct RegisteredOp {
  RegisteredOp(const std::string& op, OpFunction compute, const char* file = __builtin_FILE());
};
/// Throws Error naming layer and op if nothing is registered for it.
std::unique_ptr<PlanStep> general_step(const Graph::Node& node, const PlanValues& values);

}  // namespace vtrain
