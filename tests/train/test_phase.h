#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/temporary_folder.h"
#include "train/phase.h"

namespace vtrain {

/// Phases of a small experiment for tests: deit_micro on synthetic images, batches of 8. The
/// recipe's `compress` section is the argument; dense weights stand where an earlier phase would
/// have left them.
class TestPhase {
 public:
  /// `compress`: flow YAML of the phase's methods, e.g. "{dynamicvit: {at: [1, 3], teacher:
  /// dense}}"; `overrides` as on the command line.
  explicit TestPhase(const std::string& compress, std::vector<std::string> overrides = {});

  Phase& operator*() { return *phase_; }
  Phase* operator->() { return phase_.get(); }
  /// Runs `n` updates; the mean of a logged term over them.
  void steps(int n);
  double mean(const std::string& name) const { return phase_->means.mean(name); }
  /// Some images of the data set, not augmented.
  Tensor images(int64_t n) const;
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
  std::unique_ptr<const Experiment> experiment_;
  std::unique_ptr<Phase> phase_;
};

}  // namespace vtrain
