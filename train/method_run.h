#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compress/deploy/int8_file.h"
#include "compress/deploy/packed_file.h"
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
  std::function<Pass()> evaluation = {};
  std::function<Tensor()> sample_images = {};                      // hold-out images, not augmented
  std::function<std::vector<Batch>(int64_t images)> samples = {},  // of training, not augmented
      held_out = {};                                               // empty without data.val
  FollowCut follow_cut = {};                                       // optimizer and moving average
  std::function<void(const Parameter&)> forget = {};               // the same, of what is gone
  std::vector<FollowCut> followers = {};                           // methods
  std::function<std::vector<Tensor>(const Parameter&)> moments = {};  // of the optimizer
  std::vector<std::pair<std::string, double>> logged = {};            // by methods, in this step
  std::vector<std::pair<std::string, std::string>> report = {};
  /// What methods left to be deployed on integers, by their names.
  std::map<std::string, std::pair<Quantization, Int8Record>> integers = {};
  std::vector<PackedWeight> packed = {};  // what methods left to be saved in few bits
  /// Tables for the run folder by their names; the first row is the columns.
  std::map<std::string, std::vector<std::vector<std::string>>> tables = {};
  double masked_compact_max_rel = 0;

  /// Network and helper parameters, in a fixed order.
  std::vector<Parameter> parameters() const;
  /// What a moving average is taken of: all but the buffers of helpers, which are decisions.
  std::vector<Parameter> averaged_parameters() const;
  /// Every trained parameter in exactly one group.
  std::vector<ParameterGroup> groups() const;
  /// Those that the optimizer moves.
  std::vector<ParameterGroup> moved_groups() const;
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
  Pass evaluation() const override { return state_.evaluation(); }
  std::vector<Batch> samples(int64_t images) override { return state_.samples(images); }
  std::vector<Batch> held_out(int64_t images) override;
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
  void deploy(Quantization quantization, Int8Record record) override;
  void pack(const std::vector<PackedWeight>& weights) override;
  void log(std::string_view name, double value) override;
  void report(std::string_view row, std::string_view text) override;
  void table(std::string_view name, const std::vector<std::string>& columns,
             const std::vector<std::vector<std::string>>& rows) override;

  /// Some of its hooks round: it finishes behind the methods that do not, which may change the
  /// structure.
  bool rounds() const { return rounds_; }

 private:
  void check_module(const std::string& path) const;

  PhaseState& state_;
  std::string method_;
  bool rounds_ = false;
};

}  // namespace vtrain
