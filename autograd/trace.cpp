#include "autograd/trace.h"

#include <utility>

namespace vtrain {
namespace {
// Which recording ops of this thread report to. Set and restored by Recording only; nothing but the
// trace depends on it.
thread_local Trace* current = nullptr;
}  // namespace

Trace* Trace::active() { return current; }

Trace::Recording::Recording(Trace& trace) : previous_(std::exchange(current, &trace)) {}
Trace::Recording::~Recording() { current = previous_; }

Trace::Scope::Scope(const std::string& path) : trace_(current) {
  if (trace_) trace_->scopes_.push_back(path);
}
Trace::Scope::~Scope() {
  if (trace_) trace_->scopes_.pop_back();
}

int Trace::value_of(const Variable& variable) {
  const auto [entry, is_new] = ids_.try_emplace(variable.id(), static_cast<int>(values_.size()));
  if (is_new) {
    values_.push_back({variable.shape(), variable.value().dtype(), {}, -1});
    kept_.push_back(variable);
  }
  return entry->second;
}

int Trace::find(const Variable& variable) const {
  const auto found = ids_.find(variable.id());
  return found == ids_.end() ? -1 : found->second;
}

void Trace::record(const Op& op, const std::vector<Variable>& inputs, const Variable& output) {
  Record record{op, {}, {}, -1};
  const std::string prefix = (scopes_.empty() ? "" : scopes_.back()) + "/" + op.name;
  record.scope = str(prefix, '.', ordinals_[prefix]++);
  for (const Variable& input : inputs)
    record.inputs.push_back(input.defined() ? value_of(input) : -1);
  record.output = value_of(output);
  values_[static_cast<size_t>(record.output)].producer = static_cast<int>(records_.size());
  records_.push_back(std::move(record));
}

void Trace::name_parameter(const Variable& value, std::string_view path) {
  values_[static_cast<size_t>(value_of(value))].parameter = path;
}

}  // namespace vtrain
