#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nn/module.h"

namespace vtrain {

/// What a network computes for a batch.
struct Outputs {
  Variable logits;  // (N, K)
  std::map<std::string, Variable>
      heads;  // further heads by name, e.g. a distillation token's logits
};

/// A whole network: images (N, C, H, W), channels last, to logits.
class Model : public Module {
 public:
  virtual Outputs outputs(const Variable& images, const Pass& pass) = 0;
};

/// What a model takes from the data and the recipe.
struct ModelOptions {
  int64_t num_classes = 10;
  int64_t channels = 1;
  int64_t image_size = 28;  // height and width
  double drop_path = 0;     // rate of the last block; rises linearly from 0
};

/// One registered network.
struct ModelInfo {
  std::string name, description, paper, file;
  std::function<std::unique_ptr<Model>(const ModelOptions&)> make;
  ModelOptions usual;  // of its published weights
};

/// Registers a model at start-up; two of one name are an error that names both files.
class RegisteredModel {
 public:
  RegisteredModel(std::string name, std::string description, std::string paper,
                  std::function<std::unique_ptr<Model>(const ModelOptions&)> make,
                  const ModelOptions& usual = {.num_classes = 1000,
                                               .channels = 3,
                                               .image_size = 224},
                  const char* file = __builtin_FILE());
};

/// For networks without stochastic depth: throws RecipeError if the options ask for it.
void refuse_drop_path(const std::string& network, const ModelOptions& options);

/// In order of names.
std::vector<ModelInfo> registered_models();
/// Throws RecipeError, naming the nearest.
const ModelInfo& find_model(const std::string& name);

}  // namespace vtrain
