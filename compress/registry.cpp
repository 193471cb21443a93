#include "compress/registry.h"

#include "tensor/registry.h"

namespace vtrain {
namespace {
Registry<MethodInfo>& methods() {
  static Registry<MethodInfo> registry;
  return registry;
}
}  // namespace

std::string name_of(ResultKind kind) {
  switch (kind) {
    case ResultKind::kDenseSmaller:
      return "dense-smaller";
    case ResultKind::kPacked:
      return "packed";
    case ResultKind::kFileOnly:
      return "file-only";
    case ResultKind::kTrainingOnly:
      return "training-only";
  }
  return "?";
}

void register_method(MethodInfo info, const char* file) {
  info.file = tree_path(file);
  const std::string name = info.name, where = info.file;
  methods().add(name, std::move(info), where);
}

std::vector<MethodInfo> registered_methods() {
  std::vector<MethodInfo> all;
  for (const auto& [name, entry] : methods().entries()) all.push_back(entry.first);
  return all;
}

const MethodInfo* find_method(const std::string& name) { return methods().find(name); }

}  // namespace vtrain
