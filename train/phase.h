#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "train/ema.h"
#include "train/evaluate.h"
#include "train/method_run.h"

namespace vtrain {

/// Averages of named numbers over an epoch, in the order the names came. Saved, so that an epoch
/// that was interrupted ends in the same averages.
class RunningMeans {
 public:
  void add(const std::string& name, double value);
  double mean(const std::string& name) const;  // NaN if nothing was added
  std::vector<std::pair<std::string, double>> means() const;
  void clear() { entries_.clear(); }
  std::string to_text() const;
  static RunningMeans from_text(const std::string& text);

 private:
  struct Entry {
    std::string name;
    double sum = 0;
    int64_t count = 0;
  };
  std::vector<Entry> entries_;
};

/// The data of one phase: open files are shared by phases that name the same set.
struct PhaseData {
  std::shared_ptr<const Dataset> train, test;
  InputFormat input;  // of both
  std::vector<int64_t> train_indices, val_indices;
};
/// Throws DataError if the splits do not have the same classes.
PhaseData open_data(const PhaseConfig& config, uint64_t seed);

/// The architecture a phase starts with when it starts afresh.
Architecture architecture_of(const PhaseConfig& config, const PhaseData& data);

/// Everything alive while one phase trains.
class Phase {
 public:
  /// Builds the network, loads what it starts from, attaches the methods. `folder`: where earlier
  /// phases left their weights; empty for a dry run, which reads no weights. `architecture`: the
  /// record of a resumed network, which cuts may have changed; empty: what the recipe says.
  Phase(const Experiment& experiment, const PhaseConfig& config, PhaseData data,
        std::filesystem::path folder, const std::string& architecture = {});

  const PhaseConfig& config() const { return config_; }
  Network& network() { return *state_.network; }

  // Position.
  int64_t epoch = 0, step_in_epoch = 0;
  DType dtype = DType::f32;  // what the training steps compute in; validation computes in f32
  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  int64_t step() const { return epoch * steps_per_epoch_ + step_in_epoch; }
  int64_t steps() const { return config_.epochs * steps_per_epoch_; }
  double lr() const {
    return schedule_->lr(static_cast<double>(step()) / static_cast<double>(steps_per_epoch_));
  }

  /// Methods' start(): once per phase, not on resume.
  void start();
  /// The loader at the current position.
  Loader& loader_at_position();
  /// Forward, losses, backward, update on the next `accum` batches. Returns the global norm of the
  /// gradient. Throws Error with ExitCode::kNonFinite, naming the terms, when the loss is not
  /// finite.
  double train_step(Loader& loader);
  int64_t batch_size() const { return config_.data.batch_size * config_.accum; }

  /// Damaged images skipped so far, of training and validation: path and reason.
  std::vector<std::string> bad_images() const;

  bool has_validation() const { return val_loader_ != nullptr; }
  /// On the held-out images, with the weights that will be kept (EMA where there is one).
  Accuracy validate();
  /// Ends the phase: EMA weights become the weights, hooks become modules.
  void finish();

  /// Checkpoint content under prefixes "network.", "helper.", "optimizer.", "ema.".
  void save(NamedTensors& file) const;
  void load(const NamedTensors& file, const std::string& from);
  /// Whether every method has reached what it was asked for.
  bool is_settled() const;
  /// Weights alone (EMA where there is one), to come back to the best, and the architecture record
  /// they belong to.
  NamedTensors weights();
  void load_weights(const NamedTensors& file, const std::string& from);

  /// One training pass over noise, up to the losses that the methods put together, at the first and
  /// at the last epoch: what cannot work together there is refused before any image is read. For a
  /// dry run; methods have not started.
  void try_losses();

  std::vector<std::string> describe_hooks() const;
  /// "l1_filters (dense-smaller), kd (training-only)": in the order in which they act; "" if there
  /// are none.
  std::string describe_methods() const;
  PhaseState& state() { return state_; }

  RunningMeans means;        // of this epoch
  double best_top1 = -1;     // validation
  std::string tail() const;  // what methods said in the last step, for the step line

 private:
  struct Attached {
    const MethodInfo* info;
    std::unique_ptr<Method> method;
    std::unique_ptr<MethodRun> run;
  };
  std::unique_ptr<Network> starting_network();
  std::unique_ptr<Network> compact_network(const std::string& file) const;
  std::unique_ptr<Network> teacher_network(const std::string& from);
  void attach();
  void before_forward(const Pass& pass);
  Pass pass(bool is_training) const;

  const Experiment& experiment_;
  const PhaseConfig& config_;
  PhaseData data_;
  std::filesystem::path folder_;
  PhaseState state_;
  std::vector<Attached> methods_;
  std::unique_ptr<Loader> train_loader_, val_loader_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Schedule> schedule_;
  std::optional<double> clip_grad_;
  std::unique_ptr<Ema> ema_;
  int64_t steps_per_epoch_ = 0;
};

}  // namespace vtrain
