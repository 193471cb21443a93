#include "tests/composition.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <sstream>

#include "compress/deploy/onnx.h"
#include "compress/parts/mask.h"
#include "nn/graph.h"
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

auto small_cnn(int64_t width) {
  return [width](const ModelOptions& o) -> std::unique_ptr<Model> {
    constexpr int64_t kPool = VggConfig::kPool;
    return std::make_unique<Vgg>(
        VggConfig{.layers = {width, kPool, 2 * width, kPool, 2 * width, kPool},
                  .head = VggHead::kAverage,
                  .channels = o.channels,
                  .num_classes = o.num_classes});
  };
}

auto small_vit(int64_t depth) {
  return [depth](const ModelOptions& o) -> std::unique_ptr<Model> {
    return std::make_unique<Vit>(VitConfig{.image_size = o.image_size,
                                           .patch_size = 7,
                                           .channels = o.channels,
                                           .num_classes = o.num_classes,
                                           .dim = 48,
                                           .depth = depth,
                                           .num_heads = 4,
                                           .hidden_dim = 96,
                                           .has_fan_in_init = true});
  };
}

const RegisteredModel tiny_models[] = {
    {"test_small_cnn", "three convolutions, for methods together and for long", "", small_cnn(16)},
    {"test_small_cnn_large", "its larger teacher", "", small_cnn(24)},
    {"test_small_vit", "three transformer blocks, for methods together and for long", "",
     small_vit(3)},
    {"test_small_vit_large", "its larger teacher", "", small_vit(4)},
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
constexpr size_t kBefore = 2;  // phases whose weights are there

constexpr const char* kLongRecipe = R"(
seed: 3
threads: 1
amp: off
data: {name: fashion_mnist, batch_size: 50, limit: 2000, val: 0.1, workers: 0}
train: {epochs: 2}
phases:
  dense: {train: {epochs: 9}}
  large: {train: {epochs: 9}}
)";

struct LongKnobs {
  const char *method, *cnn, *vit;  // nullptr: refuses such a network
};
constexpr LongKnobs kLongKnobs[] = {
    {"magnitude", "{rate: 0.7, rounds: 2, retrain_epochs: 1}",
     "{rate: 0.7, rounds: 2, retrain_epochs: 1}"},
    {"dns", "{c_rate: 0.5, gamma: 0.01}", "{c_rate: 0.5, gamma: 0.01}"},
    {"l1_filters", "{rate: 0.3}", nullptr},
    {"sfp", "{rate: 0.3}", nullptr},
    {"ssl", "{lambda_filters: 0.8, lambda_channels: 0.8, until: 0.5}", nullptr},
    {"minmax", "{calib_batches: 4}", "{calib_batches: 4}"},
    {"lsq", "{weight_bits: 4, activation_bits: 8}", "{weight_bits: 4, activation_bits: 8}"},
    {"dorefa", "{weight_bits: 4, activation_bits: 4}", "{weight_bits: 4, activation_bits: 8}"},
    {"ttq", "{sparsity: 0.5, scale_lr: 0.01}", "{sparsity: 0.5, scale_lr: 0.01}"},
    {"kd", "{teacher: large}", "{teacher: large}"},
    {"dkd", "{teacher: large, beta: 1, warmup_epochs: 1}",
     "{teacher: large, beta: 1, warmup_epochs: 1}"},
    {"takd", "{teacher: large}", "{teacher: large}"},
    {"fitnets",
     "{teacher: large, guided: features.4, hint: features.4, hint_epochs: 1, decay_from: 0}",
     "{teacher: large, guided: blocks.0, hint: blocks.0, regressor: none, hint_epochs: 1, "
     "decay_from: 0}"},
    {"vtp", nullptr,
     "{lambda: 0.1, l1: prox, gate_lr_scale: 33, prune_rate: 0.3, sparse_epochs: 1}"},
    {"tome", nullptr, "{r: 3}"},
    {"dynamicvit", nullptr,
     "{at: [1], keep_ratio: 0.6, teacher: dense, backbone_lr_scale: 1, freeze_epochs: 0}"},
};
const char* long_knobs_of(const std::string& method, TinyModel model) {
  const auto* const found = std::ranges::find(kLongKnobs, method, &LongKnobs::method);
  if (found == std::end(kLongKnobs)) throw Error(str(method, " has no knobs for long runs"));
  return model == TinyModel::kCnn ? found->cnn : found->vit;
}

using KnobsByModel = std::map<TinyModel, std::optional<std::string>>;
std::map<std::string, KnobsByModel>& all_knobs() {
  static std::map<std::string, KnobsByModel> all;
  return all;
}

std::string phase_name(size_t i) { return str("phase", i + 1); }

/// The recipe's own phases, then those of the plan.
template <class KnobsOf>
Experiment experiment_of(const MethodPlan& plan, const std::string& model, const char* recipe,
                         std::vector<std::string> overrides, const KnobsOf& knobs_of_method) {
  overrides.push_back("+model.name=" + model);
  overrides.push_back("+phases.large.model.name=" + model + "_large");
  for (size_t i = 0; i < plan.size(); ++i) {
    std::string methods;
    for (const std::string& method : plan[i])
      methods += str(methods.empty() ? "" : ", ", method, ": ", knobs_of_method(method));
    overrides.push_back(str("+phases.", phase_name(i), "={from: ",
                            i == 0 ? "dense" : phase_name(i - 1), ", compress: {", methods, "}}"));
  }
  return read_experiment(Recipe::from_text(recipe, "composition", overrides), "composition");
}

std::string optimizer_of(TinyModel model) {
  return model == TinyModel::kCnn
             ? "optim={name: sgd, lr: 0.05, momentum: 0.9, weight_decay: 1.0e-3}"
             : "optim={name: adamw, lr: 1.0e-3, weight_decay: 0.05}";
}

Experiment experiment_of(const MethodPlan& plan, TinyModel model) {
  const bool is_one_phase = plan.size() == 1;
  // Four steps in all: two epochs of two, or two phases of two epochs of one. A moving average goes
  // along in the first case only, so that both are seen.
  return experiment_of(
      plan, name_of(model), kRecipe,
      {str("data.limit=", is_one_phase ? 20 : 10), str("ema.decay=", is_one_phase ? "0.5" : "null"),
       optimizer_of(model)},
      [model](const std::string& method) { return knobs_of(method, model).value_or("{}"); });
}

Experiment long_experiment_of(const MethodPlan& plan, TinyModel model) {
  return experiment_of(plan, model == TinyModel::kCnn ? "test_small_cnn" : "test_small_vit",
                       kLongRecipe, {optimizer_of(model)}, [model](const std::string& method) {
                         const char* const knobs = long_knobs_of(method, model);
                         return knobs ? knobs : "{}";
                       });
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

/// The trained phases `dense` and `large`, once for each kind of network.
const TemporaryFolder& trained_before(TinyModel model) {
  static std::map<TinyModel, TemporaryFolder> folders;
  const auto [found, is_new] = folders.try_emplace(model);
  const TemporaryFolder& folder = found->second;
  if (!is_new) return folder;
  const Experiment experiment = long_experiment_of({}, model);
  for (size_t i = 0; i < kBefore; ++i) {
    const PhaseConfig& config = experiment.phases[i];
    Phase phase(experiment, config, open_data(config, experiment.seed), folder.path());
    phase.start();
    train_to_end(phase, [] {});
    phase.network().save(folder / (config.name + ".safetensors"));
  }
  return folder;
}

double top1_percent_of(Network& network, const PhaseConfig& config, uint64_t seed) {
  constexpr int64_t kImages = 2000;
  std::vector<int64_t> first(kImages);
  std::iota(first.begin(), first.end(), 0);
  Loader loader(open_data(config, seed).test, first, {.batch_size = 100});
  return evaluate(network, loader).top1_percent;
}

}  // namespace

LongRun train_for_long(const MethodPlan& plan, TinyModel model) {
  const TemporaryFolder folder;
  const Experiment experiment = long_experiment_of(plan, model);
  set_num_threads(experiment.threads);
  for (size_t i = 0; i < kBefore; ++i) {
    const std::string file = experiment.phases[i].name + ".safetensors";
    std::filesystem::copy(trained_before(model) / file, folder / file);
  }
  LongRun result;
  const auto macs_before =
      static_cast<double>(Graph(*Network::load(folder / "dense.safetensors")).macs());
  for (size_t i = 0; i < plan.size(); ++i) {
    const PhaseConfig& config = experiment.phases[kBefore + i];
    CAPTURE(config.name);
    Phase phase(experiment, config, open_data(config, experiment.seed), folder.path());
    phase.start();
    // train_to_end asks so often whether to save: once it is.
    const int64_t saves = phase.steps() + config.epochs - 1;
    const int64_t wanted =
        Random(experiment.seed, config.name, text_of(plan)).permutation(saves, /*step=*/0).front();
    NamedTensors checkpoint;
    int64_t save = 0;
    train_to_end(phase, [&] {
      if (save++ == wanted) checkpoint = copy_of(phase);
    });
    const std::string file = config.name + ".safetensors";
    phase.network().save(folder / file);
    CHECK(phase.state().masked_compact_max_rel <= 1e-5);
    CHECK(phase.network().hooks().empty());
    check_resumed(experiment, phase, checkpoint, folder);
    ++result.resumed;
    for (const std::string& method : plan[i]) check_result_of(method, phase.network());
    check_files(phase.network(), folder, file);
    result.masked_compact = std::max(result.masked_compact, phase.state().masked_compact_max_rel);
    if (i + 1 < plan.size()) continue;
    result.top1_percent = top1_percent_of(phase.network(), config, experiment.seed);
    result.macs_percent = 100 * static_cast<double>(Graph(phase.network()).macs()) / macs_before;
  }
  return result;
}

double dense_top1_percent(TinyModel model) {
  const Experiment experiment = long_experiment_of({}, model);
  return top1_percent_of(*Network::load(trained_before(model) / "dense.safetensors"),
                         experiment.phases.front(), experiment.seed);
}

std::vector<std::string> long_methods(TinyModel model) {
  std::vector<std::string> names;
  for (const LongKnobs& knobs : kLongKnobs) {
    if (model == TinyModel::kCnn ? knobs.cnn : knobs.vit) names.emplace_back(knobs.method);
  }
  return names;
}

const std::vector<Combination>& combinations() {
  static const std::vector<Combination> all = {
      {TinyModel::kCnn, {{"l1_filters", "magnitude", "kd"}}},
      {TinyModel::kCnn, {{"l1_filters", "dns", "dkd"}}},
      {TinyModel::kCnn, {{"ssl", "magnitude", "takd"}}},
      {TinyModel::kCnn, {{"sfp", "l1_filters", "kd"}}},
      {TinyModel::kCnn, {{"sfp", "ssl", "fitnets"}}},
      {TinyModel::kCnn, {{"l1_filters", "ssl", "dkd"}}},
      {TinyModel::kCnn, {{"ssl"}, {"magnitude", "kd"}}},
      {TinyModel::kCnn, {{"l1_filters", "kd"}, {"dns"}}},
      {TinyModel::kCnn, {{"fitnets"}, {"sfp"}, {"magnitude"}}},
      {TinyModel::kVit, {{"dynamicvit", "magnitude", "kd"}}},
      {TinyModel::kVit, {{"dynamicvit", "dns", "dkd"}}},
      {TinyModel::kVit, {{"fitnets"}, {"dynamicvit"}, {"magnitude"}}},
      // Pruned, quantized and distilled.
      {TinyModel::kCnn, {{"l1_filters", "minmax", "kd"}}},
      {TinyModel::kCnn, {{"ssl", "lsq", "dkd"}}},
      {TinyModel::kCnn, {{"magnitude", "ttq", "takd"}}},
      {TinyModel::kCnn, {{"sfp"}, {"minmax", "kd"}}},
      {TinyModel::kCnn, {{"l1_filters"}, {"dorefa", "fitnets"}}},
      {TinyModel::kCnn, {{"l1_filters", "kd"}, {"lsq"}}},
      {TinyModel::kVit, {{"vtp"}, {"tome"}, {"minmax"}}},
      {TinyModel::kVit, {{"vtp", "minmax", "kd"}}},
      {TinyModel::kVit, {{"tome", "lsq", "dkd"}}},
      {TinyModel::kVit, {{"dynamicvit", "ttq", "kd"}}},
      // Four.
      {TinyModel::kVit, {{"vtp"}, {"dynamicvit", "kd"}, {"minmax"}}},
      {TinyModel::kCnn, {{"l1_filters", "magnitude", "minmax", "kd"}}},
      {TinyModel::kCnn, {{"l1_filters", "ssl", "magnitude", "kd"}}},
      {TinyModel::kCnn, {{"kd"}, {"l1_filters"}, {"ssl"}, {"dns"}}},
      {TinyModel::kVit, {{"kd"}, {"magnitude"}, {"dynamicvit", "dkd"}}},
  };
  return all;
}

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

namespace {
std::string refusal_of(const Experiment& experiment) {
  try {
    dry_run(experiment);
    return "";
  } catch (const RecipeError& error) {
    return error.what();
  }
}
}  // namespace

std::string refusal_of(const MethodPlan& plan, TinyModel model) {
  return refusal_of(experiment_of(plan, model));
}
std::string long_refusal_of(const MethodPlan& plan, TinyModel model) {
  return refusal_of(long_experiment_of(plan, model));
}

}  // namespace vtrain
