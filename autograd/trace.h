#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "autograd/variable.h"

namespace vtrain {

/// A recording of a forward pass: every op, integer and index ops included, with what it read and
/// made. One description serves cost tables, cutting, lowering and export, so no layer is described
/// twice.
///
///     Trace trace;
///     { const Trace::Recording recording(trace); y = network(x); }
class Trace {
 public:
  struct Value {
    Shape shape;
    DType dtype = DType::f32;
    std::string parameter;  // path if it is one
    int producer = -1;      // index of the op, or -1: input, parameter or constant
  };
  struct Record {
    Op op;
    std::string scope;  // module path, '/', op name, '.', ordinal: "blocks.0.attn.qkv/linear.0"
    std::vector<int> inputs;
    int output = -1;
  };

  const std::vector<Record>& records() const { return records_; }
  const std::vector<Value>& values() const { return values_; }
  /// What the value was in this pass.
  const Tensor& tensor(int value) const { return kept_[static_cast<size_t>(value)].value(); }
  /// Its index, or -1 if no recorded op read or made it.
  int find(const Variable& variable) const;

  void record(const Op& op, const std::vector<Variable>& inputs, const Variable& output);
  /// Says that `value` is the parameter at `path`, however it was transformed afterwards.
  void name_parameter(const Variable& value, std::string_view path);

  /// The recording of this thread, or nullptr.
  static Trace* active();

  /// While it lives, ops of this thread are recorded.
  class Recording {
   public:
    explicit Recording(Trace& trace);
    ~Recording();
    Recording(const Recording&) = delete;
    Recording& operator=(const Recording&) = delete;

   private:
    Trace* previous_;
  };

  /// While it lives, recorded ops carry `path` as their scope.
  class Scope {
   public:
    explicit Scope(const std::string& path);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Trace* trace_;
  };

 private:
  int value_of(const Variable& variable);

  std::vector<Record> records_;
  std::vector<Value> values_;
  std::vector<Variable> kept_;  // keeps ids unique while the trace lives
  std::unordered_map<const void*, int> ids_;
  std::vector<std::string> scopes_;
  std::map<std::string, int> ordinals_;
};

}  // namespace vtrain
