#include "tests/composition.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <sstream>

#include "compress/deploy/onnx.h"
#include "compress/parts/mask.h"
#include "nn/models/vgg.h"
#include "nn/models/vit.h"
#include "tensor/parallel.h"
#include "tests/temporary_folder.h"
#include "train/phase.h"
#include "train/trainer.h"

namespace vtrain {
namespace {

auto tiny_cnn(int64_t last) {
  return [last](const ModelOptions& o) -> std::unique_ptr<Model> {
    constexpr int64_t kPool = VggConfig::kPool;
    return std::make_unique<Vgg>(VggConfig{.layers = {8, kPool, 12, kPool, last, kPool},
                                           .head = VggHead::kAverage,
                                           .channels = o.channels,
                                           .num_classes = o.num_classes});
  };
}

auto tiny_vit(int64_t depth) {
  return [depth](const ModelOptions& o) -> std::unique_ptr<Model> {
    return std::make_unique<Vit>(VitConfig{.image_size = o.image_size,
                                           .patch_size = 7,
                                           .channels = o.channels,
                                           .num_classes = o.num_classes,
                                           .dim = 16,
                                           .depth = depth,
                                           .num_heads = 2,
                                           .hidden_dim = 32,
                                           .has_fan_in_init = true});
  };
}

const RegisteredModel tiny_models[] = {
    {"test_tiny_cnn", "three convolutions, for methods together", "", tiny_cnn(16)},
    {"test_tiny_cnn_large", "its larger teacher", "", tiny_cnn(32)},
    {"test_tiny_vit", "two transformer blocks, for methods together", "", tiny_vit(2)},
    {"test_tiny_vit_large", "its larger teacher", "", tiny_vit(3)},
};

constexpr const char* kRecipe = R"(
seed: 3
threads: 1
amp: off
data: {name: synthetic, batch_size: 8, val: 0.2, workers: 0}
train: {epochs: 2}
phases:
  dense: {}
  large: {}
)";
constexpr size_t kBefore = 2;  // phases whose weights are there, untrained

using KnobsByModel = std::map<TinyModel, std::optional<std::string>>;
std::map<std::string, KnobsByModel>& all_knobs() {
  static std::map<std::string, KnobsByModel> all;
  return all;
}

std::string phase_name(size_t i) { return str("phase", i + 1); }

Experiment experiment_of(const MethodPlan& plan, TinyModel model) {
  const bool is_one_phase = plan.size() == 1;
  std::vector<std::string> overrides = {
      "+model.name=" + name_of(model), "+phases.large.model.name=" + name_of(model) + "_large",
      // Four steps in all: two epochs of two, or two phases of two epochs of one. A moving average
      // goes along in the first case only, so that both are seen.
      str("data.limit=", is_one_phase ? 20 : 10), str("ema.decay=", is_one_phase ? "0.5" : "null"),
      model == TinyModel::kCnn ? "optim={name: sgd, lr: 0.05, momentum: 0.9, weight_decay: 1.0e-3}"
                               : "optim={name: adamw, lr: 1.0e-3, weight_decay: 0.05}"};
  for (size_t i = 0; i < plan.size(); ++i) {
    std::string methods;
    for (const std::string& method : plan[i])
      methods +=
          str(methods.empty() ? "" : ", ", method, ": ", knobs_of(method, model).value_or("{}"));
    overrides.push_back(str("+phases.", phase_name(i), "={from: ",
                            i == 0 ? "dense" : phase_name(i - 1), ", compress: {", methods, "}}"));
  }
  return read_experiment(Recipe::from_text(kRecipe, "composition", overrides), "composition");
}

NamedTensors copy_of(const Phase& phase) {
  NamedTensors file;
  phase.save(file);
  for (auto& [name, tensor] : file.tensors) tensor = tensor.clone();
  return file;
}

/// Trains to the end of the phase, as the trainer does, and calls `save` where that may write a
/// checkpoint: behind every step, since a signal may have come, and behind every epoch but the
/// last.
void train_to_end(Phase& phase, const std::function<void()>& save) {
  while (phase.epoch < phase.config().epochs) {
    Loader& loader = phase.loader_at_position();
    while (phase.step_in_epoch < phase.steps_per_epoch()) {
      phase.train_step(loader);
      save();
    }
    phase.validate();
    phase.means.clear();
    ++phase.epoch;
    phase.step_in_epoch = 0;
    if (phase.epoch < phase.config().epochs) save();
  }
  phase.finish();
}

std::map<std::string, std::vector<double>> values_of(const Network& network) {
  std::map<std::string, std::vector<double>> values;
  for (const auto& [name, tensor] : network.state()) values[name] = tensor.to_vector();
  return values;
}

/// The weights that the phases `dense` and `large` would have left.
void save_untrained(const Experiment& experiment, const TemporaryFolder& folder) {
  for (size_t i = 0; i < kBefore; ++i) {
    const PhaseConfig& config = experiment.phases[i];
    Network network(architecture_of(config, open_data(config, experiment.seed)));
    network.initialise(experiment.seed);
    network.save(folder / (config.name + ".safetensors"));
  }
}

/// Goes on from a checkpoint in a new object and checks that it ends where `whole` did.
void check_resumed(const Experiment& experiment, Phase& whole, const NamedTensors& checkpoint,
                   const TemporaryFolder& folder) {
  const PhaseConfig& config = whole.config();
  Phase resumed(experiment, config, open_data(config, experiment.seed), folder.path(),
                checkpoint.metadata.at("architecture"));
  resumed.load(checkpoint, "checkpoint");
  train_to_end(resumed, [] {});
  CHECK(resumed.network().architecture().to_json() == whole.network().architecture().to_json());
  CHECK(values_of(resumed.network()) == values_of(whole.network()));
  CHECK(resumed.state().report == whole.state().report);
}

void check_files(Network& network, const TemporaryFolder& folder, const std::string& file) {
  const ModelOptions& o = network.architecture().options;
  const Tensor images = Random(1, "", "composition")
                            .normal({3, o.channels, o.image_size, o.image_size}, {})
                            .channels_last();
  CHECK(Network::load(folder / file)->logits(images).to_vector() ==
        network.logits(images).to_vector());
  const std::string path = folder / "network.onnx";
  const OnnxFile onnx = onnx_of(network);
  put_file(path, onnx_bytes(onnx));
  check_onnx(onnx, path);
}

/// What the method says it leaves is there.
void check_result_of(const std::string& method, const Network& network) {
  switch (find_method(method)->kind) {
    case ResultKind::kDenseSmaller:
      CHECK(network.architecture().is_changed());
      return;
    case ResultKind::kFileOnly: {
      int64_t zeros = 0;
      for (const Parameter& p : network.parameters()) {
        if (p.value().ndim() > 1) zeros += p.value().numel() - count_nonzero(p.value());
      }
      CHECK(zeros > 0);
      return;
    }
    case ResultKind::kPacked:
    case ResultKind::kTrainingOnly:
      return;
  }
}

enum class Depth { kTrained, kChecked };

std::map<std::string, std::vector<double>> run_plan(const MethodPlan& plan, TinyModel model,
                                                    Depth depth) {
  const TemporaryFolder folder;
  const Experiment experiment = experiment_of(plan, model);
  set_num_threads(experiment.threads);
  save_untrained(experiment, folder);
  std::map<std::string, std::vector<double>> values;
  for (size_t i = 0; i < plan.size(); ++i) {
    const PhaseConfig& config = experiment.phases[kBefore + i];
    CAPTURE(config.name);
    Phase phase(experiment, config, open_data(config, experiment.seed), folder.path());
    phase.start();
    std::vector<NamedTensors> checkpoints;
    // Earlier phases are other plans' last ones.
    const bool is_checked = depth == Depth::kChecked && i + 1 == plan.size();
    train_to_end(phase, [&] {
      if (is_checked) checkpoints.push_back(copy_of(phase));
    });
    const std::string file = config.name + ".safetensors";
    phase.network().save(folder / file);
    CHECK(phase.state().masked_compact_max_rel <= 1e-5);
    CHECK(phase.network().hooks().empty());
    for (const NamedTensors& checkpoint : checkpoints)
      check_resumed(experiment, phase, checkpoint, folder);
    if (is_checked) {
      for (const std::string& method : plan[i]) check_result_of(method, phase.network());
      check_files(phase.network(), folder, file);
    }
    values = values_of(phase.network());
  }
  return values;
}

}  // namespace

TinyKnobs::TinyKnobs(const std::string& method, std::optional<std::string> cnn,
                     std::optional<std::string> vit) {
  all_knobs()[method] = {{TinyModel::kCnn, std::move(cnn)}, {TinyModel::kVit, std::move(vit)}};
}

std::optional<std::string> knobs_of(const std::string& method, TinyModel model) {
  const auto found = all_knobs().find(method);
  if (found == all_knobs().end())
    throw Error(
        str("methods are tried with each other: add a TinyKnobs line (tests/composition.h) ",
            "for ", method, " to its test"));
  return found->second.at(model);
}

std::string name_of(TinyModel model) {
  return model == TinyModel::kCnn ? "test_tiny_cnn" : "test_tiny_vit";
}

std::string text_of(const MethodPlan& plan) {
  std::string text;
  for (const std::vector<std::string>& phase : plan) {
    text += text.empty() ? "" : " -> ";
    for (size_t m = 0; m < phase.size(); ++m) text += (m == 0 ? "" : " + ") + phase[m];
  }
  return text;
}

std::map<std::string, std::vector<double>> check_plan(const MethodPlan& plan, TinyModel model) {
  return run_plan(plan, model, Depth::kChecked);
}

std::map<std::string, std::vector<double>> train_plan(const MethodPlan& plan, TinyModel model) {
  return run_plan(plan, model, Depth::kTrained);
}

std::string output_of(const MethodPlan& plan, TinyModel model) {
  const TemporaryFolder folder;
  Experiment experiment = experiment_of(plan, model);
  experiment.out_dir = folder.path();
  experiment.tensorboard = false;
  experiment.reference = phase_name(0);
  experiment.compact = phase_name(1);
  std::ostringstream out;
  CHECK(train(experiment, {}, out) == ExitCode::kDone);
  return out.str();
}

std::vector<std::string> dry_run_of(const MethodPlan& plan, TinyModel model) {
  return dry_run(experiment_of(plan, model));
}

std::string refusal_of(const MethodPlan& plan, TinyModel model) {
  try {
    dry_run_of(plan, model);
    return "";
  } catch (const RecipeError& error) {
    return error.what();
  }
}

}  // namespace vtrain
