#include "nn/module_registry.h"

#include "tensor/registry.h"

namespace vtrain {
namespace {
using Make = std::function<std::shared_ptr<Module>(const Attributes&)>;
Registry<Make>& kinds() {
  static Registry<Make> registry;
  return registry;
}
}  // namespace

void register_module(const std::string& kind, Make make, const char* file) {
  kinds().add(kind, std::move(make), tree_path(file));
}

std::shared_ptr<Module> make_module(const std::string& kind, const Attributes& attributes) {
  const Make* const make = kinds().find(kind);
  if (make == nullptr)
    throw CheckpointError(
        str("the network has a part of kind ", kind,
            ", which this build does not know; --plugin FILE loads what a plug-in ", "registers"));
  return (*make)(attributes);
}

}  // namespace vtrain
