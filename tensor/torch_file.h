#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace vtrain {

/// A value of a PyTorch checkpoint: what a pickle of tensors, dicts, lists and numbers can hold.
struct TorchValue {
  enum class Kind { kNone, kBoolean, kInteger, kReal, kText, kTensor, kDict, kList };
  Kind kind = Kind::kNone;
  int64_t integer = 0;  // also of a boolean
  double real = 0;
  std::string text;
  Tensor tensor;  // contiguous, on the CPU; f16 is widened to f32
  std::vector<std::pair<std::string, TorchValue>> items;  // of a dict, in its order, keys as text;
                                                          // of a list, with empty keys

  const TorchValue* find(const std::string& key) const;  // nullptr if there is none
};

/// Reads a .pth or .th file, the zip form (PyTorch 1.6 and later) or the older one of consecutive
/// pickles. A pickle is a program that may call anything; this reader knows a dozen harmless
/// constructors (tensors, storages, OrderedDict, Size), runs nothing else, and refuses the rest
/// with an error that names it. Throws CheckpointError "path: ...".
TorchValue read_torch_file(const std::string& path);

}  // namespace vtrain
