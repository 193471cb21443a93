// What a method's hooks cost: the time of a training step with it beside the same step without.
//
//     hook_cost [METHOD...] [--threads N] [--rounds N]
//
// Convolutional methods train resnet20 (batch 128), those of transformers deit_mini_patch4_28
// (batch 64), both on Fashion-MNIST in f32. The two phases take turns, three steps each; what is
// printed is the median over rounds of the ratio of neighbours. A teacher's forward pass is timed
// apart and taken off, since it is another network's cost. Prints a Markdown table.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "tensor/parallel.h"
#include "train/phase.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
constexpr int kSteps = 3;  // of one turn

struct Case {
  const char* method;
  const char* knobs;
  bool is_transformer = false, has_teacher = false;
};

const Case kCases[] = {
    {"magnitude", "{rate: 0.9, rounds: 1}"},
    {"dns", "{c_rate: 1.0}"},
    {"l1_filters", "{rate: 0, pick: random}"},
    {"sfp", "{rate: 0.3}"},
    {"ssl", "{lambda_filters: 0.01, lambda_channels: 0.01, until: 1}"},
    {"minmax", "{calib_batches: 2, freeze_bn_epoch: 90, freeze_observer_epoch: 90}"},
    {"lsq", "{}"},
    {"dorefa", "{}"},
    {"ttq", "{scale_lr: 0.1}"},
    {"kd", "{teacher: dense}", false, true},
    {"dkd", "{teacher: dense}", false, true},
    {"takd", "{teacher: dense}", false, true},
    {"fitnets",
     "{teacher: dense, mode: joint, guided: layer2.0, hint: layer2.2, regressor: conv_bn}", false,
     true},
    {"vtp", "{lambda: 0.1, l1: prox, sparse_epochs: 90}", true},
    {"tome", "{r: 5}", true},
    {"dynamicvit", "{at: [2, 4, 6], teacher: dense, backbone_lr_scale: 1, freeze_epochs: 0}", true,
     true},
};

constexpr const char* kRecipe = R"(
seed: 1
amp: off
data: {name: fashion_mnist, limit: 12800, workers: 1}
optim: {name: sgd, lr: 0.001, momentum: 0.9, weight_decay: 5.0e-4}
sched: {name: constant, warmup_epochs: 0}
train: {epochs: 99}
phases:
  dense: {}
  plain: {from: dense}
  method: {from: dense}
)";

class HookCost {
 public:
  HookCost(const Case& c, int threads)
      : folder_(fs::temp_directory_path() / str("vtrain-hook-cost-", c.method)) {
    fs::create_directories(folder_);
    std::vector<std::string> overrides = {
        str("+phases.method.compress={", c.method, ": ", c.knobs, "}"),
        c.is_transformer ? "+model={name: deit_mini_patch4_28}" : "+model={name: resnet20}",
        str("+data.batch_size=", c.is_transformer ? 64 : 128), str("+threads=", threads)};
    experiment_ = std::make_unique<const Experiment>(
        read_experiment(Recipe::from_text(kRecipe, "hook_cost", overrides), "hook_cost"));
    set_num_threads(experiment_->threads);
    const PhaseConfig& dense = experiment_->phases[0];
    const PhaseData data = open_data(dense, experiment_->seed);
    teacher_ = std::make_unique<Network>(architecture_of(dense, data));
    teacher_->initialise(experiment_->seed);
    teacher_->save((folder_ / "dense.safetensors").string());
    plain_ = std::make_unique<Phase>(*experiment_, experiment_->phases[1], data, folder_);
    with_ = std::make_unique<Phase>(*experiment_, experiment_->phases[2], data, folder_);
    plain_->start();
    with_->start();
    std::vector<int64_t> first;
    for (int64_t i = 0; i < dense.data.batch_size; ++i) first.push_back(i);
    Loader loader(data.train, first, {.batch_size = dense.data.batch_size});
    loader.start(0);
    images_ = loader.next()->images;
  }
  ~HookCost() { fs::remove_all(folder_); }
  HookCost(const HookCost&) = delete;
  HookCost& operator=(const HookCost&) = delete;

  /// Seconds of `kSteps` steps.
  static double turn(Phase& phase) {
    Loader& loader = phase.loader_at_position();
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < kSteps; ++i) phase.train_step(loader);
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }
  double plain() { return turn(*plain_); }
  double with_method() { return turn(*with_); }
  double teacher() {
    const Clock::time_point begin = Clock::now();
    for (int i = 0; i < kSteps; ++i) teacher_->logits(images_);
    return std::chrono::duration<double>(Clock::now() - begin).count();
  }

 private:
  fs::path folder_;
  std::unique_ptr<const Experiment> experiment_;
  std::unique_ptr<Network> teacher_;
  std::unique_ptr<Phase> plain_, with_;
  Tensor images_;
};

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x[x.size() / 2];
}

void measure(const Case& c, int threads, int rounds) {
  HookCost cost(c, threads);
  for (int i = 0; i < 2; ++i) {  // kernels are chosen, memory is there
    cost.plain();
    cost.with_method();
  }
  std::vector<double> step, added, forward;
  for (int i = 0; i < rounds; ++i) {
    const double plain = cost.plain(), with = cost.with_method(),
                 teacher = c.has_teacher ? cost.teacher() : 0;
    step.push_back(1e3 * plain / kSteps);
    added.push_back(100 * (with - teacher - plain) / plain);
    forward.push_back(100 * teacher / plain);
  }
  std::printf("| %s | %s | %.1f | %+.1f %% | %s |\n", c.method,
              c.is_transformer ? "deit_mini, 64" : "resnet20, 128", median(step), median(added),
              c.has_teacher ? str(std::lround(median(forward)), " %").c_str() : "");
  std::fflush(stdout);
}

}  // namespace
}  // namespace vtrain

int main(int argc, char** argv) {
  using namespace vtrain;
  int threads = 2, rounds = 15;
  std::vector<std::string> wanted;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--threads" && i + 1 < argc) {
      threads = std::atoi(argv[++i]);
    } else if (argument == "--rounds" && i + 1 < argc) {
      rounds = std::atoi(argv[++i]);
    } else {
      wanted.push_back(argument);
    }
  }
  try {
    std::printf("| method | network, batch | step, ms | with the method | teacher's pass |\n");
    std::printf("|---|---|---|---|---|\n");
    for (const Case& c : kCases) {
      if (wanted.empty() || std::ranges::find(wanted, c.method) != wanted.end())
        measure(c, threads, rounds);
    }
  } catch (const std::exception& error) {
    std::cerr << "hook_cost: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
