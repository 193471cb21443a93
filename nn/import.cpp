#include "nn/import.h"

#include <map>
#include <string_view>
#include <utility>

#include "tensor/torch_file.h"

namespace vtrain {
namespace {

std::map<std::string, Tensor> tensors_of(const std::string& file) {
  if (file.ends_with(".safetensors")) return read_safetensors(file).tensors;
  const TorchValue root = read_torch_file(file);
  const TorchValue* state = &root;
  for (const char* const wrapper : {"state_dict", "model", "model_state"}) {
    const TorchValue* const inner = root.find(wrapper);
    if (inner && inner->kind == TorchValue::Kind::kDict) state = inner;
  }
  if (state->kind != TorchValue::Kind::kDict)
    throw CheckpointError(file + ": expected a dict of tensors");
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, value] : state->items) {
    if (value.kind == TorchValue::Kind::kTensor) tensors[name] = value.tensor;
  }
  return tensors;
}

bool is_computed_here(std::string_view name) {
  return name.ends_with("num_batches_tracked") || name.ends_with("relative_position_index") ||
         name.ends_with("attn_mask");
}

/// Parts of names: torchvision's, and timm's for the same.
constexpr std::pair<std::string_view, std::string_view> kTimmNames[] = {
    {"class_token", "cls_token"},
    {"conv_proj.", "patch_embed.proj."},
    {"encoder.pos_embedding", "pos_embed"},
    {"encoder.layers.encoder_layer_", "blocks."},
    {"encoder.ln.", "norm."},
    {"heads.head.", "head."},
    {".ln_1.", ".norm1."},
    {".ln_2.", ".norm2."},
    {".self_attention.in_proj_", ".attn.qkv."},
    {".self_attention.out_proj.", ".attn.proj."},
    {".mlp.0.", ".mlp.fc1."},
    {".mlp.3.", ".mlp.fc2."},
    {".mlp.linear_1.", ".mlp.fc1."},  // files older than torchvision 0.13
    {".mlp.linear_2.", ".mlp.fc2."},
};

/// Names as the model has them.
std::map<std::string, Tensor> cleaned(const std::map<std::string, Tensor>& tensors) {
  constexpr std::string_view kPrefix = "module.";
  std::map<std::string, Tensor> result;
  for (const auto& [name, tensor] : tensors) {
    if (is_computed_here(name)) continue;
    result[name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name] = tensor;
  }
  if (!result.contains("conv_proj.weight")) return result;
  std::map<std::string, Tensor> renamed;
  for (const auto& [name, tensor] : result) renamed[timm_name_of(name)] = tensor;
  return renamed;
}

/// Equal but for extents of 1 at the end: a 1x1 convolution and a linear layer.
bool is_same_matrix(Shape a, Shape b) {
  for (Shape* const shape : {&a, &b}) {
    while (shape->size() > 2 && shape->back() == 1) shape->pop_back();
  }
  return a == b;
}

/// The extent of the tensor that the file has for `name`, or `usual` if it has none: loading then
/// says what is missing.
int64_t extent_in(const std::map<std::string, Tensor>& tensors, const std::string& name,
                  size_t axis, int64_t usual) {
  const auto found = tensors.find(name);
  const bool is_there = found != tensors.end() && found->second.shape().size() > axis;
  return is_there ? found->second.shape()[axis] : usual;
}

}  // namespace

std::string timm_name_of(const std::string& torchvision_name) {
  std::string name = torchvision_name;
  for (const auto& [theirs, timms] : kTimmNames) {
    const size_t at = name.find(theirs);
    if (at != std::string::npos) name.replace(at, theirs.size(), timms);
  }
  return name;
}

std::unique_ptr<Network> import_weights(const std::string& file, const ImportOptions& options) {
  const ModelInfo& info = find_model(options.model);
  std::map<std::string, Tensor> tensors = cleaned(tensors_of(file));
  Architecture architecture{.model = options.model, .options = info.usual, .parts = {}};
  if (options.image_size > 0) architecture.options.image_size = options.image_size;

  // The first weight with a kernel reads the images, the last matrix makes the logits.
  const Network usual(architecture);
  std::string first, last;
  for (const Parameter& p : usual.parameters()) {
    if (p.value().ndim() == 4 && first.empty()) first = p.path();
    if (p.value().ndim() == 2) last = p.path();
  }
  architecture.options.channels = extent_in(tensors, first, 1, info.usual.channels);
  architecture.options.num_classes = extent_in(tensors, last, 0, info.usual.num_classes);

  auto network = std::make_unique<Network>(architecture);
  for (const auto& [name, value] : network->state()) {
    const auto found = tensors.find(name);
    if (found == tensors.end() || found->second.shape() == value.shape()) continue;
    if (is_same_matrix(found->second.shape(), value.shape()))
      found->second = found->second.reshape(value.shape());
  }
  network->load_state(tensors, file);

  const bool is_grey = architecture.options.channels == 1;
  network->preprocessing.mean = options.mean;
  network->preprocessing.std = options.std;
  if (options.mean.empty())
    network->preprocessing.mean = is_grey ? std::vector{0.5} : std::vector{0.485, 0.456, 0.406};
  if (options.std.empty())
    network->preprocessing.std = is_grey ? std::vector{0.5} : std::vector{0.229, 0.224, 0.225};
  const auto channels = static_cast<size_t>(architecture.options.channels);
  if (network->preprocessing.mean.size() != channels ||
      network->preprocessing.std.size() != channels) {
    throw RecipeError(str("--mean, --std: expected ", channels, " values, one per channel, got ",
                          network->preprocessing.mean.size(), " and ",
                          network->preprocessing.std.size()));
  }
  return network;
}

}  // namespace vtrain
