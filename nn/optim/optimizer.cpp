#include "nn/optim/optimizer.h"

#include "tensor/ops/indexing.h"
#include "tensor/registry.h"

namespace vtrain {
namespace {
using Make = std::function<std::unique_ptr<Optimizer>(Recipe&)>;
struct Entry {
  std::string description;
  Make make;
};
Registry<Entry>& optimizers() {
  static Registry<Entry> registry;
  return registry;
}
}  // namespace

RegisteredOptimizer::RegisteredOptimizer(const std::string& name, std::string description,
                                         Make make, const char* file) {
  optimizers().add(name, {std::move(description), std::move(make)}, tree_path(file));
}

std::vector<OptimizerInfo> registered_optimizers() {
  std::vector<OptimizerInfo> all;
  for (const auto& [name, entry] : optimizers().entries())
    all.push_back({name, entry.first.description, entry.second});
  return all;
}

OptimizerOptions read_optimizer(Recipe optim) {
  std::vector<std::string> names;
  for (const OptimizerInfo& info : registered_optimizers()) names.push_back(info.name);
  const std::string name = optim.choice("name", "adamw", names, "the optimizer");
  OptimizerOptions options;
  options.lr = optim.real("lr", 1e-3, above(0), "base learning rate");
  options.clip_grad = optim.maybe_real("clip_grad", above(0),
                                       "largest global norm of the gradient; null: no clipping");
  options.optimizer = optimizers().find(name)->make(optim);
  return options;
}

Optimizer::Slots& Optimizer::slots(const Parameter& parameter,
                                   const std::vector<std::string>& names) {
  Slots& own = slots_[parameter.id()];
  own.path = parameter.path();  // helpers may move when a phase ends
  for (const std::string& name : names) {
    Tensor& tensor = own.tensors[name];
    if (!tensor.defined()) tensor = zeros_like(parameter.value());
  }
  return own;
}

void Optimizer::cut(const Parameter& parameter, int axis, const std::vector<int64_t>& keep) {
  const auto found = slots_.find(parameter.id());
  if (found == slots_.end()) return;  // nothing is held before the first step
  for (auto& [name, tensor] : found->second.tensors) tensor = kept(tensor, axis, keep);
}

std::vector<Tensor> Optimizer::moments(const Parameter& parameter) const {
  std::vector<Tensor> moments;
  const auto found = slots_.find(parameter.id());
  if (found == slots_.end()) return moments;
  for (const auto& [name, tensor] : found->second.tensors) moments.push_back(tensor);
  return moments;
}

std::map<std::string, Tensor> Optimizer::state() const {
  std::map<std::string, Tensor> tensors;
  for (const auto& [id, own] : slots_) {
    for (const auto& [name, tensor] : own.tensors) tensors[name + '.' + own.path] = tensor;
    tensors["steps." + own.path] = full({1}, static_cast<double>(own.steps), DType::f64);
  }
  return tensors;
}

void Optimizer::load_state(const std::map<std::string, Tensor>& tensors,
                           const std::vector<Parameter>& parameters, const std::string& from) {
  slots_.clear();
  for (const auto& [full_name, tensor] : tensors) {
    const size_t dot = full_name.find('.');
    const std::string name = full_name.substr(0, dot),
                      path = dot == std::string::npos ? "" : full_name.substr(dot + 1);
    const Parameter* owner = nullptr;
    for (const Parameter& p : parameters) owner = p.path() == path ? &p : owner;
    if (owner == nullptr)
      throw CheckpointError(str(from, ": optimizer state ", full_name, " belongs to no parameter"));
    Slots& own = slots_[owner->id()];
    own.path = path;
    if (name == "steps") {
      own.steps = static_cast<int64_t>(tensor.item());
      continue;
    }
    if (tensor.shape() != owner->value().shape()) {
      throw CheckpointError(str(from, ": optimizer state ", full_name, ": expected shape ",
                                owner->value().shape(), ", got ", tensor.shape()));
    }
    own.tensors[name] = tensor;
  }
}

bool is_undecayed(const Parameter& parameter) {
  const std::string& path = parameter.path();
  return parameter.value().ndim() <= 1 || path.ends_with("cls_token") ||
         path.ends_with("dist_token") || path.ends_with("pos_embed");
}

}  // namespace vtrain
