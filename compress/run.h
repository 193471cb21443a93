#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "compress/edit.h"
#include "compress/parts/teacher.h"
#include "nn/network.h"
#include "nn/optim/optimizer.h"
#include "tensor/batch.h"

namespace vtrain {

struct Quantization;  // compress/deploy/calibrate.h
struct Int8Record;    // compress/deploy/int8_file.h
struct PackedWeight;  // compress/deploy/packed_file.h

/// Parameters with their own hyperparameters. The latest claim on a parameter wins; the rest stays
/// in the phase's own group.
class Group {
 public:
  Group() = default;
  explicit Group(std::shared_ptr<ParameterGroup> group) : group_(std::move(group)) {}
  /// A frozen group is constant: no gradient, no decay.
  void freeze(bool frozen) const;
  /// The group's learning rate, relative to the phase's, from now on.
  void set_lr_scale(double scale) const { group_->lr_scale = scale; }

 private:
  std::shared_ptr<ParameterGroup> group_;
};

/// One method's view of one phase; owns what the method attached and takes it along when the phase
/// ends. Implemented by train/.
class Run {
 public:
  virtual ~Run() = default;

  virtual const std::string& method() const = 0;  // the name of the method that this is the view of
  virtual Network& net() = 0;
  virtual const std::string& phase() const = 0;
  /// The stream of that name, of this method in this phase.
  virtual Random random(std::string_view stream) const = 0;
  virtual int64_t train_samples() const = 0;
  virtual int64_t classes() const = 0;
  virtual int64_t epochs() const = 0;  // of the phase
  /// mixup or cutmix: an image may be of two classes, of which Batch::labels has one.
  virtual bool mixes_images() const = 0;
  /// Of an evaluation at this place of the phase, as validation makes it: for passes of a method's
  /// own. Each needs its own.
  virtual Pass evaluation() const = 0;
  /// At most so many images of the training split as evaluation sees them, without augmentation, in
  /// batches and spread over the split: the same at every call.
  virtual std::vector<Batch> samples(int64_t images) = 0;
  /// The same of the images that data.val holds out: to choose between candidates. Throws
  /// RecipeError if there are none.
  virtual std::vector<Batch> held_out(int64_t images) = 0;

  /// `from`: an earlier phase, a weights file, or "self" for the weights this phase began with.
  /// Throws RecipeError if it computes other classes than the data has.
  virtual Teacher& teacher(const std::string& from) = 0;

  /// A helper that is trained and saved with the network until finish: "compress.<method>.<name>".
  /// Its parameters start from their Init unless a checkpoint has them.
  virtual void add_module(const std::string& name, std::shared_ptr<Module> module) = 0;
  virtual Group add_group(ParameterGroup group) = 0;
  /// Parameters whose path is `path` or lies below it are constants in this phase. Throws
  /// RecipeError if there are none.
  virtual void freeze(std::string_view path) = 0;

  /// Hooks at places of the network (nn/hooks.h), dropped when the phase ends.
  virtual void transform_weight(const Parameter& parameter, Slot slot, ValueFn f) = 0;
  virtual void transform_value(const std::string& place, Slot slot, ValueFn f) = 0;
  virtual void wrap(const std::string& module, Slot slot, WrapFn f) = 0;
  virtual void wrap_tokens(const std::string& module, Slot slot, WrapTokensFn f) = 0;
  virtual Tap tap(const std::string& place) = 0;

  /// A change of structure, planned and then applied at once.
  virtual Edit edit() = 0;
  /// Called for every axis that an edit of any method cuts: for what this method keeps beside
  /// parameters.
  virtual void follow_cuts(FollowCut f) = 0;
  /// For followers: a parameter of a helper is cut too, with what optimizer and moving average hold
  /// beside it.
  virtual void cut(Parameter helper, int axis, const std::vector<int64_t>& keep) = 0;
  /// What the optimizer holds beside a parameter, each of its shape: handles, so that edits reach
  /// it. Empty before the first update.
  virtual std::vector<Tensor> moments(const Parameter& parameter) = 0;

  /// In finish, of a network that no longer changes: what runs on integers from now on. The run
  /// saves it beside the phase's weights ("<phase>.int8.safetensors"), and its report deploys it.
  /// Throws RecipeError if another method of the phase did so already.
  virtual void deploy(Quantization quantization, Int8Record record) = 0;
  /// In finish: weights of few bits, computed with in reals, which the network's weights are set
  /// to. The run saves them beside the phase's weights ("<phase>.packed.safetensors"); weights of
  /// one method add to those of another. Throws RecipeError for a weight that is packed already.
  virtual void pack(const std::vector<PackedWeight>& weights) = 0;

  /// A number of this step: averaged over the epoch in metrics.csv as "<method>.<name>", shown in
  /// the step line.
  virtual void log(std::string_view name, double value) = 0;
  /// A row of the final report.
  virtual void report(std::string_view row, std::string_view text) = 0;
  /// In finish: rows of a table in the run folder, "<phase>.<name>.csv"; those of methods that name
  /// the same table follow one another. Throws Error where their columns differ.
  virtual void table(std::string_view name, const std::vector<std::string>& columns,
                     const std::vector<std::vector<std::string>>& rows) = 0;
};

}  // namespace vtrain
