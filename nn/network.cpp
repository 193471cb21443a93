#include "nn/network.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "autograd/shape.h"
#include "nn/network_file.h"
#include "tensor/ops/binary.h"
#include "tensor/ops/indexing.h"

namespace vtrain {
namespace {
using Json = nlohmann::json;
constexpr int kFormatVersion = 1;

struct Place {
  std::string module, end;
};
Place split(const std::string& place) {
  const size_t dot = place.rfind('.');
  if (dot == std::string::npos)
    throw Error(str("place ", place, ": expected a module's path followed by .in or .out"));
  return {place.substr(0, dot), place.substr(dot + 1)};
}
}  // namespace

std::string Architecture::to_json() const {
  Json parts_json = Json::array();
  for (const PartRecord& part : parts) {
    parts_json.push_back(
        {{"place", part.place}, {"kind", part.kind}, {"attributes", part.attributes}});
  }
  Json json{{"model", model},
            {"num_classes", options.num_classes},
            {"channels", options.channels},
            {"image_size", options.image_size},
            {"drop_path", options.drop_path},
            {"parts", parts_json}};
  // A network as its model makes it has the record of earlier versions.
  if (!shapes.empty()) json["shapes"] = shapes;
  if (!structure.empty()) json["structure"] = structure;
  if (!dropped.empty()) json["dropped"] = dropped;
  return json.dump();
}

Architecture Architecture::from_json(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    Architecture a;
    json.at("model").get_to(a.model);
    json.at("num_classes").get_to(a.options.num_classes);
    json.at("channels").get_to(a.options.channels);
    json.at("image_size").get_to(a.options.image_size);
    json.at("drop_path").get_to(a.options.drop_path);
    for (const Json& part : json.at("parts")) {
      a.parts.push_back(
          {part.at("place"), part.at("kind"), part.at("attributes").get<Attributes>()});
    }
    if (json.contains("shapes")) json["shapes"].get_to(a.shapes);
    if (json.contains("structure")) json["structure"].get_to(a.structure);
    if (json.contains("dropped")) json["dropped"].get_to(a.dropped);
    return a;
  } catch (const Json::exception& error) {
    throw CheckpointError(str("the architecture record cannot be read: ", error.what()));
  }
}

Network::Network(Architecture architecture) : architecture_(std::move(architecture)) {
  model_ = find_model(architecture_.model).make(architecture_.options);
  model_->set_path("");
  for (const PartRecord& part : architecture_.parts) {
    const Place place = split(part.place);
    module(place.module).set_part(place.end, make_module(part.kind, part.attributes));
  }
  shape_as_recorded();
}

/// Cuts have left other sizes than the model's own.
void Network::shape_as_recorded() {
  const auto refuse = [this](const std::string& what) {
    throw CheckpointError(str("the architecture record of ", architecture_.model, ": ", what));
  };
  for (const std::string& path : architecture_.dropped) {
    if (!has_module(path)) refuse(str("there is no module ", path, " to drop"));
    module(path).drop();
  }
  for (const auto& [path, numbers] : architecture_.structure) {
    if (!has_module(path)) refuse(str("there is no module ", path));
    module(path).set_structure(numbers);
  }
  if (architecture_.shapes.empty()) return;
  std::map<std::string, Parameter> all;
  for (const Parameter& p : parameters()) all.emplace(p.path(), p);
  for (const auto& [path, shape] : architecture_.shapes) {
    const auto found = all.find(path);
    if (found == all.end()) refuse(str("there is no parameter ", path));
    const Shape& own = found->second.value().shape();
    if (shape.size() != own.size() ||
        !std::all_of(shape.begin(), shape.end(), [](int64_t n) { return n > 0; }))
      refuse(str("parameter ", path, ": expected at most ", own, ", got ", shape));
    found->second.replace(zeros(shape));
  }
}

Outputs Network::forward(const Tensor& images, const Pass& pass) {
  Pass with_hooks = pass;
  with_hooks.hooks = hooks_.empty() ? nullptr : &hooks_;
  const Variable x(images.to(device_));
  if (pass.dtype == DType::f32) return model_->outputs(x, with_hooks);
  Outputs outputs = model_->outputs(cast(x, pass.dtype), with_hooks);
  outputs.logits = cast(outputs.logits, DType::f32);
  for (auto& [name, head] : outputs.heads) head = cast(head, DType::f32);
  return outputs;
}

Tensor Network::logits(const Tensor& images) { return forward(images, Pass{}).logits.value(); }

void Network::move_to(Device device) {
  device_ = device;
  for (Parameter p : parameters()) p.move_to(device);
}

Module& Network::module(std::string_view path) {
  for (Module* const m : model_->modules()) {
    if (m->path() == path) return *m;
  }
  throw Error(str("network ", architecture_.model, ": there is no module ", path));
}

bool Network::has_module(std::string_view path) {
  for (const Module* const m : model_->modules()) {
    if (m->path() == path) return true;
  }
  return false;
}

Parameter Network::parameter(std::string_view path) {
  for (const Parameter& p : parameters()) {
    if (p.path() == path) return p;
  }
  throw Error(str("network ", architecture_.model, ": there is no parameter ", path));
}

int64_t Network::parameter_count() const {
  int64_t count = 0;
  for (const Parameter& p : parameters()) count += p.is_buffer() ? 0 : p.value().numel();
  return count;
}

void Network::set_part(const std::string& place, std::shared_ptr<Module> part) {
  const Place at = split(place);
  std::erase_if(architecture_.parts,
                [&](const PartRecord& record) { return record.place == place; });
  architecture_.parts.push_back({place, part->kind(), part->attributes()});
  for (Parameter p : part->parameters()) p.move_to(device_);
  module(at.module).set_part(at.end, std::move(part));
}

void Network::cut(const NetworkCut& cut) {
  std::map<std::string, Parameter> all;
  for (const Parameter& p : parameters()) all.emplace(p.path(), p);
  for (const NetworkCut::Axis& a : cut.axes) {
    const auto found = all.find(a.parameter);
    if (found == all.end())
      throw Error(str("cut: network ", architecture_.model, " has no parameter ", a.parameter));
    const Shape& shape = found->second.value().shape();
    const int axis = checked_dim("cut", a.axis, shape);
    if (a.keep.empty() || !std::is_sorted(a.keep.begin(), a.keep.end()) || a.keep.front() < 0 ||
        a.keep.back() >= shape[static_cast<size_t>(axis)])
      throw Error(str("cut: ", a.parameter, ' ', shape, " axis ", axis,
                      ": expected sorted indices of at least one element"));
  }
  for (const std::string& path : cut.dropped) module(path);  // throws
  const std::map<std::string, Attributes> numbers = changed(cut.structure);

  for (const NetworkCut::Axis& a : cut.axes) {
    Parameter& p = all.at(a.parameter);
    p.replace(kept(p.value(), a.axis, a.keep));
    architecture_.shapes[a.parameter] = p.value().shape();
  }
  set_structure(numbers);
  for (const std::string& path : cut.dropped) drop(path);
}

std::map<std::string, Attributes> Network::changed(
    const std::map<std::string, Attributes>& structure) {
  std::map<std::string, Attributes> all;
  for (const auto& [path, numbers] : structure) {
    const Attributes now = module(path).structure();
    for (const auto& [name, number] : numbers) {
      const auto own = now.find(name);
      if (own == now.end()) throw Error(str("cut: module ", path, " has no number called ", name));
      if (own->second != number) all[path][name] = number;
    }
  }
  return all;
}

void Network::set_structure(const std::map<std::string, Attributes>& changed) {
  for (const auto& [path, numbers] : changed) {
    module(path).set_structure(numbers);
    for (const auto& [name, number] : numbers) architecture_.structure[path][name] = number;
  }
}

void Network::grow(const NetworkGrowth& growth) {
  std::map<std::string, Parameter> all;
  for (const Parameter& p : parameters()) all.emplace(p.path(), p);
  for (const NetworkGrowth::Axis& a : growth.axes) {
    const auto found = all.find(a.parameter);
    if (found == all.end())
      throw Error(str("grow: network ", architecture_.model, " has no parameter ", a.parameter));
    const Shape& shape = found->second.value().shape();
    const int64_t size = shape[static_cast<size_t>(checked_dim("grow", a.axis, shape))];
    const auto [low, high] = std::ranges::minmax(a.from);
    if (low < 0 || high >= size)
      throw Error(str("grow: ", a.parameter, ' ', shape, " axis ", a.axis,
                      ": expected copies of 0..", size - 1));
  }
  const std::map<std::string, Attributes> numbers = changed(growth.structure);
  for (const NetworkGrowth::Axis& a : growth.axes) {
    Parameter& p = all.at(a.parameter);
    Tensor value = kept(p.value(), a.axis, a.from);
    for (int64_t i = 0; a.is_read && i < value.dim(a.axis); ++i) {
      const auto count = std::ranges::count(a.from, a.from[static_cast<size_t>(i)]);
      Tensor part = value.slice(a.axis, i, i + 1);
      if (count > 1) part.copy_from(multiply(part, 1.0 / static_cast<double>(count)));
    }
    p.replace(std::move(value));
    architecture_.shapes[a.parameter] = p.value().shape();
  }
  set_structure(numbers);
}

void Network::drop(const std::string& path) {
  module(path).drop();
  architecture_.dropped.push_back(path);
  const auto is_below = [&path](const std::string& other) {
    return other == path || other.starts_with(path + ".");
  };
  std::erase_if(architecture_.shapes, [&](const auto& e) { return is_below(e.first); });
  std::erase_if(architecture_.structure, [&](const auto& e) { return is_below(e.first); });
  std::erase_if(architecture_.parts, [&](const PartRecord& part) {
    return is_below(part.place.substr(0, part.place.rfind('.')));
  });
}

std::map<std::string, Tensor> Network::state() const {
  std::map<std::string, Tensor> tensors;
  for (const Parameter& p : parameters()) tensors[p.path()] = p.value();
  return tensors;
}

void Network::load_state(const std::map<std::string, Tensor>& tensors, const std::string& from) {
  size_t used = 0;
  for (Parameter p : parameters()) {
    const auto found = tensors.find(p.path());
    if (found == tensors.end())
      throw CheckpointError(
          str(from, ": has no tensor ", p.path(), ", which ", architecture_.model, " needs"));
    if (found->second.shape() != p.value().shape()) {
      throw CheckpointError(str(from, ": tensor ", p.path(), ": expected shape ", p.value().shape(),
                                ", got ", found->second.shape()));
    }
    p.set(found->second);
    ++used;
  }
  if (used == tensors.size()) return;
  for (const auto& [name, tensor] : tensors) {
    bool known = false;
    for (const Parameter& p : parameters()) known |= p.path() == name;
    if (!known)
      throw CheckpointError(str(from, ": has a tensor ", name, ' ', tensor.shape(), ", which ",
                                architecture_.model, " does not know"));
  }
}

void Network::save(const std::string& path) const {
  NamedTensors file{state(), {}};
  file.metadata["format"] = str("vtrain ", kFormatVersion);
  write_network_file(path, *this, std::move(file));
}

std::unique_ptr<Network> Network::load(const std::string& path) {
  const NamedTensors file = read_safetensors(path);
  const auto record = file.metadata.find("architecture");
  if (record == file.metadata.end())
    throw CheckpointError(
        str(path, ": has no architecture record; was it written by another program?"));
  if (const auto format = file.metadata.find("format");
      format != file.metadata.end() && format->second != str("vtrain ", kFormatVersion)) {
    throw CheckpointError(str(path, ": expected weights in reals, format vtrain ", kFormatVersion,
                              ", got format ", format->second));
  }
  auto network = std::make_unique<Network>(Architecture::from_json(record->second));
  network->load_state(file.tensors, path);
  if (const auto found = file.metadata.find("preprocessing"); found != file.metadata.end()) {
    const Json json = Json::parse(found->second, nullptr, false);
    if (json.is_discarded())
      throw CheckpointError(str(path, ": the preprocessing record cannot be read"));
    network->preprocessing = {
        json.value("mean", std::vector<double>{}), json.value("std", std::vector<double>{}),
        json.value("class_names", std::vector<std::string>{}), json.value("crop_pct", 0.0),
        json.value("interpolation", std::string{})};
  }
  return network;
}

std::unique_ptr<Network> Network::clone() const {
  auto copy = std::make_unique<Network>(architecture_);
  copy->move_to(device_);
  copy->load_state(state(), architecture_.model);
  copy->preprocessing = preprocessing;
  return copy;
}

}  // namespace vtrain
