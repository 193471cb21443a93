#include "train/trainer.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "nn/graph.h"
#include "tensor/atomic_file.h"
#include "tensor/device_memory.h"
#include "tensor/parallel.h"
#include "train/checkpoint.h"
#include "train/environment.h"
#include "train/interrupt.h"
#include "train/metrics.h"
#include "train/phase.h"
#include "train/progress.h"
#include "train/report.h"
#include "train/run_folder.h"
#include "train/table.h"
#include "train/tensorboard.h"

namespace vtrain {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What a phase leaves behind, in the words of ResultKind: what it began with and what its methods
/// add. Only a network that nothing has made smaller is "training-only".
std::string kind_of(const PhaseConfig& config, const std::string& before) {
  std::string kind = before;
  for (const auto& [info, method] : config.methods()) {
    const std::string own = name_of(info->kind);
    const bool only_trains = info->kind == ResultKind::kTrainingOnly;
    if (kind.find(own) != std::string::npos || (only_trains && !kind.empty())) continue;
    const bool adds = !kind.empty() && kind != name_of(ResultKind::kTrainingOnly);
    kind = adds ? str(kind, " + ", own) : own;
  }
  return kind;
}

/// Lines of Hooks::describe put together, in the order of slots: "mask: magnitude at
/// features.4.weight and 3 more".
std::vector<std::string> by_slot(const std::vector<std::string>& hooks) {
  std::vector<std::pair<std::string, int64_t>> groups;  // the first line, and how many more
  const auto until_place = [](const std::string& line) {
    return line.substr(0, line.find(" at "));
  };
  for (const std::string& line : hooks) {
    const auto same = std::ranges::find_if(
        groups, [&](const auto& group) { return until_place(group.first) == until_place(line); });
    if (same == groups.end()) {
      groups.emplace_back(line, 0);
    } else {
      ++same->second;
    }
  }
  constexpr std::array kSlots{Slot::kStructure, Slot::kMask, Slot::kReparameterise, Slot::kQuantize,
                              Slot::kCompute};
  std::ranges::stable_sort(groups, {}, [&](const auto& group) {  // taps last
    return std::ranges::find_if(kSlots,
                                [&](Slot slot) { return group.first.starts_with(name_of(slot)); }) -
           kSlots.begin();
  });
  std::vector<std::string> lines;
  lines.reserve(groups.size());
  for (const auto& [line, more] : groups)
    lines.push_back(more == 0 ? line : str(line, " and ", more, " more"));
  return lines;
}

/// One run of one recipe: its folder, its files, and how far it has come. What a phase needs from
/// outside itself.
class Trainer {
 public:
  Trainer(const Experiment& experiment, const TrainOptions& options, std::ostream& out)
      : e_(experiment),
        options_(options),
        out_(out),
        progress_(out, progress_options(STDOUT_FILENO, options.quiet, experiment.log_every)) {}

  ExitCode run();

 private:
  void open_folder();
  void remove_unfinished_files() const;
  bool train_phase(Phase& phase);
  void end_epoch(Phase& phase);
  void keep_if_best(Phase& phase, double top1);
  void finish_phase(Phase& phase);
  void note_bad_images(const Phase& phase);
  void save_checkpoint(const Phase* phase);
  std::unique_ptr<Phase> make_phase();
  void show_step(const Phase& phase, Loader& loader, double grad_norm);
  ExitCode report();

  const Experiment& e_;
  const TrainOptions& options_;
  std::ostream& out_;
  Progress progress_;
  InterruptGuard interrupt_;
  fs::path folder_;
  std::unique_ptr<EpochMetrics> epoch_metrics_;
  std::unique_ptr<StepMetrics> step_metrics_;
  std::unique_ptr<EventWriter> events_;  // for TensorBoard; empty: not wanted
  std::unique_ptr<Checkpoints> checkpoints_;
  std::optional<NamedTensors>
      resumed_;  // content of the checkpoint to go on from, until a phase took it
  std::string resumed_from_;

  std::set<std::string> noted_;  // damaged images that were named
  size_t phase_index_ = 0;
  int64_t steps_before_ = 0;  // updates of the phases before this one
  std::map<std::string, PhaseNotes> notes_;
  double seconds_before_ = 0;  // of earlier processes of this run
  Clock::time_point started_ = Clock::now(), epoch_started_ = Clock::now();
  int64_t steps_here_ = 0, epoch_steps_here_ = 0;  // updates of this process
};

ExitCode Trainer::run() {
  open_folder();
  for (; phase_index_ < e_.phases.size(); ++phase_index_) {
    const std::unique_ptr<Phase> phase = make_phase();
    if (!train_phase(*phase)) {
      progress_.note(str("interrupted; saved. Go on with --resume: ", folder_.string()));
      return *interrupt_.requested();
    }
    finish_phase(*phase);
  }
  return report();
}

/// The loop. Returns false when a signal asked it to stop, after saving.
bool Trainer::train_phase(Phase& phase) {
  while (phase.epoch < phase.config().epochs) {
    Loader& loader = phase.loader_at_position();
    epoch_started_ = Clock::now();
    epoch_steps_here_ = 0;
    while (phase.step_in_epoch < phase.steps_per_epoch()) {
      const double grad_norm = phase.train_step(loader);
      note_bad_images(phase);
      show_step(phase, loader, grad_norm);
      const bool is_due = e_.checkpoint_steps && phase.step() % *e_.checkpoint_steps == 0;
      if (interrupt_.requested()) {
        save_checkpoint(&phase);
        return false;
      }
      if (is_due && phase.step_in_epoch < phase.steps_per_epoch()) save_checkpoint(&phase);
    }
    end_epoch(phase);
  }
  return true;
}

void Trainer::note_bad_images(const Phase& phase) {
  for (const std::string& bad : phase.bad_images()) {
    if (noted_.insert(bad).second) progress_.note("warning: skipped " + bad);
  }
}

void Trainer::end_epoch(Phase& phase) {
  std::optional<Accuracy> val;
  if (phase.has_validation()) val = phase.validate();
  note_bad_images(phase);
  std::string details;
  for (const auto& [name, value] : phase.means.means()) {
    if (name != "loss") details += str(details.empty() ? "" : ";", name, '=', Json(value).dump());
  }
  epoch_metrics_->add({{"phase", phase.config().name},
                       {"epoch", phase.epoch + 1},
                       {"step", phase.step()},
                       {"lr", phase.lr()},
                       {"loss", phase.means.mean("loss")},
                       {"val_loss", val ? MetricValue(val->loss) : MetricValue()},
                       {"val_top1", val ? MetricValue(val->top1_percent) : MetricValue()},
                       {"val_top5", val ? MetricValue(val->top5_percent) : MetricValue()},
                       {"details", details}});
  if (events_) {
    const int64_t step = steps_before_ + phase.step();
    for (const auto& [name, value] : phase.means.means()) {
      events_->scalar("epoch/" + name, step, value);
    }
    if (val) events_->scalar("val/top1_percent", step, val->top1_percent);
  }
  const double rate =
      static_cast<double>(epoch_steps_here_ * phase.batch_size()) / seconds_since(epoch_started_);
  std::string line =
      str(phase.config().name, " epoch ", phase.epoch + 1, "/", phase.config().epochs, ": loss ",
          fixed(phase.means.mean("loss"), 4), ", ");
  if (val) line += str("val top-1 ", fixed(val->top1_percent, 2), " %, ");
  progress_.note(
      str(line, fixed(rate, 0), " images/s", phase.tail().empty() ? "" : ", " + phase.tail()));

  phase.means.clear();
  ++phase.epoch;
  phase.step_in_epoch = 0;
  if (e_.use_best) keep_if_best(phase, val->top1_percent);
  if (phase.epoch % e_.checkpoint_epochs == 0 && phase.epoch < phase.config().epochs)
    save_checkpoint(&phase);
}

void Trainer::keep_if_best(Phase& phase, double top1) {
  if (!phase.is_settled()) return;
  const std::string best = (folder_ / "ckpt" / "best").string();
  // Before a cut it was another network, to which there is no way back.
  const bool has_best =
      phase.best_top1 >= 0 && read_safetensors_metadata(best).at("architecture") ==
                                  phase.network().architecture().to_json();
  if (has_best && top1 <= phase.best_top1) return;
  phase.best_top1 = top1;
  write_safetensors(best, phase.weights());
}

void Trainer::finish_phase(Phase& phase) {
  if (e_.use_best && phase.best_top1 >= 0) {
    const std::string best = (folder_ / "ckpt" / "best").string();
    phase.load_weights(read_safetensors(best), best);
  }
  phase.finish();
  phase.network().save((folder_ / (phase.config().name + ".safetensors")).string());
  for (const auto& [method, integers] : phase.state().integers) {
    save_int8(int8_file_of(folder_, phase.config().name).string(), phase.network(),
              Graph(phase.network()), integers.first, integers.second);
  }
  if (const auto& packed = phase.state().packed; !packed.empty())
    save_packed(packed_file_of(folder_, phase.config().name).string(), phase.network(), packed);
  for (const auto& [table, rows] : phase.state().tables)
    write_file_atomically(table_file_of(folder_, phase.config().name, table).string(),
                          csv_of(rows));
  PhaseNotes& notes = notes_[phase.config().name];
  const auto before = notes_.find(phase.config().from);
  notes.kind = kind_of(phase.config(), before == notes_.end() ? "" : before->second.kind);
  notes.amp = phase.dtype == DType::bf16 ? "bf16" : "off";
  notes.is_verified = !phase.config().methods().empty();
  notes.masked_compact_max_rel = phase.state().masked_compact_max_rel;
  notes.rows = phase.state().report;
  if (notes.is_verified && notes.masked_compact_max_rel > 1e-5) {
    throw Error(str("phase ", phase.config().name,
                    ": the compact network differs from the one that was trained: max |difference| "
                    "/ max |logit| ",
                    notes.masked_compact_max_rel, ", allowed 1e-5"),
                ExitCode::kVerification);
  }
  steps_before_ += phase.steps();
  ++phase_index_;
  save_checkpoint(nullptr);
  --phase_index_;
}

/// A checkpoint inside `phase`, or between phases if there is none.
void Trainer::save_checkpoint(const Phase* phase) {
  NamedTensors file;
  if (phase) phase->save(file);
  Json notes;
  for (const auto& [name, n] : notes_) {
    notes[name] = {{"kind", n.kind},
                   {"amp", n.amp},
                   {"masked_compact_max_rel", n.masked_compact_max_rel},
                   {"is_verified", n.is_verified},
                   {"rows", n.rows}};
  }
  file.metadata["phase"] = phase_index_ < e_.phases.size() ? e_.phases[phase_index_].name : "";
  file.metadata["phase_index"] = std::to_string(phase_index_);
  file.metadata["is_inside_phase"] = phase ? "1" : "0";
  file.metadata["steps_before"] = std::to_string(steps_before_);
  file.metadata["notes"] = notes.dump();
  file.metadata["metrics_csv"] = epoch_metrics_->text();
  file.metadata["recipe_hash"] = e_.hash();
  file.metadata["environment"] = environment_json();
  file.metadata["choices"] = Choices::text_of(Choices::of_process().table());
  file.metadata["seconds"] = str(seconds_before_ + seconds_since(started_));
  checkpoints_->save(steps_before_ + (phase ? phase->step() : 0), file);
}

void Trainer::open_folder() {
  if (options_.resume) {
    const std::optional<fs::path> found = options_.resume->empty()
                                              ? find_resumable(e_.out_dir, e_.name, e_.hash())
                                              : fs::path(*options_.resume);
    if (found) {
      folder_ = *found;
    } else {
      progress_.note("nothing to resume; this is a new run");
    }
  }
  const bool is_new = folder_.empty();
  if (is_new) {
    folder_ = create_run_folder(e_.out_dir, e_.name,
                                {.recipe_yaml = e_.recipe.yaml(),
                                 .command_line = options_.command_line,
                                 .environment_json = environment_json(),
                                 .recipe_hash = e_.hash()});
  }
  checkpoints_ = std::make_unique<Checkpoints>(folder_ / "ckpt", e_.keep_checkpoints);
  epoch_metrics_ = std::make_unique<EpochMetrics>(
      folder_ / "metrics.csv",
      std::vector<std::string>{"phase", "epoch", "step", "lr", "loss", "val_loss", "val_top1",
                               "val_top5", "details"});
  step_metrics_ = std::make_unique<StepMetrics>(folder_ / "metrics.jsonl");
  std::error_code ignored;
  fs::create_directories(folder_ / "ckpt", ignored);  // if it fails, the first checkpoint says so
  progress_.note(str("run folder: ", folder_.string()));
  if (is_new || (options_.resume->empty() && checkpoints_->files().empty())) {
    epoch_metrics_->restore(epoch_metrics_->text());
    step_metrics_->drop_from(0);
    return;
  }

  remove_unfinished_files();
  auto [file, content] =
      checkpoints_->newest([this](const std::string& line) { progress_.note(line); });
  resumed_from_ = file.string();
  const auto& m = content.metadata;
  if (m.at("recipe_hash") != e_.hash()) {
    throw CheckpointError(str(resumed_from_, ": belongs to another recipe; expected hash ",
                              e_.hash(), ", got ", m.at("recipe_hash")));
  }
  if (m.at("environment") != environment_json()) {
    progress_.note(
        "warning: this run began on another chip, thread count or library version: it goes on, but "
        "bits may differ");
  }
  if (const auto choices = m.find("choices"); choices != m.end())  // not of earlier versions
    Choices::of_process().add(Choices::from_text(choices->second));
  phase_index_ = std::stoul(m.at("phase_index"));
  steps_before_ = std::stoll(m.at("steps_before"));
  seconds_before_ = std::stod(m.at("seconds"));
  const Json notes = Json::parse(m.at("notes"));
  for (const auto& [name, n] : notes.items()) {
    notes_[name] = {n.at("kind"), n.value("amp", "off"), n.at("masked_compact_max_rel"),
                    n.at("is_verified"),
                    n.at("rows").get<std::vector<std::pair<std::string, std::string>>>()};
  }
  epoch_metrics_->restore(m.at("metrics_csv"));
  if (m.at("is_inside_phase") == "1") resumed_ = std::move(content);
  progress_.note(str("resumed from ", resumed_from_));
}

/// A process that was killed while it wrote leaves its temporary file behind.
void Trainer::remove_unfinished_files() const {
  for (const fs::path& folder : {folder_, folder_ / "ckpt"}) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.path().filename().string().find(".tmp-") != std::string::npos) {
        fs::remove(entry.path(), ignored);
      }
    }
  }
}

std::unique_ptr<Phase> Trainer::make_phase() {
  const PhaseConfig& config = e_.phases[phase_index_];
  const std::string architecture = resumed_ ? resumed_->metadata["architecture"] : std::string();
  auto phase =
      std::make_unique<Phase>(e_, config, open_data(config, e_.seed), folder_, architecture);
  if (resumed_) {
    phase->load(*resumed_, resumed_from_);
    resumed_.reset();
  } else {
    const auto note = [this](const std::string& line) { progress_.note(line); };
    const auto choose = [&] {
      return make_choices(phase->network(), config.data.batch_size, e_.amp, note);
    };
    phase->dtype = choose();
    const std::string before = phase->network().architecture().to_json();
    phase->start();
    if (phase->network().architecture().to_json() != before)
      phase->dtype = choose();  // other shapes
    share_choices(note);        // methods measure too
  }
  step_metrics_->drop_from(steps_before_ + phase->step());
  if (e_.tensorboard && !events_) {
    events_ = std::make_unique<EventWriter>(folder_ / "tb", steps_before_ + phase->step());
  }
  const Graph graph(phase->network());
  progress_.note(str("phase ", config.name, ": ", config.model, ", ",
                     with_thousands(graph.params()), " parameters, ",
                     human_count(static_cast<double>(graph.macs())), " MACs, ",
                     phase->steps_per_epoch(), " steps an epoch, ", num_threads(), " threads, ",
                     name_of(phase->dtype)));
  const std::string methods = phase->describe_methods();
  if (!methods.empty()) progress_.note(str("methods, as they act: ", methods));
  for (const std::string& line : by_slot(phase->describe_hooks())) progress_.note("  " + line);
  return phase;
}

void Trainer::show_step(const Phase& phase, Loader& loader, double grad_norm) {
  ++steps_here_;
  ++epoch_steps_here_;
  int64_t left = phase.steps() - phase.step();
  for (size_t i = phase_index_ + 1; i < e_.phases.size(); ++i)
    left += e_.phases[i].epochs * phase.steps_per_epoch();
  const double elapsed = seconds_since(epoch_started_);
  StepInfo info;
  info.phase = phase.config().name;
  info.epoch = phase.epoch + 1;
  info.epochs = phase.config().epochs;
  info.step = phase.step_in_epoch;
  info.steps = phase.steps_per_epoch();
  info.eta_seconds = elapsed / static_cast<double>(epoch_steps_here_) * static_cast<double>(left);
  info.loss = phase.means.mean("loss");
  info.images_per_second = static_cast<double>(epoch_steps_here_ * phase.batch_size()) / elapsed;
  info.data_wait = loader.wait_seconds() / std::max(elapsed, 1e-9);
  info.lr = phase.lr();
  info.grad_norm = grad_norm;
  info.memory_bytes = memory_use(e_.device).in_use;
  info.tail = phase.tail();
  progress_.step(info);
  if (phase.step() % e_.log_every == 0) {
    const int64_t step = steps_before_ + phase.step();
    step_metrics_->add(step, {{"phase", info.phase},
                              {"epoch", info.epoch},
                              {"loss", info.loss},
                              {"images_per_second", info.images_per_second},
                              {"data_wait", info.data_wait},
                              {"lr", info.lr},
                              {"grad_norm", grad_norm},
                              {"memory_bytes", info.memory_bytes}});
    if (events_) {
      events_->scalar("train/loss", step, info.loss);
      events_->scalar("train/lr", step, info.lr);
      events_->scalar("train/grad_norm", step, grad_norm);
      events_->scalar("train/images_per_second", step, info.images_per_second);
    }
  }
}

ExitCode Trainer::report() {
  const Report r = make_report(e_, folder_, notes_, seconds_before_ + seconds_since(started_));
  write_file_atomically((folder_ / "result.json").string(), r.json + "\n");
  progress_.result(r.table);
  bool is_missed = false;
  if (e_.expected_top1 && r.compact_top1 < *e_.expected_top1) {
    is_missed = true;
    progress_.result(str("warning: top-1 ", fixed(r.compact_top1, 2), " % misses the expected ",
                         fixed(*e_.expected_top1, 2), " %",
                         e_.expected_from.empty() ? "" : " (" + e_.expected_from + ")", '\n'));
  }
  progress_.result(str("results: ", (folder_ / "result.json").string(), '\n'));
  if (options_.json) out_ << r.json << std::endl;
  return is_missed && options_.strict ? ExitCode::kVerification : ExitCode::kDone;
}

}  // namespace

namespace {
/// Parameters and MACs of the network's direct children, such as blocks, and of the whole.
std::string model_table(Network& network, const Graph& graph) {
  Table table({{"module", Align::kLeft}, {"params"}, {"MACs"}});
  std::vector<Module*> parts = network.root().modules();
  parts.erase(parts.begin());  // the root
  std::string parent = "/";    // no path starts so
  for (const Module* const part : parts) {
    if (part->path().starts_with(parent + ".")) continue;  // below the last one shown
    parent = part->path();
    int64_t params = 0;
    for (const Parameter& p : part->parameters()) params += p.is_buffer() ? 0 : p.value().numel();
    table.add_row({parent, with_thousands(params), with_thousands(graph.macs(parent))});
  }
  table.add_row({"total", with_thousands(graph.params()), with_thousands(graph.macs())});
  return table.text();
}
}  // namespace

std::vector<std::string> dry_run(const Experiment& experiment) {
  std::vector<std::string> lines;
  for (const PhaseConfig& config : experiment.phases) {
    Phase phase(experiment, config, open_data(config, experiment.seed), {});
    lines.push_back(str("phase ", config.name, ": ", config.model));
    lines.push_back(model_table(phase.network(), Graph(phase.network())));
    const std::string methods = phase.describe_methods();
    if (!methods.empty()) lines.push_back("methods, as they act: " + methods);
    for (const std::string& hook : phase.describe_hooks()) lines.push_back("  " + hook);
    if (config.methods().size() > 1) phase.try_losses();
  }
  return lines;
}

ExitCode train(const Experiment& experiment, const TrainOptions& options, std::ostream& out) {
  set_num_threads(experiment.threads);
  dry_run(experiment);  // refuses what cannot work before anything is written
  return Trainer(experiment, options, out).run();
}

}  // namespace vtrain
