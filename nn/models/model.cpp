#include "nn/models/model.h"

#include "recipes/recipe.h"
#include "tensor/registry.h"

namespace vtrain {
namespace {
Registry<ModelInfo>& models() {
  static Registry<ModelInfo> registry;
  return registry;
}
}  // namespace

RegisteredModel::RegisteredModel(std::string name, std::string description, std::string paper,
                                 std::function<std::unique_ptr<Model>(const ModelOptions&)> make,
                                 const ModelOptions& usual, const char* file) {
  ModelInfo info{std::move(name), std::move(description), std::move(paper),
                 tree_path(file), std::move(make),        usual};
  const std::string key = info.name, where = info.file;
  models().add(key, std::move(info), where);
}

void refuse_drop_path(const std::string& network, const ModelOptions& options) {
  if (options.drop_path == 0) return;
  throw RecipeError(str("model.drop_path: expected 0, since ", network,
                        " has no stochastic depth, got ", options.drop_path));
}

std::vector<ModelInfo> registered_models() {
  std::vector<ModelInfo> all;
  for (const auto& [name, entry] : models().entries()) all.push_back(entry.first);
  return all;
}

const ModelInfo& find_model(const std::string& name) {
  if (const ModelInfo* const found = models().find(name)) return *found;
  std::vector<std::string> names;
  for (const auto& [known, entry] : models().entries()) names.push_back(known);
  const std::string close = nearest(name, names);
  throw RecipeError(str("unknown model ", name,
                        close.empty() ? "; `vtrain list models` shows what there is"
                                      : "; did you mean " + close + "?"));
}

}  // namespace vtrain
