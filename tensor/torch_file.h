#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vtrain {

struct TorchEntry;

/// A value of a PyTorch checkpoint: what a pickle of tensors, dicts, lists and numbers can hold.
struct TorchValue {
  enum class Kind { kNone, kBoolean, kInteger, kReal, kText, kTensor, kDict, kList };
  Kind kind = Kind::kNone;
  int64_t integer = 0;  // also of a boolean
  double real = 0;
  std::string text;
  Tensor tensor;                  // contiguous, on the CPU; f16 is widened to f32
  std::vector<TorchEntry> items;  // of a dict, in its order, keys as text; of a list, keys empty

  const TorchValue* find(const std::string& key) const;  // nullptr if there is none
};

struct TorchEntry {
  std::string key;
  TorchValue value;
};

/// Reads a .pth or .th file, the zip form (PyTorch 1.6 and later) or the older one of consecutive
/// pickles. A pickle is a program that may call anything; this reader knows a dozen harmless
/// constructors (tensors, storages, OrderedDict, Size), runs nothing else, and refuses the rest
/// with an error that names it. Throws CheckpointError "path: ...".
TorchValue read_torch_file(const std::string& path);

}  // namespace vtrain
