#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compress/deploy/calibrate.h"

namespace vtrain {

/// How a network came onto integers: kept in its file, for whoever reads it.
struct Int8Record {
  std::string range = "minmax";        // the observer
  int64_t images = 0;                  // that were watched
  std::vector<std::string> skip = {};  // globs of layers that stay real
};

/// A network on integers, as its file has it.
struct Int8Network {
  /// In reals: weights are those of the codes, norms folded in.
  std::unique_ptr<Network> network = {};
  Quantization quantization = {};  // of `network`
  Int8Record record = {};
};

/// Writes one safetensors file, whole or not at all:
///   X.weight        i8 codes of each layer on integers, in the parameter's shape; u8 bytes
///                   (packed_weights.h) where four bits and less hold them
///   X.weight_scale  f32 (O), or (1)
///   X.folded_bias   f32 (O), where a batch norm was folded in; the norm itself is left out
///   all other parameters as in a weights file
/// and in the metadata, beside the architecture record, "int8": the record, the layers, how weights
/// are packed, and scale and codes of every value that is kept as codes, by the scope of the op
/// that makes it. `quantization` is of `network` and `graph`. Throws IoError, and Error for what is
/// not finite.
void save_int8(const std::string& path, const Network& network, const Graph& graph,
               const Quantization& quantization, const Int8Record& record);

/// Throws CheckpointError that names what is missing, unknown or impossible.
Int8Network load_int8(const std::string& path);

/// Whether the file is one of save_int8. Throws CheckpointError if it cannot be read.
bool is_int8_file(const std::string& path);

}  // namespace vtrain
