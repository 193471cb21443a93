#include "train/method_run.h"

#include <algorithm>
#include <set>

#include "tensor/ops/indexing.h"

namespace vtrain {

std::vector<Parameter> PhaseState::parameters() const {
  std::vector<Parameter> all = network->parameters();
  for (const auto& [path, helper] : helpers) {
    for (Parameter& p : helper->parameters()) all.push_back(std::move(p));
  }
  return all;
}

std::vector<Parameter> PhaseState::averaged_parameters() const {
  std::vector<Parameter> all = network->parameters();
  for (const auto& [path, helper] : helpers) {
    for (Parameter& p : helper->parameters()) {
      if (!p.is_buffer()) all.push_back(std::move(p));
    }
  }
  return all;
}

std::vector<ParameterGroup> PhaseState::groups() const {
  std::set<const void*> taken;
  std::vector<ParameterGroup> groups;
  const auto claim = [&](ParameterGroup group) {
    std::erase_if(group.parameters, [&](const Parameter& p) {
      return p.is_buffer() || !taken.insert(p.id()).second;
    });
    groups.push_back(std::move(group));
  };
  for (size_t i = claimed.size(); i-- > 0;) claim(*claimed[i]);
  claim({.name = config.name, .parameters = parameters()});
  std::reverse(groups.begin(), groups.end());
  return groups;
}

std::vector<ParameterGroup> PhaseState::moved_groups() const {
  std::vector<ParameterGroup> moved = groups();
  std::erase_if(moved, [](const ParameterGroup& group) { return group.is_by_hand; });
  return moved;
}

Random MethodRun::random(std::string_view stream) const {
  return {state_.seed, state_.config.name, str(method_, '.', stream)};
}

std::vector<Batch> MethodRun::held_out(int64_t images) {
  std::vector<Batch> batches = state_.held_out(images);
  if (batches.empty())
    throw RecipeError(str("phase ", phase(), ": ", method_,
                          " chooses by held-out images; expected data.val above 0"));
  return batches;
}

Teacher& MethodRun::teacher(const std::string& from) {
  std::unique_ptr<Teacher>& teacher = state_.teachers[from];
  if (!teacher) {
    auto network = state_.load_teacher(from);
    network->move_to(state_.network->device());
    const int64_t classes = network->architecture().options.num_classes;
    if (classes != state_.classes) {
      throw RecipeError(str("phase ", phase(), ": ", method_, ": teacher ", from, " computes ",
                            classes, " classes, the data has ", state_.classes));
    }
    teacher = std::make_unique<Teacher>(std::move(network));
  }
  return *teacher;
}

void MethodRun::add_module(const std::string& name, std::shared_ptr<Module> module) {
  const std::string path = str("compress.", method_, '.', name);
  if (state_.helpers.contains(path))
    throw Error(str("method ", method_, ": adds helper ", name, " twice"));
  module->set_path(path);
  module->initialise(state_.seed);
  for (Parameter p : module->parameters()) p.move_to(state_.network->device());
  state_.helpers[path] = std::move(module);
}

Group MethodRun::add_group(ParameterGroup group) {
  state_.claimed.push_back(std::make_shared<ParameterGroup>(std::move(group)));
  return Group(state_.claimed.back());
}

void MethodRun::freeze(std::string_view path) {
  bool found = false;
  for (const Parameter& p : state_.network->parameters()) {
    if (p.path() != path && !p.path().starts_with(str(path, '.'))) continue;
    p.freeze(true);
    found = true;
  }
  if (!found) throw RecipeError(str("phase ", phase(), ": ", method_, ": no parameter at ", path));
}

void MethodRun::check_module(const std::string& path) const {
  if (!state_.network->has_module(path)) {
    throw RecipeError(str("phase ", state_.config.name, ": ", method_, ": ",
                          state_.network->architecture().model, " has no module ", path));
  }
}

void MethodRun::transform_weight(const Parameter& parameter, Slot slot, ValueFn f) {
  rounds_ |= slot == Slot::kQuantize;
  state_.network->hooks().transform_weight(parameter.path(), {slot, method_, std::move(f)});
}
void MethodRun::transform_value(const std::string& place, Slot slot, ValueFn f) {
  rounds_ |= slot == Slot::kQuantize;
  check_module(place.substr(0, place.rfind('.')));
  state_.network->hooks().transform_value(place, {slot, method_, std::move(f)});
}
void MethodRun::wrap(const std::string& module, Slot slot, WrapFn f) {
  check_module(module);
  state_.network->hooks().wrap(module, {slot, method_, std::move(f)});
}
void MethodRun::wrap_tokens(const std::string& module, Slot slot, WrapTokensFn f) {
  check_module(module);
  state_.network->hooks().wrap_tokens(module, {slot, method_, std::move(f)});
}
Tap MethodRun::tap(const std::string& place) {
  check_module(place.substr(0, place.rfind('.')));
  return state_.network->hooks().tap(place, method_);
}

Edit MethodRun::edit() {
  return {*state_.network,
          method_,
          {.images = state_.sample_images(),
           .verified =
               [this](double difference) {
                 state_.masked_compact_max_rel =
                     std::max(state_.masked_compact_max_rel, difference);
               },
           .follow = state_.follow_cut,
           .forget = state_.forget,
           .pass = evaluation()}};
}

void MethodRun::deploy(Quantization quantization, Int8Record record) {
  if (!state_.integers.empty())
    throw RecipeError(str("phase ", phase(), ": ", state_.integers.begin()->first, " and ", method_,
                          " both put the network on integers; only one of them can"));
  state_.integers.emplace(method_, std::pair{std::move(quantization), std::move(record)});
}

void MethodRun::pack(const std::vector<PackedWeight>& weights) {
  for (const PackedWeight& weight : weights) {
    const auto is_same = [&](const PackedWeight& other) { return other.path == weight.path; };
    if (std::ranges::any_of(state_.packed, is_same))
      throw RecipeError(str("phase ", phase(), ": ", method_, ": ", weight.path,
                            " is packed by another method already"));
    state_.network->parameter(weight.path).set(reals_of(weight));
    state_.packed.push_back(weight);
  }
}

void MethodRun::cut(Parameter helper, int axis, const std::vector<int64_t>& keep) {
  helper.replace(kept(helper.value(), axis, keep));
  state_.follow_cut(helper, axis, keep);
}

void MethodRun::log(std::string_view name, double value) {
  state_.logged.emplace_back(str(method_, '.', name), value);
}

void MethodRun::report(std::string_view row, std::string_view text) {
  state_.report.emplace_back(row, text);
}

void MethodRun::table(std::string_view name, const std::vector<std::string>& columns,
                      const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>>& table = state_.tables[std::string(name)];
  if (table.empty()) table.push_back(columns);
  const auto is_short = [&](const auto& row) { return row.size() != columns.size(); };
  if (table.front() != columns || std::ranges::any_of(rows, is_short))
    throw Error(str("method ", method_, ": table ", name, ": its columns are not those it has"));
  table.insert(table.end(), rows.begin(), rows.end());
}

}  // namespace vtrain
