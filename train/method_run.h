#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/registry.h"
#include "train/experiment.h"

namespace vtrain {

/// What the methods of one phase share: the network, helpers, groups, teachers, and the numbers
/// they log.
struct PhaseState {
  const PhaseConfig& config;
  uint64_t seed = 0;
  int64_t train_samples = 0, classes = 0;
  std::unique_ptr<Network> network;
  std::vector<std::shared_ptr<ParameterGroup>> claimed = {};  // later claims win
  std::map<std::string, std::shared_ptr<Module>> helpers =
      {};  // by path "compress.dynamicvit.predictor0"
  std::map<std::string, std::unique_ptr<Teacher>> teachers = {};
  std::function<std::unique_ptr<Network>(const std::string& from)> load_teacher = {};
  std::function<Tensor()> sample_images = {};  // hold-out images, not augmented
  FollowCut follow_cut = {};                   // optimizer and moving average
  std::vector<FollowCut> followers = {};       // methods
  std::function<std::vector<Tensor>(const Parameter&)> moments = {};  // of the optimizer
  std::vector<std::pair<std::string, double>> logged = {};            // by methods, in this step
  std::vector<std::pair<std::string, std::string>> report = {};
  double masked_compact_max_rel = 0;

  /// Network and helper parameters, in a fixed order.
  std::vector<Parameter> parameters() const;
  /// What a moving average is taken of: all but the buffers of helpers, which are decisions.
  std::vector<Parameter> averaged_parameters() const;
  /// Every trained parameter in exactly one group.
  std::vector<ParameterGroup> groups() const;
};

/// Run, for one method of a phase.
class MethodRun final : public Run {
 public:
  MethodRun(PhaseState& state, std::string method) : state_(state), method_(std::move(method)) {}

  const std::string& method() const override { return method_; }
  Network& net() override { return *state_.network; }
  const std::string& phase() const override { return state_.config.name; }
  Random random(std::string_view stream) const override;
  int64_t train_samples() const override { return state_.train_samples; }
  int64_t classes() const override { return state_.classes; }
  int64_t epochs() const override { return state_.config.epochs; }
  bool mixes_images() const override {
    return state_.config.augment.mixup > 0 || state_.config.augment.cutmix > 0;
  }
  Teacher& teacher(const std::string& from) override;
  void add_module(const std::string& name, std::shared_ptr<Module> module) override;
  Group add_group(ParameterGroup group) override;
  void freeze(std::string_view path) override;
  void transform_weight(const Parameter& parameter, Slot slot, ValueFn f) override;
  void transform_value(const std::string& place, Slot slot, ValueFn f) override;
  void wrap(const std::string& module, Slot slot, WrapFn f) override;
  void wrap_tokens(const std::string& module, Slot slot, WrapTokensFn f) override;
  Tap tap(const std::string& place) override;
  Edit edit() override;
  void follow_cuts(FollowCut f) override { state_.followers.push_back(std::move(f)); }
  void cut(Parameter helper, int axis, const std::vector<int64_t>& keep) override;
  std::vector<Tensor> moments(const Parameter& parameter) override {
    return state_.moments(parameter);
  }
  void log(std::string_view name, double value) override;
  void report(std::string_view row, std::string_view text) override;

 private:
  void check_module(const std::string& path) const;

  PhaseState& state_;
  std::string method_;
};

}  // namespace vtrain
