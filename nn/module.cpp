#include "nn/module.h"

#include <cmath>

#include "autograd/trace.h"
#include "nn/hooks.h"

namespace vtrain {

Variable Module::forward(const Variable&, const Pass&) {
  throw Error(str("module ", path_, ": works on tokens, not on a plain value"));
}

Tokens Module::forward_tokens(const Tokens& t, const Pass& pass) {
  Tokens u = t;
  u.x = forward(t.x, pass);
  return u;
}

namespace {
Variable through(const std::vector<Hook<ValueFn>>& hooks, const std::vector<Tap>& taps, Variable x,
                 const Pass& pass) {
  for (const auto& hook : hooks) x = hook.apply(x, pass);
  Hooks::record(taps, x);
  return x;
}

/// The first wrap is the outermost.
template <class Value, class Wraps, class Innermost>
Value nested(const Wraps& wraps, size_t next, const Value& x, const Innermost& innermost,
             const Pass& pass) {
  if (next == wraps.size()) return innermost(x);
  return wraps[next].apply(
      x, [&](const Value& y) { return nested(wraps, next + 1, y, innermost, pass); }, pass);
}
}  // namespace

void Module::set_structure(const std::map<std::string, double>& numbers) {
  if (numbers.empty()) return;
  throw CheckpointError(str("module ", path_, ": has no number called ", numbers.begin()->first,
                            " that a cut could change"));
}

int64_t whole_number(const std::string& module, const std::string& name, double number,
                     const std::map<std::string, int64_t>& least) {
  const auto found = least.find(name);
  if (found == least.end())
    throw CheckpointError(str("module ", module, ": has no number called ", name));
  if (!(number >= static_cast<double>(found->second)) || number != std::floor(number))
    throw CheckpointError(str("module ", module, ": ", name,
                              ": expected a whole number of at least ", found->second, ", got ",
                              number));
  return static_cast<int64_t>(number);
}

void Module::drop() {
  is_dropped_ = true;
  in_ = out_ = nullptr;
}

Variable Module::operator()(const Variable& x, const Pass& pass) {
  if (is_dropped_) return x;
  const Trace::Scope scope(path_);
  Variable v = in_ ? (*in_)(x, pass) : x;
  if (const Hooks::AtModule* const hooks = pass.hooks ? pass.hooks->at(path_) : nullptr) {
    v = through(hooks->in, hooks->in_taps, v, pass);
    v = nested(
        hooks->wraps, 0, v, [&](const Variable& y) { return forward(y, pass); }, pass);
  } else {
    v = forward(v, pass);
  }
  return leave(v, pass);
}

Variable Module::leave(const Variable& v, const Pass& pass) {
  const Hooks::AtModule* const hooks = pass.hooks ? pass.hooks->at(path_) : nullptr;
  const Variable u = hooks != nullptr ? through(hooks->out, hooks->out_taps, v, pass) : v;
  return out_ ? (*out_)(u, pass) : u;
}

Tokens Module::operator()(const Tokens& t, const Pass& pass) {
  if (is_dropped_) return t;
  const Trace::Scope scope(path_);
  Tokens u = in_ ? (*in_)(t, pass) : t;
  if (const Hooks::AtModule* const hooks = pass.hooks ? pass.hooks->at(path_) : nullptr) {
    u.x = through(hooks->in, hooks->in_taps, u.x, pass);
    u = nested(
        hooks->token_wraps, 0, u, [&](const Tokens& v) { return forward_tokens(v, pass); }, pass);
    u.x = through(hooks->out, hooks->out_taps, u.x, pass);
  } else {
    u = forward_tokens(u, pass);
  }
  return out_ ? (*out_)(u, pass) : u;
}

std::string Module::joined(std::string_view name) const {
  return path_.empty() ? std::string(name) : str(path_, '.', name);
}

void Module::set_path(const std::string& path) {
  path_ = path;
  for (const auto& [name, parameter] : parameters_) parameter.set_path(joined(name));
  for (const auto& [name, child] : children_) child->set_path(joined(name));
  if (in_) in_->set_path(joined("in"));
  if (out_) out_->set_path(joined("out"));
}

std::vector<Parameter> Module::parameters() const {
  std::vector<Parameter> all;
  if (is_dropped_) return all;
  const auto below = [&all](const Module& module) {
    for (Parameter& parameter : module.parameters()) all.push_back(std::move(parameter));
  };
  for (const auto& [name, parameter] : parameters_) all.push_back(parameter);
  if (in_) below(*in_);
  for (const auto& [name, child] : children_) below(*child);
  if (out_) below(*out_);
  return all;
}

std::vector<Module*> Module::modules() {
  std::vector<Module*> all{this};
  if (is_dropped_) return all;
  const auto below = [&all](Module& module) {
    for (Module* const m : module.modules()) all.push_back(m);
  };
  if (in_) below(*in_);
  for (const auto& [name, child] : children_) below(*child);
  if (out_) below(*out_);
  return all;
}

Module* Module::child(std::string_view name) {
  if (name == "in") return in_.get();
  if (name == "out") return out_.get();
  for (const auto& [own, child] : children_) {
    if (own == name) return child;
  }
  return nullptr;
}

void Module::initialise(uint64_t seed) {
  for (const Parameter& parameter : parameters()) {
    Tensor value = parameter.value();
    vtrain::initialise(value, parameter.init(), Random(seed, "", str("init.", parameter.path())));
  }
}

void Module::set_part(std::string_view end, std::shared_ptr<Module> part) {
  if (end != "in" && end != "out")
    throw Error(str("module ", path_, ": a part stands at in or out, not at ", end));
  if (part) part->set_path(joined(end));
  (end == "in" ? in_ : out_) = std::move(part);
}

Parameter Module::add(std::string name, Parameter parameter) {
  parameter.set_path(joined(name));
  parameters_.emplace_back(std::move(name), parameter);
  return parameter;
}

void Module::add(std::string name, Module& child) {
  child.set_path(joined(name));
  children_.emplace_back(std::move(name), &child);
}

}  // namespace vtrain
