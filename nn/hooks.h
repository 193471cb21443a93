#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nn/tokens.h"

namespace vtrain {

struct Pass;

/// Order at every place. Weights and values pass from top to bottom; wraps nest, kCompute
/// innermost.
enum class Slot { kStructure, kMask, kReparameterise, kQuantize, kCompute };
std::string_view name_of(Slot slot);

using ValueFn = std::function<Variable(const Variable&, const Pass&)>;
using Inner = std::function<Variable(const Variable&)>;
using InnerTokens = std::function<Tokens(const Tokens&)>;
using WrapFn = std::function<Variable(const Variable& x, const Inner& inner, const Pass&)>;
using WrapTokensFn = std::function<Tokens(const Tokens& t, const InnerTokens& inner, const Pass&)>;

/// One function at one place, and whose it is.
template <class Function>
struct Hook {
  Slot slot = Slot::kStructure;
  std::string owner;
  Function apply;
};

/// The value that last passed a place, kept for the losses of the same step.
class Tap {
 public:
  /// Throws if nothing passed since the last clear.
  const Variable& value() const;
  bool has_value() const { return state_ && state_->value.defined(); }

 private:
  friend class Hooks;
  struct State {
    std::string place, owner;
    Variable value;
  };
  std::shared_ptr<State> state_;
};

/// What methods attached to one network: temporary functions, keyed by path, in slot order. The
/// network's own modules know nothing of them. Two functions in one slot at one place are refused,
/// naming both owners.
class Hooks {
 public:
  /// All that hangs at one module.
  struct AtModule {
    std::vector<Hook<ValueFn>> in, out;  // of the values "X.in" and "X.out"
    std::vector<Hook<WrapFn>> wraps;
    std::vector<Hook<WrapTokensFn>> token_wraps;
    std::vector<Tap> in_taps, out_taps;
  };

  void transform_weight(const std::string& parameter, Hook<ValueFn> hook);
  /// `place` is "X.in" or "X.out".
  void transform_value(const std::string& place, Hook<ValueFn> hook);
  void wrap(const std::string& module, Hook<WrapFn> hook);
  void wrap_tokens(const std::string& module, Hook<WrapTokensFn> hook);
  Tap tap(const std::string& place, const std::string& owner);

  const std::vector<Hook<ValueFn>>& weight_transforms(const std::string& parameter) const;
  const AtModule* at(const std::string& module) const;  // nullptr if nothing hangs there

  static void record(const std::vector<Tap>& taps, const Variable& value);
  void clear_taps() const;
  void remove_owner(std::string_view owner);
  /// These hooks but for those of one slot; taps are the same ones.
  Hooks without(Slot slot) const;
  bool empty() const { return weights_.empty() && modules_.empty(); }
  /// "mask: dynamicvit at blocks.2" per line, in the order of application.
  std::vector<std::string> describe() const;

 private:
  std::map<std::string, std::vector<Hook<ValueFn>>, std::less<>> weights_;
  std::map<std::string, AtModule, std::less<>> modules_;
};

}  // namespace vtrain
