#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/network.h"

namespace vtrain {

/// A weight that is codes times scales.
struct PackedWeight {
  enum class Scales {
    kTensor,   // (1): one for all
    kChannel,  // (O)
    kSign      // (2): of negative codes, of positive ones
  };
  std::string path;  // of the parameter
  Tensor codes;      // i8, in its shape; i32 for powers of two up to 128
  Tensor scale;      // f32
  Scales scales = Scales::kTensor;
};

/// Codes times scales, f32 in the shape of the codes, on the CPU.
Tensor reals_of(const PackedWeight& weight);

/// Writes one safetensors file, whole or not at all:
///   X.weight        of packed weights: u8 (O, bytes of a row) in the smallest format of
///                   packed_weights.h that holds its codes, else i8 codes
///   X.weight_scale  f32
///   all other parameters as in a weights file
/// and in the metadata, beside the architecture record, "packed": format and kind of scales by
/// path. Throws IoError, and Error for what is not finite.
void save_packed(const std::string& path, const Network& network,
                 const std::vector<PackedWeight>& weights);

/// The network in reals. Throws CheckpointError that names what is missing, unknown or impossible.
std::unique_ptr<Network> load_packed(const std::string& path);

/// Whether the file is one of save_packed. Throws CheckpointError if it cannot be read.
bool is_packed_file(const std::string& path);

/// A network in reals from its file, packed or not.
std::unique_ptr<Network> load_reals(const std::string& path);

/// Bytes that packed weights and their scales take in a file, and all weights' share of bits.
struct PackedSize {
  int64_t weights = 0, bytes = 0;
  double bits_per_weight() const {
    return 8 * static_cast<double>(bytes) / static_cast<double>(weights);
  }
};
PackedSize packed_size(const std::vector<PackedWeight>& weights);

}  // namespace vtrain
