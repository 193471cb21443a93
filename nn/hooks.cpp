#include "nn/hooks.h"

#include <algorithm>

namespace vtrain {

std::string_view name_of(Slot slot) {
  switch (slot) {
    case Slot::kStructure:
      return "structure";
    case Slot::kMask:
      return "mask";
    case Slot::kReparameterise:
      return "reparameterise";
    case Slot::kQuantize:
      return "quantize";
    case Slot::kCompute:
      return "compute";
  }
  return "?";
}

const Variable& Tap::value() const {
  if (!has_value())
    throw Error(
        str("tap at ", state_ ? state_->place : "nowhere", ": nothing passed there in this step"));
  return state_->value;
}

namespace {
template <class Function>
void insert(std::vector<Hook<Function>>& hooks, Hook<Function> hook, const std::string& place) {
  const auto at = std::lower_bound(hooks.begin(), hooks.end(), hook,
                                   [](const auto& a, const auto& b) { return a.slot < b.slot; });
  if (at != hooks.end() && at->slot == hook.slot) {
    throw RecipeError(str(place, ": ", at->owner, " and ", hook.owner, " both want the ",
                          name_of(hook.slot), " slot; only one of them can act there"));
  }
  hooks.insert(at, std::move(hook));
}

struct Place {
  std::string module;
  bool is_output;
};
Place parse_place(const std::string& place) {
  const size_t dot = place.rfind('.');
  const std::string end = dot == std::string::npos ? place : place.substr(dot + 1);
  if (end != "in" && end != "out")
    throw Error(str("place ", place, ": expected a module's path followed by .in or .out"));
  return {dot == std::string::npos ? "" : place.substr(0, dot), end == "out"};
}
}  // namespace

void Hooks::transform_weight(const std::string& parameter, Hook<ValueFn> hook) {
  insert(weights_[parameter], std::move(hook), parameter);
}

void Hooks::transform_value(const std::string& place, Hook<ValueFn> hook) {
  const Place p = parse_place(place);
  AtModule& at = modules_[p.module];
  insert(p.is_output ? at.out : at.in, std::move(hook), place);
}

void Hooks::wrap(const std::string& module, Hook<WrapFn> hook) {
  insert(modules_[module].wraps, std::move(hook), module);
}

void Hooks::wrap_tokens(const std::string& module, Hook<WrapTokensFn> hook) {
  insert(modules_[module].token_wraps, std::move(hook), module);
}

Tap Hooks::tap(const std::string& place, const std::string& owner) {
  const Place p = parse_place(place);
  Tap tap;
  tap.state_ = std::make_shared<Tap::State>(Tap::State{place, owner, {}});
  (p.is_output ? modules_[p.module].out_taps : modules_[p.module].in_taps).push_back(tap);
  return tap;
}

const std::vector<Hook<ValueFn>>& Hooks::weight_transforms(const std::string& parameter) const {
  static const std::vector<Hook<ValueFn>> none;
  const auto found = weights_.find(parameter);
  return found == weights_.end() ? none : found->second;
}

const Hooks::AtModule* Hooks::at(const std::string& module) const {
  const auto found = modules_.find(module);
  return found == modules_.end() ? nullptr : &found->second;
}

void Hooks::record(const std::vector<Tap>& taps, const Variable& value) {
  for (const Tap& tap : taps) tap.state_->value = value;
}

void Hooks::clear_taps() const {
  for (const auto& [path, at] : modules_) {
    record(at.in_taps, {});
    record(at.out_taps, {});
  }
}

void Hooks::remove_owner(std::string_view owner) {
  const auto drop = [owner](auto& hooks) {
    std::erase_if(hooks, [owner](const auto& hook) { return hook.owner == owner; });
  };
  const auto drop_taps = [owner](auto& taps) {
    std::erase_if(taps, [owner](const Tap& tap) { return tap.state_->owner == owner; });
  };
  for (auto& [path, hooks] : weights_) drop(hooks);
  for (auto& [path, at] : modules_) {
    drop(at.in);
    drop(at.out);
    drop(at.wraps);
    drop(at.token_wraps);
    drop_taps(at.in_taps);
    drop_taps(at.out_taps);
  }
  std::erase_if(weights_, [](const auto& entry) { return entry.second.empty(); });
  std::erase_if(modules_, [](const auto& entry) {
    const AtModule& at = entry.second;
    return at.in.empty() && at.out.empty() && at.wraps.empty() && at.token_wraps.empty() &&
           at.in_taps.empty() && at.out_taps.empty();
  });
}

Hooks Hooks::without(Slot slot) const {
  Hooks rest = *this;
  const auto drop = [slot](auto& hooks) {
    std::erase_if(hooks, [slot](const auto& hook) { return hook.slot == slot; });
  };
  for (auto& [path, hooks] : rest.weights_) drop(hooks);
  for (auto& [path, at] : rest.modules_) {
    drop(at.in);
    drop(at.out);
    drop(at.wraps);
    drop(at.token_wraps);
  }
  return rest;
}

std::vector<std::string> Hooks::describe() const {
  std::vector<std::string> lines;
  const auto list = [&lines](const auto& hooks, const std::string& place) {
    for (const auto& hook : hooks)
      lines.push_back(str(name_of(hook.slot), ": ", hook.owner, " at ", place));
  };
  for (const auto& [path, hooks] : weights_) list(hooks, path);
  for (const auto& [path, at] : modules_) {
    list(at.in, path + ".in");
    list(at.wraps, path);
    list(at.token_wraps, path);
    list(at.out, path + ".out");
    for (const Tap& tap : at.in_taps)
      lines.push_back(str("tap: ", tap.state_->owner, " at ", path, ".in"));
    for (const Tap& tap : at.out_taps)
      lines.push_back(str("tap: ", tap.state_->owner, " at ", path, ".out"));
  }
  return lines;
}

}  // namespace vtrain
