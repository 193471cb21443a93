#include "tests/train/test_phase.h"

#include "tensor/parallel.h"

namespace vtrain {
namespace {
constexpr const char* kRecipe = R"(
seed: 3
threads: 2
model: {name: deit_micro_patch4_28}
data: {name: synthetic, batch_size: 8, limit: 64, workers: 0}
optim: {name: sgd, lr: 0.01, momentum: 0.0, weight_decay: 0.0}
sched: {name: constant}
train: {epochs: 2}
phases:
  dense: {}
  sparse: {from: dense}
)";
}  // namespace

TestPhase::TestPhase(const std::string& compress, std::vector<std::string> overrides) {
  overrides.push_back("+phases.sparse.compress=" + compress);
  experiment_ = std::make_unique<const Experiment>(
      read_experiment(Recipe::from_text(kRecipe, "test", overrides), "test"));
  set_num_threads(experiment_->threads);
  const PhaseConfig& dense = experiment_->phases[0];
  const PhaseData data = open_data(dense, experiment_->seed);
  Network network(architecture_of(dense, data));
  network.initialise(experiment_->seed);
  network.save(folder_ / "dense.safetensors");
  phase_ = std::make_unique<Phase>(*experiment_, experiment_->phases[1], data, folder_.path());
}

void TestPhase::steps(int n) {
  Loader& loader = phase_->loader_at_position();
  for (int i = 0; i < n; ++i) phase_->train_step(loader);
}

Tensor TestPhase::images(int64_t n) const {
  const auto data = open_dataset("synthetic", {});
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < n; ++i) indices.push_back(i);
  Loader loader(data, indices, {.batch_size = n});
  loader.start(0);
  return loader.next()->images;
}

}  // namespace vtrain
