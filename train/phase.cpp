#include "train/phase.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "autograd/arithmetic.h"
#include "compress/step.h"
#include "data/split.h"
#include "tensor/ops/indexing.h"
#include "tensor/ops/optimize.h"

namespace vtrain {

void RunningMeans::add(const std::string& name, double value) {
  auto entry = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& e) { return e.name == name; });
  if (entry == entries_.end()) entry = entries_.insert(entries_.end(), {name, 0, 0});
  entry->sum += value;
  ++entry->count;
}

double RunningMeans::mean(const std::string& name) const {
  for (const Entry& e : entries_) {
    if (e.name == name) return e.sum / static_cast<double>(e.count);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<std::pair<std::string, double>> RunningMeans::means() const {
  std::vector<std::pair<std::string, double>> all;
  for (const Entry& e : entries_) all.emplace_back(e.name, e.sum / static_cast<double>(e.count));
  return all;
}

std::string RunningMeans::to_text() const {
  std::string text;
  for (const Entry& e : entries_) {
    char sum[64];
    const auto end =
        std::to_chars(sum, sum + sizeof(sum), e.sum).ptr;  // reads back to the same bits
    text += str(e.name, ' ', std::string(sum, end), ' ', e.count, '\n');
  }
  return text;
}

RunningMeans RunningMeans::from_text(const std::string& text) {
  RunningMeans means;
  std::istringstream in(text);
  std::string name, sum;
  int64_t count = 0;
  while (in >> name >> sum >> count) {
    double value = 0;
    std::from_chars(sum.data(), sum.data() + sum.size(), value);
    means.entries_.push_back({name, value, count});
  }
  return means;
}

namespace {
/// Where two lists of classes part.
std::string difference(const std::vector<std::string>& test,
                       const std::vector<std::string>& train) {
  const size_t n = std::min(test.size(), train.size());
  for (size_t k = 0; k < n; ++k) {
    if (test[k] != train[k]) return str("class ", k, " is ", test[k], ", not ", train[k]);
  }
  return str("it has ", test.size(), ", not ", train.size());
}
}  // namespace

PhaseData open_data(const PhaseConfig& config, uint64_t seed) {
  PhaseData data;
  data.train = open_dataset(config.data.name, {.root = config.data.root, .split = Split::kTrain});
  data.test = open_dataset(config.data.name, {.root = config.data.root, .split = Split::kTest});
  if (data.train->class_names() != data.test->class_names()) {
    throw DataError(str(config.data.name,
                        ": the test split has other classes than the training "
                        "split: ",
                        difference(data.test->class_names(), data.train->class_names())));
  }
  data.input = config.data.input(*data.train);
  HoldOut split = hold_out(data.train->size(),
                           {.val = config.data.val, .limit = config.data.limit, .seed = seed});
  data.train_indices = std::move(split.train);
  data.val_indices = std::move(split.val);
  return data;
}

Architecture architecture_of(const PhaseConfig& config, const PhaseData& data) {
  const ImageSize& size = data.input.size;
  if (size.height != size.width) {
    throw RecipeError(str("data set ", data.train->name(), ": expected square images, got ",
                          size.height, " x ", size.width, "; set data.image_size"));
  }
  return {.model = config.model,
          .options = {.num_classes = data.train->classes(),
                      .channels = size.channels,
                      .image_size = size.height,
                      .drop_path = config.drop_path},
          .parts = {}};
}

Phase::Phase(const Experiment& experiment, const PhaseConfig& config, PhaseData data,
             std::filesystem::path folder, const std::string& architecture)
    : experiment_(experiment),
      config_(config),
      data_(std::move(data)),
      folder_(std::move(folder)),
      state_{.config = config, .seed = experiment.seed, .network = nullptr},
      schedule_(config.schedule()) {
  state_.train_samples = static_cast<int64_t>(data_.train_indices.size());
  state_.classes = data_.train->classes();

  LoaderOptions options{.batch_size = config.data.batch_size,
                        .workers = config.data.workers,
                        .shuffle = true,
                        .drop_last = true,
                        .seed = experiment.seed,
                        .phase = config.name,
                        .augment = config.augment,
                        .mean = config.data.mean,
                        .std = config.data.std,
                        .input = data_.input,
                        .max_bad = config.data.max_bad};
  train_loader_ = std::make_unique<Loader>(data_.train, data_.train_indices, options);
  steps_per_epoch_ = train_loader_->batches_per_epoch() / config.accum;
  if (steps_per_epoch_ == 0) {
    throw RecipeError(str("phase ", config.name, ": ", state_.train_samples,
                          " training images make no update of ", config.accum, " batches of ",
                          config.data.batch_size));
  }
  options.shuffle = options.drop_last = false;
  options.augment = {};
  if (!data_.val_indices.empty())
    val_loader_ = std::make_unique<Loader>(data_.train, data_.val_indices, options);

  OptimizerOptions optim = config.optimizer();
  optimizer_ = std::move(optim.optimizer);
  clip_grad_ = optim.clip_grad;
  state_.network = architecture.empty()
                       ? starting_network()
                       : std::make_unique<Network>(Architecture::from_json(architecture));
  state_.network->move_to(experiment.device);
  state_.network->preprocessing = {
      config.data.mean.empty() ? data_.train->default_mean() : config.data.mean,
      config.data.std.empty() ? data_.train->default_std() : config.data.std,
      data_.train->class_names()};
  if (data_.input.is_resized) {
    state_.network->preprocessing.crop_pct = data_.input.crop_pct;
    state_.network->preprocessing.interpolation = name_of(data_.input.interpolation);
  }
  state_.load_teacher = [this](const std::string& from) { return teacher_network(from); };
  state_.evaluation = [this] { return pass(false); };
  state_.sample_images = [this, options]() mutable {
    options.batch_size = 64;
    options.workers = 0;
    Loader loader(data_.train, data_.val_indices.empty() ? data_.train_indices : data_.val_indices,
                  options);
    loader.start(0);
    return loader.next()->images;
  };
  const auto spread = [this, options](const std::vector<int64_t>& all, int64_t images) {
    const auto size = static_cast<int64_t>(all.size()), count = std::min(images, size);
    std::vector<int64_t> chosen;
    for (int64_t i = 0; i < count; ++i)
      chosen.push_back(all[static_cast<size_t>(i * size / count)]);
    LoaderOptions own = options;
    own.batch_size = 64;
    own.workers = 0;
    Loader loader(data_.train, chosen, own);
    loader.start(0);
    std::vector<Batch> batches;
    while (std::optional<Batch> batch = loader.next()) batches.push_back(std::move(*batch));
    return batches;
  };
  state_.samples = [this, spread](int64_t images) { return spread(data_.train_indices, images); };
  state_.held_out = [this, spread](int64_t images) { return spread(data_.val_indices, images); };
  state_.follow_cut = [this](const Parameter& p, int axis, const std::vector<int64_t>& keep) {
    optimizer_->cut(p, axis, keep);
    if (ema_) ema_->cut(p, axis, keep);
    for (const FollowCut& follow : state_.followers) follow(p, axis, keep);
  };
  state_.forget = [this](const Parameter& p) {
    optimizer_->forget(p);
    if (ema_) ema_->forget(p);
  };
  state_.moments = [this](const Parameter& p) { return optimizer_->moments(p); };
  attach();
  if (config.ema_decay)
    ema_ = std::make_unique<Ema>(*config.ema_decay, state_.averaged_parameters());
}

std::unique_ptr<Network> Phase::starting_network() {
  const bool is_dry = folder_.empty();
  if (!config_.from.empty() && !is_dry) {
    auto network = Network::load(folder_ / (config_.from + ".safetensors"));
    if (network->architecture().model != config_.model) {
      throw RecipeError(str("phase ", config_.name, ": starts from phase ", config_.from,
                            ", whose model is ", network->architecture().model, ", not ",
                            config_.model));
    }
    return network;
  }
  auto network = std::make_unique<Network>(architecture_of(config_, data_));
  if (!config_.weights.empty()) {
    const NamedTensors file = read_safetensors(config_.weights);
    const auto record = file.metadata.find("architecture");
    if (record != file.metadata.end() && Architecture::from_json(record->second).is_changed())
      return compact_network(config_.weights);
    network->load_state(file.tensors, config_.weights);
  } else if (!is_dry) {
    network->initialise(experiment_.seed);
  }
  return network;
}

/// Training goes on with a network that was cut before, as its file records it.
std::unique_ptr<Network> Phase::compact_network(const std::string& file) const {
  auto network = Network::load(file);
  const Architecture wanted = architecture_of(config_, data_), &got = network->architecture();
  const auto text = [](const Architecture& a) {
    return str(a.model, " for ", a.options.channels, " x ", a.options.image_size, " x ",
               a.options.image_size, " pixels and ", a.options.num_classes, " classes");
  };
  if (text(wanted) != text(got))
    throw CheckpointError(str(file, ": expected ", text(wanted), ", got ", text(got)));
  return network;
}

std::unique_ptr<Network> Phase::teacher_network(const std::string& from) {
  const auto earlier = std::find_if(experiment_.phases.begin(), experiment_.phases.end(),
                                    [&](const PhaseConfig& p) { return p.name == from; });
  const bool is_phase =
      earlier < std::find_if(
                    experiment_.phases.begin(), experiment_.phases.end(),
                    [this](const PhaseConfig& p) { return p.name == config_.name; });
  if (is_phase) {
    if (folder_.empty()) {
      const bool shares_data =
          earlier->data.name == config_.data.name && earlier->data.root == config_.data.root;
      return std::make_unique<Network>(
          architecture_of(*earlier, shares_data ? data_ : open_data(*earlier, experiment_.seed)));
    }
    return Network::load(folder_ / (from + ".safetensors"));
  }
  if (from == "self") {
    if (folder_.empty()) return state_.network->clone();
    // Written when the phase begins; a resumed phase has moved on from these weights.
    const std::filesystem::path file = folder_ / (config_.name + ".start.safetensors");
    if (!std::filesystem::exists(file)) state_.network->save(file);
    return Network::load(file);
  }
  if (!std::filesystem::exists(from)) {
    throw RecipeError(str("phase ", config_.name,
                          ": teacher: expected an earlier phase, a weights file, or self, got ",
                          from));
  }
  return Network::load(from);
}

void Phase::attach() {
  for (auto& [info, method] : config_.methods()) {
    methods_.push_back({info, std::move(method), std::make_unique<MethodRun>(state_, info->name)});
  }
  for (Attached& a : methods_) a.method->attach(*a.run);
}

std::vector<std::string> Phase::describe_hooks() const {
  return state_.network->hooks().describe();
}

std::string Phase::describe_methods() const {
  std::string text;
  for (const Attached& a : methods_)
    text += str(text.empty() ? "" : ", ", a.info->name, " (", name_of(a.info->kind), ')');
  return text;
}

void Phase::try_losses() {
  const ModelOptions& o = state_.network->architecture().options;
  const Random noise(experiment_.seed, config_.name, "dry_run");
  Batch batch{
      .images = noise.normal({2, o.channels, o.image_size, o.image_size}, {}).channels_last(),
      .labels = zeros({2}, DType::i32),
      .targets = {}};
  batch.targets = one_hot(batch.labels, state_.classes);
  batch.move_to(experiment_.device);
  for (const int64_t at : {int64_t{0}, config_.epochs - 1}) {
    epoch = at;
    const Pass p = pass(true);
    for (auto& [name, teacher] : state_.teachers) teacher->show(batch.images);
    before_forward(p);
    const Outputs outputs = state_.network->forward(batch.images, p);
    StepState step{
        .pass = p, .batch = batch, .outputs = outputs, .lr = lr(), .task = {}, .terms = {}};
    for (Attached& a : methods_) {
      Step view(*a.run, step);
      a.method->loss(view);
    }
    state_.network->hooks().clear_taps();
  }
  epoch = 0;
}

void Phase::start() {
  for (Attached& a : methods_) a.method->start(*a.run);
  // The average begins with what training begins with.
  if (ema_) ema_ = std::make_unique<Ema>(*config_.ema_decay, state_.averaged_parameters());
}

Loader& Phase::loader_at_position() {
  train_loader_->start(epoch, step_in_epoch * config_.accum);
  return *train_loader_;
}

Pass Phase::pass(bool is_training) const {
  Pass p;
  p.is_training = p.wants_grad = is_training;
  p.epoch = epoch;
  p.step = step();
  p.progress = static_cast<double>(step()) / static_cast<double>(steps());
  p.seed = experiment_.seed;
  p.phase = config_.name;
  p.dtype = is_training ? dtype : DType::f32;
  return p;
}

void Phase::before_forward(const Pass& p) {
  for (Attached& a : methods_) a.method->before_forward(*a.run, p);
}

namespace {
[[noreturn]] void refuse_loss(const PhaseConfig& config, int64_t step, StepState& state) {
  std::string terms = str("task ", state.task.value().item());
  for (const auto& [name, term] : state.terms) terms += str(", ", name, ' ', term.value().item());
  throw Error(str("phase ", config.name, ", step ", step, ": the loss is not finite (", terms,
                  "); try a lower optim.lr or set optim.clip_grad. The last checkpoint is good."),
              ExitCode::kNonFinite);
}
}  // namespace

double Phase::train_step(Loader& loader) {
  state_.logged.clear();
  const std::vector<Parameter> parameters = state_.parameters();
  for (const Parameter& p : parameters) p.clear_grad();
  const bool ends_epoch = step_in_epoch + 1 == steps_per_epoch_;

  for (int64_t micro = 0; micro < config_.accum; ++micro) {
    std::optional<Batch> batch = loader.next();
    if (!batch) throw Error("the loader ended before its epoch did");
    batch->first_sample = micro * config_.data.batch_size;
    batch->move_to(experiment_.device);
    Pass p = pass(true);
    p.first_sample = batch->first_sample;
    for (auto& [name, teacher] : state_.teachers) teacher->show(batch->images);
    before_forward(p);
    const Outputs outputs = state_.network->forward(batch->images, p);
    StepState step{.pass = p,
                   .batch = *batch,
                   .outputs = outputs,
                   .ends_epoch = ends_epoch,
                   .lr = lr(),
                   .task = {},
                   .terms = {}};
    for (Attached& a : methods_) {
      Step view(*a.run, step);
      a.method->loss(view);
    }
    const Variable total = step.total();
    if (!std::isfinite(total.value().item())) refuse_loss(config_, this->step(), step);
    means.add("loss", total.value().item());
    if (!step.terms.empty()) {
      means.add("task", step.task.value().item());
      for (const auto& [name, term] : step.terms) means.add(name, term.value().item());
    }
    backward(config_.accum == 1 ? total : total / static_cast<double>(config_.accum));

    if (micro + 1 < config_.accum) continue;
    for (Attached& a : methods_) {
      Step view(*a.run, step);
      a.method->after_backward(view);
    }
    const std::vector<ParameterGroup> moved = state_.moved_groups();
    std::set<const void*> ids;
    for (const ParameterGroup& group : moved) {
      for (const Parameter& param : group.parameters) ids.insert(param.id());
    }
    std::vector<Tensor> grads;
    for (const Parameter& param : parameters) {
      if (param.grad().defined() && ids.contains(param.id()))
        grads.push_back(param.grad().contiguous());
    }
    const double norm = std::sqrt(sum_of_squares(grads));
    const double scale = clip_grad_ && norm > *clip_grad_ ? *clip_grad_ / (norm + 1e-6) : 1;
    optimizer_->step(moved, lr(), scale);
    for (Attached& a : methods_) {
      Step view(*a.run, step);
      a.method->after_update(view);
    }
    if (ema_) ema_->update();
    for (const auto& [name, value] : state_.logged) means.add(name, value);
    state_.network->hooks().clear_taps();
    ++step_in_epoch;
    return norm;
  }
  return 0;
}

Accuracy Phase::validate() {
  const Ema::Applied applied(ema_.get());
  const Pass here = pass(false);
  return evaluate(*state_.network, *val_loader_, [&](const Pass& p) {
    Pass with_position = here;
    with_position.first_sample = p.first_sample;
    before_forward(with_position);
  });
}

std::vector<std::string> Phase::bad_images() const {
  std::vector<std::string> all;
  for (const Loader* const loader : {train_loader_.get(), val_loader_.get()}) {
    if (!loader) continue;
    for (const Loader::Bad& bad : loader->bad()) all.push_back(bad.message);
  }
  return all;
}

void Phase::finish() {
  if (ema_) {
    Ema::Applied applied(ema_.get());
    applied.keep();
  }
  for (const bool rounds : {false, true}) {
    for (Attached& a : methods_) {
      if (a.run->rounds() != rounds) continue;
      a.method->finish(*a.run);
      state_.network->hooks().remove_owner(a.info->name);
    }
  }
  for (const Parameter& p : state_.network->parameters()) p.freeze(false);
}

std::string Phase::tail() const {
  std::string text;
  for (const auto& [name, value] : state_.logged) {
    char number[32];
    std::snprintf(number, sizeof(number), "%.2f", value);
    const size_t dot = name.rfind('.');
    text += str(text.empty() ? "" : "  ", dot == std::string::npos ? name : name.substr(dot + 1),
                ' ', number);
  }
  return text;
}

namespace {
/// A line per damaged image: its number, then the message.
std::string text_of(const std::vector<Loader::Bad>& bad) {
  std::string text;
  for (const Loader::Bad& b : bad) text += str(b.sample, ' ', b.message, '\n');
  return text;
}
std::vector<Loader::Bad> bad_from(const std::string& text) {
  std::vector<Loader::Bad> all;
  std::istringstream in(text);
  Loader::Bad bad;
  while (in >> bad.sample && std::getline(in >> std::ws, bad.message)) all.push_back(bad);
  return all;
}
}  // namespace

void Phase::save(NamedTensors& file) const {
  for (const auto& [name, tensor] : state_.network->state())
    file.tensors["network." + name] = tensor;
  for (const auto& [path, helper] : state_.helpers) {
    for (const Parameter& p : helper->parameters()) file.tensors["helper." + p.path()] = p.value();
  }
  for (const auto& [name, tensor] : optimizer_->state()) file.tensors["optimizer." + name] = tensor;
  if (ema_) {
    for (const auto& [name, tensor] : ema_->state()) file.tensors["ema." + name] = tensor;
  }
  for (const Attached& a : methods_) {
    Archive archive = Archive::saving();
    a.method->state(archive);
    for (const auto& [name, value] : archive.values())
      file.metadata[str("method.", a.info->name, '.', name)] = value;
  }
  file.metadata["architecture"] = state_.network->architecture().to_json();
  file.metadata["epoch"] = std::to_string(epoch);
  file.metadata["step_in_epoch"] = std::to_string(step_in_epoch);
  file.metadata["means"] = means.to_text();
  file.metadata["best_top1"] = str(best_top1);
  file.metadata["dtype"] = name_of(dtype);
  file.metadata["bad_images"] = text_of(train_loader_->bad());
}

namespace {
/// Entries whose name starts with `prefix`, without it.
template <class T>
std::map<std::string, T> below(const std::map<std::string, T>& all, const std::string& prefix) {
  std::map<std::string, T> part;
  for (auto at = all.lower_bound(prefix); at != all.end() && at->first.starts_with(prefix); ++at) {
    part[at->first.substr(prefix.size())] = at->second;
  }
  return part;
}

const std::string& metadata(const NamedTensors& file, const std::string& key,
                            const std::string& from) {
  const auto found = file.metadata.find(key);
  if (found == file.metadata.end())
    throw CheckpointError(str(from, ": has no entry ", key, "; expected a checkpoint"));
  return found->second;
}
}  // namespace

void Phase::load_weights(const NamedTensors& file, const std::string& from) {
  state_.network->load_state(below(file.tensors, "network."), from);
  const std::map<std::string, Tensor> helpers = below(file.tensors, "helper.");
  for (const auto& [path, helper] : state_.helpers) {
    for (Parameter p : helper->parameters()) {
      const auto found = helpers.find(p.path());
      if (found == helpers.end())
        throw CheckpointError(str(from, ": has no tensor helper.", p.path()));
      p.set(found->second);
    }
  }
}

bool Phase::is_settled() const {
  return std::ranges::all_of(methods_, [](const Attached& a) { return a.method->is_settled(); });
}

NamedTensors Phase::weights() {
  const Ema::Applied applied(ema_.get());
  NamedTensors file;
  file.metadata["architecture"] = state_.network->architecture().to_json();
  for (const auto& [name, tensor] : state_.network->state())
    file.tensors["network." + name] = tensor.clone();
  for (const auto& [path, helper] : state_.helpers) {
    for (const Parameter& p : helper->parameters())
      file.tensors["helper." + p.path()] = p.value().clone();
  }
  return file;
}

void Phase::load(const NamedTensors& file, const std::string& from) {
  load_weights(file, from);
  optimizer_->load_state(below(file.tensors, "optimizer."), state_.parameters(), from);
  if (ema_) ema_->load_state(below(file.tensors, "ema."), from);
  for (Attached& a : methods_) {
    Archive archive = Archive::loading(below(file.metadata, str("method.", a.info->name, '.')));
    a.method->state(archive);
  }
  epoch = std::stoll(metadata(file, "epoch", from));
  step_in_epoch = std::stoll(metadata(file, "step_in_epoch", from));
  means = RunningMeans::from_text(metadata(file, "means", from));
  best_top1 = std::stod(metadata(file, "best_top1", from));
  // Neither is in checkpoints of earlier versions, which computed in f32.
  const auto kept_dtype = file.metadata.find("dtype"), bad = file.metadata.find("bad_images");
  const bool is_bf16 =
      kept_dtype != file.metadata.end() && kept_dtype->second == name_of(DType::bf16);
  dtype = is_bf16 ? DType::bf16 : DType::f32;
  if (bad != file.metadata.end()) train_loader_->restore_bad(bad_from(bad->second));
}

}  // namespace vtrain
