#include "train/experiment.h"

#include <algorithm>
#include <thread>

#include "nn/models/model.h"

namespace vtrain {

OptimizerOptions PhaseConfig::optimizer() const {
  return read_optimizer(Recipe(recipe).section("optim"));
}

std::unique_ptr<Schedule> PhaseConfig::schedule() const {
  return read_schedule(Recipe(recipe).section("sched"), optimizer().lr,
                       static_cast<double>(epochs));
}

namespace {
/// What is cut is not masked, and what is masked away is not packed: the turns in which methods
/// act.
int turn_of(ResultKind kind) {
  switch (kind) {
    case ResultKind::kDenseSmaller:
      return 0;
    case ResultKind::kFileOnly:
      return 1;
    case ResultKind::kPacked:
      return 2;
    case ResultKind::kTrainingOnly:
      return 3;
  }
  return 3;
}
}  // namespace

std::vector<PhaseConfig::NamedMethod> PhaseConfig::methods() const {
  Recipe compress =
      Recipe(recipe).section("compress", "compression methods of this phase, by name");
  std::vector<NamedMethod> all;
  for (const std::string& key : compress.keys()) {
    const MethodInfo* const info = find_method(key);
    if (info == nullptr) {
      std::vector<std::string> names;
      for (const MethodInfo& known : registered_methods()) names.push_back(known.name);
      const std::string close = nearest(key, names);
      compress.fail(key, close.empty() ? "unknown method; `vtrain list methods` shows what there is"
                                       : str("unknown method; did you mean ", close, "?"));
    }
    Recipe section = compress.section(key, info->description);
    all.push_back({info, info->make(section)});
  }
  std::ranges::sort(
      all, {}, [](const NamedMethod& m) { return std::pair(turn_of(m.info->kind), m.info->name); });
  return all;
}

namespace {

int read_threads(Recipe& root) {
  const int all = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (!root.has("threads") ||
      root.text("threads", "auto", "threads that compute; results depend on it; auto: all cores") ==
          "auto")
    return all;
  return static_cast<int>(root.integer("threads", all, in(1, 1024)));
}

Amp read_amp(Recipe& root) {
  const std::string amp =
      root.choice("amp", "auto", {"auto", "off", "bf16"},
                  "what layers compute in, with f32 weights; off: f32; auto: the faster of both");
  return amp == "auto" ? Amp::kAuto : amp == "bf16" ? Amp::kBf16 : Amp::kOff;
}

Device read_device(Recipe& root) {
  const std::string device = root.text("device", "auto", "cpu, or auto: the fastest there is");
  return device == "auto" ? Device{} : Device::parse(device);
}

PhaseConfig read_phase(const std::string& name, const Recipe& merged,
                       const std::vector<PhaseConfig>& earlier) {
  PhaseConfig phase{.name = name,
                    .recipe = merged,
                    .from = {},
                    .model = {},
                    .weights = {},
                    .ema_decay = {},
                    .data = {},
                    .augment = {}};
  Recipe& r = phase.recipe;
  Recipe model = r.section("model", "the network");
  phase.model = model.required_text("name", "a registered network; `vtrain list models`");
  try {
    find_model(phase.model);
  } catch (const RecipeError& error) {
    model.fail("name", error.what());
  }
  phase.weights = model.maybe_text("weights", "a weights file to start from").value_or("");
  phase.drop_path =
      model.real("drop_path", 0, in(0, 0.9), "stochastic depth: rate of the last block");
  phase.data = read_data_options(r.section("data", "the images"));
  phase.augment = read_augment_options(r.section("aug", "what happens to training images"));
  Recipe train = r.section("train", "length of the phase");
  phase.epochs =
      train.integer("epochs", 10, at_least(0),
                    "passes over the training images; 0: methods act on the network as it is");
  phase.accum = train.integer("accum", 1, at_least(1), "batches per update");
  phase.ema_decay = r.section("ema", "moving average of the weights")
                        .maybe_real("decay", in(0, 1),
                                    "null: none; else what is evaluated and kept is the average");
  phase.from = r.text("from", "", "an earlier phase whose weights this one starts with");
  if (!phase.from.empty()) {
    const bool known = std::any_of(earlier.begin(), earlier.end(),
                                   [&](const PhaseConfig& p) { return p.name == phase.from; });
    if (!known) r.fail("from", str("expected an earlier phase, got ", phase.from));
  }
  phase.schedule();  // reads optim and sched, so that their mistakes show before training
  phase.methods();
  return phase;
}

}  // namespace

std::string Experiment::hash() const { return recipe.hash({"data.workers", "log", "ckpt", "out"}); }

Experiment read_experiment(const Recipe& recipe, const std::string& default_name) {
  Experiment e{.recipe = recipe,
               .name = {},
               .out_dir = {},
               .phases = {},
               .reference = {},
               .compact = {},
               .expected_top1 = {},
               .expected_from = {},
               .checkpoint_steps = {}};
  Recipe& root = e.recipe;
  e.seed = static_cast<uint64_t>(
      root.integer("seed", 42, at_least(0), "every random number follows from it"));
  e.threads = read_threads(root);
  e.amp = read_amp(root);
  e.device = read_device(root);
  e.use_best =
      root.choice(
          "use", "last", {"last", "best"},
          "which weights of a phase are kept: of the last step, or of the best validation") ==
      "best";

  Recipe out = root.section("out", "where runs are written");
  e.out_dir = out.text("dir", "runs", "folder of run folders");
  e.name =
      out.maybe_text("name", "name of the run folder; null: the recipe's").value_or(default_name);
  Recipe checkpoint = root.section("ckpt", "checkpoints");
  e.checkpoint_epochs =
      checkpoint.integer("every_epochs", 1, at_least(1), "a checkpoint every so many epochs");
  e.checkpoint_steps =
      checkpoint.maybe_integer("every_steps", at_least(1), "and every so many steps");
  e.keep_checkpoints = checkpoint.integer(
      "keep", 2, at_least(1), "checkpoints kept; a damaged one falls back to the one before");
  Recipe log = root.section("log", "what is printed and recorded");
  e.log_every = log.integer("every", 50, at_least(1), "steps between log lines");
  e.tensorboard = log.flag("tensorboard", true, "write TensorBoard event files");

  if (root.has("phases")) {
    Recipe phases = root.section("phases", "named stages, in order; each may override any group");
    for (const std::string& name : phases.keys()) {
      const Recipe own = phases.section(name);
      e.phases.push_back(read_phase(name, root.merged_with(own), e.phases));
    }
    if (e.phases.empty()) root.fail("phases", "expected at least one phase");
  } else {
    e.phases.push_back(read_phase("train", root, {}));
  }

  Recipe pair = root.section("pair", "the two phases that the report compares");
  e.reference = pair.text("reference", e.phases.size() > 1 ? e.phases.front().name : "",
                          "phase of the reference network");
  e.compact = pair.text("compact", e.phases.size() > 1 ? e.phases.back().name : "",
                        "phase of the compact network");
  for (const auto& [key, phase] :
       {std::pair{"reference", e.reference}, std::pair{"compact", e.compact}}) {
    const std::string& value = phase;  // clang 14 lets no lambda capture a structured binding
    const bool known =
        value.empty() || std::any_of(e.phases.begin(), e.phases.end(),
                                     [&](const PhaseConfig& p) { return p.name == value; });
    if (!known) pair.fail(key, str("expected the name of a phase, got ", value));
  }
  Recipe expect = root.section("expect", "the result to reach");
  e.expected_top1 = expect.maybe_real("top1_percent", in(0, 100),
                                      "top-1 accuracy of the compact network on the test split");
  e.expected_from = expect.text("from", "", "where that number is from");
  if (e.use_best) {
    for (const PhaseConfig& phase : e.phases) {
      if (phase.data.val == 0)
        root.fail("use",
                  str("best needs a hold-out: set data.val above 0 (phase ", phase.name, ")"));
    }
  }
  root.finish();
  return e;
}

}  // namespace vtrain
