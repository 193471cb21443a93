#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/network.h"

namespace vtrain {

/// What a file of another program does not say.
struct ImportOptions {
  std::string model;                        // a registered network
  int64_t image_size = 0;                   // 0: the model's usual one
  std::vector<double> mean = {}, std = {};  // of its inputs, per channel; empty: ImageNet's
};

/// A network with weights of torchvision, timm, DeiT or a CIFAR zoo, from .safetensors or a file of
/// torch.save (tensor/torch_file.h: nothing in it is executed). A dict under `state_dict`, `model`
/// or `model_state` is opened and a `module.` prefix cut off; counters and buffers that are
/// computed here (num_batches_tracked, relative_position_index, attn_mask) are left out; (O, I, 1,
/// 1) fits (O, I) and the other way round; a transformer's names of torchvision become timm's,
/// which are ours. Classes and channels follow from the tensors. Throws CheckpointError that names
/// the first tensor that is missing, unknown or of another shape.
std::unique_ptr<Network> import_weights(const std::string& file, const ImportOptions& options);

/// The name that timm gives to a tensor of torchvision's vision transformer:
/// encoder.layers.encoder_layer_3.ln_1.weight is blocks.3.norm1.weight. Names of timm stay.
std::string timm_name_of(const std::string& torchvision_name);

}  // namespace vtrain
